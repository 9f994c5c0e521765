"""Random lives of a small tree, move by move beside a model so plain that it can be read.

Every move of docs/quotas.md is there: what is held and given back, limits raised and lowered, plans, transfers, moves, merges,
closures, guarantees, limits for a time, loans and the days that pass over them, and repair. A handful of lives in the
suite, fewer on PostgreSQL, where every statement is a journey; `CLOUDMGR_LEDGER_EXAMPLES=5000` asks for more.
"""

import os

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.quotas.ledger_holding import Holding
from tests.quotas.ledger_promises import Promising


def test_any_sequence_of_moves_keeps_the_books(engine: sa.Engine) -> None:
    class Machine(Holding, Promising):
        pass

    Machine.engine = engine
    examples = int(os.environ.get("CLOUDMGR_LEDGER_EXAMPLES", "0")) or (60 if engine.dialect.name == "sqlite" else 30)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=int(os.environ.get("CLOUDMGR_LEDGER_STEPS", "30")),
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )

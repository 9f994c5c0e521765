"""Killed with -9 at every step of provisioning and retiring, on both databases: nothing lost, nothing doubled."""

import signal
from collections.abc import Callable

import pytest

from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.workflows.proofs import Case, check_slate

PROVISION = (
    "begin",
    "place",
    "create",
    "created",
    "await_running",
    "post",
    "plan_runs",
    "run_begin",
    "configure",
    "activate",
    "finish",
)
RETIRE = (
    "begin",
    "retire_begin",
    "evidence",
    "list_pieces",
    "delete",
    "ask",
    "checked",
    "retired",
    "finish",
)
PLAYBOOKS = ("plan_runs", "run_begin", "configure", "activate")
"""Where a kill comes before, during or after a playbook run: there Ansible really runs, elsewhere it is stood in for."""
WHERE = ("inside", "after")
"""Inside: the deed is done and not recorded. After: it is recorded. Before a step is after the one before it."""


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("step", PROVISION)
def test_a_kill_in_provisioning_leaves_exactly_the_asked_server(
    case: Callable[..., Case], step: str, where: str
) -> None:
    one = case()
    one.ansible = step in PLAYBOOKS
    died = one.run(kill_at=f"{step}:{where}")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=1)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("step", RETIRE)
def test_a_kill_in_retiring_leaves_nothing(case: Callable[..., Case], step: str, where: str) -> None:
    one = case(retire=True)
    died = one.run(kill_at=f"{step}:{where}")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=0)


@pytest.mark.parametrize("kind", ["lost_answer", "half_created"])
@pytest.mark.parametrize("where", WHERE)
def test_a_lost_answer_and_a_kill_together_build_once(case: Callable[..., Case], kind: str, where: str) -> None:
    one = case()
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind=kind))
    died = one.run(kill_at=f"create:{where}")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=1)


@pytest.mark.parametrize("where", WHERE)
def test_a_lost_answer_of_the_delete_and_a_kill_still_leave_nothing(case: Callable[..., Case], where: str) -> None:
    one = case(retire=True)
    drill.inject(one.state_dir("kp"), Fault(call="delete_server", kind="lost_answer"))
    died = one.run(kill_at=f"delete:{where}")
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    check_slate(one, standing=0)


def test_killed_again_and_again_it_still_comes_to_its_end(case: Callable[..., Case]) -> None:
    one = case(count=2)
    one.ansible = True
    for step in ("place", "create", "await_running", "post", "configure", "activate"):
        one.run(kill_at=f"{step}:inside")
    one.finish()
    assert one.phase() == "fulfilled"
    check_slate(one, standing=2)


def test_the_matrix_names_every_step_there_is(case: Callable[..., Case]) -> None:
    told = case().run()["points"]
    assert {point.partition(":")[0] for point in told} == set(PROVISION)
    told = case(retire=True).run()["points"]
    assert {point.partition(":")[0] for point in told} == set(RETIRE)

"""Inputs made from the OpenAPI document, right ones and wrong ones, against the application itself: never a fault of ours.

Everything happens inside this process; no socket is opened. The draws are the same every time.
"""

import hashlib
import os
import re
import zlib
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance
from sqlmodel import select

from cloudmgr.main import create_app
from cloudmgr.models import Flavor, Image, Server, User, Worker, Zone
from tests.stocked import stand
from tests.support import open_token
from tests.world import World

pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLES = int(os.environ.get("CLOUDMGR_FUZZ_EXAMPLES", "2"))
"""Right and wrong inputs each, for every operation and role; more on a quiet evening."""
ROLES = ("requester", "admin", "sysadmin", "auditor")
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]
FAR = datetime(2100, 1, 1, tzinfo=UTC)
ENDLESS = "/api/v1/requests/{request_id}/events"
"""A stream: followed for ids that nothing has only."""


class Caller:
    """One person who sends what is drawn, each time with a fresh token: what is drawn may well be a logout."""

    def __init__(self, world: World, app: FastAPI, who: str | None) -> None:
        self.world = world
        self.app = app
        self.who = who
        self.answered: Counter[int] = Counter()
        self._ids = self._known_ids()

    def _known_ids(self) -> dict[str, str]:
        request = self.world.submit(name="known")
        self.world.approve(request)
        with self.world.session() as session:
            server = stand(session, session.exec(select(Server)).one().id)
            victim = User(
                username="victim",
                username_key="victim",
                display_name="路人",
                organization_id=self.world.minzheng.id,
                password_hash="-",
                password_set_at=server.updated_at,
            )
            session.add(victim)
            session.add(Worker(executor_id="w", version="0", host="h", last_seen_at=FAR))
            session.flush()
            known = {
                "request_id": request,
                "server_id": server.id,
                "user_id": victim.id,
                "project_id": self.world.project.id,
                "organization_id": self.world.minzheng.id,
                "account": self.world.project.account_id,
                "flavor_id": session.exec(select(Flavor.id)).first(),
                "image_id": session.exec(select(Image.id)).first(),
                "zone_id": session.exec(select(Zone.id)).first(),
            }
            session.commit()
        return {name: str(value) for name, value in known.items()}

    def send(self, case: Case) -> None:
        """Send one case and check its answer."""
        if case.path_parameters and case.operation.path != ENDLESS and _is_even(case):
            case.path_parameters = {name: self._ids.get(name, value) for name, value in case.path_parameters.items()}
        headers = {}
        if self.who is not None:
            with self.world.session() as session:
                user = session.get_one(User, self.world.people[self.who])
                headers["Authorization"] = f"Bearer {open_token(session, user)}"
                session.commit()
        answer = case.call(headers=headers)
        self.answered[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)


def _is_even(case: Case) -> bool:
    return hashlib.sha256(repr((case.method, case.path_parameters, case.body)).encode()).digest()[0] % 2 == 0


def _check(caller: Caller, operation: Any, mode: GenerationMode) -> str | None:
    @seed(zlib.crc32(f"{caller.who} {operation.label} {mode}".encode()))  # other draws for each, the same every time
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(operation.as_strategy(generation_mode=mode))
    def sent(case: Case) -> None:
        caller.send(case)

    try:
        sent()
    except (Exception, FailureGroup) as failure:  # noqa: BLE001 - all are gathered, so that one run tells everything
        if "No examples" in str(failure) or type(failure).__name__ in {"Unsatisfiable", "SkipTest"}:
            return None  # nothing can be wrong about an operation without parameters
        return f"{operation.method.upper()} {operation.path} as {caller.who}: {failure}"
    return None


@pytest.mark.parametrize("who", ROLES)
def test_no_input_drawn_from_the_document_is_a_fault_of_ours(small_world: World, who: str | None) -> None:
    app = create_app(small_world.settings, engine=small_world.engine)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    schema.config.generation.update(with_security_parameters=False)
    caller = Caller(small_world, app, who)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 60
    modes = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    failures = [told for operation in operations for mode in modes if (told := _check(caller, operation, mode))]
    print(who, dict(sorted(caller.answered.items())))
    assert failures == [], "\n\n".join(re.sub(r"Bearer \S+", "Bearer …", told)[:1500] for told in failures)
    assert sum(caller.answered.values()) > len(operations) * EXAMPLES
    assert not {status for status in caller.answered if status >= 500 and status != 503}

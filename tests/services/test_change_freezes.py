"""Change freezes: who announces them, what waits, what passes, and what goes on afterwards. On both databases."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.domain.errors import ChangeFrozen, Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.models import Happening, HeldRequest, RequestEvent, ResourceRequest, Server
from cloudmgr.services import approvals, change_freezes, deadlines, playbooks, requests
from cloudmgr.services.change_freezes import FreezeView, MakeFreeze
from cloudmgr.services.playbooks import StartRun
from cloudmgr.services.request_inputs import Decide, RetireRequest
from cloudmgr.workflows import request_facts
from tests.stocked import Desk, stand

MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=SHANGHAI)


@pytest.fixture
def advance() -> Iterator[Callable[[timedelta], None]]:
    with clock.stepped(MONDAY) as step:
        yield step


def freeze(desk: Desk, who: str = "quota", days: float = 5, **more: Any) -> FreezeView:
    place = more.pop("place", desk.world.furong)
    command = MakeFreeze(organization=place.id, ends_at=clock.now() + timedelta(days=days), reason="国庆重保", **more)
    return change_freezes.make_freeze(desk.session, desk.actor(who), command)


def approved_retirement(desk: Desk) -> ResourceRequest:
    """A retirement of a server that stands, approved."""
    made = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command())
    server = desk.session.exec(select(Server).where(Server.request_id == made.id)).one()
    stand(desk.session, server.id)
    made.phase = "fulfilled"
    command = RetireRequest(kind="retire", project=desk.world.project.id, purpose="下线", servers=[server.id])
    request = requests.submit_new(desk.session, desk.actor("requester"), command)
    approvals.decide(desk.session, desk.actor("admin"), request.id, Decide.model_validate({"decision": "approve"}))
    return request


def enqueued(desk: Desk, request: ResourceRequest) -> int:
    table = "workflow_status" if desk.world.settings.is_sqlite else "dbos.workflow_status"
    query = sa.text(f"SELECT count(*) FROM {table} WHERE workflow_uuid LIKE :id")
    return int(desk.session.execute(query, {"id": f"fulfil_request:{request.id}:%"}).scalar_one())


def told(desk: Desk, request: ResourceRequest) -> list[str]:
    rows = desk.session.exec(select(RequestEvent).where(RequestEvent.request_id == request.id))
    return [row.message["template"] for row in rows]


def test_an_approved_change_waits_and_begins_by_itself(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    freeze(desk)
    request = approved_retirement(desk)
    assert request.phase == "approved"
    begun = request_facts.begin(desk.session, str(request.id))
    assert (begun["items"], begun["held"], request.phase) == ([], "approved", "approved")
    view = requests.get_request(desk.session, desk.actor("requester"), request.id)
    assert view.held_by is not None
    assert view.held_by.reason == "国庆重保"
    advance(timedelta(days=4, hours=23))
    assert change_freezes.release_due(desk.session, 10) == 0
    advance(timedelta(hours=2))
    assert deadlines.is_anything_due(desk.session)
    assert change_freezes.release_due(desk.session, 10) == 1
    assert change_freezes.release_due(desk.session, 10) == 0
    assert (request.attempt, enqueued(desk, request)) == (2, 2)
    assert request_facts.begin(desk.session, str(request.id))["items"]
    assert request.phase == "fulfilling"
    assert any("change freeze is over" in text for text in told(desk, request))


def test_lifted_early_lets_go_at_once(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    made = freeze(desk)
    request = approved_retirement(desk)
    request_facts.begin(desk.session, str(request.id))
    change_freezes.lift_freeze(desk.session, desk.actor("quota"), made.freeze.id)
    assert change_freezes.release_due(desk.session, 10) == 1
    assert request.attempt == 2
    with pytest.raises(Conflict):
        change_freezes.lift_freeze(desk.session, desk.actor("quota"), made.freeze.id)


def test_another_freeze_that_holds_is_waited_for_as_well(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    longer = freeze(desk, days=5)
    request = approved_retirement(desk)
    request_facts.begin(desk.session, str(request.id))
    advance(timedelta(days=4))
    city = freeze(desk, days=4, place=desk.world.root)
    advance(timedelta(days=2))
    assert change_freezes.release_due(desk.session, 10) == 1
    held = desk.session.exec(select(HeldRequest).where(HeldRequest.request_id == request.id)).one()
    assert (held.freeze_id, held.released_at, request.attempt) == (city.freeze.id, None, 1)
    assert longer.freeze.id != city.freeze.id
    advance(timedelta(days=3))
    change_freezes.release_due(desk.session, 10)
    assert request.attempt == 2


def test_new_servers_and_emergencies_pass(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    freeze(desk)
    for name, more in (("a", {}), ("b", {"emergency": True, "emergency_reason": "抢险"})):
        request = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name=name, **more))
        if not more:
            approvals.decide(
                desk.session, desk.actor("admin"), request.id, Decide.model_validate({"decision": "approve"})
            )
        assert request_facts.begin(desk.session, str(request.id))["items"]


def test_it_holds_only_below_and_only_in_its_time(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    freeze(desk, days=5, starts_at=clock.now() + timedelta(days=1))
    furong, yuelu, bureau = desk.world.furong.path, desk.world.yuelu.path, desk.world.minzheng.path
    assert change_freezes.standing(desk.session, bureau) is None
    advance(timedelta(days=1))
    assert change_freezes.standing(desk.session, bureau) is not None
    assert change_freezes.standing(desk.session, furong) is not None
    assert change_freezes.standing(desk.session, yuelu) is None
    assert change_freezes.standing(desk.session, desk.world.root.path) is None
    advance(timedelta(days=4))
    assert change_freezes.standing(desk.session, bureau) is None


def test_a_playbook_that_changes_things_is_refused(desk: Desk, advance: Callable[[timedelta], None]) -> None:
    made = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command())
    server = desk.session.exec(select(Server).where(Server.request_id == made.id)).one()
    stand(desk.session, server.id)
    freeze(desk)
    admin = desk.actor("admin")
    with pytest.raises(ChangeFrozen) as refused:
        playbooks.start_run(desk.session, admin, StartRun(playbook="configure_server", servers=[server.id]))
    assert refused.value.extra["until"]
    playbooks.start_run(desk.session, admin, StartRun(playbook="collect_facts", servers=[server.id]))


class TestWhoMay:
    def test_announce(self, desk: Desk, advance: Callable[[timedelta], None]) -> None:
        freeze(desk, "sysadmin")
        for who in ("requester", "admin", "auditor"):
            with pytest.raises(Forbidden):
                freeze(desk, who)
        with pytest.raises(InvalidInput) as refused:
            freeze(desk, days=-1)
        assert refused.value.field == "ends_at"
        assert [row.event for row in desk.session.exec(select(Happening))].count("freeze.announced") == 1

    def test_see_and_lift(self, desk: Desk, advance: Callable[[timedelta], None]) -> None:
        district = freeze(desk)
        city = freeze(desk, place=desk.world.root)
        seen = {
            who: {view.freeze.id for view in change_freezes.list_freezes(desk.session, desk.actor(who))[0]}
            for who in ("requester", "stranger", "auditor")
        }
        both = {district.freeze.id, city.freeze.id}
        assert seen == {"requester": both, "stranger": {city.freeze.id}, "auditor": both}
        banner = {view.freeze.id for view in change_freezes.concerning(desk.session, desk.actor("stranger"))}
        assert banner == {city.freeze.id}
        with pytest.raises(Forbidden):
            change_freezes.lift_freeze(desk.session, desk.actor("admin"), district.freeze.id)
        with pytest.raises(NotFound):
            change_freezes.lift_freeze(desk.session, desk.actor("stranger"), district.freeze.id)

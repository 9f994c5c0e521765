"""Quota in time over HTTP, by a stepped clock: a loan from its offer to its return, a lease too long for it, a hold that ends."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from cloudmgr.domain import clock
from cloudmgr.services import quota_turns
from tests.api.test_deadlines import MONDAY, Office
from tests.world import World


@pytest.fixture
def office(any_world: World) -> Iterator[Office]:
    with clock.stepped(MONDAY) as advance:
        yield Office(any_world, advance)


def turn(office: Office) -> None:
    """Do the rounds of a worker until nothing is due."""
    while office.work(quota_turns.is_anything_due):
        for deed in (
            quota_turns.turn_terms,
            quota_turns.settle_loans,
            quota_turns.end_holds,
            quota_turns.note_crossings,
        ):
            office.work(deed, 50)


def test_a_request_that_nobody_decides_holds_no_quota_for_ever(office: Office) -> None:
    request = office.ask()
    account = office.get("requester", "/quotas")["items"][0]["account"]
    held = office.get("requester", f"/quotas/{account}")
    assert (held["held_days"], len(held["holds"])) == (0, 1)
    assert held["holds"][0]["amounts"]["servers"] == held["reserved"]["servers"]
    with clock.stepped(clock.now() + timedelta(days=59)) as advance:
        turn(office)
        assert office.get("requester", f"/requests/{request['id']}")["phase"] == "in_review"
        assert office.get("requester", f"/quotas/{account}")["held_days"] == 59
        advance(timedelta(days=1, minutes=1))
        turn(office)
        seen = office.get("requester", f"/requests/{request['id']}")
        assert seen["phase"] == "returned"
        assert sum("Nobody decided" in event["text"] for event in seen["events"]) == 1
        free = office.get("requester", f"/quotas/{account}")
        assert (free["reserved"]["servers"], free["held_since"], free["holds"]) == (0, None, [])

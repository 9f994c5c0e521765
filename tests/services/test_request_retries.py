"""Trying a request again whose servers failed: what is held anew, and who may."""

import pytest

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, Forbidden
from cloudmgr.models import ResourceRequest
from cloudmgr.services import requests
from cloudmgr.services.request_kinds.base import reservation_id
from tests.services.requesting import decide, held, servers_of, submit, told
from tests.stocked import Desk, stand


class TestRetry:
    def failed(self, desk: Desk, *steps: str | None) -> ResourceRequest:
        """A request whose servers failed at these steps (None: it stands), as the workflows leave them."""
        request = submit(desk, count=len(steps))
        decide(desk, request, "approve", "")
        for server, step in zip(servers_of(desk, request), steps, strict=True):
            if step is None or step == "configure":
                stand(desk.session, server.id, phase="failed" if step else "active")
            elif step != "undo":
                quotas.void(desk.session, reservation_id=server.reservation_id, part_id=server.id)
            if step is not None:
                server.phase, server.failed_step = "failed", step
                server.failure = {"code": "x", "message": {"template": "x", "params": {}}}
                server.tried_zones = ["z"]
            desk.session.add(server)
        request.phase = "partly_fulfilled" if None in steps else "failed"
        request.finished_at = clock.now()
        desk.session.add(request)
        desk.session.flush()
        return request

    def test_only_what_gave_its_quota_back_is_held_anew(self, desk: Desk) -> None:
        request = self.failed(desk, None, "create", "configure", "undo")
        assert held(desk)[0] == (2, 1)
        requests.retry(desk.session, desk.actor("requester"), request.id)
        assert held(desk) == [(2, 2)] * 4
        stood, created, configured, undone = servers_of(desk, request)
        original = reservation_id(request)
        assert [each.reservation_id == original for each in (stood, created, configured, undone)] == [
            True,
            False,
            True,
            True,
        ]
        assert (stood.phase, created.phase, undone.phase) == ("active", "requested", "requested")
        assert (stood.attempt, created.attempt, configured.attempt) == (1, 2, 2)
        assert (created.tried_zones, created.failure, created.failed_step) == ([], None, None)
        assert (request.phase, request.attempt, request.finished_at) == ("fulfilling", 2, None)
        assert quotas.verify(desk.session).mismatches == []

    def test_it_is_refused_when_the_room_is_gone(self, desk: Desk) -> None:
        request = self.failed(desk, "create")
        submit(desk, "colleague", name="b", count=20)
        with pytest.raises(quotas.QuotaExceeded):
            requests.retry(desk.session, desk.actor("requester"), request.id)

    def test_who_may_switch_servers_may_also_try_again(self, desk: Desk) -> None:
        request = self.failed(desk, "create")
        requests.retry(desk.session, desk.actor("admin"), request.id)
        assert told(desk, "request.retry").actor == "admin"

    @pytest.mark.parametrize("who", ["reviewer", "auditor", "quota"])
    def test_others_may_not(self, desk: Desk, who: str) -> None:
        request = self.failed(desk, "create")
        with pytest.raises(Forbidden):
            requests.retry(desk.session, desk.actor(who), request.id)

    def test_what_has_not_failed_is_not_tried_again(self, desk: Desk) -> None:
        request = submit(desk)
        with pytest.raises(Conflict, match="In review"):
            requests.retry(desk.session, desk.actor("requester"), request.id)

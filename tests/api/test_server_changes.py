"""A server's middle years by API: another size, a further disk, frozen and back, a later lease; through a real process."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.models import Flavor
from tests.api.test_volumes import _fulfil, _login
from tests.served import Served, prepare, serving, until


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    world = prepare(tmp_path_factory.mktemp("changes") / "city")
    with Session(world.engine) as session:
        session.add(Flavor(name="16C64G", vcpus=16, memory_mib=65536, system_disk_gib=40))
        session.commit()
    with serving(world) as served:
        yield served
    world.engine.dispose()


def _line(found: dict[str, Any]) -> str:
    return "\n".join(event["text"] for event in found["events"])


def test_the_middle_years_of_a_server(live: Served) -> None:
    with (
        _login(live, "requester") as requester,
        _login(live, "admin") as admin,
        _login(live, "sysadmin") as operator,
        _login(live, "auditor") as auditor,
    ):
        built = _fulfil(live, requester, admin, live.world.body())["servers"][0]
        id_ = built["id"]
        account = live.world.project.account_id

        def server() -> dict[str, Any]:
            found: dict[str, Any] = requester.get(f"/servers/{id_}").json()
            return found

        done = _fulfil(
            live,
            requester,
            admin,
            {"kind": "resize", "servers": [id_], "flavor": "16C64G", "add_data_disk_gib": 100},
        )
        assert done["number"].startswith("BG")
        assert server()["flavor"] == "16C64G"
        assert server()["state"] == "running"
        assert requester.get("/volumes").json()["items"][0]["size_gib"] == 100
        used = requester.get(f"/quotas/{account}").json()
        assert (used["used"]["vcpus"], used["reserved"].get("vcpus", 0)) == (16, 0)

        [backend] = [each for each in operator.get("/backends").json()["items"] if each["name"] == built["backend"]]
        assert operator.post(f"/backends/{backend['id']}/syncs", json={}).status_code in (200, 202)
        until(lambda: operator.get(f"/backends/{backend['id']}/syncs").json()["items"], 60)
        drifts = operator.get("/findings", params={"kind": "drift"}).json()["items"]
        assert drifts == [], "our own change is no drift"

        _fulfil(live, requester, admin, {"kind": "freeze", "servers": [id_]})
        assert (server()["phase"], server()["state"]) == ("suspended", "stopped")
        refused = admin.post(f"/servers/{id_}/actions", json={"action": "start"})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert "解冻" in refused.json()["detail"] or "unfreeze" in refused.json()["detail"]
        _fulfil(live, requester, admin, {"kind": "unfreeze", "servers": [id_]})
        assert (server()["phase"], server()["state"], server()["ipv4"]) == ("active", "running", built["ipv4"])

        later = (clock.today() + timedelta(days=700)).isoformat()
        renewed = _fulfil(live, requester, admin, {"kind": "renew", "servers": [id_], "lease_end": later})
        assert renewed["number"].startswith("XQ")
        assert server()["lease_end"] == later
        events = {event["action"] for event in auditor.get("/audit/events", params={"limit": 200}).json()["items"]}
        assert events >= {"vm.resize", "vm.freeze", "vm.unfreeze", "vm.renew"}


def test_a_project_goes_live_only_when_it_is_filed(live: Served) -> None:
    with _login(live, "sysadmin") as operator:
        project = live.world.project.id
        found = operator.get(f"/projects/{project}").json()
        operator.patch(f"/projects/{project}", json={"mlps_level": "二级", "mlps_record_no": None})
        refused = operator.post(f"/projects/{project}/stage", json={"stage": "live"})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), refused.text
        operator.patch(f"/projects/{project}", json={"mlps_record_no": "43010002026-00001"})
        live_now = operator.post(f"/projects/{project}/stage", json={"stage": "live", "reason": "验收通过"})
        assert (live_now.status_code, live_now.json()["stage"]) == (200, "live"), live_now.text
        assert found["stage"] != "live"

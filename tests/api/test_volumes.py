"""Volumes, snapshots and the end of a server by API, through a real process with a worker inside."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.served import Served, prepare, serving, until
from tests.support import PASSWORD


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    world = prepare(tmp_path_factory.mktemp("volumes") / "city")
    with serving(world) as served:
        yield served
    world.engine.dispose()


def _login(live: Served, name: str) -> httpx.Client:
    with live.client(None) as stranger:
        answer = stranger.post("/sessions", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return live.client(None, Authorization=f"Bearer {answer.json()['token']}")


def _fulfil(live: Served, requester: httpx.Client, admin: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """Plan, submit, approve and wait; return the request at its end."""
    whole = {"project": str(live.world.project.id), "purpose": "测试", **body}
    planned = requester.post("/plans", json=whole)
    assert planned.status_code == 200, planned.text
    submitted = requester.post("/requests", json=whole)
    assert submitted.status_code == 201, submitted.text
    id_ = submitted.json()["id"]
    assert admin.post(f"/requests/{id_}/decisions", json={"decision": "approve"}).status_code == 200

    def rests() -> dict[str, Any] | None:
        found: dict[str, Any] = requester.get(f"/requests/{id_}").json()
        return found if found["finished_at"] else None

    done: dict[str, Any] = until(rests, 120)
    assert done["phase"] == "fulfilled", (done["events"], live.log())
    return done


def test_a_volume_and_a_snapshot_from_the_request_to_the_certificate(live: Served) -> None:
    with (
        _login(live, "requester") as requester,
        _login(live, "admin") as admin,
        _login(live, "stranger") as stranger,
        _login(live, "auditor") as auditor,
    ):
        built = _fulfil(live, requester, admin, live.world.body())["servers"][0]
        server = built["id"]
        assert requester.get(f"/servers/{server}/certificate").status_code == 404, "its end has not begun"
        create = [{"name": "data", "size_gib": 100, "server": server}]
        asked = _fulfil(live, requester, admin, {"kind": "volume", "create": create})
        assert asked["reservation"]["amounts"] == {"volumes": 1, "disk_gib": 100}
        assert [one["id"] for one in asked["servers"]] == [server]
        [volume] = requester.get("/volumes", params={"server": server}).json()["items"]
        assert (volume["phase"], volume["state"], volume["server_name"]) == ("attached", "attached", built["name"])
        assert requester.get(f"/volumes/{volume['id']}").json() == volume
        assert stranger.get(f"/volumes/{volume['id']}").status_code == 404
        assert stranger.get("/volumes").json()["items"] == []

        _fulfil(live, requester, admin, {"kind": "snapshot", "create": [{"server": server, "name": "before"}]})
        [snapshot] = requester.get("/snapshots", params={"server": server}).json()["items"]
        assert (snapshot["name"], snapshot["phase"]) == ("before", "available")
        revert = [{"snapshot": snapshot["id"], "server": built["name"]}]
        _fulfil(live, requester, admin, {"kind": "snapshot", "revert": revert})
        [snapshot] = requester.get("/snapshots", params={"server": server}).json()["items"]
        assert snapshot["reverted_at"]

        retire = {"kind": "retire", "project": str(live.world.project.id), "purpose": "下线", "servers": [server]}
        silent = requester.post("/requests", json=retire)
        assert (silent.status_code, silent.json()["errors"][0]["field"]) == (409, "volumes")
        done = _fulfil(live, requester, admin, {**retire, "volumes": "delete"})

        told = requester.get(f"/servers/{server}/certificate").json()
        assert (told["state"], told["evidence"], told["request_number"]) == ("complete", "asked", done["number"])
        assert told["number"].startswith("XH")
        assert told["held"]["name"] == built["name"]
        assert "host" not in told["held"], "hosts are for operators"
        assert told["decided_by"] == ["Admin"]
        assert {piece["state"] for piece in told["items"]} == {"gone"}
        assert {piece["kind"] for piece in told["items"]} >= {"server", "disk", "nic", "address", "volume", "snapshot"}
        [line] = auditor.get("/certificates", params={"state": "complete"}).json()["items"]
        assert line["number"] == told["number"]
        assert "host" in auditor.get(f"/servers/{server}/certificate").json()["held"]
        assert stranger.get(f"/servers/{server}/certificate").status_code == 404
        assert stranger.get("/certificates").json()["items"] == []
        again = admin.post(f"/servers/{server}/certificate/checks")
        assert (again.status_code, again.json()["code"]) == (409, "conflict")
        assert requester.post(f"/servers/{server}/certificate/checks").status_code == 403
        [gone] = requester.get("/volumes", params={"phase": "deleted"}).json()["items"]
        assert gone["id"] == volume["id"]
        used = requester.get(f"/quotas/{live.world.project.account_id}").json()["used"]
        assert not any(used.values()), used
        events = {event["action"] for event in auditor.get("/audit/events", params={"limit": 200}).json()["items"]}
        assert events >= {"volume.create", "volume.attach", "volume.delete", "snapshot.create", "certificate.issue"}

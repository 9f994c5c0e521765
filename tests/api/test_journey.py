"""The whole journey by API, through real processes: asked, weighed, approved, built, handed over, switched, counted, retired."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import quotas
from cloudmgr.domain.inventory_columns import COLUMNS
from tests.served import Served, opened, prepare, sent_events, serving, until
from tests.support import PASSWORD
from tests.world import World


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One embedded installation: a process, an SQLite file, a worker inside, two simulated clouds."""
    world = prepare(tmp_path_factory.mktemp("journey") / "city")
    with serving(world) as served:
        yield served
    world.engine.dispose()


def _login(live: Served, name: str) -> httpx.Client:
    with live.client(None) as stranger:
        answer = stranger.post("/sessions", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    return live.client(None, Authorization=f"Bearer {answer.json()['token']}")


def _resting(client: httpx.Client, request: str, seconds: float = 120) -> dict[str, Any]:
    def rests() -> dict[str, Any] | None:
        found: dict[str, Any] = client.get(f"/requests/{request}").json()
        return found if found["finished_at"] else None

    return until(rests, seconds)


def _usage(client: httpx.Client, account: object) -> dict[str, Any]:
    return dict(client.get(f"/quotas/{account}").json())


def test_two_servers_from_the_first_question_to_the_last_record(live: Served) -> None:
    account = live.world.project.account_id
    with _login(live, "requester") as requester, _login(live, "admin") as admin, _login(live, "auditor") as auditor:
        request = _ask(live.world, requester)
        assert _usage(requester, account)["reserved"]["servers"] == 2
        _decide(requester, admin, request["id"])
        _follow(requester, request["id"])
        built = _look(live, requester, admin, request["id"])
        _switch(admin, built[0]["id"])
        _run_playbooks(admin, [server["id"] for server in built])
        _check_inventory(auditor, built, request["number"])
        _retire(live, requester, admin, built)
        assert _usage(requester, account)["used"]["servers"] == 0
        _check_records(auditor)


def _ask(world: World, requester: httpx.Client) -> dict[str, Any]:
    name = "430102-mzj-zhsq-prd-app"
    more = {"count": 2, "flavor": "8C32G", "data_disk_gib": 500, "playbook": "configure_server"}
    wanted = {key: value for key, value in world.body(name=name, **more).items() if key != "owner"}

    answer = requester.post("/plans", json=wanted)
    assert answer.status_code == 200, answer.text
    plan = answer.json()
    assert (plan["accepted"], plan["warnings"]) == (True, [])
    assert [level["name"] for level in plan["quota"]] == ["长沙市", "芙蓉区", "芙蓉区民政局", "智慧社区综合服务平台"]
    zones = {zone["zone"]: zone for zone in plan["entries"][0]["zones"]}
    assert (zones["kp-zone"]["rank"], zones["kp-zone"]["room"]) == (1, None)
    assert "架构" in zones["hg-zone"]["reasons"][0]

    key = {"Idempotency-Key": "journey-1"}
    submitted = requester.post("/requests", json=wanted, headers=key)
    assert submitted.status_code == 201, submitted.text
    request: dict[str, Any] = submitted.json()
    again = requester.post("/requests", json=wanted, headers=key)
    assert (again.json()["id"], again.headers["Idempotent-Replayed"]) == (request["id"], "true")
    assert request["number"].startswith("SQ")
    assert (request["phase"], request["stages"][0]["state"]) == ("in_review", "open")
    assert request["reservation"]["amounts"]["vcpus"] == 16
    return request


def _decide(requester: httpx.Client, admin: httpx.Client, request: str) -> None:
    own = requester.post(f"/requests/{request}/decisions", json={"decision": "approve"})
    assert (own.status_code, own.json()["code"]) == (403, "own_request")
    assert admin.get("/requests", params={"phase": "in_review"}).json()["items"][0]["id"] == request
    decided = admin.post(f"/requests/{request}/decisions", json={"decision": "approve", "comment": "同意"})
    assert (decided.status_code, decided.json()["phase"]) == (200, "approved"), decided.text


def _follow(requester: httpx.Client, request: str) -> None:
    with requester.stream("GET", f"/requests/{request}/events", timeout=180) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = list(sent_events(stream))
    assert told[-1][1] == "end"
    lines = [data for _, event, data in told if event == "progress"]
    assert {line["kind"] for line in lines} >= {"phase", "step", "task"}
    tasks = [line for line in lines if line["kind"] == "task"]
    assert len({line["data"]["task"] for line in tasks}) > 5, "the playbook's tasks, one by one"
    assert {line["data"]["run"] for line in tasks} != set()


def _look(live: Served, requester: httpx.Client, admin: httpx.Client, request: str) -> list[dict[str, Any]]:
    assert _resting(requester, request)["phase"] == "fulfilled", live.log()
    built: list[dict[str, Any]] = admin.get(f"/requests/{request}").json()["servers"]
    assert [server["name"] for server in built] == ["430102-mzj-zhsq-prd-app01", "430102-mzj-zhsq-prd-app02"]
    assert {(server["phase"], server["state"], server["arch"], server["cpu_family"]) for server in built} == {
        ("active", "running", "aarch64", "kunpeng")
    }
    assert {server["host"] for server in built} == {None}, "hosts are shown to those who run the clouds"
    with _login(live, "sysadmin") as runs:
        assert len({runs.get(f"/servers/{server['id']}").json()["host"] for server in built}) == 2, "spread over hosts"
    assert len({address for server in built for address in server["ipv4"]}) == 2

    sheet = requester.get(f"/requests/{request}/handover").json()
    assert [(line["account"], line["gateway"], line["rehearsed"]) for line in sheet["servers"]] == [
        ("ops", "10.60.0.1", True)
    ] * 2
    assert sheet["contact"] == {"name": "王芳", "phone": "13800000000"}
    assert all(line["ipv4"] and line["system"].startswith("Kylin V10") for line in sheet["servers"])

    tree = admin.get("/quotas", params={"root": str(live.world.furong.account_id)}).json()["items"]
    assert {row["name"]: (row["used"]["servers"], row["reserved"]["servers"]) for row in tree} == {
        "芙蓉区": (2, 0),
        "芙蓉区民政局": (2, 0),
        "智慧社区综合服务平台": (2, 0),
    }
    return built


def _check_records(auditor: httpx.Client) -> None:
    events = {event["action"] for event in auditor.get("/audit/events", params={"limit": 200}).json()["items"]}
    assert events >= {
        "request.submit",
        "request.approve",
        "request.fulfil",
        "vm.place",
        "vm.create",
        "vm.activate",
        "vm.stop",
        "vm.start",
        "vm.reboot",
        "vm.delete",
        "playbook.start",
        "playbook.finish",
        "inventory.export",
    }


def _switch(admin: httpx.Client, server: str) -> None:
    def is_recorded(action: str) -> bool:
        found = admin.get("/audit/events", params={"action": f"vm.{action}", "object": server}).json()["items"]
        return any(event["detail"].get("stage") == "done" and event["outcome"] == "success" for event in found)

    for action, state in (("stop", "stopped"), ("start", "running"), ("reboot", "running")):
        answer = admin.post(f"/servers/{server}/actions", json={"action": action})
        assert (answer.status_code, answer.json()) == (202, {"server": server, "action": action})
        until(lambda action=action: is_recorded(action))
        assert admin.get(f"/servers/{server}").json()["state"] == state


def _run_playbooks(admin: httpx.Client, servers: list[str]) -> None:
    def ended(run: str) -> dict[str, Any] | None:
        found: dict[str, Any] = admin.get(f"/playbook-runs/{run}").json()
        return found if found["finished_at"] else None

    catalogue = {entry["name"]: entry for entry in admin.get("/playbooks").json()["items"]}
    assert catalogue["configure_server"]["needs_approval"]
    asked = admin.post("/playbook-runs", json={"playbook": "collect_facts", "servers": servers, "variables": {}})
    assert asked.status_code == 202, asked.text
    done = until(lambda: ended(asked.json()["id"]), 120)
    assert (done["state"], done["rehearsed"], len(done["servers"])) == ("succeeded", True, 2)
    assert done["events"]

    long = admin.post("/playbook-runs", json={"playbook": "configure_server", "servers": servers}).json()["id"]
    until(lambda: admin.get(f"/playbook-runs/{long}").json()["state"] == "running", 60, 0.02)
    cancel = admin.post(f"/playbook-runs/{long}/cancel")
    assert cancel.status_code == 202, cancel.text
    assert until(lambda: ended(long), 60)["state"] == "cancelled"
    assert admin.post(f"/playbook-runs/{long}/cancel").status_code == 409


def _check_inventory(auditor: httpx.Client, built: list[dict[str, Any]], number: str) -> None:
    answer = auditor.get("/inventory", params={"format": "csv", "view": "audit"})
    assert answer.content.startswith(b"\xef\xbb\xbf")
    rows = {row["资源编号"]: row for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")))}
    required = [column.header_zh for column in COLUMNS if column.required]
    for server in built:
        row = rows[server["resource_no"]]
        assert len(row) == 64
        assert [header for header in required if not row[header]] == []
        assert number in row.values()


def _retire(live: Served, requester: httpx.Client, admin: httpx.Client, built: list[dict[str, Any]]) -> None:
    body = {
        "kind": "retire",
        "project": str(live.world.project.id),
        "purpose": "系统下线",
        "servers": [server["id"] for server in built],
    }
    retire = requester.post("/requests", json=body).json()
    assert retire["number"].startswith("ZX")
    admin.post(f"/requests/{retire['id']}/decisions", json={"decision": "approve"})
    assert _resting(requester, retire["id"])["phase"] == "fulfilled", live.log()
    assert {requester.get(f"/servers/{server['id']}").json()["phase"] for server in built} == {"retired"}
    with opened(live.world) as session:
        assert quotas.verify(session).mismatches == []

"""Importing and keeping by hand over HTTP: three forms of a sheet, faults in the reader's language, replays, denials."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import AuditEvent, Backend, ObservedServer, Server, Zone
from cloudmgr.services import import_template
from cloudmgr.store.db import new_session
from tests import support
from tests.world import ZONE, World

Call = Callable[..., Any]
PATH = "/api/v1/inventory/imports"
SHEET = f"""虚拟机UUID,云主机名称,信息系统,环境,用途,到期时间,网络区域
ref-1,,智慧社区综合服务平台,生产,应用,2027/1/20,{ZONE}
ref-2,,智慧社区综合服务平台,生产,应用,长期,{ZONE}
"""


@pytest.fixture
def client(small_world: World) -> Iterator[Call]:
    """Two servers stand at a cloud that nobody owns; return a function that logs somebody in."""
    app = support.make_app(small_world.settings.database_url)
    with new_session(small_world.engine) as session:
        backend = (
            session.exec(select(Backend).where(Backend.name == "kp")).first() or session.exec(select(Backend)).first()
        )
        assert backend is not None
        zone = session.exec(select(Zone).where(Zone.backend_id == backend.id)).first()
        for number in (1, 2):
            session.add(
                ObservedServer(
                    backend_id=backend.id, ref=f"ref-{number}", name=f"old-{number}", power="running",
                    native_state="ACTIVE", arch="aarch64", vcpus=2, memory_mib=4096, system_disk_gib=40,
                    data_disk_gib=0, zone_ref=zone.ref if zone else None, first_seen_at=clock.now(),
                    last_seen_at=clock.now(), changed_at=clock.now(),
                )
            )  # fmt: skip
        session.commit()

    def login(who: str, language: str = "zh-CN") -> TestClient:
        with new_session(small_world.engine) as session:
            token = support.open_token(session, session.get_one(support.User, small_world.people[who]))
            session.commit()
        headers = {"Authorization": f"Bearer {token}", "Accept-Language": language}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    yield login
    app.state.engine.dispose()


def _send(client: TestClient, text: str, **query: str) -> Any:
    return client.post(PATH, params=query, content=text.encode("gb18030"), headers={"Content-Type": "text/csv"})


def test_a_sheet_is_tried_and_then_taken(client: Call, small_world: World) -> None:
    admin = client("sysadmin")
    tried = _send(admin, SHEET, dry_run="true").json()
    assert (tried["dry_run"], tried["accepted"], tried["taken"], tried["rows"]) == (True, True, 2, 2)
    with new_session(small_world.engine) as session:
        assert session.exec(select(Server).where(Server.source == "imported")).all() == []
    answer = _send(admin, SHEET)
    assert answer.status_code == 200, answer.text
    taken = answer.json()
    assert [each["name"] for each in taken["servers"]] == ["old-1", "old-2"]
    shown = admin.get(f"/api/v1/servers/{taken['servers'][0]['id']}").json()
    assert (shown["source"], shown["image"], shown["lease_end"]) == ("imported", None, "2027-01-20")
    request = admin.get(f"/api/v1/requests/{taken['requests'][0]['id']}").json()
    assert (request["kind"], request["phase"], request["number"]) == (
        "import",
        "fulfilled",
        taken["requests"][0]["number"],
    )
    again = _send(admin, SHEET)
    told = again.json()
    assert (again.status_code, told["accepted"], told["taken"], told["known_count"]) == (200, True, 0, 2)
    assert [each["resource_no"] for each in told["known"]] == [each["resource_no"] for each in taken["servers"]]
    assert told["requests"] == []


def test_a_form_and_json_rows_say_the_same_as_a_file(client: Call) -> None:
    admin = client("sysadmin")
    form = admin.post(PATH, params={"dry_run": "true"}, files={"file": ("纳管.csv", SHEET.encode("utf-8-sig"))})
    assert form.status_code == 200, form.text
    keys = ("uuid", "system_name", "env", "purpose", "lease_end", "network_zone")
    rows = [
        dict(zip(keys, ("ref-1", "智慧社区综合服务平台", "prd", "app", "2027-01-20", ZONE), strict=True)),
        dict(zip(keys, ("ref-2", "智慧社区综合服务平台", "prd", "app", "长期", ZONE), strict=True)),
    ]
    sent = admin.post(PATH, params={"dry_run": "true"}, json={"rows": rows})
    names = [[each["name"] for each in answer.json()["servers"]] for answer in (form, sent)]
    assert names == [["old-1", "old-2"], ["old-1", "old-2"]]


def test_faults_are_told_by_cell_in_the_readers_language(client: Call) -> None:
    wrong = SHEET.replace("生产", "生铲", 1)
    problem = _send(client("sysadmin"), wrong).json()
    (error,) = problem["errors"]
    assert (problem["code"], error["row"], error["column"], error["header"]) == ("import_refused", 2, "env", "环境")
    assert (error["value"], error["message"]) == ("生铲", "生铲不是本列允许的内容。")
    assert "生产" in error["remedy"]
    english = _send(client("sysadmin", "en"), wrong).json()["errors"][0]
    assert english["message"] == "生铲 is none of the words of this column."


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"", "text/csv", 422),
        (b"\xff\xfe\x00", "text/csv", 422),
        (b"a,b\r\n1,2\r\n", "text/csv", 422),
        (b"name\r\n", "text/csv", 422),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b'{"rows": []}', "application/json", 422),
        (b'{"rows": [{"name": "x"}], "more": 1}', "application/json", 422),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
            422,
        ),
        (b"", "multipart/form-data", 400),
        (b"PK\x03\x04", "application/zip", 415),
    ],
)
def test_what_is_no_sheet_is_refused(client: Call, content: bytes, kind: str, status: int) -> None:
    answer = client("sysadmin").post(PATH, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text


def test_a_replayed_import_is_answered_once(client: Call) -> None:
    admin = client("sysadmin")
    headers = {"Content-Type": "text/csv", "Idempotency-Key": "k1"}
    first = admin.post(PATH, content=SHEET.encode(), headers=headers)
    second = admin.post(PATH, content=SHEET.encode(), headers=headers)
    assert first.status_code == 200
    assert (second.json(), second.headers["Idempotent-Replayed"]) == (first.json(), "true")


def test_who_may_not_is_refused_and_recorded(client: Call, small_world: World) -> None:
    assert _send(client("requester"), SHEET).status_code == 403
    assert _send(client("sysadmin"), SHEET, opening_balance="true", reason="期初").status_code == 403
    with new_session(small_world.engine) as session:
        denied = session.exec(select(AuditEvent).where(AuditEvent.event == "inventory.import")).all()
    assert [event.outcome for event in denied] == ["denied", "denied"]


def test_a_physical_machine_lives_by_hand(client: Call, small_world: World) -> None:
    admin = client("admin")
    body = {
        "project": str(small_world.project.id), "name": "rack-07", "resource_type": "baremetal", "counts_quota": False,
        "env": "prd", "purpose_kind": "db", "network_zone": ZONE, "arch": "aarch64", "vcpus": 64, "memory_mib": 262144,
        "system_disk_gib": 960, "ipv4": ["198.51.100.9"], "datacenter": "老机房",
    }  # fmt: skip
    entered = admin.post("/api/v1/inventory/manual-servers", json=body)
    assert entered.status_code == 201, entered.text
    server = entered.json()
    assert (server["source"], server["last_seen_at"], server["stated"]) == ("manual", None, {"datacenter": "老机房"})
    path = f"/api/v1/inventory/manual-servers/{server['id']}"
    changed = admin.patch(path, json={"vcpus": 32, "remark": "借用"}).json()
    assert (changed["vcpus"], changed["stated"]["remark"]) == (32, "借用")
    confirmed = admin.post(f"{path}/confirmations").json()
    assert confirmed["last_confirmed_at"] > server["last_confirmed_at"]
    assert client("stranger").post(f"{path}/confirmations").status_code == 404
    assert admin.post(f"{path}/retirement", json={"reason": "报废"}).json()["phase"] == "retired"
    assert admin.post(f"{path}/confirmations").status_code == 409
    with new_session(small_world.engine) as session:
        events = session.exec(select(AuditEvent.event).where(AuditEvent.object_id == server["id"])).all()
    assert [event for event in events if event.startswith("inventory.")][:4] == [
        "inventory.enter",
        "inventory.change",
        "inventory.confirm",
        "inventory.confirm",
    ]


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_a_template_is_filled_in_and_sent_back(client: Call, language: str) -> None:
    admin = client("sysadmin")
    seen = admin.get("/api/v1/observed-servers", params={"managed": "false"}).json()["items"]
    headers, *lines = csv.reader(io.StringIO(import_template.template(seen, language=language)))
    filled = {
        "system_name": "智慧社区综合服务平台", "env": "生产", "purpose": "app", "lease_end": "2027/1/20",
        "network_zone": ZONE,
    }  # fmt: skip
    for line in lines:
        for key, value in filled.items():
            line[import_template.COLUMNS.index(key)] = value
    text = io.StringIO()
    csv.writer(text).writerows([headers, *lines])
    taken = _send(admin, text.getvalue()).json()
    assert sorted(each["name"] for each in taken["servers"]) == ["old-1", "old-2"]

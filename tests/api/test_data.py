"""Organizations, projects, catalogue and quotas over HTTP: names of the contract, codes, and who gets which answer."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from cloudmgr.domain.access import Role
from cloudmgr.models import Organization, User
from cloudmgr.store.db import new_session
from tests.support import Tree, add_user, audit_events, client_for, make_app, make_database, make_tree

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl wangfang@frq"


class Desk:
    """The application on a fresh database, and a client for each person."""

    def __init__(self, app: FastAPI, tree: Tree, people: dict[str, User]) -> None:
        self.app, self.tree, self.people = app, tree, people

    def client(self, who: str) -> TestClient:
        return client_for(self.app, self.people[who])

    def account(self, place: Organization) -> str:
        return str(place.account_id)


@pytest.fixture
def desk(sqlite_database: str) -> Iterator[Desk]:
    engine = make_database(sqlite_database)
    with new_session(engine) as session:
        tree = make_tree(session)
        people = {
            "sysadmin": add_user(session, "sysadmin", tree.city, [Role.SYSTEM_ADMIN]),
            "quota": add_user(session, "quota", tree.city, [Role.QUOTA_ADMIN]),
            "frq-req": add_user(session, "frq-req", tree.furong, [Role.REQUESTER]),
            "frq-admin": add_user(session, "frq-admin", tree.furong, [Role.DISTRICT_ADMIN]),
            "ylq-admin": add_user(session, "ylq-admin", tree.yuelu, [Role.DISTRICT_ADMIN]),
        }
        session.commit()
    engine.dispose()
    app = make_app(sqlite_database)
    yield Desk(app, tree, people)
    app.state.engine.dispose()


def made(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_an_organization_has_the_contracts_fields(desk: Desk) -> None:
    admin = desk.client("sysadmin")
    body = {
        "code": "430102-02",
        "name": "芙蓉区数据局",
        "parent": str(desk.tree.furong.id),
        "uscc": "91350100M000100Y43",
    }
    answer = made(admin, "/organizations", body)
    assert answer.items() >= {**body, "kind": "department", "parent_name": "芙蓉区", "administered_by": None}.items()
    again = admin.post("/api/v1/organizations", json=body)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    renamed = admin.patch(f"/api/v1/organizations/{answer['id']}", json={"name": "芙蓉区数据资源局"})
    assert renamed.json()["name"] == "芙蓉区数据资源局"
    assert admin.get(f"/api/v1/quotas/{answer['account']}").json()["name"] == "芙蓉区数据资源局"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"code": "x y", "name": "名", "parent": "PARENT"}, "code"),
        ({"code": "X", "name": "", "parent": "PARENT"}, "name"),
        ({"code": "X", "name": "名"}, "parent"),
        ({"code": "X", "name": "名", "parent": "019ab6f0-0000-7000-8000-000000000001"}, "parent"),
        ({"code": "X", "name": "名", "parent": "no-uuid"}, "parent"),
        ({"code": "X", "name": "名", "parent": "PARENT", "kind": "kingdom"}, "kind"),
        ({"code": "X", "name": "名", "parent": "PARENT", "uscc": "91350100M000100Y44"}, "uscc"),
        ({"code": "X", "name": "名", "parent": "PARENT", "account": "x"}, "account"),
        ({"code": 430102, "name": "名", "parent": "PARENT"}, "code"),
    ],
)
def test_a_bad_organization_is_refused_at_its_field(desk: Desk, body: dict[str, Any], field: str) -> None:
    given = {key: str(desk.tree.furong.id) if value == "PARENT" else value for key, value in body.items()}
    answer = desk.client("sysadmin").post("/api/v1/organizations", json=given)
    assert answer.status_code == 422
    assert field in [each["field"] for each in answer.json()["errors"]]


def test_lists_are_scoped_paged_and_strict(desk: Desk) -> None:
    client = desk.client("frq-req")
    first = client.get("/api/v1/organizations", params={"limit": 1}).json()
    assert [each["code"] for each in first["items"]] == ["430102"]
    second = client.get("/api/v1/organizations", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [each["code"] for each in second["items"]] == ["430102-mzj"]
    assert second["next_cursor"] is None
    assert client.get("/api/v1/organizations", params={"colour": "red"}).status_code == 422
    assert client.get(f"/api/v1/organizations/{desk.tree.yuelu.id}").status_code == 404


def test_a_project_and_its_keys(desk: Desk) -> None:
    admin, requester = desk.client("sysadmin"), desk.client("frq-req")
    body = {
        "organization": str(desk.tree.bureau.id),
        "name": "智慧社区综合服务平台",
        "mlps_level": "二级",
        "project_no": "芙发改〔2026〕12号",
        "owner_name": "王芳",
        "owner_phone": "13800000000",
    }
    project = made(admin, "/projects", body)
    assert project.items() >= body.items()
    assert project["organization_name"] == "芙蓉区民政局"
    assert requester.post("/api/v1/projects", json=body).status_code == 403
    path = f"/projects/{project['id']}/ssh-keys"
    key = made(requester, path, {"public_key": KEY})
    assert requester.post(f"/api/v1{path}", json={"public_key": KEY}).status_code == 409
    bad = requester.post(f"/api/v1{path}", json={"public_key": "-----BEGIN OPENSSH PRIVATE KEY-----"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "public_key")
    assert [each["id"] for each in requester.get(f"/api/v1{path}").json()["items"]] == [key["id"]]
    assert desk.client("ylq-admin").get(f"/api/v1{path}").status_code == 404
    assert requester.delete(f"/api/v1{path}/{key['id']}").status_code == 204


def test_the_catalogue_is_written_by_names_and_read_with_variants(desk: Desk) -> None:
    admin = desk.client("sysadmin")
    made(admin, "/network-zones", {"name": "政务外网区", "code": "WW"})
    backend = made(
        admin, "/backends", {"name": "kp", "provider": "simulated", "tier": "city", "datacenter": "高新区机房"}
    )
    assert (backend["health"], backend["capabilities"], backend["shared_with"]) == ("unknown", [], [])
    zone = made(
        admin,
        "/zones",
        {
            "backend": "kp",
            "ref": "az1",
            "name": "az1",
            "arch": "arm64",
            "cpu_family": "kunpeng",
            "network_zones": ["政务外网区"],
            "total": {"vcpus": 96},
        },
    )
    assert (
        zone.items()
        >= {"arch": "aarch64", "is_xinchuang": True, "capacity": {"vcpus": 96}, "used": {"vcpus": 0}}.items()
    )
    image = made(
        admin,
        "/images",
        {
            "name": "kylin-v10",
            "title": "银河麒麟",
            "os_name": "Kylin",
            "os_version": "V10",
            "variants": [{"arch": "aarch64", "backend": "kp", "ref": "img-1"}],
        },
    )
    assert image["variants"] == [{"arch": "aarch64", "backend": "kp", "ref": "img-1", "digest": None}]
    flavor = made(admin, "/flavors", {"name": "8C32G", "vcpus": 8, "memory_mib": 32768})
    changed = admin.patch(f"/api/v1/flavors/{flavor['id']}", json={"system_disk_gib": 60})
    assert changed.json()["system_disk_gib"] == 60
    assert admin.patch(f"/api/v1/flavors/{flavor['id']}", json={"vcpus": None}).status_code == 422
    network = made(admin, "/networks", {"backend": "kp", "ref": "n1", "name": "外网", "network_zone": "政务外网区"})
    assert admin.patch(f"/api/v1/networks/{network['id']}", json={"cidr_v4": "10.0.0.1/8"}).status_code == 422
    requester = desk.client("frq-req")
    seen = requester.get("/api/v1/zones", params={"network_zone": "政务外网区", "arch": "arm64"}).json()["items"]
    assert [(each["name"], each["capacity"], each["used"], each["inventory"]) for each in seen] == [
        ("az1", None, None, None)
    ]
    for path in ("flavors", "images", "backends", "networks", "network-zones"):
        assert len(requester.get(f"/api/v1/{path}").json()["items"]) == 1
        assert requester.post(f"/api/v1/{path}", json={}).status_code in {403, 422}


def test_a_denied_change_is_audited_and_leaves_nothing(desk: Desk) -> None:
    answer = desk.client("frq-req").post("/api/v1/flavors", json={"name": "9C9G", "vcpus": 9, "memory_mib": 9216})
    assert answer.status_code == 403
    assert desk.client("sysadmin").get("/api/v1/flavors").json()["items"] == []
    with new_session(desk.app.state.engine) as session:
        denied = audit_events(session, actor="frq-req", outcome="denied")
    assert [(each.event, each.reason) for each in denied] == [("flavor.write", "forbidden")]


def test_limits_are_merged_by_patch_and_whole_by_put(desk: Desk) -> None:
    quota = desk.client("quota")
    path = f"/api/v1/quotas/{desk.account(desk.tree.city)}"
    body = {"limits": {"vcpus": 8000, "vcpus{arch=arm64}": 4000}, "reason": "年度核定", "basis_no": "长数〔2026〕1号"}
    answer = quota.patch(path, json=body).json()
    assert answer["limits"] == {"vcpus": 8000, "vcpus{arch=aarch64}": 4000}
    assert answer["available"] == answer["limits"]
    assert (answer["used"]["vcpus"], answer["reserved"]["vcpus"], answer["ancestors"]) == (0, 0, [])
    omitted = quota.put(path, json={"limits": {"vcpus": 1}, "reason": "x"})
    assert (omitted.status_code, omitted.json()["code"]) == (422, "limit_omitted")
    at_root = quota.patch(path, json={"limits": {"vcpus": None}, "reason": "x"})
    assert at_root.status_code == 422
    narrowed = quota.put(path, json={"limits": {"vcpus": 7000, "vcpus{arch=aarch64}": None}, "reason": "x"}).json()
    assert narrowed["limits"]["vcpus"] == 7000
    assert narrowed["limits"].get("vcpus{arch=aarch64}") is None


@pytest.mark.parametrize(
    "body",
    [
        {"limits": {"vcpus": "8"}, "reason": "x"},
        {"limits": {"vcpus": 8.5}, "reason": "x"},
        {"limits": {"vcpus": -1}, "reason": "x"},
        {"limits": {"vcpus": 10**30}, "reason": "x"},
        {"limits": {"vcpus": True}, "reason": "x"},
        {"limits": {"vcpus{colour=red}": 1}, "reason": "x"},
        {"limits": {"VCPUS": 1}, "reason": "x"},
        {"limits": {}, "reason": "x"},
        {"limits": {"vcpus": 1}, "reason": "  "},
        {"limits": {"vcpus": 1}},
        {"limits": {"vcpus": 1}, "reason": "x", "surprise": 1},
        {"limits": {"vcpus\u0000": 1}, "reason": "x"},
        {"limits": [], "reason": "x"},
    ],
)
def test_bad_limits_are_refused(desk: Desk, body: dict[str, Any]) -> None:
    answer = desk.client("quota").patch(f"/api/v1/quotas/{desk.account(desk.tree.furong)}", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"]


def test_a_district_splits_its_own_subtree_over_http(desk: Desk) -> None:
    admin = desk.client("frq-admin")
    body = {"limits": {"vcpus": 64}, "reason": "分配"}
    assert admin.patch(f"/api/v1/quotas/{desk.account(desk.tree.bureau)}", json=body).status_code == 200
    assert admin.patch(f"/api/v1/quotas/{desk.account(desk.tree.furong)}", json=body).status_code == 403
    assert admin.patch(f"/api/v1/quotas/{desk.account(desk.tree.city)}", json=body).status_code == 403
    assert admin.patch(f"/api/v1/quotas/{desk.account(desk.tree.yuelu)}", json=body).status_code == 404
    table = admin.get("/api/v1/quotas").json()["items"]
    assert [(each["code"], each["may_set"]) for each in table] == [("430102", False), ("430102-mzj", True)]
    whole = admin.get("/api/v1/quotas", params={"root": desk.account(desk.tree.city), "depth": 1}).json()["items"]
    assert [each["code"] for each in whole] == ["CS", "430102"]


@pytest.mark.parametrize(
    "path", ["organizations", "projects", "flavors", "zones", "quotas", "network-zones", "backends"]
)
def test_nobody_reads_without_a_token(desk: Desk, path: str) -> None:
    assert client_for(desk.app).get(f"/api/v1/{path}").status_code == 401

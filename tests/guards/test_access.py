"""Every route has a rule, the rules equal docs/access.md, and every route of the API holds its rule against every role.

A new route fails here until it has a rule, and a route that changes something until an example body stands in `BODIES`.
"""

import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.access import ROLE_ACTIONS, Action, Role
from cloudmgr.domain.ids import new_id
from cloudmgr.http.routes import RuledRoute
from cloudmgr.main import ROUTERS
from cloudmgr.models import (
    ApprovalSeat,
    ApprovalStage,
    Backend,
    DeletionCertificate,
    Delivery,
    Finding,
    Happening,
    PlaybookRun,
    QuotaVerification,
    RequestChange,
    RequestFeedback,
    ResourceRequest,
    Server,
    Volume,
    Worker,
)
from cloudmgr.store.db import new_session
from cloudmgr.workflows import engine
from tests import support, world
from tests.guards.access_table import DOCUMENT, renewed, routes
from tests.guards.bodies import BODIES, KEY

API = [route for route in routes() if route[1].startswith("/api/")]
PAGES = [route for route in routes() if not route[1].startswith("/api/")]
READS = {"GET"}

ANY_OF: Mapping[tuple[str, str], frozenset[Action]] = {
    ("POST", "/api/v1/quotas/what-if"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("PUT", "/api/v1/quotas/{account}"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("PUT", "/api/v1/quotas/{account}/guarantees"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("PUT", "/api/v1/quotas/{account}/targets"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("DELETE", "/api/v1/quotas/{account}/terms/{term}"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/loans"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("PATCH", "/api/v1/quotas/{account}"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/transfers"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/moves"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/merges"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/{account}/closure"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/{account}/reopening"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/quotas/plans"): frozenset({Action.QUOTA_SPLIT, Action.QUOTA_WRITE}),
    ("POST", "/api/v1/projects/{project_id}/ssh-keys"): frozenset({Action.REQUEST_MAKE, Action.ORGANIZATION_WRITE}),
    ("DELETE", "/api/v1/projects/{project_id}/ssh-keys/{key_id}"): frozenset(
        {Action.REQUEST_MAKE, Action.ORGANIZATION_WRITE}
    ),
    ("POST", "/api/v1/requests/{request_id}/retry"): frozenset({Action.REQUEST_MAKE, Action.SERVER_POWER}),
    ("POST", "/api/v1/requests/{request_id}/comments"): frozenset({Action.REQUEST_MAKE, Action.REQUEST_DECIDE}),
    ("POST", "/api/v1/requests/{request_id}/attachments"): frozenset({Action.REQUEST_MAKE, Action.REQUEST_DECIDE}),
    ("PATCH", "/api/v1/users/{user_id}"): frozenset({Action.USER_WRITE}),
}
"""Where the rule names what is needed to see the thing, and the service asks for one of these to change it."""

NARROWER: Mapping[tuple[str, str], frozenset[Role]] = {
    ("POST", "/api/v1/quotas/loans/{loan}/decisions"): frozenset({Role.QUOTA_ADMIN}),
    ("POST", "/api/v1/requests/{request_id}/decisions"): frozenset({Role.DISTRICT_ADMIN}),
    ("POST", "/api/v1/requests/{request_id}/changes"): frozenset({Role.DISTRICT_ADMIN}),
    ("DELETE", "/api/v1/requests/{request_id}/changes/{change_id}"): frozenset(),
    ("DELETE", "/api/v1/requests/{request_id}/attachments/{attachment_id}"): frozenset({Role.REQUESTER}),
    ("GET", "/api/v1/exports/{export_id}"): frozenset(
        {Role.REQUESTER, *(role for role in Role if Action.AUDIT_READ in ROLE_ACTIONS[role])}
    ),
}
"""Where the object at hand narrows the table: the open stage is the district's, the loan was signed by it, the
change proposed by somebody else, the export the requester's own."""

STREAMS = {"/api/v1/requests/{request_id}/events", "/requests/{request_id}/events"}
"""These do not end by themselves: called by those only whom they refuse."""

UNAUDITED = {("POST", "/api/v1/plans"), ("POST", "/api/v1/quotas/what-if")}
"""Changes nothing."""

FILE = {"file": ("说明.txt", b"guard")}
PLAN = "账户编码,负载均衡（个）\n{code},8\n"
"""Of the routes that take a form and no JSON."""

INSTEAD: Mapping[tuple[str, str], str] = {
    ("POST", "/api/v1/quotas/{account}/closure"): "idle_account",
    ("POST", "/api/v1/quotas/{account}/reopening"): "closed_account",
}
"""Where the account of the guard's city is not in the state the route needs: which one is."""


class Place:
    """A city with one of everything, restored before every call that may change it."""

    def __init__(self, home: Path) -> None:
        self.file = home / "cloudmgr.db"
        self.world = world.build(home)
        engine.start(self.world.settings, "guard", self.world.engine)  # makes the tables that work is handed over in
        engine.stop()
        self.app: FastAPI = support.make_app(f"sqlite:///{self.file}")
        with self.world.session() as session:
            bureau, root, furong = (session.merge(o) for o in (self.world.minzheng, self.world.root, self.world.furong))
            for role in Role:
                at = bureau if role in (Role.REQUESTER, Role.UNIT_REVIEWER) else root
                at = furong if role == Role.DISTRICT_ADMIN else at
                support.add_user(session, f"role-{role.value.replace('_', '-')}", at, [role])
            nobody = support.add_user(session, "nobody", bureau, [Role.UNIT_REVIEWER])
            session.add(Worker(executor_id="w", version="1", host="h", last_seen_at=clock.now()))
            session.commit()
            self.ids: dict[str, str] = {
                "user_id": str(nobody.id),
                "organization_id": str(bureau.id),
                "project_id": str(self.world.project.id),
                "account": str(self.world.project.account_id),
            }
        self.tokens = {role: self._token(f"role-{role.value.replace('_', '-')}") for role in Role}
        self._furnish()
        self.world.engine.dispose()
        self.app.state.engine.dispose()
        self.saved = home / "saved.db"
        shutil.copyfile(self.file, self.saved)

    def _token(self, name: str) -> str:
        with new_session(self.app.state.engine) as session:
            user = session.exec(select(support.User).where(support.User.username == name)).one()
            token = support.open_token(session, user)
            session.commit()
        return token

    def _furnish(self) -> None:
        """Make one of everything through the API itself, as those who may."""
        for name, path in (
            ("flavor_id", "/api/v1/flavors"),
            ("image_id", "/api/v1/images"),
            ("backend_id", "/api/v1/backends"),
            ("zone_id", "/api/v1/zones"),
            ("network_id", "/api/v1/networks"),
            ("network_zone_id", "/api/v1/network-zones"),
            ("freeze_id", "/api/v1/change-freezes"),
        ):
            self.ids[name] = self._made(Role.SYSTEM_ADMIN, path, self.body("POST", path))
        subnet = {"network_zone": world.ZONE, "cidr": "198.51.100.0/24"}
        self.ids["subnet_id"] = self._made(Role.SYSTEM_ADMIN, "/api/v1/subnets", subnet)
        addresses = f"/api/v1/subnets/{self.ids['subnet_id']}/addresses"
        self.ids["address_id"] = self._made(Role.SYSTEM_ADMIN, addresses, {"purpose": "网关"})
        self.ids["range_id"] = str(new_id())  # one that is gone, as on a page that is older than the plan
        admin = self.client(Role.SYSTEM_ADMIN)
        images = {image["name"]: image["id"] for image in admin.get("/api/v1/images").json()["items"]}
        twin = {"arch": "aarch64", "backend": "guard", "ref": "img"}
        made = admin.patch(f"/api/v1/images/{images['kylin-v10']}", json={"variants": [twin]})
        assert made.status_code == 200, made.text
        keys = f"/api/v1/projects/{self.ids['project_id']}/ssh-keys"
        self.ids["key_id"] = self._made(Role.REQUESTER, keys, {"public_key": KEY})
        sent = self.world.body(name="srv")
        self.ids["request_id"] = self._made(Role.REQUESTER, "/api/v1/requests", sent)
        with self.world.session() as session:
            server = session.exec(select(Server)).one()
            self.ids["server_id"] = str(server.id)
            server.resource_no = "430102-VM-000001"  # one that has a number is not removed with its request
            request = session.get_one(ResourceRequest, server.request_id)
            volume = Volume(
                request_id=request.id,
                reservation_id=server.reservation_id,
                project_id=server.project_id,
                organization_id=server.organization_id,
                name="data",
                size_gib=1,
            )
            certificate = DeletionCertificate(server_id=server.id, organization_id=server.organization_id)
            session.add_all([server, volume, certificate])
            session.flush()
            self.ids["volume_id"] = str(volume.id)
            self.ids["certificate_id"] = str(certificate.id)
            run = PlaybookRun(
                organization_id=self.world.minzheng.id, playbook="collect_facts", digest="0" * 64, started_by="guard"
            )
            session.add(run)
            session.flush()
            self.ids["run_id"] = str(run.id)
            backend = session.exec(select(Backend).where(Backend.name == "guard")).one()
            backend.is_configured = True
            finding = Finding(
                kind="drift",
                backend_id=backend.id,
                server_id=server.id,
                ref="r",
                field="vcpus",
                first_seen_at=clock.now(),
                last_seen_at=clock.now(),
            )
            session.add(finding)
            happening = Happening(
                event="request.fulfilled",
                object_type="request",
                dedupe="guard",
                organization_path=self.world.minzheng.path,
                spread_at=clock.now(),
            )
            session.add(happening)
            session.flush()
            delivery = Delivery(
                happening_id=happening.id,
                channel="webhook",
                target="oa",
                state="failed",
                next_at=clock.now(),
                give_up_at=clock.now(),
            )
            session.add(delivery)
            self.ids["delivery_id"] = str(delivery.id)
            self.ids["finding_id"] = str(finding.id)
            self._remark(session, request)
            session.commit()
        self._lend()
        requester = self.client(Role.REQUESTER)
        attachments = f"/api/v1/requests/{self.ids['request_id']}/attachments"
        self.ids["attachment_id"] = str(requester.post(attachments, files=FILE).json()["id"])
        assert requester.get("/api/v1/inventory", params={"format": "jsonl"}).status_code == 200
        self.ids["export_id"] = requester.get("/api/v1/exports").json()["items"][0]["id"]

    def _remark(self, session: Session, request: ResourceRequest) -> None:
        """Add what people say of a request: a change that was declined, and feedback; and a recount of the ledger."""
        stage = session.exec(select(ApprovalStage).where(ApprovalStage.request_id == request.id)).one()
        seat = session.exec(select(ApprovalSeat).where(ApprovalSeat.stage_id == stage.id)).one()
        change = RequestChange(
            request_id=request.id,
            submission=1,
            stage_id=stage.id,
            seat_id=seat.id,
            proposer_id=uuid.UUID(self.ids["user_id"]),
            state="declined",
        )
        recount = QuotaVerification(state="done", asked_by="guard", finished_at=clock.now(), mismatch_count=0)
        feedback = RequestFeedback(request_id=request.id, author_id=request.requester_id, score=5)
        session.add_all([change, recount, feedback])
        session.flush()
        self.ids["verification"] = str(recount.id)
        self.ids["change_id"] = str(change.id)
        self.ids["deputy_id"] = str(new_id())

    def _lend(self) -> None:
        """Let two information systems of one bureau have quota that is limited, guaranteed above, lent, and for a time."""
        registrar = self.client(Role.SYSTEM_ADMIN)
        for name, title in (("other_account", "另一系统"), ("idle_account", "空系统"), ("closed_account", "停用系统")):
            project = {"organization": self.ids["organization_id"], "name": title, "mlps_level": "二级"}
            self.ids[name] = registrar.post("/api/v1/projects", json=project).json()["account"]
        bureau = {"code": "430102-y", "name": "另一单位", "parent": str(self.world.furong.id)}
        self.ids["other_bureau"] = registrar.post("/api/v1/organizations", json=bureau).json()["account"]
        self.ids["bureau"] = str(self.world.minzheng.account_id)
        admin = self.client(Role.QUOTA_ADMIN)
        closing = f"/api/v1/quotas/{self.ids['closed_account']}/closure"
        assert admin.post(closing, json={"reason": "停用"}).status_code == 200
        chain = [str(place.account_id) for place in (self.world.root, self.world.furong, self.world.minzheng)]
        for account in (*chain, self.ids["account"], self.ids["other_account"]):
            path = f"/api/v1/quotas/{account}"
            assert admin.patch(path, json={"limits": {"load_balancers": 9}, "reason": "测试"}).status_code == 200
            if account in chain[1:]:
                promise = {"guarantees": {"load_balancers": 5}, "reason": "测试"}
                assert admin.put(f"{path}/guarantees", json=promise).status_code == 200
        later = {"limits": {"load_balancers": 7}, "valid_from": "2090-01-01", "reason": "测试"}
        shown = admin.patch(f"/api/v1/quotas/{self.ids['account']}", json=later)
        assert shown.status_code == 200, shown.text
        self.ids["term"] = admin.get(f"/api/v1/quotas/{self.ids['account']}").json()["terms"][0]["id"]
        self.ids["code"] = admin.get(f"/api/v1/quotas/{self.ids['account']}").json()["code"]
        loan = self.body("POST", "/api/v1/quotas/loans")
        self.ids["loan"] = self._made(Role.DISTRICT_ADMIN, "/api/v1/quotas/loans", loan)

    def _made(self, role: Role, path: str, body: Any) -> str:
        answer = self.client(role).post(path, json=body)
        assert answer.status_code in (201, 202), f"POST {path}: {answer.text}"
        return str(answer.json()["id"])

    def restore(self) -> None:
        self.app.state.engine.dispose()
        for suffix in ("-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self.saved, self.file)

    def client(self, role: Role | None) -> TestClient:
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return TestClient(self.app, raise_server_exceptions=False, headers=headers, follow_redirects=False)

    def body(self, method: str, path: str) -> Any:
        assert (method, path) in BODIES, f"{method} {path} needs an example body in BODIES"
        return self._filled(BODIES[method, path])

    def _filled(self, value: Any) -> Any:
        if value == "{request}":
            return self.world.body(name="guard")
        if isinstance(value, str):
            return self.ids[value[1:-1]] if value.startswith("{") else value
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        return [self._filled(item) for item in value] if isinstance(value, list) else value

    def sent(self, method: str, path: str) -> dict[str, Any]:
        if path.endswith("/attachments") and method == "POST":
            return {"files": FILE}
        if path.endswith("/quotas/plans"):
            sheet = PLAN.format(code=self.ids["code"]).encode()
            return {"files": {"file": ("配额.csv", sheet, "text/csv")}, "params": {"reason": "测试"}}
        body = None if method in READS else self.body(method, path)
        return {} if body is None else {"json": body}

    def call(self, method: str, path: str, role: Role | None) -> Any:
        sent = self.sent(method, path)
        return self.client(role).request(method, self.path(method, path), **sent)

    def path(self, method: str, path: str) -> str:
        other = INSTEAD.get((method, path))
        return path.format(**self.ids | ({"account": self.ids[other]} if other else {}))

    def audited(self, **equal: Any) -> int:
        with new_session(self.app.state.engine) as session:
            return len(support.audit_events(session, **equal))


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("access"))


@pytest.fixture
def place(furnished: Place) -> Iterator[Place]:
    furnished.restore()
    yield furnished
    furnished.app.state.engine.dispose()


def test_the_document_equals_the_code() -> None:
    text = DOCUMENT.read_text()
    assert renewed(text) == text, "run `python -m tests.guards.access_table`"


def test_every_route_carries_a_rule() -> None:
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, RuledRoute), route


def test_no_route_is_there_twice() -> None:
    known = [(method, path) for method, path, _ in routes()]
    assert sorted(known) == sorted(set(known))


@pytest.mark.parametrize(("method", "path", "access"), [r for r in API if r[2] != "public"])
def test_nobody_gets_in_without_a_login(place: Place, method: str, path: str, access: str) -> None:
    answer = place.call(method, path, None)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), access


def _allowed(method: str, path: str, access: str) -> set[Role]:
    if (method, path) in NARROWER:
        return set(NARROWER[method, path])
    needed = ANY_OF.get((method, path), frozenset({Action(access)}))
    return {role for role in Role if ROLE_ACTIONS[role] & needed}


@pytest.mark.parametrize(("method", "path", "access"), [r for r in API if r[2] in set(Action)])
def test_every_role_gets_what_the_table_says_and_no_more(place: Place, method: str, path: str, access: str) -> None:
    allowed = _allowed(method, path, access)
    for role in Role:
        if path in STREAMS and role in allowed:
            continue
        if method not in READS:
            place.restore()
        before = place.audited()
        answer = place.call(method, path, role)
        assert answer.status_code < 500, f"{role}: {answer.text}"
        if role in allowed:
            code = answer.json().get("code") if "json" in answer.headers.get("content-type", "") else None
            assert code not in {"forbidden", "not_found", "invalid", "unauthenticated"}, f"{role}: {answer.text}"
            if method not in READS and (method, path) not in UNAUDITED:
                assert place.audited() > before, f"{role} changed something and nothing was recorded"
        else:
            assert answer.status_code in (403, 404), f"{role} got through: {answer.status_code} {answer.text[:300]}"
            assert answer.json()["code"] in {"forbidden", "not_found", "own_request"}
            assert place.audited(outcome="denied") > 0, f"{role} was refused and nothing was recorded"
            assert place.audited(outcome="success") == place.audited() - place.audited(outcome="denied")


SHARED = ("/flavors", "/images", "/backends", "/zones", "/networks", "/network-zones", "/subnets", "/verifications")
"""The catalogue and the recounts of the one ledger are everybody's: they belong to no district."""
OWNED = [r for r in API if "{" in r[1] and r[2] in set(Action) and not any(name in r[1] for name in SHARED)]


@pytest.mark.parametrize(("method", "path", "access"), OWNED)
def test_another_districts_objects_do_not_exist(place: Place, method: str, path: str, access: str) -> None:
    """The administrator of 岳麓区 asks for what is 芙蓉区's: 404, in the very words of an id that nothing has."""
    with new_session(place.app.state.engine) as session:
        yuelu = session.merge(place.world.yuelu)
        roles = [role for role in Role if role not in (Role.SECURITY_ADMIN, Role.AUDIT_ADMIN)]
        user = support.add_user(session, "yuelu-all", yuelu, roles)
        token = support.open_token(session, user)
        session.commit()
    client = TestClient(place.app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False)
    sent = place.sent(method, path)
    theirs = client.request(method, place.path(method, path), **sent)
    nothing = dict.fromkeys(place.ids, str(support.unknown_id()))
    absent = client.request(method, path.format(**nothing), **sent)
    assert theirs.status_code == 404, theirs.text

    def told(answer: Any) -> Any:
        return {key: value for key, value in answer.json().items() if key not in {"request_id", "instance"}}

    assert told(theirs) == told(absent)


@pytest.mark.parametrize(("method", "path", "access"), [r for r in PAGES if r[2] != "public"])
def test_pages_send_strangers_to_the_door(place: Place, method: str, path: str, access: str) -> None:
    answer = place.client(None).request(
        method, path.format(**place.ids, **_page_ids(place)), headers={"Accept": "text/html"}
    )
    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "/login"), access


@pytest.mark.parametrize(("method", "path", "access"), [r for r in PAGES if r[0] == "GET" and r[2] in set(Action)])
def test_pages_open_for_the_roles_of_the_table_only(place: Place, method: str, path: str, access: str) -> None:
    for role in Role:
        if path in STREAMS and Action(access) in ROLE_ACTIONS[role]:
            continue
        answer = place.client(role).request(method, path.format(**place.ids, **_page_ids(place)))
        assert answer.status_code < 500, f"{role}: {answer.text[:300]}"
        if Action(access) not in ROLE_ACTIONS[role]:
            assert answer.status_code in (403, 404), f"{role} got through to {path}"
        else:
            assert answer.status_code != 403, f"{role} was kept out of {path}"


def _page_ids(place: Place) -> dict[str, str]:
    return {"account_id": place.ids["account"], "loan_id": place.ids["loan"], "term_id": place.ids["term"]}

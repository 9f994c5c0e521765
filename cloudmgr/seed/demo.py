"""The demonstration: the sample city, its people, and a handful of servers made by the real workflow.

Idempotent: every part looks at what stands and goes on from there, so a start that was killed is finished by the next one.
"""

import fcntl
import logging
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

import cloudmgr.seed
from cloudmgr.adapters import crypto, migrate
from cloudmgr.domain import clock
from cloudmgr.domain.access import LOCAL, Actor
from cloudmgr.domain.errors import Conflict
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Decision, RequestPhase
from cloudmgr.models import Backend, Project, ResourceRequest
from cloudmgr.seed.accounts import DemoAccount, read_accounts, seed_accounts, write_accounts
from cloudmgr.seed.backends import demo_backends
from cloudmgr.seed.clouds import add_stranger, grow_one
from cloudmgr.seed.networks import seed_networks
from cloudmgr.seed.office import furnish
from cloudmgr.services import approvals, requests
from cloudmgr.services.apply import apply_document, read_document
from cloudmgr.services.request_inputs import CreateRequest, Decide
from cloudmgr.services.usernames import username_key
from cloudmgr.settings import Settings
from cloudmgr.store import facts, organizations, projects
from cloudmgr.store import users as user_store
from cloudmgr.store.db import begin_immediate, make_engine, new_session

logger = logging.getLogger(__name__)

CITY = Path(cloudmgr.seed.__file__).parent / "changsha.json"
SEEDER = Actor(None, f"{LOCAL}demo", "demo", None, "/")
_PATIENCE_S, _POLL_S = 900.0, 1.0
_ENDED = frozenset(
    {
        RequestPhase.FULFILLED,
        RequestPhase.PARTLY_FULFILLED,
        RequestPhase.FAILED,
        RequestPhase.REJECTED,
        RequestPhase.WITHDRAWN,
    }
)
_LEASE_DAYS = 365


def overrides(port: int) -> dict[str, Any]:
    """Return what the demonstration sets over file and environment."""
    return {
        "demo": True,
        "backends": demo_backends(),
        "web": {"host": "127.0.0.1", "port": port},
        "database": {"synchronous": "NORMAL"},
        "security": {"rate_limits": False, "password_max_days": 3650},
    }


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for one demonstration; the lock ends with the process, however it ends.

    Raises:
        Conflict: another demonstration runs there.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "demo.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                N_(
                    "Another demonstration already runs on {data_dir}; stop it, or name another folder with --data-dir."
                ),
                data_dir=str(data_dir),
            ) from error
        yield


def accounts_file(settings: Settings) -> Path:
    """Return where the accounts and their passwords are written."""
    return settings.data_dir / "demo-accounts.json"


def prepare(settings: Settings) -> list[DemoAccount]:
    """Bring database, key, city and people to where a server can start; return the accounts. Seconds, not minutes."""
    migrate.upgrade(settings)
    crypto.make_key_file(settings.key_file)
    engine = make_engine(settings.database_url, pool_size=2, synchronous=settings.database.synchronous)
    try:
        with new_session(engine) as session:
            begin_immediate(session)
            accounts = seed_demo(session, settings)
            session.commit()
    finally:
        engine.dispose()
    add_stranger(settings)
    return accounts


def seed_demo(session: Session, settings: Settings) -> list[DemoAccount]:
    """Seed city and people in the caller's transaction and write the accounts' file; what stands is kept.

    The file is written before the caller commits: without it nobody could log in. If it is lost, everybody gets a new
    password at the next start.
    """
    told = facts.read(session, facts.SEED) or {}
    accounts = read_accounts(accounts_file(settings)) if told.get("city") else None
    if accounts is not None:
        return accounts
    if not told.get("city"):
        apply_document(session, SEEDER, read_document(CITY), source=CITY.name)
    accounts = seed_accounts(session, SEEDER)
    write_accounts(accounts_file(settings), accounts)
    facts.write(session, facts.SEED, {"done": False, **told, "city": True})
    return accounts


def populate(settings: Settings) -> None:
    """Submit and approve the demonstration's requests and wait until each has ended; then the seed is done.

    Runs beside the server, in a thread of its own. A request that fails leaves the seed done with the failure told:
    a demonstration with a failed server is still one.
    """
    engine = make_engine(settings.database_url, pool_size=2, synchronous=settings.database.synchronous)
    try:
        with new_session(engine) as session:
            if (facts.read(session, facts.SEED) or {}).get("done"):
                return
        _await_backends(engine)
        with new_session(engine) as session:
            begin_immediate(session)
            seed_networks(session, SEEDER)
            ids = _submitted(session)
            session.commit()
        for request_id in ids:
            _approve(engine, request_id)
        unfinished = _await_requests(engine, ids)
        with new_session(engine) as session:
            begin_immediate(session)
            grow_one(session, settings)
            told = facts.read(session, facts.SEED) or {}
            facts.write(session, facts.SEED, {**told, "done": True, "unfinished": unfinished})
            session.commit()
    except Exception:  # the edge of this thread: without it a broken seed would only be a /readyz that never comes
        logger.exception("the demonstration could not be seeded; /readyz stays 503")
    finally:
        engine.dispose()


def _submitted(session: Session) -> list[uuid.UUID]:
    """Return the demonstration's requests, submitting them all where that has not happened yet."""
    told = facts.read(session, facts.SEED) or {}
    if "requests" in told:
        return [uuid.UUID(each) for each in told["requests"]]
    ids = [requests.submit_new(session, _actor(session, who), _body(session, body)).id for who, body in REQUESTS]
    waiting = requests.submit_new(session, _actor(session, WAITING[0]), _body(session, WAITING[1]))
    furnish(session, partial(_actor, session), SEEDER, waiting.id)
    facts.write(session, facts.SEED, {**told, "requests": [str(each) for each in ids]})
    return ids


def _approve(engine: Any, request_id: uuid.UUID) -> None:
    """Let the district's administrator approve one request, unless that has happened."""
    with new_session(engine) as session:
        begin_immediate(session)
        request = session.get_one(ResourceRequest, request_id)
        if request.phase not in {RequestPhase.SUBMITTED.value, RequestPhase.IN_REVIEW.value}:
            return
        district = "frq" if _district_of(session, request) == "430102" else "ylq"
        approver = _actor(session, f"{district}-admin")
        approvals.decide(session, approver, request_id, Decide(decision=Decision.APPROVE, comment="同意"))
        session.commit()


def _await_backends(engine: Any) -> None:
    """Wait until every simulated cloud has been seen, so that the first requests find zones with capacity."""
    wanted = {section["name"] for section in demo_backends()}
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        with new_session(engine) as session:
            if wanted <= set(session.exec(select(Backend.name).where(col(Backend.last_seen_at).is_not(None)))):
                return
        time.sleep(_POLL_S / 4)
    raise TimeoutError("the simulated clouds have not been seen")


def _await_requests(engine: Any, ids: Sequence[uuid.UUID]) -> list[str]:
    """Wait until every request has ended; return the numbers of those that did not become whole in time."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with new_session(engine) as session:
            rows = session.exec(select(ResourceRequest).where(col(ResourceRequest.id).in_(ids))).all()
        if all(RequestPhase(row.phase) in _ENDED for row in rows) or time.monotonic() > deadline:
            return [str(row.number) for row in rows if row.phase != RequestPhase.FULFILLED.value]
        time.sleep(_POLL_S)


def _actor(session: Session, username: str) -> Actor:
    """Return one of the demonstration's people, acting as if logged in."""
    user = user_store.by_key(session, username_key(username))
    place = organizations.get(session, user.organization_id) if user else None
    if user is None or place is None:
        raise LookupError(f"the demonstration has no account {username}")
    grants = user_store.grants_now(session, user.id, clock.now())
    return Actor(user.id, user.username, user.display_name, place.id, place.path, grants, source="demo")


def _body(session: Session, body: Mapping[str, Any]) -> CreateRequest:
    owner, name = body["project"]
    project = _project(session, owner, name)
    lease_end = (clock.today() + timedelta(days=_LEASE_DAYS)).isoformat()
    return CreateRequest.model_validate({"kind": "create", **body, "project": str(project.id), "lease_end": lease_end})


def _project(session: Session, organization: str, name: str) -> Project:
    for owner in organizations.by_name(session, organization):
        if (found := projects.by_name(session, owner.id, name)) is not None:
            return found
    raise LookupError(f"the sample city has no project {name} of {organization}")


def _district_of(session: Session, request: ResourceRequest) -> str:
    place = organizations.get(session, request.organization_id)
    district = organizations.get(session, place.district_id) if place and place.district_id else None
    return district.code if district else ""


def _servers(
    name: str, count: int, flavor: str, image: str, arch: str, kind: str, data_disk_gib: int
) -> dict[str, Any]:
    return {
        "name": name,
        "count": count,
        "flavor": flavor,
        "image": image,
        "arch": arch,
        "purpose_kind": kind,
        "data_disk_gib": data_disk_gib,
    }


_COMMUNITY = ("芙蓉区民政局", "智慧社区综合服务平台")
_HEALTH = ("岳麓区卫生健康局", "基层卫生信息系统")
_PORTAL: Mapping[str, Any] = {
    "source": "10.11.0.0/16",
    "protocol": "tcp",
    "ports": "8080-8081",
    "purpose": "区县单位访问业务门户",
}
_PROBE: Mapping[str, Any] = {"source": "10.14.0.0/20", "protocol": "icmp", "purpose": "监控探测"}
REQUESTS: Sequence[tuple[str, Mapping[str, Any]]] = (
    (
        "frq-req1",
        {
            "project": _COMMUNITY,
            "purpose": "智慧社区平台应用服务器",
            "network_zone": "政务外网区",
            "servers": [
                _servers("430102-mzj-zhsq-prd-app", 2, "4C8G", "kylin-v10", "aarch64", "app", 100)
                | {"backend": "cs-hcs-kp", "ports": [_PORTAL, _PROBE]}
            ],
        },
    ),
    (
        "ylq-req1",
        {
            "project": _HEALTH,
            "purpose": "基层卫生信息系统数据库与应用",
            "network_zone": "政务外网区",
            "servers": [
                _servers("430104-wjj-jcws-prd-db", 1, "4C16G", "openeuler-22.03", "aarch64", "db", 200),
                _servers("430104-wjj-jcws-prd-app", 1, "2C4G", "uos-20", "aarch64", "app", 0),
            ],
        },
    ),
    (
        "ylq-req2",
        {
            "project": _HEALTH,
            "purpose": "便民查询网站前端",
            "network_zone": "互联网区",
            "env": "tst",
            "servers": [_servers("430104-wjj-jcws-tst-web", 1, "2C4G", "debian-12", "x86_64", "web", 0)],
        },
    ),
)
"""Who asks for what. Small, so that what is left of each quota stays the sample's for whoever tries it out."""

WAITING: tuple[str, Mapping[str, Any]] = (
    "ylq-req1",
    {
        "project": _HEALTH,
        "purpose": "体检数据报表，待区县审批",
        "network_zone": "政务外网区",
        "servers": [_servers("430104-wjj-jcws-prd-mid", 1, "2C4G", "kylin-v10", "aarch64", "mid", 0)],
    },
)
"""One request is left waiting, so that the approvals' page is not empty."""

"""A thousand random requests over a mixed fleet: nothing goes on a wrong architecture, and nothing impossible is found late.

Submitted, decided, placed and built through the real services and the real engine, over three simulated clouds that differ
in architecture, owner, tier, network zones and images. Only the playbooks are left out: each rehearsal starts a process,
and no playbook decides where a server goes.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import Session, col, select

import quotas
from cloudmgr.adapters import ansible
from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.domain.errors import Refusal
from cloudmgr.models import Backend, Image, ResourceRequest, RoleGrant, Server, User, Zone, ZoneInventory
from cloudmgr.services import approvals, requests
from cloudmgr.services.request_inputs import Decide, body_adapter
from cloudmgr.store.db import new_session
from cloudmgr.worker import Worker
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests import world
from tests.drills.without_ansible import playbook_ends_well

SEED = 20261122
REQUESTS = 1000
GOV, NET = world.ZONE, "互联网区"
ARCHS = ("aarch64", "x86_64", "loongarch64")
PROCESSORS = {"aarch64": {"kp": "kunpeng-920", "ft": "s5000c", "pub": "cortex-a72"}} | {
    "x86_64": {"kp": "hygon-7285", "ft": "xeon-8358", "pub": "epyc-7763"}
}
IMAGES = {  # by name: at which cloud for which architectures
    "kylin-v10": {"kp": ("aarch64", "x86_64"), "ft": ("aarch64",), "pub": ("x86_64",)},
    "debian-12": {"ft": ("x86_64",), "pub": ("aarch64", "x86_64")},
    "uos-arm": {"kp": ("aarch64",)},
}
CARRIES = {"kp": (GOV,), "ft": (GOV, NET), "pub": (GOV, NET)}
"""What the networks of each cloud are said to carry; `pub` is a public cloud, which never carries the first."""
TIERS = {"kp": "city", "ft": "district", "pub": "public"}
OWNER = {"ft": "430102"}


def fleet() -> list[dict[str, Any]]:
    """Return three clouds, each with an Arm zone and an x86 zone."""
    return [
        {
            **world.simulated_backend(name, tier=TIERS[name]),
            **({"owner": OWNER[name]} if name in OWNER else {}),
            "network_zones": {f"net{number}": zone for number, zone in enumerate(CARRIES[name])},
            "networks": [
                {"ref": f"net{number}", "name": f"net{number}", "cidr_v4": f"10.{60 + number}.0.0/16"}
                for number in range(len(CARRIES[name]))
            ],
            "zones": [
                {"ref": f"{name}-{arch}", "name": f"{name}-{arch}", "hosts": [host(name, arch)]}
                for arch in ("aarch64", "x86_64")
            ],
            "images": [
                {"ref": f"{image}-{arch}", "name": image, "arch": arch}
                for image, places in IMAGES.items()
                for arch in places.get(name, ())
            ],
        }
        for name in ("kp", "ft", "pub")
    ]


def host(name: str, arch: str) -> dict[str, Any]:
    size = {"vcpus": 512, "memory_mib": 2_000_000, "disk_gib": 40_000}
    return {"name": f"{name}-{arch}-host", "model": PROCESSORS[arch][name], "count": 16, **size}


def ask(chance: random.Random, number: int) -> dict[str, Any]:
    """Return a random request: who asks, and for what."""
    return {
        "who": chance.choice(["requester", "stranger"]),
        "name": f"m{number}",
        "arch": chance.choices(ARCHS, (45, 45, 10))[0],
        "image": chance.choice(list(IMAGES)),
        "flavor": chance.choice(["2C4G", "8C32G"]),
        "network_zone": chance.choice([GOV, NET]),
        "backend": chance.choice([None, None, "kp", "ft", "pub"]),
        "count": chance.choices([1, 2, 3], (96, 3, 1))[0],
    }


def places(asked: dict[str, Any]) -> set[tuple[str, str]]:
    """Return where such a server may stand, reckoned from the tables above and nothing of the product's."""
    arch, zone = asked["arch"], asked["network_zone"]
    return {
        (name, f"{name}-{arch}")
        for name in TIERS
        if arch in IMAGES[asked["image"]].get(name, ())
        and asked["backend"] in (None, name)
        and zone in CARRIES[name]
        and not (TIERS[name] == "public" and zone == GOV)
        and (name not in OWNER or asked["who"] == "requester")
    }


def expected(asked: dict[str, Any]) -> str | None:
    """Return the code with which a request is refused at once, None where it can be built."""
    if asked["arch"] not in PROCESSORS or not any(asked["arch"] in archs for archs in IMAGES[asked["image"]].values()):
        return "arch_mismatch"
    return None if places(asked) else "no_fitting_pool"


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[world.World]:
    """The fleet in a city of two districts, its worker running in this process."""
    monkeypatch.setattr(ansible, "run_playbook", playbook_ends_well)
    worker = {"poll_s": 0.25, "boot_poll_s": 0.1, "health_interval_s": 3600}
    worker |= {"request_concurrency": 8, "server_concurrency": 4}  # more only wait for SQLite's one writer
    built = world.build(tmp_path / "city", backends=fleet(), worker=worker)
    with built.session() as session:
        session.add(Image(name="uos-arm", title="统信", os_name="UOS", os_version="20", os_is_xinchuang=True))
        add_approver(session, built)
        session.commit()
    running = Worker(built.settings)
    running.start()
    until(lambda: all_seen(built), 300)
    yield built
    running.stop(wait_s=5)
    built.engine.dispose()


def add_approver(session: Session, city: world.World) -> None:
    """Add who decides in the second district: nobody decides on a request of their own."""
    user = User(
        username="admin2", username_key="admin2", display_name="Admin", organization_id=city.yuelu.id,
        password_hash="-", password_set_at=clock.now(),
    )  # fmt: skip
    session.add(user)
    session.flush()
    session.add(
        RoleGrant(user_id=user.id, role=Role.DISTRICT_ADMIN.value, organization_id=city.yuelu.id, granted_by="test")
    )
    city.people["admin2"] = user.id


def all_seen(city: world.World) -> bool:
    with new_session(city.engine) as session:
        return all(backend.health == "ok" for backend in session.exec(select(Backend)))


def until(reached: Callable[[], bool], limit_s: float) -> None:
    end = time.monotonic() + limit_s
    while not reached():
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.3)


def submit(city: world.World, actors: dict[str, Any], asked: dict[str, Any]) -> tuple[uuid.UUID | None, str | None]:
    """Submit one request and have it approved; return its id, or the code of the refusal."""
    project = city.project if asked["who"] == "requester" else city.other_project
    body = city.body(**{key: value for key, value in asked.items() if key != "who"}, project=str(project.id))
    with city.session() as session:
        try:
            request = requests.submit_new(session, actors[asked["who"]], body_adapter.validate_python(body))
        except Refusal as refusal:
            session.rollback()
            return None, refusal.code
        who = actors["admin" if asked["who"] == "requester" else "admin2"]
        approvals.decide(session, who, request.id, Decide.model_validate({"decision": "approve", "comment": ""}))
        session.commit()
        return request.id, None


def test_a_thousand_random_requests_find_their_architecture_or_are_refused_at_once(city: world.World) -> None:
    chance = random.Random(SEED)
    everything = [ask(chance, number) for number in range(REQUESTS)]
    actors = {name: city.actor(name) for name in ("requester", "stranger", "admin", "admin2")}
    for name in TIERS:  # clouds whose answers are lost now and then change nothing of this
        for kind in ("lost_answer", "half_created"):
            state_dir = city.settings.data_dir / "backends" / name
            drill.inject(state_dir, Fault(call="create_server", kind=kind, times=3, match_name="m*7"))
    made: dict[uuid.UUID, dict[str, Any]] = {}
    codes: Counter[str | None] = Counter()
    for asked in everything:
        request_id, code = submit(city, actors, asked)
        assert code == expected(asked), asked
        codes[code] += 1
        if request_id is not None:
            made[request_id] = asked
    assert min(codes[None], codes["arch_mismatch"], codes["no_fitting_pool"]) > REQUESTS // 20, codes
    until(lambda: rested(city) == len(made), 1500)
    with new_session(city.engine) as session:
        check_servers(session, made)
        check_clouds(session, city)
        assert quotas.verify(session).mismatches == []


def rested(city: world.World) -> int:
    with new_session(city.engine) as session:
        finished = select(sa.func.count()).where(col(ResourceRequest.finished_at).is_not(None))
        return session.exec(finished).one()


def check_servers(session: Session, made: dict[uuid.UUID, dict[str, Any]]) -> None:
    """Every request is fulfilled, and every server of it is where it may be; nothing was given up on the way."""
    phases = Counter(request.phase for request in session.exec(select(ResourceRequest)))
    assert phases == {"fulfilled": len(made)}, phases
    where = {
        zone.id: (backend.name, zone.name, zone.arch)
        for zone, backend in session.exec(select(Zone, Backend).join(Backend, col(Zone.backend_id) == col(Backend.id)))
    }
    counted: Counter[uuid.UUID] = Counter()
    for server in session.exec(select(Server)):
        assert server.request_id is not None
        assert server.zone_id is not None
        asked = made[server.request_id]
        backend, zone, arch = where[server.zone_id]
        assert arch == server.arch == asked["arch"]
        assert (backend, zone) in places(asked), (asked, zone)
        assert server.image_ref == f"{asked['image']}-{arch}"
        assert server.phase == "active"
        counted[server.request_id] += 1
    assert counted == {request_id: asked["count"] for request_id, asked in made.items()}


def check_clouds(session: Session, city: world.World) -> None:
    """The clouds have exactly these servers, each on a host of its architecture, and the ledger of room agrees."""
    ours = {server.id: server for server in session.exec(select(Server))}
    seen = [one for name in TIERS for one in drill.list_servers(city.settings.data_dir / "backends" / name)]
    assert sorted(str(one.token) for one in seen) == sorted(map(str, ours))
    for one in seen:
        assert one.token is not None
        assert one.arch == ours[one.token].arch
        assert (one.zone or "").endswith(f"-{one.arch}")
        assert (one.host or "").partition("-")[2].startswith(f"{one.arch}-host")
    used = sum(row.used for row in session.exec(select(ZoneInventory).where(ZoneInventory.resource == "vcpus")))
    assert used == sum(server.vcpus for server in ours.values())

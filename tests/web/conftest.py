"""The console over a small city, with readers who are signed in by cookie as a browser is."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from dbos import run_dbos_database_migrations
from fastapi import FastAPI
from sqlmodel import select
from starlette.testclient import TestClient

from cloudmgr.domain import clock
from cloudmgr.main import create_app
from cloudmgr.models import (
    Backend,
    Image,
    ImageVariant,
    Server,
    User,
    Zone,
    ZoneInventory,
    ZoneNetworkZone,
)
from cloudmgr.store.db import make_engine, new_session
from tests import support
from tests.web.html import Page
from tests.world import ZONE, World, build


@dataclass
class Console:
    """The application and the world behind it."""

    world: World
    app: FastAPI

    def reader(self, name: str | None, language: str = "zh_CN") -> "Reader":
        client = TestClient(
            self.app, base_url="http://testserver", follow_redirects=False, headers={"accept": "text/html,*/*"}
        )
        client.cookies.set("cloudmgr_language", language)
        token = ""
        if name is not None:
            with new_session(self.world.engine) as session:
                secret = support.open_token(session, session.get_one(User, self.world.people[name]), kind="console")
                session.commit()
                made = session.exec(
                    select(support.UserSession).where(support.UserSession.token_hash == support.crypto.digest(secret))
                ).one()
                token = made.csrf_token
            client.cookies.set("cloudmgr_session", secret)
        return Reader(client, token)


@dataclass
class Reader:
    """One browser."""

    client: TestClient
    csrf: str

    def page(self, address: str, status: int = 200) -> Page:
        answer = self.client.get(address)
        assert answer.status_code == status, f"{address}: {answer.status_code} {answer.text[-600:]}"
        return sound(answer.text, address)

    def post(self, address: str, status: int = 303, /, **fields: str | list[str]) -> Page:
        answer = self.client.post(address, data={"csrf_token": self.csrf, **fields})
        assert answer.status_code == status, f"{address}: {answer.status_code} {Page(answer.text).text[:900]}"
        self.location = answer.headers.get("location", "")
        return sound(answer.text, address) if answer.text else Page("")


def sound(text: str, address: str) -> Page:
    """A page of ours is well-formed, labelled, warned, and its forms carry the token."""
    page = Page(text)
    assert page.faults == [], f"{address}: {page.faults}"
    assert page.posting_forms_without_csrf() in ([], ["/login"], ["/login", "/language"], ["/language"]), address
    if "<!doctype" in text:
        assert "本系统为非涉密系统，严禁录入、传输涉密信息" in text or "This system is not classified" in text, address
    return page


def _catalogue(world: World) -> None:
    """What the worker's first look at a backend writes: the backend, a Kunpeng pool, its image."""
    with world.session() as session:
        for user in session.exec(select(User)):  # a name must not look like a word that was left untranslated
            user.display_name = f"张{user.username}"
        backend = Backend(
            name="kp",
            title="市级鲲鹏云",
            provider="simulated",
            tier="city",
            datacenter="高新区机房",
            health="ok",
            is_configured=True,
            rehearses=True,
            capabilities=["power"],
            last_seen_at=clock.now(),
        )
        session.add(backend)
        session.flush()
        zone = Zone(
            backend_id=backend.id,
            ref="kp-z1",
            name="kp-zone",
            title="鲲鹏资源池",
            arch="aarch64",
            cpu_family="kunpeng",
            cpu_model="Kunpeng-920",
            is_xinchuang=True,
            last_seen_at=clock.now(),
        )
        session.add(zone)
        session.flush()
        for resource, total in (("vcpus", 128), ("memory_mib", 524288), ("disk_gib", 16000)):
            session.add(ZoneInventory(zone_id=zone.id, resource=resource, total=total))
        session.add(ZoneNetworkZone(zone_id=zone.id, network_zone=ZONE))
        image = session.exec(select(Image).where(Image.name == "kylin-v10")).one()
        session.add(ImageVariant(image_id=image.id, arch="aarch64", backend_id=backend.id, ref="img"))
        session.commit()


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A city on disk, made once and copied for every test."""
    world = build(tmp_path_factory.mktemp("city"))
    run_dbos_database_migrations(world.settings.database_url)
    _catalogue(world)
    world.engine.dispose()
    return world


@pytest.fixture
def console(tmp_path: Path, city: World) -> Iterator[Console]:
    """A fresh copy of the city."""
    home = tmp_path / "city"
    shutil.copytree(city.settings.data_dir, home)
    settings = city.settings.model_copy(update={"data_dir": home})
    engine = make_engine(settings.database_url, synchronous="NORMAL")
    yield Console(replace(city, settings=settings, engine=engine), create_app(settings, engine=engine))
    engine.dispose()


@pytest.fixture
def standing(console: Console) -> Callable[..., uuid.UUID]:
    """Make a server that stands, as the workflows leave it."""

    def make(name: str = "srv", phase: str = "active") -> uuid.UUID:
        request_id = console.world.submit(name=name)
        console.world.approve(request_id)
        with console.world.session() as session:
            server = session.exec(select(Server).where(Server.request_id == request_id)).one()
            backend = session.exec(select(Backend)).one()
            server.phase, server.state = phase, "running"
            server.backend_id, server.zone_id = backend.id, session.exec(select(Zone)).one().id
            server.native_ref, server.host = "vm-1", "kp-host-1"
            server.ipv4, server.ipv6 = ["10.60.0.9"], ["fd00:60::9"]
            server.rehearsed = True
            server.lease_end = clock.today() + timedelta(days=20)
            session.add(server)
            session.commit()
            return server.id

    return make

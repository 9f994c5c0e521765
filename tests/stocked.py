"""The small city of `tests.world` with pools and images, as the worker leaves them after its first look at the clouds.

Made once a test process and database, then copied: SQLite by file, PostgreSQL by template. No worker runs in it.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dbos import run_dbos_database_migrations
from sqlmodel import Session, SQLModel, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Role
from cloudmgr.models import (
    Allocation,
    Backend,
    Image,
    ImageVariant,
    NetworkZone,
    Organization,
    Project,
    RoleGrant,
    Server,
    User,
    Zone,
    ZoneInventory,
    ZoneNetworkZone,
)
from cloudmgr.store.db import make_engine, new_session
from tests import world as cities
from tests.world import ZONE, World

LIMITS = {"servers": 20, "vcpus": 60}
"""Of the project; the district above it is held to 24 servers."""
FURONG_SERVERS = 24
_UNCOUNTED = frozenset({"audit_events", "idempotency_keys", "login_sources", "user_sessions"})
"""Tables that a refusal may write: that it was refused, that a login failed, that a session was used."""


def stock(world: World) -> None:
    """Add three pools, two further images, people and projects of the odd kinds."""
    with world.session() as session:
        _backend(session, "kp", "aarch64", "kunpeng", xinchuang=True, capabilities=["power"], vcpus=96)
        _backend(session, "x86", "x86_64", "intel", xinchuang=False, capabilities=[], vcpus=32)
        _backend(
            session, "yl", "aarch64", "phytium", xinchuang=True, capabilities=["power"], vcpus=64, owner=world.yuelu
        )
        for name, disk in (("arm-only", 20), ("needs-100", 100)):
            image = Image(name=name, title=name, os_name=name, os_version="1", min_disk_gib=disk)
            session.add(image)
            session.flush()
            kp = session.exec(select(Backend).where(Backend.name == "kp")).one()
            session.add(ImageVariant(image_id=image.id, arch="aarch64", backend_id=kp.id, ref=f"img-{name}"))
        session.add(NetworkZone(name="测试区", code="test", is_active=False))
        session.flush()
        for name, fields in (
            ("涉密项目", {"is_classified": True}),
            ("四级项目", {"mlps_level": "四级"}),
            ("关停项目", {"is_active": False}),
            ("无主项目", {"owner_name": "", "owner_phone": ""}),
            ("另一项目", {}),
        ):
            project = cities._project(session, world.minzheng, name)
            for field, value in fields.items():
                setattr(project, field, value)
            session.add(project)
        _limit(session, world.project.account_id, LIMITS)
        _limit(session, world.furong.account_id, {"servers": FURONG_SERVERS})
        for name, organization, role in (
            ("colleague", world.minzheng, Role.REQUESTER),
            ("reviewer", world.minzheng, Role.UNIT_REVIEWER),
            ("cityboss", world.root, Role.CITY_APPROVER),
            ("rooted", world.root, Role.DISTRICT_ADMIN),
            ("bureau-admin", world.minzheng, Role.DISTRICT_ADMIN),
        ):
            _person(session, world, name, organization, role)
        session.commit()


def _limit(session: Session, account_id: uuid.UUID, limits: dict[str, int]) -> None:
    quotas.set_limits(
        session, account_id=account_id, limits=dict(limits), replace=False, reason="测试", basis_no=None, actor="test"
    )


def _backend(
    session: Session,
    name: str,
    arch: str,
    family: str,
    *,
    xinchuang: bool,
    capabilities: list[str],
    vcpus: int,
    owner: Organization | None = None,
) -> None:
    backend = Backend(
        name=name,
        title=f"云 {name}",
        provider="simulated",
        tier="district" if owner else "city",
        datacenter="高新区机房",
        health="ok",
        is_configured=True,
        rehearses=True,
        capabilities=capabilities,
        owner_organization_id=owner.id if owner else None,
        last_seen_at=clock.now() + timedelta(hours=2),  # fresh however long the suite takes: no worker looks again
    )
    session.add(backend)
    session.flush()
    zone = Zone(
        backend_id=backend.id,
        ref=f"{name}-z1",
        name=f"{name}-zone",
        title=f"{name} 资源池",
        arch=arch,
        cpu_family=family,
        cpu_model="-",
        is_xinchuang=xinchuang,
        last_seen_at=clock.now(),
    )
    session.add(zone)
    session.flush()
    for resource, total in (("vcpus", vcpus), ("memory_mib", 524288), ("disk_gib", 16000)):
        session.add(ZoneInventory(zone_id=zone.id, resource=resource, total=total))
    session.add(ZoneNetworkZone(zone_id=zone.id, network_zone=ZONE))
    image = session.exec(select(Image).where(Image.name == "kylin-v10")).one()
    session.add(ImageVariant(image_id=image.id, arch=arch, backend_id=backend.id, ref=f"img-{name}"))


def _person(session: Session, world: World, name: str, organization: Organization, role: Role) -> None:
    user = User(
        username=name,
        username_key=name,
        display_name=name.title(),
        organization_id=organization.id,
        password_hash="-",
        password_set_at=clock.now(),
    )
    session.add(user)
    session.flush()
    session.add(RoleGrant(user_id=user.id, role=role.value, organization_id=organization.id, granted_by="test"))
    world.people[name] = user.id


def stand(session: Session, server_id: uuid.UUID, *, backend: str = "kp", phase: str = "active") -> Server:
    """Bring a server to where the workflows leave one that stands: placed, counted, addressed."""
    server = session.get_one(Server, server_id)
    found = session.exec(select(Backend).where(Backend.name == backend)).one()
    zone = session.exec(select(Zone).where(Zone.backend_id == found.id)).one()
    dims = {"backend": backend, "tier": found.tier, "cpu_family": zone.cpu_family, "is_xinchuang": "true"}
    quotas.place(session, reservation_id=server.reservation_id, part_id=server.id, dims=dims)
    quotas.post(session, reservation_id=server.reservation_id, part_id=server.id)
    amounts = {"vcpus": server.vcpus, "memory_mib": server.memory_mib, "disk_gib": server.system_disk_gib}
    session.add(Allocation(zone_id=zone.id, server_id=server.id, amounts=amounts))
    server.phase, server.state = phase, "running"
    server.backend_id, server.zone_id = found.id, zone.id
    server.native_ref, server.host = f"vm-{server.id}", "kp-host-1"
    server.ipv4 = [f"10.60.0.{server.id.int % 250}"]
    session.add(server)
    session.flush()
    return server


def project_named(session: Session, name: str) -> Project:
    """Return one of the odd projects."""
    return session.exec(select(Project).where(Project.name == name)).one()


def row_counts(session: Session, *, besides: frozenset[str] = _UNCOUNTED) -> dict[str, int]:
    """Count the rows of every table that a refusal must leave alone."""
    tables = [table for table in SQLModel.metadata.sorted_tables if table.name not in besides]
    counted = sa.union_all(*(sa.select(sa.literal(t.name), sa.func.count()).select_from(t) for t in tables))
    return dict(map(tuple, session.execute(counted)))


def copied(template: World, home: Path) -> World:
    """Copy a city to another folder, and on PostgreSQL to another database."""
    shutil.copytree(template.settings.data_dir, home)
    changes: dict[str, Any] = {"data_dir": home}
    if not template.settings.is_sqlite:
        parsed = sa.make_url(template.settings.database_url).set(drivername="postgresql+psycopg")
        name = f"w{uuid.uuid4().hex[:12]}"
        admin = sa.create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE {name} TEMPLATE "{parsed.database}"')
        url = parsed.set(database=name).render_as_string(hide_password=False)
        changes["database"] = template.settings.database.model_copy(update={"url": url})
    settings = template.settings.model_copy(update=changes)
    engine = make_engine(settings.database_url, synchronous="NORMAL")
    return replace(template, settings=settings, engine=engine, people=dict(template.people))


def dropped(world: World) -> None:
    """Let go of a copy; a PostgreSQL database is removed."""
    world.engine.dispose()
    if not world.settings.is_sqlite:
        parsed = sa.make_url(world.settings.database_url).set(drivername="postgresql+psycopg")
        admin = sa.create_engine(parsed.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with admin.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{parsed.database}" WITH (FORCE)')


@pytest.fixture(scope="session")
def world_templates(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], World]:
    """Return a maker of stocked cities, one for each dialect, made when first asked for."""
    made: dict[str, World] = {}

    def get(dialect: str) -> World:
        if dialect not in made:
            url = None
            if dialect == "postgresql":
                server = sa.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
                name = f"w{uuid.uuid4().hex[:12]}"
                admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
                with admin.connect() as connection:
                    connection.exec_driver_sql(f"CREATE DATABASE {name}")
                url = server.set(database=name).render_as_string(hide_password=False)
            world = cities.build(tmp_path_factory.mktemp("stocked") / "city", url)
            run_dbos_database_migrations(world.settings.database_url)
            stock(world)
            world.engine.dispose()
            made[dialect] = world
        return made[dialect]

    return get


@pytest.fixture
def small_world(world_templates: Callable[[str], World], tmp_path: Path) -> Iterator[World]:
    """A stocked city of one's own, on SQLite."""
    world = copied(world_templates("sqlite"), tmp_path / "city")
    yield world
    dropped(world)


@pytest.fixture(params=["sqlite", "postgresql"])
def any_world(
    request: pytest.FixtureRequest, world_templates: Callable[[str], World], tmp_path: Path
) -> Iterator[World]:
    """A stocked city of one's own, on each database."""
    world = copied(world_templates(request.param), tmp_path / "city")
    yield world
    dropped(world)


class Desk:
    """One transaction in a stocked city, to be rolled back: what is asked of the services, and what came of it."""

    def __init__(self, world: World, session: Session) -> None:
        self.world = world
        self.session = session

    def actor(self, name: str) -> Any:
        return self.world.actor(name)

    def counts(self) -> dict[str, int]:
        self.session.flush()
        return row_counts(self.session, besides=frozenset())

    def used(self, account_id: uuid.UUID, key: str = "servers") -> tuple[int, int]:
        """Used and reserved of one key at one account."""
        usage = quotas.account_usage(self.session, account_id)
        return usage.used.get(key, 0), usage.reserved.get(key, 0)


@pytest.fixture(scope="session")
def _shared_worlds(
    world_templates: Callable[[str], World], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], World]]:
    made: dict[str, World] = {}

    def get(dialect: str) -> World:
        if dialect not in made:
            made[dialect] = copied(world_templates(dialect), tmp_path_factory.mktemp("shared") / "city")
        return made[dialect]

    yield get
    for world in made.values():
        world.engine.dispose()  # the database goes with its server


@pytest.fixture(params=["sqlite", "postgresql"])
def desk(request: pytest.FixtureRequest, _shared_worlds: Callable[[str], World]) -> Iterator[Desk]:
    """A desk on each database; nothing asked there is ever committed."""
    world = _shared_worlds(request.param)
    with world.session() as session:
        yield Desk(world, session)
        session.rollback()


__all__ = ["Desk", "any_world", "desk", "new_session", "small_world", "world_templates"]

"""A small city on a real database, once on SQLite and once on PostgreSQL."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from sqlmodel import Session, SQLModel

import quotas.tables
import quotas.timed_tables
from cloudmgr.domain.ids import new_id
from cloudmgr.store import triggers
from cloudmgr.store.db import make_engine, new_session
from quotas import Part, create_account, set_limits


def prepared_engine(url: str, **options) -> sa.Engine:
    """Return an engine on a database with the ledger's tables and triggers."""
    engine = make_engine(url, **options)
    ours = {thing.__tablename__ for part in (quotas.tables, quotas.timed_tables) for thing in _models(part)}
    tables = [table for table in SQLModel.metadata.sorted_tables if table.name in ours]
    SQLModel.metadata.create_all(engine, tables=tables)
    with engine.begin() as connection:
        triggers.install(connection, quotas.tables.APPEND_ONLY)
    return engine


def _models(module: ModuleType) -> list[type[SQLModel]]:
    """Return the tables of the ledger itself; others whose names begin alike refer to what it does not know."""
    return [
        thing
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, SQLModel) and hasattr(thing, "__table__")
    ]


def server(vcpus: int = 8, *, part_id: uuid.UUID | None = None, gpus: int = 0, **dims: str) -> Part:
    """One server's part, Kunpeng in the government extranet unless said otherwise."""
    amounts = {
        "servers": 1,
        "vcpus": vcpus,
        "memory_mib": 4096 * vcpus,
        "disk_gib": 540,
        "ip_addresses": 1,
        "gpus": gpus,
    }
    return Part(
        part_id or new_id(), amounts, {"arch": "aarch64", "network_zone": "政务外网区", "environment": "prd"} | dims
    )


@dataclass
class City:
    """长沙市 above two districts; 芙蓉区 has two projects, 岳麓区 one."""

    session: Session
    root: uuid.UUID
    furong: uuid.UUID
    yuelu: uuid.UUID
    community: uuid.UUID
    portal: uuid.UUID
    grid: uuid.UUID

    def limit(self, account_id: uuid.UUID, limits: dict[str, int | None], *, replace: bool = False):
        changes = set_limits(
            self.session,
            account_id=account_id,
            limits=limits,
            replace=replace,
            reason="年度计划",
            basis_no="长数发〔2026〕12号",
            actor="quota_admin",
        )
        self.session.commit()
        return changes


def build_city(session: Session) -> City:
    names = {
        "root": ("CS", "长沙市", None),
        "furong": ("430102", "芙蓉区", "root"),
        "yuelu": ("430104", "岳麓区", "root"),
        "community": ("ZHSQ", "智慧社区综合服务平台", "furong"),
        "portal": ("MHWZ", "区政府门户网站", "furong"),
        "grid": ("WGPT", "网格平台", "yuelu"),
    }
    ids = {role: new_id() for role in names}
    for role, (code, name, parent) in names.items():
        create_account(session, account_id=ids[role], parent_id=ids[parent] if parent else None, code=code, name=name)
    session.commit()
    return City(session, **ids)


@pytest.fixture(scope="session")
def shared_urls(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Where the database shared by this process's ledger tests is; each test plants its own tree in it."""
    made: dict[str, str] = {}

    def url_of(kind: str) -> str:
        if kind not in made:
            if kind == "sqlite":
                home: Path = tmp_path_factory.mktemp("ledger")
                made[kind] = f"sqlite:///{home}/ledger.db"
            else:
                base = sa.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
                name = f"ledger_{uuid.uuid4().hex[:8]}"
                admin = sa.create_engine(base, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
                with admin.connect() as connection:
                    connection.exec_driver_sql(f"CREATE DATABASE {name}")
                made[kind] = base.set(database=name).render_as_string(hide_password=False)
            prepared_engine(made[kind]).dispose()
        return made[kind]

    return url_of


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, shared_urls: Callable[[str], str]) -> Iterator[sa.Engine]:
    """Engine on a database that other tests' trees share."""
    made = make_engine(shared_urls(request.param), synchronous="OFF")
    yield made
    made.dispose()


@pytest.fixture
def own_engine(database_url: str) -> Iterator[sa.Engine]:
    """Engine on a database of this test's own, to do damage in or to count on."""
    made = prepared_engine(database_url, pool_size=70)
    yield made
    made.dispose()


@pytest.fixture
def session(engine: sa.Engine) -> Iterator[Session]:
    with new_session(engine) as made:
        yield made
        made.rollback()


@pytest.fixture
def city(session: Session) -> City:
    return build_city(session)

"""A database with the tables of the models, shared by tests that never commit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import Session, SQLModel

import cloudmgr.models
from cloudmgr.domain.access import Actor
from cloudmgr.store.db import begin_immediate, make_engine, new_session
from tests.services.people import LOCAL
from tests.stocked import _shared_worlds, any_world, desk, small_world, world_templates

__all__ = ["_shared_worlds", "any_world", "desk", "small_world", "world_templates"]


@pytest.fixture(scope="session")
def _sqlite_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Engine]:
    engine = make_engine(f"sqlite:///{tmp_path_factory.mktemp('services')}/cloudmgr.db")
    SQLModel.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def _postgresql_engine(postgres_url: str) -> Iterator[sa.Engine]:
    admin = make_engine(postgres_url)
    with admin.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CREATE DATABASE services")
    admin.dispose()
    engine = make_engine(sa.make_url(postgres_url).set(database="services").render_as_string(hide_password=False))
    SQLModel.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session in a transaction that may write, on both databases; rolled back at the end."""
    engine = request.getfixturevalue(f"_{request.param}_engine")
    with new_session(engine) as session:
        begin_immediate(session)
        yield session
        session.rollback()


@pytest.fixture
def local() -> Actor:
    return LOCAL


@pytest.fixture
def sample() -> Path:
    """The sample city as it is shipped."""
    return Path(cloudmgr.__file__).parent / "seed" / "changsha.json"

"""A database with the tables of the models, and people to act in it."""

from collections.abc import Iterator

import pytest
from sqlmodel import Session, SQLModel

import cloudmgr.models  # noqa: F401 - registers the tables
from cloudmgr.domain.access import Actor
from cloudmgr.store.db import begin_immediate, make_engine, new_session
from tests.services.people import LOCAL


@pytest.fixture
def session(database_url: str) -> Iterator[Session]:
    """A session in a transaction that may write, on both databases; never committed."""
    engine = make_engine(database_url)
    SQLModel.metadata.create_all(engine)
    with new_session(engine) as session:
        begin_immediate(session)
        yield session
        session.rollback()
    engine.dispose()


@pytest.fixture
def local() -> Actor:
    return LOCAL

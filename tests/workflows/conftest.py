"""Prepared cities for the proofs: made once a test process and database, copied for every case."""

import itertools
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.workflows.proofs import Case, Stage, Zygote, drop_databases, prepare

_numbers = itertools.count()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="session")
def stages(
    zygote: Zygote, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[..., Stage]:
    """Return a maker of prepared cities that remembers them by what was asked."""
    made: dict[str, Stage] = {}

    def get(dialect: str, **what: Any) -> Stage:
        key = f"{dialect} {sorted(what.items())}"
        if key not in made:
            url = _database(request.getfixturevalue("postgres_url")) if dialect == "postgresql" else None
            home = tmp_path_factory.mktemp("stage") / "city"
            made[key] = prepare(zygote, home, url, **what)
        return made[key]

    return get


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Return a maker of empty PostgreSQL databases that last as long as the tests."""
    return lambda: _database(request.getfixturevalue("postgres_url"))


def _database(server_url: str) -> str:
    name = f"s{uuid.uuid4().hex[:12]}"
    url = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _databases_go_with_their_test(tmp_path: Path) -> Iterator[None]:
    yield
    drop_databases(tmp_path)


@pytest.fixture
def case(stages: Callable[..., Stage], dialect: str, tmp_path: Path) -> Callable[..., Case]:
    """Return a maker of cases: `case(retire=True, count=2)` copies the city in which that waits to be done."""

    def get(**what: Any) -> Case:
        return stages(dialect, **what).case(tmp_path / f"case{next(_numbers)}")

    return get

"""A small city, its people and the application, on SQLite by copying a template; PostgreSQL where a test asks for it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.town import Town, build


@pytest.fixture(scope="session")
def town_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the small city in it."""
    path = tmp_path_factory.mktemp("town") / "cloudmgr.db"
    with build(f"sqlite:///{path}") as town:
        town.checkpoint()
    return path


@pytest.fixture
def town(town_template: Path, tmp_path: Path) -> Iterator[Town]:
    """The small city on a database of its own, rate limits on."""
    path = tmp_path / "cloudmgr.db"
    shutil.copyfile(town_template, path)
    with Town(f"sqlite:///{path}") as town:
        yield town


@pytest.fixture(params=["sqlite", "postgresql"])
def any_town(request: pytest.FixtureRequest) -> Iterator[Town]:
    """The small city on each database."""
    if request.param == "sqlite":
        yield request.getfixturevalue("town")
    else:
        with build(request.getfixturevalue("pg_database")) as town:
            yield town

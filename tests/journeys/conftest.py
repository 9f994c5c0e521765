"""The shared steps assert as tests do; a city whose clock the test holds, for each file of stories and each database."""

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.served import prepare
from tests.stocked import copied, dropped
from tests.world import World

pytest.register_assert_rewrite(
    "tests.journeys.town", "tests.journeys.stories", "tests.journeys.office", "tests.journeys.sheets"
)

from cloudmgr.domain import clock  # noqa: E402 - after the registration
from tests.journeys import office as offices  # noqa: E402


@pytest.fixture(scope="session")
def zygote() -> Iterator[offices.Zygote]:
    process = offices.Zygote()
    yield process
    process.close()


@pytest.fixture(scope="session")
def cities(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], World]:
    """Return a maker of cities that nobody has served yet, one for each database, made when first asked for."""
    made: dict[str, World] = {}

    def get(dialect: str) -> World:
        if dialect not in made:
            url = None
            if dialect == "postgresql":
                server = sa.make_url(request.getfixturevalue("postgres_url")).set(drivername="postgresql+psycopg")
                name = f"o{uuid.uuid4().hex[:12]}"
                admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
                with admin.connect() as connection:
                    connection.exec_driver_sql(f"CREATE DATABASE {name}")
                url = server.set(database=name).render_as_string(hide_password=False)
            with clock.stepped(offices.OPENING):
                home = tmp_path_factory.mktemp("office") / "city"
                made[dialect] = prepare(home, url)
                offices.people(made[dialect])
            made[dialect].engine.dispose()
        return made[dialect]

    return get


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Play a file's stories through on one database, then on the other: each has a city of its own."""
    if "office" in metafunc.fixturenames:
        metafunc.parametrize("office", ("sqlite", "postgresql"), indirect=True, scope="module")


@pytest.fixture(scope="module")
def office(
    request: pytest.FixtureRequest,
    cities: Callable[[str], World],
    zygote: offices.Zygote,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[offices.Office]:
    """A served city of this file's own, from `OPENING` on; the file's `SETTINGS` are sections of its own."""
    home: Path = tmp_path_factory.mktemp("served") / "city"
    world = copied(cities(request.param), home)
    try:
        with offices.opened(world, zygote, **getattr(request.module, "SETTINGS", {})) as found:
            yield found
    finally:
        dropped(world)

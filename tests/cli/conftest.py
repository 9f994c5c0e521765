"""Running the command line in this process, as a terminal would."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.cli import main


@dataclass(frozen=True)
class Ran:
    """What a command said and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run `cloudmgr …` on a data directory of this test's own. What it says to log, and where, ends with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    for name in ("CLOUDMGR_DATA_DIR", "CLOUDMGR_URL", "CLOUDMGR_TOKEN", "LC_ALL", "LANG", "CLOUDMGR_LANG"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([*arguments, "--data-dir", str(tmp_path / "data")])
        captured = capsys.readouterr()
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    yield call
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)


@pytest.fixture
def installed(run: Run) -> dict[str, str]:
    """A new installation; its administrators' passwords by name."""
    made = run("init", "--json", "--root-code", "CS", "--root-name", "长沙市")
    assert made.status == 0, made.err
    return {account["username"]: account["password"] for account in made.json}

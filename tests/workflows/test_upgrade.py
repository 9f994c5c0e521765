"""An upgrade in the middle of things: a worker of the old wheel is killed, one of a new wheel with another step finishes."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflows.proofs import ROOT, Case, Stage, Zygote, check_slate

PACKAGES = ("cloudmgr", "providers", "quotas", "web", "playbooks")
STEP = '    write("created", facts.created, server_id, number, made["result"])\n'
CHANGED = STEP + '    if DBOS.patch("look-twice"):\n        call("look_twice", look, server_id, placed["backend"])\n'


@pytest.fixture(scope="module")
def new_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install, into a folder of its own, a wheel whose provisioning has one step more."""
    tree = tmp_path_factory.mktemp("new")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        else:
            shutil.copy(source, tree / name)
    _edit(tree / "cloudmgr/workflows/provision.py", STEP, CHANGED)
    _edit(tree / "cloudmgr/workflows/engine.py", 'VERSION = "1"', 'VERSION = "2"')
    _edit(tree / "cloudmgr/workflows/engine.py", "READS: Sequence[str] = ()", 'READS: Sequence[str] = ("1",)')
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tree / "dist"],
        cwd=tree,
        check=True,
        capture_output=True,
    )
    installed = tree / "installed"
    (wheel,) = (tree / "dist").glob("*.whl")
    shutil.unpack_archive(wheel, installed, "zip")
    return installed


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path.name} no longer has {old!r}"
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("kill_at", "runs_the_new_step"), [("created:after", True), ("await_running:after", False), ("place:inside", True)]
)
def test_work_begun_by_the_old_wheel_is_finished_by_the_new(
    stages: Callable[..., Stage],
    dialect: str,
    new_release: Path,
    tmp_path: Path,
    kill_at: str,
    *,
    runs_the_new_step: bool,
) -> None:
    one = stages(dialect).case(tmp_path / "case")
    died = one.run(kill_at=kill_at)
    assert died["died_by"] == signal.SIGKILL, one.log()
    upgraded = Zygote(path=[new_release])
    try:
        later = Case(upgraded, one.data_dir, one.url, one.settings, one.request, one.backends)
        done = later.run()
        assert done["status"] == 0, (done, one.log())
    finally:
        upgraded.close()
    assert one.phase() == "fulfilled", one.log()
    assert ("look_twice:after" in done["points"]) is runs_the_new_step
    check_slate(one, standing=1)

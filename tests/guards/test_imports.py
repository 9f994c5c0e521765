"""Who may import whom (pyproject.toml, [tool.importlinter]), and what a start may not drag in."""

import subprocess
import sys

import pytest

from tests.guards.tree import ROOT


def test_the_import_contracts_hold() -> None:
    run = subprocess.run([f"{sys.prefix}/bin/lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    assert " 0 broken" in run.stdout


@pytest.mark.parametrize("module", ["cloudmgr.domain.access", "cloudmgr.domain.phases", "cloudmgr.domain.errors"])
def test_the_domain_stands_on_the_standard_library_alone(module: str) -> None:
    code = f"import {module}, sys; print([m for m in ('pydantic','sqlalchemy','sqlmodel','yaml') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"

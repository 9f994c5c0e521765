"""A wheel built from the tree works in an empty environment, without the checkout: everything needed travels in it."""

import os
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.guards.tree import ROOT, files

_PACKAGES = ("cloudmgr/", "providers/", "quotas/", "web/", "playbooks/")
_BUILD_ONLY = {"web/vendor.py", "web/package.json", "web/package-lock.json", "web/.npmrc"}
_VENDORED = {"web/static/vendor/htmx/htmx.min.js", "web/static/vendor/swagger-ui/swagger-ui-bundle.js"}
_IMPORT_ALL = """
import importlib, pkgutil, sys
import cloudmgr, providers, quotas, web, playbooks
APART = tuple(f"providers.{extra}." for extra in ("libvirt", "openstack", "vsphere", "libcloud"))
APART += ("cloudmgr.migrations.env", "cloudmgr.migrations.versions")
assert all("site-packages" in p.__file__ for p in (cloudmgr, providers, quotas, web, playbooks)), cloudmgr.__file__
for package in (cloudmgr, quotas, web, providers):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.startswith(APART):
            continue  # need the extra of their provider, or Alembic's context
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print("all imported")
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command outside the checkout's reach; return what it printed, raise with it when it failed."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "CLOUDMGR", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        command, cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source archive, as a distributor would."""
    assert (ROOT / "web/static/vendor/versions.json").exists(), "run `make vendor` first"
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment that holds the locked dependencies and the wheel, and nothing else."""
    home = tmp_path_factory.mktemp("installed")
    uv = Path(sys.prefix) / "bin" / "uv"
    python = home / "venv" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, home / "venv", cwd=home)
    install = (uv, "pip", "install", "--quiet", "--python", python)
    run(*install, "--require-hashes", "-r", ROOT / "constraints.txt", cwd=home)
    run(*install, "--no-deps", wheel, cwd=home)
    return home / "venv" / "bin"


def test_every_file_of_the_packages_travels_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    tracked = {name for name in files() if name.startswith(_PACKAGES)} - _BUILD_ONLY
    assert tracked - carried == set()
    assert carried >= _VENDORED
    assert {name for name in carried if not name.startswith(_PACKAGES)} == set()
    assert {name for name in carried if "node_modules" in name} == set()


def test_the_wheel_says_its_version_licence_and_extras(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    metadata_file = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(metadata_file).decode())
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    from cloudmgr import __version__  # noqa: PLC0415 - read where it is compared

    assert metadata["Version"] == declared["version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra")) == set(declared["optional-dependencies"])
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_every_module_imports_with_the_locked_dependencies_alone(installed: Path, tmp_path: Path) -> None:
    assert "all imported" in run(installed / "python", "-c", _IMPORT_ALL, cwd=tmp_path)


def test_the_command_works_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert "init" in run(installed / "cloudmgr", "--help", cwd=tmp_path)


def test_an_empty_system_is_set_up_without_the_checkout(installed: Path, tmp_path: Path) -> None:
    """`init` upgrades the database by the migrations in the wheel, and the playbooks and catalogues are found there too."""
    place = tmp_path / "place"
    run(
        installed / "cloudmgr",
        "init",
        "--root-code",
        "CS",
        "--root-name",
        "长沙市",
        cwd=tmp_path,
        CLOUDMGR_DATA_DIR=str(place),
    )
    assert (place / "cloudmgr.db").exists()
    run(installed / "cloudmgr", "db", "check", cwd=tmp_path, CLOUDMGR_DATA_DIR=str(place))

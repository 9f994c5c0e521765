"""A driver from another package: the example that docs/providers.md leads through is installed, loaded and proved."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from providers import registry
from providers.errors import Unsupported
from tests.providers.checks import ROOT, assert_safe

EXAMPLE = Path(__file__).parent / "example_driver"
GUIDE = ROOT / "docs" / "providers.md"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder the example was installed into, by pip, from its source, without an index."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-index"]
    command += ["--no-deps", "--no-build-isolation", "--target", str(target), str(EXAMPLE)]
    subprocess.run(command, check=True, timeout=300)
    return target


def run(site, *command, **environment):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])} | environment
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def test_installed_example_passes_the_whole_contract(site):
    done = run(site, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLE / "contract_of_filecloud.py"))
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert re.search(r"\b[4-9]\d passed", done.stdout), done.stdout[-500:]
    assert "skipped" not in done.stdout


def test_settings_of_an_installed_driver_are_checked_as_those_of_ours(site, tmp_path):
    backend = '[[backends]]\nname = "f"\nprovider = "filecloud"\ndatacenter = "d"\nfolder = "/srv/share"\n'
    (tmp_path / "cloudmgr.toml").write_text(backend)
    command = ("-c", "from cloudmgr.cli import main; main()", "config", "check")
    done = run(site, *command, CLOUDMGR_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "backends[0].images" in done.stdout + done.stderr, "a missing option is named"


def test_driver_that_is_not_installed_is_not_known():
    assert "filecloud" not in registry.names()
    with pytest.raises(Unsupported) as caught:
        registry.load("filecloud")
    assert_safe(caught.value)
    assert "libvirt" in str(caught.value)


def offered(folder, package, name, value):
    """Put an entry point on a path, as an installed package has it."""
    info = folder / f"{package.replace('-', '_')}-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[cloudmgr.providers]\n{name} = {value}\n")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("libvirt", "json:loads", "Uninstall all but one"),
        ("broken", "no_such_module:Driver", "cannot be imported"),
        ("broken", "json:no_such_name", "cannot be imported"),
        ("broken", "json:loads", "is not a provider of this name"),
        ("misnamed", "providers.simulated.provider:SimulatedProvider", "is not a provider of this name"),
    ],
)
def test_offer_that_cannot_be_taken_is_refused_with_the_way_out(tmp_path, monkeypatch, name, value, said):
    offered(tmp_path, "acme-drivers", name, value)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unsupported) as caught:
        registry.load(name)
    assert said in str(caught.value)
    assert "acme-drivers" in str(caught.value), "the package to mend is named"
    assert_safe(caught.value)


def test_two_packages_with_one_name_are_both_named(tmp_path, monkeypatch):
    for package in ("acme-drivers", "zenith-drivers"):
        offered(tmp_path / package, package, "same", "json:loads")
        monkeypatch.syspath_prepend(tmp_path / package)
    with pytest.raises(Unsupported, match="acme-drivers, zenith-drivers"):
        registry.load("same")


def test_guide_shows_the_example_itself():
    section = GUIDE.read_text().split("\n## How to add one\n")[1].split("\n## ")[0]
    part = section.split("\n### From a package of your own\n")[1]
    blocks = re.findall(r"```(?:python|toml)\n(.*?)```", part, re.DOTALL)
    assert len(blocks) >= 4
    files = {file.name: file.read_text() for file in EXAMPLE.glob("*.*")}
    for block in blocks:
        for piece in re.split(r"^ *\.\.\.\n", block, flags=re.MULTILINE):
            assert any(piece in text for text in files.values()), f"not in the example:\n{piece}"


def test_example_is_short_enough_to_be_read():
    written = [line for line in (EXAMPLE / "filecloud.py").read_text().splitlines() if line.strip()]
    assert len(written) <= 150

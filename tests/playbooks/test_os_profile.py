"""What a machine is, told from its own os-release: recorded files, because Ansible's facts are wrong for half of these."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
REMOTE = HERE.parent.parent / "playbooks" / "remote"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REMOTE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


os_profile = load("os_profile")

EXPECTED = {
    "kylin-v10-sp1": ("rpm", "SP1"),
    "kylin-v10-sp2": ("rpm", "SP2"),
    "kylin-v10-sp3": ("rpm", "SP3"),
    "kylin-v10-sp3-2403": ("rpm", "SP3 2403"),
    "kylin-desktop-4.0.2": ("deb", ""),
    "uos-20-uel20": ("rpm", ""),
    "uos-20-1070-uel20": ("rpm", ""),
    "uos-20-uelc20": ("rpm", ""),
    "uos-20-fou": ("deb", ""),
    "anolis-8.8": ("rpm", ""),
    "openeuler-22.03-sp3": ("rpm", ""),
    "openeuler-24.03": ("rpm", ""),
    "debian-12": ("deb", ""),
    "tencentos-2.4": ("rpm", ""),
}


def machine(tmp_path: Path, os_release: str, *present: str) -> str:
    """Make a folder that looks like a machine; `present` are files, or folders when they end with a slash."""
    (tmp_path / "etc").mkdir(exist_ok=True)
    (tmp_path / "etc/os-release").write_text(os_release)
    for name in present:
        path = tmp_path / name.strip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.touch()
    return str(tmp_path)


def test_every_recorded_file_has_an_expectation():
    assert {path.stem for path in (HERE / "os_release").glob("*.txt")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_family_and_service_pack_come_from_os_release_alone(name):
    fields = os_profile.parse_os_release((HERE / "os_release" / f"{name}.txt").read_text())
    assert (os_profile.family_of(fields, {}), os_profile.service_pack_of(fields)) == EXPECTED[name]


@pytest.mark.parametrize(
    ("name", "tools", "pkg"),
    [
        ("uos-20-uel20", ["usr/bin/dnf", "usr/bin/yum"], "dnf"),
        ("uos-20-uel20", ["usr/bin/apt-get"], "none"),  # what Ansible would have called
        ("kylin-v10-sp3", ["usr/bin/yum"], "yum"),
        ("debian-12", ["usr/bin/apt-get"], "apt"),
        ("debian-12", [], "none"),
    ],
)
def test_the_package_tool_is_one_of_its_family_that_is_there(tmp_path, name, tools, pkg):
    root = machine(tmp_path, (HERE / "os_release" / f"{name}.txt").read_text(), *tools)
    assert os_profile.profile(root)["pkg"] == pkg


def test_an_unknown_system_is_told_by_its_package_database(tmp_path):
    root = machine(tmp_path, 'ID=newos\nNAME="New OS"\n', "var/lib/rpm/")
    assert os_profile.profile(root)["family"] == "rpm"


def test_an_unknown_system_without_a_database_stays_unknown(tmp_path):
    assert os_profile.profile(machine(tmp_path, "ID=newos\n"))["family"] == "unknown"


def test_a_machine_without_os_release_is_described_all_the_same(tmp_path):
    found = os_profile.profile(str(tmp_path))
    assert (found["id"], found["family"], found["pkg"], found["service_manager"]) == (
        "unknown",
        "unknown",
        "none",
        "none",
    )


def test_quotes_comments_and_broken_lines_of_os_release_are_read():
    text = '# comment\nID=\'kylin\'\nNAME="a \\"b\\""\nBROKEN="half\nnonsense\n\nVERSION_ID=V10\n'
    fields = os_profile.parse_os_release(text)
    assert fields == {"ID": "kylin", "NAME": 'a "b"', "BROKEN": "half", "VERSION_ID": "V10"}


@pytest.mark.parametrize(
    ("config", "includes"),
    [
        ("# c\n\nInclude /etc/ssh/sshd_config.d/*.conf\nPort 22\n", True),
        ("Port 22\nInclude /etc/ssh/sshd_config.d/*.conf\n", False),  # too late: the first value stands
        ("Port 22\n", False),
        ("", False),
    ],
)
def test_drop_ins_count_only_when_they_are_read_first(config, includes):
    assert os_profile.includes_drop_ins(config) is includes


def test_ssh_server_and_resolver_are_told_by_what_is_installed(tmp_path):
    root = machine(tmp_path, "ID=debian\n", "usr/sbin/dropbear", "etc/NetworkManager/conf.d/")
    found = os_profile.profile(root)
    assert (found["ssh_server"], found["resolver"]) == ("dropbear", "networkmanager")

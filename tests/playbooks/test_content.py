"""What holds for all content: defaults told once, no trust in Ansible's distribution facts, old Pythons, both languages."""

import ast
from pathlib import Path

import pytest
import yaml

from cloudmgr.adapters.catalogue import load_catalogue

CONTENT = Path(__file__).parent.parent.parent / "playbooks"
PO = Path(__file__).parent.parent.parent / "cloudmgr" / "locale" / "zh_CN" / "playbooks.po"


def role_defaults() -> dict:
    found: dict = {}
    for file in CONTENT.glob("roles/*/defaults/main.yml"):
        found |= yaml.safe_load(file.read_text())
    return found


def test_the_schema_and_the_roles_tell_the_same_defaults():
    schema = load_catalogue()["configure_server"].variables["properties"]
    internal = {"os_profile", "os_profile_report", "sysctl_baseline"}
    assert {name: each["default"] for name, each in schema.items()} == {
        name: value for name, value in role_defaults().items() if name not in internal
    }


@pytest.mark.parametrize("file", sorted(CONTENT.glob("remote/*.py")), ids=lambda file: file.name)
def test_what_runs_on_servers_is_written_for_python_3_6_without_libraries(file):
    tree = ast.parse(file.read_text(), feature_version=(3, 6))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {
        "contextlib",
        "json",
        "os",
        "pathlib",
        "platform",
        "pwd",
        "re",
        "shlex",
        "stat",
        "subprocess",
        "tempfile",
    }


def test_no_role_trusts_ansibles_idea_of_the_distribution():
    for file in CONTENT.rglob("*.yml"):
        text = file.read_text()
        for word in (
            "ansible_os_family",
            "ansible_distribution",
            "ansible_pkg_mgr",
            "ansible_service_mgr",
            "gather_facts: true",
        ):
            assert word not in text, f"{file} uses {word}"


def test_every_role_configured_has_a_version_in_the_marker():
    play = yaml.safe_load((CONTENT / "configure_server.yml").read_text())[0]
    assert set(play["vars"]["role_versions"]) == set(play["roles"]) - {"os_profile", "marker"}


def names(node) -> set[str]:
    if isinstance(node, list):
        return {name for each in node for name in names(each)}
    if isinstance(node, dict) and "name" in node:
        inner = {
            name for key in ("block", "rescue", "always", "tasks", "post_tasks") for name in names(node.get(key, []))
        }
        return {node["name"]} | inner
    return set()


def test_every_task_name_and_role_has_a_chinese_line():
    files = [*CONTENT.glob("roles/*/tasks/*.yml"), *CONTENT.glob("roles/*/handlers/*.yml"), *CONTENT.glob("*.yml")]
    wanted = {name for file in files for name in names(yaml.safe_load(file.read_text()))}
    wanted |= {file.name for file in (CONTENT / "roles").iterdir()}
    lines = PO.read_text().splitlines()
    told = {line[7:-1].replace('\\"', '"') for line in lines if line.startswith('msgid "')}
    assert wanted <= told

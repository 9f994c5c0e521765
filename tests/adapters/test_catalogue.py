"""The catalogue: what is in it, what it refuses, and that a digest says which content a run used."""

import shutil
from pathlib import Path

import pytest

from cloudmgr.adapters.catalogue import InvalidCatalogueError, load_catalogue, packaged_catalogue, validate_variables
from cloudmgr.domain.errors import InvalidInput

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 wang@district"


@pytest.fixture
def content(tmp_path: Path) -> Path:
    copied = tmp_path / "content"
    shutil.copytree(packaged_catalogue().parent, copied, ignore=shutil.ignore_patterns("__pycache__"))
    return copied


def entry(name: str = "configure_server"):
    return load_catalogue()[name]


def test_the_packaged_entries_say_what_pages_need():
    configure, facts = entry(), entry("collect_facts")
    assert (configure.needs_approval, configure.frozen_in_key_period) == (True, True)
    assert (facts.needs_approval, facts.frozen_in_key_period) == (False, False)
    for one in (configure, facts):
        assert one.path.is_file()
        assert one.timeout_s > 0
        assert set(one.title) == set(one.description) == {"zh", "en"}


def test_no_variables_at_all_are_right_and_give_every_default():
    filled = validate_variables(entry(), {})
    assert filled["time_zone"] == "Asia/Shanghai"
    assert "本系统为非涉密系统" in filled["banner_text"]
    assert set(filled) == set(entry().variables["properties"])


def test_defaults_are_copies_so_that_nobody_changes_the_schema():
    validate_variables(entry(), {})["sysctl"]["net.x"] = 1
    assert validate_variables(entry(), {})["sysctl"] == {}


def test_what_is_given_wins_over_the_default():
    given = {
        "time_zone": "Asia/Urumqi",
        "extra_accounts": [{"name": "wangfang", "ssh_keys": [KEY]}],
        "sysctl": {"vm.swappiness": 10},
    }
    assert validate_variables(entry(), given).items() >= given.items()


@pytest.mark.parametrize(
    ("variables", "field"),
    [
        ({"ansible_connection": "local"}, "variables.ansible_connection"),
        ({"time_zone": "../../etc/shadow"}, "variables.time_zone"),
        ({"time_zone": "Asia/Shanghai\n"}, "variables.time_zone"),
        ({"ntp_servers": ["ntp.example\nserver evil"]}, "variables.ntp_servers.0"),
        ({"dns_servers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]}, "variables.dns_servers"),
        ({"banner_text": ""}, "variables.banner_text"),
        ({"extra_accounts": [{"name": "root", "ssh_keys": [KEY]}]}, "variables.extra_accounts.0.name"),
        ({"extra_accounts": [{"name": "wang"}]}, "variables.extra_accounts.0.ssh_keys"),
        (
            {"extra_accounts": [{"name": "wang", "ssh_keys": [KEY + "\nssh-rsa AAAA"]}]},
            "variables.extra_accounts.0.ssh_keys.0",
        ),
        ({"password_min_length": 6}, "variables.password_min_length"),
        ({"password_max_days": 365}, "variables.password_max_days"),
        ({"login_failures": True}, "variables.login_failures"),
        ({"sysctl": {"kernel.x": "1\nkernel.y = 2"}}, "variables.sysctl.kernel.x"),
        ({"sysctl": {"x; reboot": 1}}, "variables.sysctl"),
        ({"repo_url": "http://repo/x\n[other]"}, "variables.repo_url"),
        ({"repo_url": "ftp://repo"}, "variables.repo_url"),
        ({"packages": ["-y; reboot"]}, "variables.packages.0"),
        ({"agent_hooks": [{"name": "a", "command": "rm -rf /", "creates": "/x"}]}, "variables.agent_hooks.0.command"),
        ({"agent_hooks": [{"name": "a", "command": ["x"], "creates": "relative"}]}, "variables.agent_hooks.0.creates"),
    ],
)
def test_a_bad_variable_is_refused_by_its_field(variables, field):
    with pytest.raises(InvalidInput) as refused:
        validate_variables(entry(), variables)
    assert field in [each["field"] for each in refused.value.errors]
    assert all(each["message"] for each in refused.value.errors)
    assert refused.value.field == refused.value.errors[0]["field"]


def test_every_bad_field_is_named_at_once():
    with pytest.raises(InvalidInput) as refused:
        validate_variables(entry(), {"one": 1, "two": 2, "time_zone": 3, "extra_accounts": [{}]})
    fields = {each["field"] for each in refused.value.errors}
    accounts = {"variables.extra_accounts.0.name", "variables.extra_accounts.0.ssh_keys"}
    assert fields == {"variables.one", "variables.two", "variables.time_zone", *accounts}


@pytest.mark.parametrize(
    "changed",
    ["configure_server.yml", "roles/banner/tasks/main.yml", "remote/config_files.py", "catalog/configure_server.yml"],
)
def test_the_digest_changes_with_any_content_a_run_uses(content, changed):
    before = load_catalogue([content / "catalog"])["configure_server"].digest
    assert before == entry().digest
    (content / "roles" / "banner" / "tasks" / "__pycache__").mkdir()
    (content / "roles" / "banner" / "tasks" / "__pycache__" / "x.pyc").write_text("x")
    assert load_catalogue([content / "catalog"])["configure_server"].digest == before
    with (content / changed).open("a") as file:
        file.write("# changed\n")
    assert load_catalogue([content / "catalog"])["configure_server"].digest != before


def test_a_citys_own_folder_adds_and_replaces_entries(content):
    own = content / "catalog" / "collect_facts.yml"
    text = own.read_text()
    own.write_text(text.replace("timeout_s: 300", "timeout_s: 77"))
    (content / "catalog" / "more.yml").write_text(text.replace("name: collect_facts", "name: more"))
    loaded = load_catalogue([packaged_catalogue(), content / "catalog"])
    assert loaded["collect_facts"].timeout_s == 77
    assert loaded["more"].path == content / "collect_facts.yml"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("timeout_s: 300\n", ""),
        ("name: collect_facts", "name: [\n"),
        ("file: collect_facts.yml", "file: ../../etc/passwd"),
        ("file: collect_facts.yml", "file: absent.yml"),
        ("additionalProperties: false", "additionalProperties: true"),
        ("properties: {}", "properties: {a: {type: string}}"),
        ("properties: {}", "properties: {a: {type: 7, default: x}}"),
    ],
)
def test_a_file_that_is_no_entry_is_refused_by_name(content, old, new):
    file = content / "catalog" / "collect_facts.yml"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InvalidCatalogueError, match=r"collect_facts\.yml"):
        load_catalogue([content / "catalog"])

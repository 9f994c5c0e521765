"""Rehearsals (模拟执行): the playbook really runs through ansible-runner, and this machine is as before."""

import hashlib
import resource
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from cloudmgr.adapters.ansible import Host, forget_server
from cloudmgr.domain import clock
from cloudmgr.domain.errors import InvalidInput

from .runs import Folders, hosts, rehearse

WATCHED = [
    "/etc/hosts",
    "/etc/hostname",
    "/etc/issue",
    "/etc/motd",
    "/etc/login.defs",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/passwd",
]


def this_machine() -> dict[str, str]:
    told = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in WATCHED if Path(path).exists()}
    return told | {folder: str(sorted(Path(folder).glob("**/*cloudmgr*"))) for folder in ("/etc", "/home")}


def test_a_rehearsal_goes_through_every_role_and_changes_nothing_here(tmp_path):
    before, servers = this_machine(), hosts(2)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    result, events = rehearse(tmp_path, "configure_server", servers)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert this_machine() == before
    assert (result.state, result.reason) == ("succeeded", None)
    for server in servers:
        told = result.hosts[server.server_id]
        assert (told.state, told.failed, told.reason) == ("ok", 0, None)
        assert told.changed >= 4
        assert told.facts == {}, "what this machine is says nothing about the simulated server"
    roles = {event.role for event in events}
    assert roles >= {"os_profile", "names", "time", "banner", "accounts", "hardening", "packages", "marker"}
    cpu_s = used.ru_utime + used.ru_stime - spent.ru_utime - spent.ru_stime
    print(f"rehearsal of 2 servers: {cpu_s:.1f} s of processor")
    assert cpu_s < 8


def test_a_rehearsal_with_every_kind_of_variable_is_clean_too(tmp_path):
    before = this_machine()
    variables = {
        "extra_accounts": [{"name": "cloudmgr-test", "ssh_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1 wang"]}],
        "ntp_servers": ["10.0.0.1"],
        "dns_servers": ["10.0.0.1"],
        "repo_url": "http://10.0.0.1/repo",
        "repo_gpg_key_url": "http://10.0.0.1/key",
        "sysctl": {"vm.swappiness": 10},
        "agent_hooks": [
            {"name": "agent", "command": ["touch", str(tmp_path / "agent")], "creates": str(tmp_path / "agent")}
        ],
    }
    result, events = rehearse(
        tmp_path, "configure_server", hosts(), variables=variables, secrets={"agent_token": "s3cret-token"}
    )
    assert (result.state, result.reason) == ("succeeded", None)
    assert this_machine() == before
    assert not (tmp_path / "agent").exists()
    changed = {event.task for event in events if event.state == "changed"}
    assert {"Make the extra accounts", "Write the extra accounts' SSH keys", "Run the agent hooks"} <= changed


def test_events_come_in_order_with_time_server_and_state(tmp_path):
    servers = hosts(2)
    _, events = rehearse(tmp_path, "collect_facts", servers)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert all(
        event.at.utcoffset() == timedelta(0) and abs(clock.now() - event.at) < timedelta(minutes=5) for event in events
    )
    told = {(event.task, event.state, event.server_id) for event in events}
    assert ("Read what the machine is", "started", None) in told
    assert {("Read what the machine is", "ok", server.server_id) for server in servers} <= told


def test_a_changed_task_says_which_files(tmp_path):
    _, events = rehearse(tmp_path, "configure_server", hosts())
    banner = next(event for event in events if event.role == "banner" and event.state == "changed")
    assert banner.message == "/etc/issue, /etc/issue.net, /etc/motd"


def test_a_failing_server_says_why_and_the_other_goes_on(tmp_path):
    good, bad = hosts(2)
    result, _ = rehearse(
        tmp_path,
        "fails.yml",
        [good, bad],
        variables={"broken": False},
        host_variables={bad.server_id: {"broken": True}},
    )
    assert result.state == "failed"
    assert str(result.reason) == "The playbook failed on 1 of 2 servers."
    assert result.hosts[good.server_id].state == "ok"
    assert result.hosts[bad.server_id].state == "failed"
    assert str(result.hosts[bad.server_id].reason) == f"Task “Look at the disk” failed: no room left on {bad.name}"


def test_a_playbook_that_is_none_fails_every_server_with_ansibles_words(tmp_path):
    result, _ = rehearse(tmp_path, "broken.yml", hosts())
    assert result.state == "failed"
    assert "Ansible stopped early" in str(result.reason)
    assert "broken.yml" in str(result.reason)
    assert [told.state for told in result.hosts.values()] == ["failed"]


def test_an_unreachable_server_is_told_from_a_failing_one(tmp_path):
    server, without = Host(uuid.uuid4(), "app01", "127.0.0.1", port=1), Host(uuid.uuid4(), "app02", None)
    result, _ = rehearse(tmp_path, "collect_facts", [server, without], rehearse=False)
    assert result.state == "failed"
    assert result.hosts[server.server_id].state == "unreachable"
    assert "did not let us in at 127.0.0.1" in str(result.hosts[server.server_id].reason)
    assert "refused" in str(result.hosts[server.server_id].reason)
    assert str(result.hosts[without.server_id].reason) == "Server app02 has no address to log into."


def test_servers_without_addresses_start_no_ansible_at_all(tmp_path):
    result, events = rehearse(tmp_path, "configure_server", hosts(), rehearse=False)
    assert (result.state, events) == ("failed", [])


@pytest.mark.parametrize(
    "text", ["{{ lookup('pipe', 'touch MARK') }}", "{% if 1 %}x{% endif %} 😀 \x85 \ufeff ''' \" \\ {{"]
)
def test_a_variable_is_never_a_template(tmp_path, text):
    text = text.replace("MARK", str(tmp_path / "mark"))
    server = hosts()
    for given in (
        {"variables": {"text": text}},
        {"variables": {}, "host_variables": {server[0].server_id: {"text": text}}},
    ):
        result, events = rehearse(tmp_path, "echo.yml", server, **given)
        assert result.state == "failed"
        assert [event.message for event in events if event.state == "failed"] == [text]
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "name",
    [
        "ansible_connection",
        "ansible_become",
        "cloudmgr_secrets",
        "server",
        "os_profile",
        "role_versions",
        "A",
        "a-b",
        "a\n",
        "",
    ],
)
def test_a_variable_cannot_take_over_the_connection(tmp_path, name):
    server = hosts()
    for given in ({"variables": {name: "local"}}, {"host_variables": {server[0].server_id: {name: "local"}}}):
        with pytest.raises(InvalidInput):
            rehearse(tmp_path, "collect_facts", server, **given)


@pytest.mark.parametrize(
    "host",
    [
        Host(uuid.uuid4(), "a", "-oProxyCommand=id"),
        Host(uuid.uuid4(), "a", "10.0.0.1 x"),
        Host(uuid.uuid4(), "a", "10.0.0.1", user="-l"),
    ],
)
def test_an_address_or_user_cannot_be_an_option_of_ssh(tmp_path, host):
    with pytest.raises(InvalidInput):
        rehearse(tmp_path, "collect_facts", [host], rehearse=False)


def test_a_playbook_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidInput):
        rehearse(tmp_path, "/nowhere/x.yml", hosts())


def test_nothing_of_a_run_is_left_behind(tmp_path):
    folders, server = Folders(tmp_path), hosts()[0]
    rehearse(tmp_path, "collect_facts", [server], on_event=folders)
    assert folders.are_gone()
    assert (tmp_path / "locks" / f"{server.server_id}.lock").read_text() == ""
    forget_server(tmp_path, server.server_id)
    forget_server(tmp_path, server.server_id)
    assert list((tmp_path / "locks").iterdir()) == []


def test_what_the_caller_raises_ends_the_run_and_comes_back(tmp_path):
    folders = Folders(tmp_path)

    def broken_database(event):
        folders(event)
        raise ConnectionError("database gone")

    with pytest.raises(ConnectionError):
        rehearse(tmp_path, "slow.yml", hosts(), variables={"seconds": 7301}, on_event=broken_database)
    assert folders.are_gone()

"""The playbook on real guests: both architectures without systemd, and a full Debian with systemd, cloud-init and OpenSSH.

What it does not prove: services on Arm (the aarch64 guest has none), and rpm systems (docs/playbooks.md says how they are told).
"""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.adapters.ansible import Host, RunResult, TaskEvent, forget_server, run_playbook
from cloudmgr.adapters.catalogue import load_catalogue, validate_variables
from cloudmgr.domain.architectures import Architecture
from providers.base import ServerSpec
from tests.providers.libvirt_lab import lab, opened, ssh

pytestmark = pytest.mark.lab("libvirt")

IMAGES = {
    "debian-12-aarch64": Architecture.AARCH64,
    "debian-12-x86_64": Architecture.X86_64,
    "debian-12-full": Architecture.X86_64,
}
SMALL = ("debian-12-aarch64", "debian-12-x86_64")
OTHER_HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHxcOYnkZ1D8Y2AkXrrcN4t0p2S1FvO0cQ7H4w6zq1aB"
TOKEN = "enrol-7f3a-token"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1GzVbQ8ltm2V3lHkC4wV7vNqv9m2o8b0b1o3W6nVZ wangfang"
VARIABLES = {
    "extra_accounts": [{"name": "wangfang", "ssh_keys": [KEY]}],
    "agent_hooks": [
        {
            "name": "agent",
            "command": ["/bin/sh", "-c", "umask 077; cat > /etc/agent-token"],
            "creates": "/etc/agent-token",
        }
    ],
}


@dataclass
class Guests:
    """Guests built when a test first needs them, several at once where it needs several."""

    lab: dict
    provider: Any
    work_dir: Path
    hosts: dict[str, Host] = field(default_factory=dict)
    events: list[TaskEvent] = field(default_factory=list)

    def need(self, *images: str) -> None:
        key = Path(self.lab["ssh_key_file"] + ".pub").read_text().strip()
        missing = {image: uuid.uuid4() for image in images if image not in self.hosts}
        for image, token in missing.items():
            self.hosts[image] = Host(token, "prd-" + image.removeprefix("debian-12-").replace("_", "-"), None)
            spec = ServerSpec(
                self.hosts[image].name,
                IMAGES[image],
                vcpus=1,
                memory_mib=768,
                system_disk_gib=2,
                zone=f"lab-{IMAGES[image]}",
                image=image,
                networks=("lab",),
                ssh_keys=(key,),
            )
            try:
                self.provider.create_server(spec, token)
            except Exception:
                del self.hosts[image]  # so that the next test says so too, and not something else
                raise
        for image, token in missing.items():
            self.hosts[image] = replace(self.hosts[image], address=address(self.provider, token))
            until_ready(self, image)

    def run(self, *images: str, playbook: str = "configure_server", check: bool = False, **other) -> RunResult:
        self.need(*images)
        entry = load_catalogue()[playbook]
        started = time.monotonic()
        wanted = {
            "run_id": uuid.uuid4(),
            "playbook": str(entry.path),
            "hosts": [self.hosts[image] for image in images],
            "variables": validate_variables(entry, VARIABLES) if playbook == "configure_server" else {},
            "host_variables": {self.hosts[image].server_id: {"request_number": "SQ20261122-0001"} for image in images},
            "secrets": {"agent_token": TOKEN},
            "private_key": Path(self.lab["ssh_key_file"]).read_text(),
            "known_hosts": None,
            "rehearse": False,
            "check": check,
            "timeout_s": 900,
            "work_dir": self.work_dir,
            "on_event": self.events.append,
            "is_cancelled": lambda: False,
            "command_prefix": ["ip", "netns", "exec", self.lab["netns"]],
            **other,
        }
        result = run_playbook(**wanted)
        print(f"{playbook}{' --check' if check else ''} on {len(images)} guests: {time.monotonic() - started:.0f} s")
        return result

    def ssh(self, image: str, command: str) -> str:
        host = self.hosts[image]
        done = ssh(host.address, command, user=host.user)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def delete(self) -> None:
        for host in self.hosts.values():
            if (server := self.provider.find_server(host.server_id)) is not None:
                self.provider.delete_server(server.ref)
        self.provider.close()


@pytest.fixture(scope="module")
def guests(tmp_path_factory) -> Iterator[Guests]:
    made = Guests(lab(), opened(tmp_path_factory.mktemp("state")), tmp_path_factory.mktemp("work"))
    yield made
    made.delete()


def address(provider, token: uuid.UUID) -> str:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        server = provider.find_server(token)
        if server is not None and server.ipv4:
            return server.ipv4[0]
        time.sleep(1)
    raise AssertionError("the guest took no address")


def until_ready(made: Guests, image: str) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            made.ssh(image, "test ! -e /run/systemd/system || cloud-init status | grep -q 'status: done'")
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(2)
        else:
            return


def test_check_mode_is_clean_on_fresh_guests_and_changes_nothing(guests):
    guests.need(*SMALL)
    before = {image: guests.ssh(image, "find /etc -newer /etc/hostname | sort; md5sum /etc/hosts") for image in SMALL}
    result = guests.run(*SMALL, check=True, variables={})
    assert (result.state, result.reason) == ("succeeded", None)
    assert all(told.changed > 0 for told in result.hosts.values())
    assert {
        image: guests.ssh(image, "find /etc -newer /etc/hostname | sort; md5sum /etc/hosts") for image in SMALL
    } == before


def test_a_run_configures_guests_of_both_architectures_and_says_what_they_are(guests):
    result = guests.run(*IMAGES)
    assert (result.state, result.reason) == ("succeeded", None)
    for image, arch in IMAGES.items():
        facts = result.hosts[guests.hosts[image].server_id].facts
        assert (facts["arch"], facts["os_family"], facts["os_id"]) == (arch, "deb", "debian")
        assert facts["kernel"].startswith("6.1")
        marker = json.loads(guests.ssh(image, "cat /etc/cloudmgr/server.json"))
        assert (marker["server_id"], marker["request"]) == (str(guests.hosts[image].server_id), "SQ20261122-0001")
        assert guests.ssh(image, "hostname").strip() == guests.hosts[image].name
        assert guests.ssh(image, "readlink /etc/localtime; date +%z").split() == [
            "/usr/share/zoneinfo/Asia/Shanghai",
            "+0800",
        ]
        assert "本系统为非涉密系统" in guests.ssh(image, "cat /etc/issue.net")
        assert KEY in guests.ssh(image, "sudo cat /home/wangfang/.ssh/authorized_keys")
        assert guests.ssh(image, "/sbin/sysctl -n net.ipv4.conf.all.accept_redirects").strip() == "0"
        assert guests.ssh(image, "sudo cat /etc/agent-token") == TOKEN + "\n"


def test_a_second_run_changes_nothing(guests):
    result = guests.run(*IMAGES)
    assert result.state == "succeeded"
    assert {guests_image(guests, server): told.changed for server, told in result.hosts.items()} == dict.fromkeys(
        IMAGES, 0
    )


def test_check_mode_on_configured_guests_would_change_nothing(guests):
    result = guests.run(*SMALL, check=True, variables={})
    assert (result.state, [told.changed for told in result.hosts.values()]) == ("succeeded", [0, 0])


def test_the_full_guest_has_its_services_configured(guests):
    effective = guests.ssh("debian-12-full", "sudo /usr/sbin/sshd -T").splitlines()
    assert {"permitrootlogin no", "passwordauthentication no", "banner /etc/issue.net", "maxauthtries 5"} <= set(
        effective
    )
    assert "-k identity" in guests.ssh("debian-12-full", "sudo /sbin/auditctl -l 2>/dev/null || echo -k identity")
    assert guests.ssh("debian-12-full", "systemctl is-active ssh systemd-journald").split() == ["active", "active"]


def test_the_secret_is_in_no_log_of_the_guest_and_in_no_event(guests):
    assert guests.ssh("debian-12-full", "sudo journalctl --no-pager | grep -c " + TOKEN + " || true").strip() == "0"
    assert TOKEN not in repr(guests.events)


def test_another_host_key_is_refused(guests):
    image = "debian-12-x86_64"
    assert guests.run(image, playbook="collect_facts").state == "succeeded"
    host = guests.hosts[image]
    kept = guests.work_dir / "known_hosts" / str(host.server_id)
    assert str(host.server_id) in kept.read_text()
    kept.write_text(f"{host.server_id} {OTHER_HOST_KEY}\n")  # of another type than the guest's may be: refused as well
    result = guests.run(image, playbook="collect_facts")
    assert result.hosts[host.server_id].state == "unreachable"
    assert "host key" in str(result.hosts[host.server_id].reason).lower()
    forget_server(guests.work_dir, host.server_id)
    assert guests.run(image, playbook="collect_facts").state == "succeeded"


def test_known_hosts_given_must_match(guests):
    image = "debian-12-aarch64"
    result = guests.run(image, playbook="collect_facts", known_hosts="")
    assert result.hosts[guests.hosts[image].server_id].state == "unreachable"


def guests_image(guests: Guests, server: uuid.UUID) -> str:
    return next(image for image, host in guests.hosts.items() if host.server_id == server)

"""Tests of what a driver can do with servers beside building them; those of other things stand in the two files beside.

`@capability` gives a test to the drivers that inherit the class of that name and to no other.
"""

import uuid

import pytest

from providers.base import Changes, PowerState
from providers.capabilities import (
    CAPABILITIES,
    CloudQuota,
    Console,
    Incremental,
    PowerControl,
    Resizing,
    Snapshots,
    capabilities,
)
from providers.errors import InvalidSpec, NoCapacity, NotFound, Unsupported
from tests.providers.capabilities_disks import DiskContract
from tests.providers.capabilities_network import NetworkContract
from tests.providers.checks import claimed_by
from tests.providers.hooks import capability

ABSENT = "no-such-server"


class CapabilityContract(DiskContract, NetworkContract):
    """Inherited through ProviderContract."""

    def test_driver_claims_what_this_suite_proves(self, provider):
        claimed = claimed_by(self.driver or type(provider))
        assert claimed == {name for name, mixin in CAPABILITIES.items() if isinstance(provider, mixin)}
        assert provider.unable() == self.unable
        assert set(capabilities(provider)) == claimed - self.unable

    @pytest.mark.parametrize("name", list(CAPABILITIES))
    def test_what_this_installation_is_unable_to_do_says_so(self, provider, name):
        if name in self.unable:
            call = _A_CALL_OF[name]
            with self.refused(Unsupported):
                call(provider)

    # Power

    @capability("power")
    def test_power_goes_off_and_on_and_twice_is_once(self, provider, shared):
        assert isinstance(provider, PowerControl)
        ref = shared[2].ref
        self.insist(lambda: provider.start_server(ref))
        self.stop(provider, ref)
        self.insist(lambda: provider.stop_server(ref))
        assert provider.get_server(ref).power is PowerState.STOPPED
        self.start(provider, ref)
        self.insist(lambda: provider.start_server(ref))
        self.insist(lambda: provider.reboot_server(ref))
        self.wait_until_running(provider, ref)

    @capability("power")
    def test_power_of_the_absent_is_not_found(self, provider):
        assert isinstance(provider, PowerControl)
        for call in (provider.start_server, provider.stop_server, provider.reboot_server):
            with self.refused(NotFound):
                call(ABSENT)

    # Size

    @capability("resize")
    def test_resize_needs_a_stopped_server_and_is_exact(self, provider, shared):
        assert isinstance(provider, Resizing)
        ref = shared[2].ref
        before = provider.get_server(ref)
        vcpus, memory_mib = self.other_size
        with self.refused(Unsupported):
            provider.resize_server(ref, vcpus=vcpus, memory_mib=memory_mib)
        self.stop(provider, ref)
        seen = self.resize(provider, ref, vcpus, memory_mib)
        assert (seen.system_disk_gib, seen.data_disk_gib) == (before.system_disk_gib, before.data_disk_gib)
        with self.refused(InvalidSpec):
            provider.resize_server(ref, vcpus=0, memory_mib=memory_mib)
        with self.refused(InvalidSpec, NoCapacity):
            provider.resize_server(ref, vcpus=1_000_000, memory_mib=memory_mib)
        seen = self.resize(provider, ref, before.vcpus, before.memory_mib)
        self.insist(lambda: provider.resize_server(ref, vcpus=seen.vcpus, memory_mib=seen.memory_mib))
        self.start(provider, ref)
        assert provider.get_server(ref).token == shared[1]

    @capability("resize")
    def test_resize_of_the_absent_is_not_found(self, provider):
        assert isinstance(provider, Resizing)
        vcpus, memory_mib = self.other_size
        with self.refused(NotFound):
            provider.resize_server(ABSENT, vcpus=vcpus, memory_mib=memory_mib)

    # Snapshots

    @capability("snapshots")
    def test_snapshots_are_kept_reverted_to_and_removed(self, provider, shared):
        assert isinstance(provider, Snapshots)
        _, token, server = shared
        ref = server.ref
        if isinstance(provider, PowerControl):
            self.stop(provider, ref)
        made = self.insist(lambda: provider.create_snapshot(ref, "before-upgrade"))
        assert made.name == "before-upgrade"
        again = self.insist(lambda: provider.create_snapshot(ref, "before-upgrade"))
        assert again.ref == made.ref, "the same name on the same server is the same snapshot"
        listed = self.wait_for(lambda: provider.list_snapshots(ref), bool)
        assert [(s.ref, s.name) for s in listed] == [(made.ref, "before-upgrade")]
        self.insist(lambda: provider.revert_snapshot(ref, made.ref))
        rest = {PowerState.RUNNING, PowerState.STOPPED}
        seen = self.wait_for(lambda: provider.get_server(ref), lambda seen: seen.power in rest)
        assert seen.token == token
        for _ in range(2):
            self.insist(lambda: provider.delete_snapshot(ref, made.ref))
        self.wait_for(lambda: provider.list_snapshots(ref), lambda seen: seen == [])
        with self.refused(NotFound):
            provider.revert_snapshot(ref, made.ref)
        if isinstance(provider, PowerControl):
            self.start(provider, ref)

    @capability("snapshots")
    def test_snapshots_of_the_absent_are_not_found(self, provider):
        assert isinstance(provider, Snapshots)
        for call in (lambda: provider.create_snapshot(ABSENT, "s"), lambda: provider.list_snapshots(ABSENT)):
            with self.refused(NotFound):
                call()

    @capability("snapshots")
    def test_deleting_a_server_takes_its_snapshots(self, provider, token):
        assert isinstance(provider, Snapshots)
        made = self.build(provider, self.spec_for(provider, self.arch), token)
        if isinstance(provider, PowerControl):
            self.stop(provider, made.ref)
        self.insist(lambda: provider.create_snapshot(made.ref, "kept"))
        self.clear_away(provider, token)
        self.wait_for(lambda: self.leftovers(provider, token), lambda seen: seen == [])

    # Console

    @capability("console")
    def test_console_is_told_without_its_password_in_sight(self, provider, shared):
        assert isinstance(provider, Console)
        addresses = self.insist(lambda: provider.console_addresses(shared[2].ref))
        assert {address.kind for address in addresses} <= {"vnc", "serial"}
        assert addresses
        for address in addresses:
            assert address.path or (address.host and address.port)
            assert not address.password or address.password not in repr(address)
        with self.refused(NotFound):
            provider.console_addresses(ABSENT)

    # Changes

    @capability("incremental")
    def test_changes_begin_with_everything(self, provider, shared):
        assert isinstance(provider, Incremental)
        first = self.wait_for(
            lambda: provider.list_changes(None),
            lambda seen: shared[2].ref in {server.ref for server in seen.servers},
        )
        assert first.is_full
        assert {s.ref for s in first.servers} == {s.ref for s in provider.list_servers()}
        assert first.gone == ()

    @capability("incremental")
    def test_changes_tell_what_came_and_what_went(self, provider, shared, token):
        assert isinstance(provider, Incremental)
        told = Told(provider.list_changes(None).cursor)
        made = self.build(provider, self.spec_for(provider, self.arch), token)
        seen = self.wait_for(
            lambda: told.follow(provider), lambda told: told.servers.get(made.ref) is PowerState.RUNNING
        )
        assert made.ref not in seen.gone
        self.clear_away(provider, token)
        self.wait_for(lambda: told.follow(provider), lambda told: made.ref in told.gone)
        assert shared[2].ref not in told.gone

    @capability("incremental")
    def test_cursor_serves_another_connection_or_everything_is_told_again(self, provider, shared):
        assert isinstance(provider, Incremental)
        cursor = provider.list_changes(None).cursor
        other = self.reopened(provider)
        try:
            for given in (cursor, "no-such-cursor", ""):
                seen = other.list_changes(given)
                refs = {server.ref for server in seen.servers}
                assert shared[2].ref not in seen.gone
                assert shared[2].ref in refs or not seen.is_full
                assert seen.is_full or given == cursor, "a lost cursor means everything again"
        finally:
            other.close()

    # The backend's own limits

    @capability("cloud_quota")
    def test_quota_of_the_cloud_is_told_with_its_use(self, provider, shared):
        assert isinstance(provider, CloudQuota)
        seen = provider.read_quota()
        assert seen
        assert len({one.resource for one in seen}) == len(seen)
        for one in seen:
            assert one.resource.replace("_", "").isalpha()
            assert one.used >= 0
            assert one.limit is None or one.limit >= 0
        used = {one.resource: one.used for one in seen}
        assert all(used[name] > 0 for name in ("servers", "vcpus", "memory_mib") if name in used)


class Told:
    """What following the cursor has told so far."""

    def __init__(self, cursor: str) -> None:
        self.cursor = cursor
        self.servers: dict[str, PowerState] = {}
        self.gone: set[str] = set()

    def follow(self, provider: Incremental) -> "Told":
        seen: Changes = provider.list_changes(self.cursor)
        self.cursor = seen.cursor
        if seen.is_full:
            self.gone |= set(self.servers) - {server.ref for server in seen.servers}
            self.servers = {}
        self.servers |= {server.ref: server.power for server in seen.servers}
        self.gone |= set(seen.gone)
        for ref in seen.gone:
            self.servers.pop(ref, None)
        return self


_A_CALL_OF = {
    "power": lambda provider: provider.start_server(ABSENT),
    "resize": lambda provider: provider.resize_server(ABSENT, vcpus=1, memory_mib=512),
    "snapshots": lambda provider: provider.list_snapshots(ABSENT),
    "volumes": lambda provider: provider.find_volume(uuid.uuid4()),
    "fixed_addresses": lambda provider: provider.list_addresses("no-such-network"),
    "port_rules": lambda provider: provider.list_port_rules(ABSENT),
    "public_ips": lambda provider: provider.find_public_address(uuid.uuid4()),
    "evidence": lambda provider: provider.list_resources(),
    "incremental": lambda provider: provider.list_changes(None),
    "console": lambda provider: provider.console_addresses(ABSENT),
    "cloud_quota": lambda provider: provider.read_quota(),
}

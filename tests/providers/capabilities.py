"""Tests of what a driver may or may not be able to do; one that lacks a capability must not claim it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ClassVar

from cloudmgr.domain.architectures import Architecture
from providers.base import Console, PowerControl, PowerState, Resizing, ServerObservation, ServerSpec, Snapshots
from providers.errors import InvalidSpec, NoCapacity, NotFound, Unsupported
from tests.providers.checks import lacks


class CapabilityContract:
    """Inherited through ProviderContract, which gives what is only named here."""

    arch: ClassVar[Architecture]
    spec_for: Callable[..., ServerSpec]
    refused: Callable[..., AbstractContextManager[None]]
    wait_until_running: Callable[..., ServerObservation]
    wait_until_stopped: Callable[..., ServerObservation]
    wait_until_gone: Callable[..., None]
    leftovers: Callable[..., list[str]]

    def test_power_goes_off_and_on_and_twice_is_once(self, provider, shared):
        if lacks(provider, "power"):
            return
        assert isinstance(provider, PowerControl)
        ref = shared[2].ref
        provider.start_server(ref)
        provider.stop_server(ref)
        self.wait_until_stopped(provider, ref)
        provider.stop_server(ref)
        assert provider.get_server(ref).power is PowerState.STOPPED
        provider.start_server(ref)
        self.wait_until_running(provider, ref)
        provider.start_server(ref)
        provider.reboot_server(ref)
        self.wait_until_running(provider, ref)

    def test_power_of_the_absent_is_not_found(self, provider):
        if lacks(provider, "power"):
            return
        assert isinstance(provider, PowerControl)
        for call in (provider.start_server, provider.stop_server, provider.reboot_server):
            with self.refused(NotFound):
                call("no-such-server")

    def test_resize_needs_a_stopped_server_and_is_exact(self, provider, shared):
        if lacks(provider, "resize"):
            return
        assert isinstance(provider, Resizing)
        assert isinstance(provider, PowerControl), "what cannot be stopped cannot be resized"
        ref = shared[2].ref
        before = provider.get_server(ref)
        with self.refused(Unsupported):
            provider.resize_server(ref, vcpus=2, memory_mib=768)
        provider.stop_server(ref)
        self.wait_until_stopped(provider, ref)
        provider.resize_server(ref, vcpus=2, memory_mib=768)
        seen = provider.get_server(ref)
        assert (seen.vcpus, seen.memory_mib) == (2, 768)
        with self.refused(InvalidSpec):
            provider.resize_server(ref, vcpus=0, memory_mib=768)
        with self.refused(InvalidSpec, NoCapacity):
            provider.resize_server(ref, vcpus=1_000_000, memory_mib=768)
        provider.resize_server(ref, vcpus=before.vcpus, memory_mib=before.memory_mib)
        provider.start_server(ref)
        self.wait_until_running(provider, ref)
        with self.refused(NotFound):
            provider.resize_server("no-such-server", vcpus=1, memory_mib=512)

    def test_snapshots_are_kept_reverted_to_and_removed(self, provider, shared):
        if lacks(provider, "snapshots"):
            return
        assert isinstance(provider, Snapshots)
        ref = shared[2].ref
        if isinstance(provider, PowerControl):
            provider.stop_server(ref)
            self.wait_until_stopped(provider, ref)
        made = provider.create_snapshot(ref, "before-upgrade")
        assert made.name == "before-upgrade"
        assert [s.ref for s in provider.list_snapshots(ref)] == [made.ref]
        provider.revert_snapshot(ref, made.ref)
        provider.delete_snapshot(ref, made.ref)
        provider.delete_snapshot(ref, made.ref)
        assert provider.list_snapshots(ref) == []
        with self.refused(NotFound):
            provider.revert_snapshot(ref, made.ref)
        if isinstance(provider, PowerControl):
            provider.start_server(ref)
            self.wait_until_running(provider, ref)

    def test_snapshots_of_the_absent_are_not_found(self, provider):
        if lacks(provider, "snapshots"):
            return
        assert isinstance(provider, Snapshots)
        for call in (
            lambda: provider.create_snapshot("no-such-server", "s"),
            lambda: provider.list_snapshots("no-such-server"),
        ):
            with self.refused(NotFound):
                call()

    def test_deleting_a_server_takes_its_snapshots(self, provider, token):
        if lacks(provider, "snapshots"):
            return
        assert isinstance(provider, Snapshots)
        made = provider.create_server(self.spec_for(provider, self.arch), token)
        self.wait_until_running(provider, made.ref)
        if isinstance(provider, PowerControl):
            provider.stop_server(made.ref)
            self.wait_until_stopped(provider, made.ref)
        provider.create_snapshot(made.ref, "kept")
        provider.delete_server(made.ref)
        self.wait_until_gone(provider, token)
        assert self.leftovers(provider, token) == []

    def test_console_is_told_without_its_password_in_sight(self, provider, shared):
        if lacks(provider, "console"):
            return
        assert isinstance(provider, Console)
        addresses = provider.console_addresses(shared[2].ref)
        assert {address.kind for address in addresses} <= {"vnc", "serial"}
        assert addresses
        for address in addresses:
            assert address.path or (address.host and address.port)
            assert not address.password or address.password not in repr(address)
        with self.refused(NotFound):
            provider.console_addresses("no-such-server")

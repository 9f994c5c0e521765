"""Tests of disks that outlive servers, and of the evidence that nothing of a server is left."""

import uuid
from dataclasses import replace

import pytest

from providers.base import ResourceKind, ResourceObservation, VolumeState
from providers.capabilities import Evidence, Volumes
from providers.errors import Busy, InvalidSpec, NotFound
from tests.providers.hooks import ProviderHooks, capability

STRANGE = ("", "no-such-thing", "../../etc/passwd", "一块不存在的盘", "a'; --")


class DiskContract(ProviderHooks):
    """Inherited through ProviderContract, which gives the fixtures."""

    @pytest.fixture
    def volume_token(self, provider):
        """A token for one test's volume, which is taken away afterwards."""
        token = uuid.uuid4()
        yield token
        self.clear_volume(provider, token)

    @capability("volumes")
    def test_volume_is_made_once_and_exactly(self, provider, volume_token):
        assert isinstance(provider, Volumes)
        spec = self.volume_spec(provider)
        assert provider.find_volume(volume_token) is None
        made = [self.insist(lambda: provider.create_volume(spec, volume_token)) for _ in range(2)]
        assert made[0].ref == made[1].ref
        found = self.wait_for(
            lambda: provider.find_volume(volume_token),
            lambda seen: seen is not None and seen.state is VolumeState.AVAILABLE,
        )
        assert (found.ref, found.token, found.size_gib, found.server) == (
            made[0].ref,
            volume_token,
            spec.size_gib,
            None,
        )
        assert found.name.startswith(spec.name)
        assert found.native_state
        assert [seen.ref for seen in provider.list_volumes() if seen.token == volume_token] == [found.ref]
        other = self.reopened(provider)
        try:
            assert other.find_volume(volume_token) == found, "the token lives in the backend"
            assert other.create_volume(spec, volume_token).ref == found.ref
        finally:
            other.close()

    @capability("volumes")
    def test_volume_is_attached_detached_and_deleted_and_twice_is_once(self, provider, shared, volume_token):
        assert isinstance(provider, Volumes)
        server = shared[2]
        ref = self.volume(provider, volume_token)
        before = provider.get_server(server.ref)
        for _ in range(2):
            self.insist(lambda: provider.attach_volume(ref, server.ref))
        seen = self.wait_for(
            lambda: provider.find_volume(volume_token), lambda seen: seen.state is VolumeState.ATTACHED
        )
        assert (seen.ref, seen.server) == (ref, server.ref)
        after = provider.get_server(server.ref)
        assert (after.system_disk_gib, after.data_disk_gib) == (before.system_disk_gib, before.data_disk_gib), (
            "a volume is not one of the server's own disks"
        )
        with self.refused(Busy):
            provider.delete_volume(ref)
        for _ in range(2):
            self.insist(lambda: provider.detach_volume(ref))

        def detached():
            """A guest that is still booting hears nothing: ask again, as callers do."""
            self.insist(lambda: provider.detach_volume(ref))
            return provider.find_volume(volume_token)

        seen = self.wait_for(detached, lambda seen: seen.state is VolumeState.AVAILABLE)
        assert seen.server is None
        for _ in range(2):
            self.insist(lambda: provider.delete_volume(ref))
        self.wait_for(lambda: provider.find_volume(volume_token), lambda seen: seen is None)
        assert volume_token not in {seen.token for seen in provider.list_volumes()}

    @capability("volumes")
    def test_volume_of_another_server_is_busy_and_outlives_it(self, provider, shared, token, volume_token):
        assert isinstance(provider, Volumes)
        made = self.build(provider, self.spec_for(provider, self.arch), token)
        ref = self.volume(provider, volume_token)
        self.insist(lambda: provider.attach_volume(ref, made.ref))
        self.wait_for(lambda: provider.find_volume(volume_token), lambda seen: seen.server == made.ref)
        with self.refused(Busy):
            provider.attach_volume(ref, shared[2].ref)
        self.clear_away(provider, token)
        seen = self.wait_for(
            lambda: provider.find_volume(volume_token), lambda seen: seen.state is VolumeState.AVAILABLE
        )
        assert (seen.ref, seen.server) == (ref, None)

    @capability("volumes")
    def test_volume_of_no_size_or_nowhere_is_refused(self, provider):
        assert isinstance(provider, Volumes)
        token, spec = uuid.uuid4(), self.volume_spec(provider)
        for wrong in (
            replace(spec, size_gib=0),
            replace(spec, size_gib=-1),
            replace(spec, zone="nowhere"),
        ):
            with self.refused(InvalidSpec):
                provider.create_volume(wrong, token)
        assert provider.find_volume(token) is None

    @capability("volumes")
    def test_absent_volumes_are_not_attached_and_already_deleted(self, provider, shared, volume_token):
        assert isinstance(provider, Volumes)
        for strange in STRANGE:
            provider.delete_volume(strange)
            with self.refused(NotFound):
                provider.attach_volume(strange, shared[2].ref)
        ref = self.volume(provider, volume_token)
        with self.refused(NotFound):
            provider.attach_volume(ref, "no-such-server")
        assert provider.find_volume(volume_token).server is None

    # Evidence

    @capability("evidence")
    def test_evidence_names_what_a_server_has_and_that_it_is_gone(self, provider, token):
        assert isinstance(provider, Evidence)
        made = self.build(provider, self.spec_for(provider, self.arch), token)
        kept = self.insist(lambda: provider.list_resources(token))
        assert {one.token for one in kept} == {token}
        assert ResourceKind.SERVER in {one.kind for one in kept}
        assert {ResourceKind.DISK, ResourceKind.VOLUME} & {one.kind for one in kept}, "no server is without a disk"
        assert len(set(kept)) == len(kept)
        assert {one.ref for one in kept if one.kind is ResourceKind.SERVER} == {made.ref}
        assert _names(self.insist(lambda: provider.still_there(kept))) == _names(kept)
        self.clear_away(provider, token)
        self.wait_for(lambda: self.insist(lambda: provider.still_there(kept)), lambda seen: seen == [])
        self.wait_for(lambda: self.insist(lambda: provider.list_resources(token)), lambda seen: seen == [])

    @capability("evidence")
    def test_evidence_of_a_half_built_server_is_complete(self, provider, token):
        assert isinstance(provider, Evidence)
        self.leave_half_built(provider, self.spec_for(provider, self.arch), token)
        kept = self.insist(lambda: provider.list_resources(token))
        assert kept
        self.clear_away(provider, token)
        self.wait_for(lambda: self.insist(lambda: provider.still_there(kept)), lambda seen: seen == [])

    @capability("evidence")
    def test_what_no_server_uses_is_told_and_what_one_uses_is_not(self, provider, shared):
        assert isinstance(provider, Evidence)
        with self.leftover(provider, uuid.uuid4()) as (kind, ref):
            loose = self.wait_for(provider.list_resources, lambda seen: (kind, ref) in _names(seen))
            assert shared[1] not in {one.token for one in loose}
            assert ResourceKind.SERVER not in {one.kind for one in loose}
            (one,) = [one for one in loose if (one.kind, one.ref) == (kind, ref)]
            assert _names(provider.still_there([one])) == {(kind, ref)}
        self.wait_for(provider.list_resources, lambda seen: (kind, ref) not in _names(seen))
        assert provider.still_there([one]) == []

    @capability("evidence")
    def test_what_never_was_is_not_there(self, provider):
        assert isinstance(provider, Evidence)
        assert provider.still_there([]) == []
        assert provider.list_resources(uuid.uuid4()) == []
        for kind in (ResourceKind.SERVER, ResourceKind.DISK, ResourceKind.NIC):
            assert provider.still_there([ResourceObservation(kind, "no-such-thing", "x")]) == []


def _names(resources):
    return {(one.kind, one.ref) for one in resources}

"""Volumes and evidence of the libvirt driver, seen from inside real guests and from libvirt itself."""

import subprocess
import xml.etree.ElementTree as ET
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.ids import new_id
from providers.base import FixedAddress, PortRule, PowerState, ResourceKind, VolumeSpec, VolumeState
from providers.errors import Busy, InvalidSpec, NoCapacity, ProviderError, UnknownOutcome, Unsupported
from tests.providers.checks import in_threads
from tests.providers.hooks import ProviderHooks
from tests.providers.libvirt_lab import (
    PROC_DOMAIN_ATTACH_DEVICE,
    PROC_DOMAIN_DETACH_DEVICE,
    answers_lost_from,
    files_of,
    foreign_domain,
    lab,
    make_key,
    opened,
    short_tmp_path,
    spec,
    ssh_when_up,
    virsh,
)

try:
    from providers.libvirt import build, storage
except ImportError:  # the SDK comes with the lab, and its absence is reported as the lab's
    build = None

pytestmark = pytest.mark.lab("libvirt")
ARM, X86 = Architecture.AARCH64, Architecture.X86_64


class Patient(ProviderHooks):
    wait_s = 180.0
    poll_s = 0.2


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with closing(opened(tmp_path_factory.mktemp("state"))) as provider:
        yield provider


@contextmanager
def running_guest(provider, folder, arch):
    key, public = make_key(folder)
    token = new_id()
    try:
        ref = provider.create_server(spec(arch, name=f"vol-{arch}".replace("_", "-"), ssh_keys=(public,)), token).ref
        ssh_when_up(provider, ref, "true", key=key)
        yield ref, lambda command: ssh_when_up(provider, ref, command, key=key)
    finally:
        provider.delete_server(str(token))
        assert files_of(token) == []


@pytest.fixture(scope="module")
def guest(provider, tmp_path_factory):
    with running_guest(provider, tmp_path_factory.mktemp("arm"), ARM) as guest:
        yield guest


@pytest.fixture(scope="module")
def x86_guest(provider, tmp_path_factory):
    with running_guest(provider, tmp_path_factory.mktemp("x86"), X86) as guest:
        yield guest


@pytest.fixture
def token(provider):
    token = new_id()
    yield token
    provider.delete_server(str(token))
    assert files_of(token) == []


@pytest.fixture
def volume(provider):
    token = new_id()
    provider.create_volume(volume_spec(), token)
    yield str(token)
    Patient.clear_volume(provider, token)
    assert files_of(token) == []


def volume_spec(**changes):
    return VolumeSpec(**{"name": "数据盘/<一>", "size_gib": 2, "zone": "lab-aarch64", **changes})


def find(provider, ref):
    return next(seen for seen in provider.list_volumes() if seen.ref == ref)


def detached(provider, ref):
    def look():
        provider.detach_volume(ref)
        return find(provider, ref)

    return Patient.wait_for(look, lambda seen: seen.server is None)


def disks_of(ref, *flags):
    description = ET.fromstring(virsh("dumpxml", *flags, ref))
    return [source.get("file") for source in description.findall("devices/disk/source")]


def serial_of(ref):
    return ref.replace("-", "")[-20:]


def in_guest(ref):
    """Shell: wait for a volume by the serial number the guest sees, and name its device."""
    path = f"$(grep -l {serial_of(ref)} /sys/block/vd*/serial)"
    return f"while ! [ {path} ]; do sleep 0.2; done; dev=$(basename $(dirname {path}))"


class TestVolumes:
    def test_running_guest_writes_to_a_volume_and_another_reads_it(self, provider, guest, x86_guest, volume):
        first, run = guest
        provider.attach_volume(volume, first)
        seen = find(provider, volume)
        assert (seen.state, seen.server, seen.name) == (VolumeState.ATTACHED, first, "数据盘/<一>")
        write = "cat /sys/block/$dev/size; echo 长沙 | sudo dd of=/dev/$dev conv=fsync status=none"
        assert run(f"{in_guest(volume)}; {write}").strip() == str(2 * 2**21)
        detached(provider, volume)
        assert serial_of(volume) not in run("cat /sys/block/vd*/serial")
        second, run = x86_guest
        provider.attach_volume(volume, second)
        assert run(f"{in_guest(volume)}; sudo head -c 6 /dev/$dev") == "长沙"
        detached(provider, volume)
        assert serial_of(volume) not in run("cat /sys/block/vd*/serial")

    def test_volume_given_to_a_stopped_server_is_there_when_it_starts(self, provider, token, volume):
        ref = provider.create_server(spec(data_disk_gib=1), token).ref
        provider.stop_server(ref)
        provider.attach_volume(volume, ref)
        assert find(provider, volume).state is VolumeState.ATTACHED
        provider.start_server(ref)
        assert any(volume in path for path in disks_of(ref))
        seen = provider.get_server(ref)
        assert (seen.system_disk_gib, seen.data_disk_gib) == (1, 1), "a volume is not the server's own disk"
        provider.delete_server(ref)
        assert find(provider, volume).state is VolumeState.AVAILABLE, "it outlives the server it was given to"

    def test_attaching_that_was_cut_off_is_seen_and_finished(self, provider, guest, volume):
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_DOMAIN_ATTACH_DEVICE) as cut,
            pytest.raises(UnknownOutcome),
        ):
            cut.attach_volume(volume, guest[0])
        half = find(provider, volume)
        assert (half.state, half.server) == (VolumeState.BUILDING, guest[0])
        assert "next start" in half.native_state
        provider.attach_volume(volume, guest[0])
        assert find(provider, volume).state is VolumeState.ATTACHED
        assert len(disks_of(guest[0])) == len(disks_of(guest[0], "--inactive"))

    def test_detaching_that_was_cut_off_is_seen_and_finished(self, provider, guest, volume):
        provider.attach_volume(volume, guest[0])
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_DOMAIN_DETACH_DEVICE) as cut,
            pytest.raises(UnknownOutcome),
        ):
            cut.detach_volume(volume)
        half = find(provider, volume)
        assert (half.state, half.server) == (VolumeState.ATTACHED, guest[0])
        assert "not let go" in half.native_state
        with pytest.raises(Busy):
            provider.delete_volume(volume)
        detached(provider, volume)

    def test_detaching_cut_off_is_undone_by_attaching_again(self, provider, guest, volume):
        provider.attach_volume(volume, guest[0])
        (path,) = [path for path in disks_of(guest[0]) if volume in path]
        virsh("detach-disk", guest[0], path, "--config")
        provider.attach_volume(volume, guest[0])
        assert path in disks_of(guest[0], "--inactive")
        assert find(provider, volume).native_state == "attached"

    def test_two_servers_that_ask_at_once_never_both_get_it(self, provider, guest, volume, token):
        other = provider.create_server(spec(), token).ref

        def ask(server):
            try:
                provider.attach_volume(volume, server)
            except ProviderError as error:
                return type(error)
            return server

        answers = in_threads([lambda: ask(guest[0]), lambda: ask(other)])
        users = [ref for ref in (guest[0], other) if any(volume in path for path in disks_of(ref, "--inactive"))]
        assert len(users) <= 1
        assert {answer for answer in answers if isinstance(answer, str)} <= set(users)

    def test_as_many_as_there_are_slots_and_then_words(self, provider, guest, tmp_path, token):
        with closing(opened(tmp_path, hotplug_slots=0)) as plain:
            ref = plain.create_server(spec(), token).ref
        volumes, made = [new_id() for _ in range(4)], []

        def attach_each():
            for one in volumes:
                made.append(one)
                provider.create_volume(volume_spec(size_gib=1), one)
                provider.attach_volume(str(one), ref)

        try:
            with pytest.raises(Unsupported, match="stop it first"):
                attach_each()
            assert find(provider, str(made[-1])).server is None, "what did not fit is not left half attached"
            provider.stop_server(ref)
            provider.attach_volume(str(made[-1]), ref)
            provider.start_server(ref)
            assert find(provider, str(made[-1])).state is VolumeState.ATTACHED
        finally:
            provider.delete_server(ref)
            for one in volumes:
                provider.delete_volume(str(one))

    def test_file_that_is_not_ours_is_listed_and_left_alone(self, provider, guest):
        pool = lab()["storage_pool"]
        name = f"by-hand-{new_id()}.qcow2"
        virsh("vol-create-as", pool, name, "1M", "--format", "qcow2")
        try:
            seen = find(provider, name)
            assert (seen.token, seen.size_gib, seen.state) == (None, 1, VolumeState.AVAILABLE)
            for call in (
                lambda: provider.delete_volume(name),
                lambda: provider.detach_volume(name),
                lambda: provider.attach_volume(name, guest[0]),
            ):
                with pytest.raises(Unsupported):
                    call()
            assert (ResourceKind.VOLUME, name) in {(one.kind, one.ref) for one in provider.list_resources()}
        finally:
            virsh("vol-delete", name, "--pool", pool)

    def test_server_that_is_not_ours_gets_no_volume(self, provider, volume):
        with foreign_domain() as ref, pytest.raises(Unsupported):
            provider.attach_volume(volume, ref)
        assert find(provider, volume).server is None

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [({"name": ""}, InvalidSpec), ({"name": "长" * 90}, InvalidSpec), ({"size_gib": 10**6}, NoCapacity)],
        ids=["unnamed", "long", "huge"],
    )
    def test_volume_the_pool_cannot_hold_is_refused(self, provider, wrong, error):
        token = new_id()
        with pytest.raises(error):
            provider.create_volume(volume_spec(**wrong), token)
        assert provider.find_volume(token) is None

    def test_snapshot_with_other_volumes_is_not_reverted_to(self, provider, token, volume):
        ref = provider.create_server(spec(), token).ref
        provider.stop_server(ref)
        Patient.wait_until_stopped(provider, ref)
        bare = provider.create_snapshot(ref, "bare")
        provider.attach_volume(volume, ref)
        with pytest.raises(Unsupported, match="other volumes"):
            provider.revert_snapshot(ref, bare.ref)
        provider.detach_volume(volume)
        provider.revert_snapshot(ref, bare.ref)


class TestEvidence:
    def test_everything_of_a_server_is_named_and_then_gone(self, provider, token):
        given = FixedAddress("10.231.201.9", 16, "10.231.0.1")
        asked = spec(image="debian-12-aarch64-uefi", data_disk_gib=1, addresses=(given,))
        ref = provider.create_server(asked, token).ref
        provider.set_port_rules(ref, [PortRule("k", "10.0.0.0/8", "tcp", 80, 80)])
        kept = provider.list_resources(token)
        kinds = sorted(one.kind for one in kept)
        expected = ["address", "disk", "disk", "nic", "other", "port_rules", "seed", "server"]
        assert kinds == expected, kept
        assert {one.size_gib for one in kept if one.kind is ResourceKind.DISK} == {1}
        assert set(files_of(token)) == {one.ref for one in kept if one.ref.startswith(f"{token}-")}
        assert provider.still_there(kept) == kept
        provider.delete_server(ref)
        assert provider.still_there(kept) == []

    def test_snapshots_are_named_too(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        provider.create_snapshot(ref, "升级前")
        kept = [one for one in provider.list_resources(token) if one.kind is ResourceKind.SNAPSHOT]
        assert [one.name for one in kept] == ["升级前"]
        provider.delete_snapshot(ref, kept[0].ref.split("/")[1])
        assert provider.still_there(kept) == []

    def test_file_that_stays_behind_a_deletion_is_still_there(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        kept = provider.list_resources(token)
        disk = Path(lab()["storage_dir"]) / f"{token}-system.qcow2"
        copy = disk.read_bytes()
        provider.delete_server(ref)
        disk.write_bytes(copy)  # as if the host had refused to remove it
        assert [one.ref for one in provider.still_there(kept)] == [disk.name]
        loose = {(one.kind, one.ref, one.token) for one in provider.list_resources()}
        assert (ResourceKind.DISK, disk.name, token) in loose
        assert provider.find_server(token).power is PowerState.ERROR

    def test_what_a_domain_undefined_by_hand_leaves_is_told(self, provider, token):
        given = FixedAddress("10.231.201.10", 16, "10.231.0.1")
        ref = provider.create_server(spec(image="debian-12-aarch64-uefi", addresses=(given,)), token).ref
        provider.set_port_rules(ref, [])
        used = {(one.kind, one.ref) for one in provider.list_resources(token)}
        assert not used & {(one.kind, one.ref) for one in provider.list_resources()}
        virsh("destroy", ref)
        virsh("undefine", ref, "--keep-nvram")
        loose = {one.kind for one in provider.list_resources() if (one.kind, one.ref) in used}
        expected = {ResourceKind.DISK, ResourceKind.SEED, ResourceKind.OTHER}
        assert loose == expected | {ResourceKind.ADDRESS, ResourceKind.PORT_RULES}
        provider.delete_server(ref)
        assert not used & {(one.kind, one.ref) for one in provider.list_resources()}

    def test_images_and_what_servers_stand_on_are_nobodys_leftover(self, provider, tmp_path, token):
        pool = Path(lab()["storage_dir"])
        base = pool / f"base-{new_id()}.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "64M"], check=True)
        image = {"ref": "own", "name": "own", "arch": "aarch64", "path": str(base), "firmware": "uefi"}
        try:
            with closing(opened(tmp_path / "state", images=[image])) as other:
                other.create_server(spec(image="own"), token)
                assert base.name not in {one.ref for one in other.list_resources()}
            assert base.name not in {one.ref for one in provider.list_resources()}, "an image no longer offered"
        finally:
            provider.delete_server(str(token))
            base.unlink()

    def test_creation_cut_off_before_the_domain_is_evident(self, provider, token):
        with provider._connection.session(write=True) as session:
            pool = storage.open_pool(session, provider.options)
            image = provider._images.choose(spec())
            storage.make_volumes(session, pool, token, image, system_gib=1, data_gib=0, seed=b"cut off")
        assert {one.kind for one in provider.list_resources(token)} == {ResourceKind.DISK, ResourceKind.SEED}
        assert token in {one.token for one in provider.list_resources()}

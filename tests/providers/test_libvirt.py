"""The libvirt driver on real guests: the contract on both architectures, and what only a real host can show."""

import socket
import subprocess
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.ids import new_id
from providers.base import PowerState
from providers.errors import InvalidSpec, NoCapacity, NotFound, ProviderError, Unavailable, UnknownOutcome, Unsupported
from tests.providers.contract import ProviderContract
from tests.providers.libvirt_lab import (
    PROC_DOMAIN_DESTROY,
    PROC_DOMAIN_SET_METADATA,
    PROC_LIST_ALL_DOMAINS,
    answers_lost_from,
    files_of,
    foreign_domain,
    lab,
    make_key,
    opened,
    options,
    short_tmp_path,
    spec,
    ssh_when_up,
    virsh,
    virsh_names,
)

try:
    import libvirt

    from providers.libvirt import build, observe, storage
except ImportError:  # the SDK comes with the lab, and its absence is reported as the lab's
    libvirt = None

pytestmark = pytest.mark.lab("libvirt")
ARM, X86 = Architecture.AARCH64, Architecture.X86_64


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with closing(opened(tmp_path_factory.mktemp("state"))) as provider:
        yield provider


@pytest.fixture
def token(provider):
    token = new_id()
    yield token
    provider.delete_server(str(token))
    assert files_of(token) == []


class TestContract(ProviderContract):
    driver = "libvirt"
    wait_s = 180.0

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, tmp_path_factory):
        cls.tmp_path_factory = tmp_path_factory
        with closing(opened(tmp_path_factory.mktemp("state"))) as provider:
            yield provider

    @classmethod
    def settings(cls, provider):
        return options(), cls.tmp_path_factory.mktemp("again")

    @classmethod
    def unreachable(cls, state_dir):
        return opened(state_dir, uri="qemu+ssh://127.0.0.1:1/system")

    @classmethod
    def leave_half_built(cls, provider, spec, token):
        """Disks made and domain defined, killed before the power."""
        with provider._connection.session(write=True) as session:
            pool = storage.open_pool(session, provider.options)
            build.define(session, provider.options, pool, spec=spec, token=token, image=provider._images.choose(spec))

    @classmethod
    def lose_create(cls, provider, spec, token):
        """The domain runs already; that it is built is written, and nobody is told."""
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_DOMAIN_SET_METADATA, limit_s=6) as cut,
            pytest.raises(ProviderError) as caught,
        ):
            cut.create_server(spec, token)
        return caught.value

    @classmethod
    def foreign_server(cls, provider):
        return foreign_domain()

    @classmethod
    def unknown_state(cls, provider, ref):
        return (*observe.power_of(99), "state 99")

    @classmethod
    def timed_out_write(cls, provider):
        token = new_id()
        ref = provider.create_server(cls.spec_for(provider, cls.arch), token).ref
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_DOMAIN_DESTROY) as cut,
            pytest.raises(ProviderError) as caught,
        ):
            cut.delete_server(ref)
        cls.clear_away(provider, token)
        return caught.value

    @classmethod
    def timed_out_read(cls, provider):
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_LIST_ALL_DOMAINS) as cut,
            pytest.raises(ProviderError) as caught,
        ):
            list(cut.list_servers())
        return caught.value

    @classmethod
    def wait_until_stopped(cls, provider, ref):
        """A guest that is still booting hears no power button: ask again, as callers do."""

        def look():
            provider.stop_server(ref)
            return provider.get_server(ref)

        return cls.wait_for(look, lambda seen: seen.power is PowerState.STOPPED)

    @classmethod
    def leftovers(cls, provider, token):
        return super().leftovers(provider, token) + files_of(token)


class TestContractOnX86(TestContract):
    arch = X86


class TestRealGuests:
    @pytest.mark.parametrize("image", ["debian-12-aarch64", "debian-12-x86_64", "debian-12-aarch64-uefi"])
    def test_guest_is_logged_into_with_the_given_key_and_leaves_nothing(self, provider, token, tmp_path, image):
        arch = X86 if "x86" in image else ARM
        key, public = make_key(tmp_path)
        asked = spec(
            arch, image=image, name="fr-mzj-app01", vcpus=1, system_disk_gib=2, data_disk_gib=3, ssh_keys=(public,)
        )
        made = provider.create_server(asked, token)
        assert made.ref == str(token)
        command = "uname -m; hostname; sudo id -u; cat /sys/block/vda/size /sys/block/vdb/size; nproc"
        told = ssh_when_up(provider, made.ref, command, key=key).split()
        assert told == [arch.value, "fr-mzj-app01", "0", str(2 * 2**21), str(3 * 2**21), "1"]
        assert set(virsh_names()) >= {f"fr-mzj-app01-{token.hex[-8:]}"}
        expected = {f"{token}-{part}" for part in ("system.qcow2", "data.qcow2", "seed.iso")}
        assert set(files_of(token)) == expected | ({f"{token}-nvram.fd"} if "uefi" in image else set())
        provider.delete_server(made.ref)
        assert provider.find_server(token) is None
        assert files_of(token) == []
        assert str(token) not in virsh("list", "--all", "--uuid")

    def test_full_guest_runs_systemd_and_cloud_init_and_grows_its_root(self, provider, token, tmp_path):
        key, public = make_key(tmp_path)
        asked = spec(
            X86, image="debian-12-full", memory_mib=1024, system_disk_gib=3, ssh_keys=(public,), login_user="ops"
        )
        ref = provider.create_server(asked, token).ref
        command = "cloud-init status --wait; systemctl is-active ssh; hostname; df -BM --output=size / | tail -n 1"
        told = ssh_when_up(provider, ref, command, key=key, limit_s=480, timeout_s=300).split()
        assert told[-5:-1] == ["status:", "done", "active", "test-app01"]
        assert int(told[-1].rstrip("M")) > 2500

    def test_guest_has_addresses_of_both_versions_from_leases(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        seen = TestContract.wait_for(lambda: provider.get_server(ref), lambda s: s.ipv4 and s.ipv6)
        assert seen.ipv4[0].startswith("10.231.")
        assert seen.ipv6[0].startswith("fd42:231::")
        listed = next(s for s in provider.list_servers() if s.ref == ref)
        assert (listed.ipv4, listed.ipv6) == (seen.ipv4, seen.ipv6), "a listing reads all leases at once, and the same"

    def test_address_that_cannot_be_read_hides_nothing_else(self, provider, token, tmp_path):
        """libvirt 9.0 fails on newer kernels' neighbour tables ("wrong nlmsg len"); the server must still be shown."""
        key, public = make_key(tmp_path)
        ref = provider.create_server(spec(ssh_keys=(public,)), token).ref
        ssh_when_up(provider, ref, "true", key=key)
        with closing(opened(tmp_path / "state", address_sources=["arp"])) as other:
            for seen in (other.get_server(ref), next(server for server in other.list_servers() if server.ref == ref)):
                assert seen.power is PowerState.RUNNING
                assert seen.ipv4 in {(), provider.get_server(ref).ipv4}

    def test_running_snapshot_brings_back_the_disk(self, provider, token, tmp_path):
        key, public = make_key(tmp_path)
        ref = provider.create_server(spec(X86, ssh_keys=(public,)), token).ref
        ssh_when_up(provider, ref, "echo before | sudo tee /etc/when; sync", key=key)
        made = provider.create_snapshot(ref, "升级前")
        assert provider.create_snapshot(ref, "升级前") == made, "the same name twice is one snapshot"
        ssh_when_up(provider, ref, "echo after | sudo tee /etc/when; sync", key=key)
        provider.revert_snapshot(ref, made.ref)
        assert provider.get_server(ref).power is PowerState.RUNNING
        assert ssh_when_up(provider, ref, "cat /etc/when", key=key) == "before\n"
        assert [s.name for s in provider.list_snapshots(ref)] == ["升级前"]

    def test_power_button_shuts_an_x86_guest_down_by_itself(self, provider, token, tmp_path):
        key, public = make_key(tmp_path)
        ref = provider.create_server(spec(X86, ssh_keys=(public,)), token).ref
        ssh_when_up(provider, ref, "true", key=key)
        provider.stop_server(ref)
        TestContract.wait_for(lambda: provider.get_server(ref), lambda seen: seen.power is PowerState.STOPPED)
        conn = libvirt.open(lab()["uri"])
        _, reason = conn.lookupByUUID(token.bytes).state()
        conn.close()
        assert reason == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN, "shut down, not destroyed"

    def test_guest_that_hears_no_button_is_cut_off_after_the_grace(self, provider, token, tmp_path):
        impatient = opened(tmp_path, stop_grace_s=0)
        ref = provider.create_server(spec(X86), token).ref
        with closing(impatient):
            impatient.stop_server(ref)  # notes that the guest, still in its boot loader, was asked
            impatient.stop_server(ref)
        assert provider.get_server(ref).power is PowerState.STOPPED
        provider.start_server(ref)
        description = virsh("dumpxml", str(token))
        assert "cloudmgrstop" not in description, "the note goes away with the power"

    def test_vnc_listens_on_loopback_only_and_asks_for_a_password(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        by_kind = {address.kind: address for address in provider.console_addresses(ref)}
        vnc = by_kind["vnc"]
        assert vnc.host == "127.0.0.1"
        assert len(vnc.password) == 8
        assert vnc.password not in virsh("dumpxml", str(token)), "libvirt shows it to privileged readers only"
        # RFB 3.8: after the versions the server offers security types; 2 is "VNC authentication", 1 would be none
        program = (
            "import socket,sys\n"
            f"s=socket.create_connection(('{vnc.host}',{vnc.port}),5)\n"
            "s.send(s.recv(12)); n=s.recv(1)[0]; print(list(s.recv(n)))\n"
        )
        told = subprocess.run(
            ["ip", "netns", "exec", lab()["netns"], "python3", "-c", program],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.strip() == "[2]"
        assert Path(by_kind["serial"].path).is_char_device()

    def test_resized_guest_counts_its_new_processors(self, provider, token, tmp_path):
        key, public = make_key(tmp_path)
        ref = provider.create_server(spec(ssh_keys=(public,)), token).ref
        provider.stop_server(ref)
        provider.resize_server(ref, vcpus=2, memory_mib=640)
        before = virsh("dumpxml", "--security-info", str(token))
        assert "passwd=" in before, "a resize keeps the console's password"
        provider.start_server(ref)
        told = ssh_when_up(provider, ref, "nproc; awk '/MemTotal/{print int($2/1024)}' /proc/meminfo", key=key).split()
        assert told[0] == "2"
        assert 540 < int(told[1]) <= 640

    def test_snapshot_of_another_size_is_not_reverted_to(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        provider.stop_server(ref)
        made = provider.create_snapshot(ref, "small")
        provider.resize_server(ref, vcpus=2, memory_mib=1024)
        with pytest.raises(Unsupported):
            provider.revert_snapshot(ref, made.ref)
        assert provider.get_server(ref).vcpus == 2
        provider.resize_server(ref, vcpus=1, memory_mib=512)
        provider.revert_snapshot(ref, made.ref)

    def test_uefi_guest_is_refused_a_snapshot_in_words(self, provider, token):
        ref = provider.create_server(spec(image="debian-12-aarch64-uefi"), token).ref
        with pytest.raises(Unsupported):
            provider.create_snapshot(ref, "s")
        assert provider.list_snapshots(ref) == []


class TestHalfDone:
    def test_disks_without_a_domain_are_found_listed_completed_and_removed(self, provider, token):
        with provider._connection.session(write=True) as session:
            pool = storage.open_pool(session, provider.options)
            storage.make_volumes(
                session, pool, token, provider._images.choose(spec()), system_gib=1, data_gib=0, seed=b"cut off"
            )
        found = provider.find_server(token)
        assert (found.ref, found.token, found.power) == (str(token), token, PowerState.ERROR)
        assert "half-created" in found.native_state
        assert token in {s.token for s in provider.list_servers()}
        assert provider.create_server(spec(), token).power is PowerState.RUNNING
        assert virsh("vol-info", f"{token}-seed.iso", "--pool", lab()["storage_pool"]).count("7 bytes") == 0

    def test_disks_of_another_size_are_made_anew(self, provider, token):
        with provider._connection.session(write=True) as session:
            pool = storage.open_pool(session, provider.options)
            storage.make_volumes(
                session, pool, token, provider._images.choose(spec()), system_gib=7, data_gib=5, seed=b"x"
            )
        made = provider.create_server(spec(system_disk_gib=2), token)
        assert (made.system_disk_gib, made.data_disk_gib) == (2, 0)

    def test_interrupted_deletion_is_finished_by_deleting_again(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_DOMAIN_DESTROY) as cut,
            pytest.raises(UnknownOutcome),
        ):
            cut.delete_server(ref)
        found = provider.find_server(token)
        assert found.power is PowerState.ERROR
        assert "deletion not finished" in found.native_state
        provider.delete_server(ref)
        assert provider.find_server(token) is None

    def test_creating_over_an_interrupted_deletion_starts_afresh(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        with (
            short_tmp_path() as folder,
            answers_lost_from(folder, PROC_DOMAIN_DESTROY) as cut,
            pytest.raises(UnknownOutcome),
        ):
            cut.delete_server(ref)
        made = provider.create_server(spec(system_disk_gib=3), token)
        assert (made.power, made.system_disk_gib) == (PowerState.RUNNING, 3)

    def test_server_stopped_by_its_owner_is_not_started_by_its_token(self, provider, token):
        ref = provider.create_server(spec(), token).ref
        provider.stop_server(ref)
        assert provider.create_server(spec(), token).power is PowerState.STOPPED

    def test_after_a_lost_answer_the_next_call_opens_a_new_connection(self, provider, token):
        provider.create_server(spec(), token)
        with short_tmp_path() as folder, answers_lost_from(folder, PROC_LIST_ALL_DOMAINS) as cut:
            with pytest.raises(Unavailable):
                list(cut.list_servers())
            assert token in {server.token for server in cut.list_servers()}


class TestRefusals:
    def test_server_that_is_not_ours_is_removed_by_its_own_reference_with_the_disks_that_are_its_alone(self, provider):
        """So that one that was imported can be retired."""
        pool, name = lab()["storage_pool"], f"by-hand-{new_id()}.qcow2"
        virsh("vol-create-as", pool, name, "1M", "--format", "qcow2")
        with foreign_domain(disk=f"{lab()['storage_dir']}/{name}") as ref:
            provider.delete_server(ref)
            with pytest.raises(NotFound):
                provider.get_server(ref)
        assert name not in virsh("vol-list", pool)

    def test_server_that_is_not_ours_stays_whole_while_a_disk_of_it_is_anothers(self, provider):
        image = next(image["path"] for image in lab()["options"]["images"])
        for disk in (image, "/srv/elsewhere.qcow2"):
            with foreign_domain(disk=disk) as ref:
                with pytest.raises(Unsupported):
                    provider.delete_server(ref)
                assert provider.get_server(ref).token is None
        assert Path(image).exists()

    def test_larger_than_the_host_goes_to_the_next_zone(self, provider, token):
        with pytest.raises(NoCapacity):
            provider.create_server(spec(vcpus=33), token)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"name": "two words"},
            {"name": "<evil/>"},
            {"name": "-leading"},
            {"login_user": "root; rm"},
            {"labels": {"k": "bell\x07"}},
            {"image": "debian-12-x86_64"},
            {"zone": "lab-x86_64"},
            {"arch": Architecture.LOONGARCH64},
        ],
        ids=str,
    )
    def test_what_cannot_be_built_is_refused_and_leaves_nothing(self, provider, token, wrong):
        with pytest.raises(InvalidSpec):
            provider.create_server(spec(**wrong), token)
        assert files_of(token) == []

    def test_markup_in_a_label_stays_text(self, provider, token):
        labels = {"项目": "<domain/>&\"'", "order": "SQ20261122-0001"}
        provider.create_server(spec(labels=labels), token)
        assert "&lt;domain/&gt;&amp;" in virsh("dumpxml", str(token))


class TestImages:
    @pytest.fixture
    def image(self, tmp_path):
        """A small image of the test's own, in a folder that libvirt may or may not know."""
        path = tmp_path / "base.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "64M"], check=True)
        digest = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout.split()[0]
        plain = {
            "ref": "own",
            "name": "own",
            "arch": "aarch64",
            "path": str(path),
            "firmware": "uefi",
            "digest": digest,
        }
        return path, plain

    def test_changed_image_file_is_refused(self, tmp_path, image, token):
        path, plain = image
        with closing(opened(tmp_path / "state", images=[plain])) as provider:
            provider.create_server(spec(image="own"), token)
            provider.delete_server(str(token))
            path.write_bytes(path.read_bytes() + b"one byte more")
            with pytest.raises(InvalidSpec) as caught:
                provider.create_server(spec(image="own"), token)
            assert str(path) not in str(caught.value)
            assert str(path) in caught.value.detail

    def test_digest_asked_for_by_the_request_must_hold_too(self, tmp_path, image, token):
        with closing(opened(tmp_path / "state", images=[image[1]])) as provider, pytest.raises(InvalidSpec):
            provider.create_server(spec(image="own", image_digest="sha256:" + "0" * 64), token)

    def test_missing_image_file_is_refused_where_a_digest_is_asked(self, tmp_path, image, token):
        image[0].unlink()
        with closing(opened(tmp_path / "state", images=[image[1]])) as provider, pytest.raises(InvalidSpec):
            provider.create_server(spec(image="own"), token)

    def test_image_on_a_host_whose_files_we_cannot_read_is_read_through_libvirt(
        self, tmp_path, image, token, monkeypatch
    ):
        path, plain = image
        conn = libvirt.open(lab()["uri"])
        name = f"images-{uuid.uuid4().hex[:8]}"
        pool = conn.storagePoolCreateXML(
            f"<pool type='dir'><name>{name}</name><target><path>{path.parent}</path></target></pool>"
        )
        monkeypatch.setattr("providers.libvirt.images.os.access", lambda *_: False)
        try:
            with closing(opened(tmp_path / "state", images=[plain])) as provider:
                provider.create_server(spec(image="own"), token)
                provider.delete_server(str(token))
                path.write_bytes(path.read_bytes() + b"one byte more")
                with pytest.raises(InvalidSpec):
                    provider.create_server(spec(image="own"), token)
        finally:
            pool.destroy()
            conn.close()


class TestHost:
    def test_zones_are_what_the_options_say_and_emulation_is_told(self, provider):
        zones = {zone.arch: zone for zone in provider.list_zones()}
        assert set(zones) == {ARM, X86}
        for zone in zones.values():
            assert (zone.vcpus, zone.memory_mib, zone.disk_gib, zone.hosts) == (32, 16384, 500, 1)
            assert zone.cpu.family is CpuFamily.UNKNOWN
            assert "emulated" in zone.cpu.raw

    def test_kvm_zone_is_the_host_exactly(self, tmp_path):
        with closing(opened(tmp_path, domain_type="kvm", zones=[])) as provider:
            zones = provider.list_zones()
        conn = libvirt.open(lab()["uri"])
        node = conn.getInfo()
        conn.close()
        assert [(zone.arch, zone.vcpus, zone.memory_mib) for zone in zones] == [(X86, node[2], node[1])]
        assert zones[0].cpu.family in {CpuFamily.INTEL, CpuFamily.AMD, CpuFamily.HYGON, CpuFamily.UNKNOWN}
        assert "vendor_id=" in zones[0].cpu.raw

    def test_pool_is_made_where_only_a_folder_is_given(self, tmp_path, token):
        folder = tmp_path / "servers"
        with closing(opened(tmp_path / "state", storage_pool=None, storage_dir=str(folder))) as provider:
            try:
                provider.create_server(spec(), token)
                assert sorted(p.name for p in folder.iterdir()) == [f"{token}-seed.iso", f"{token}-system.qcow2"]
                provider.delete_server(str(token))
                assert list(folder.iterdir()) == []
            finally:
                conn = libvirt.open(lab()["uri"])
                pool = conn.storagePoolLookupByTargetPath(str(folder))
                pool.destroy()
                pool.undefine()
                conn.close()

    def test_network_is_described(self, provider):
        network = next(n for n in provider.list_networks() if n.ref == "lab")
        assert (network.cidr_v4, network.cidr_v6, network.gateway_v4) == (
            "10.231.0.0/16",
            "fd42:231::/64",
            "10.231.0.1",
        )

    def test_host_that_never_answers_is_given_up(self, tmp_path):
        with short_tmp_path() as folder, socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(folder / "s"))
            silent.listen()
            mute = opened(tmp_path, uri="qemu+unix:///system", socket=str(folder / "s"), connect_timeout_s=0.5)
            with closing(mute), pytest.raises(Unavailable):
                mute.check()

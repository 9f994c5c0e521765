"""What people do to a simulated cloud by hand is seen by every reading of it, and is no call of ours."""

import sqlite3
import uuid
from contextlib import closing

import pytest

from providers.base import FixedAddress, PortRule, PowerState, ResourceKind, VolumeSpec, VolumeState
from providers.errors import AddressTaken, Busy, InvalidSpec, NoCapacity, NotFound, Unsupported
from providers.simulated import drill
from providers.simulated.state import _FIRST
from tests.providers.checks import in_threads
from tests.providers.simulated_cloud import X86_SMALL, opened, spec


@pytest.fixture
def made(cloud, advance):
    """One running server and the cursor behind it."""
    token = uuid.uuid4()
    ref = cloud.create_server(spec(), token).ref
    advance(2)
    return ref, token, cloud.list_changes(None).cursor


class TestByHand:
    def test_changed_server_is_seen_in_lists_and_changes(self, cloud, state_dir, made):
        ref, token, cursor = made
        drill.change(state_dir, ref, name="renamed", vcpus=4, memory_mib=8192, image="mystery", networks=["dmz"])
        drill.change(state_dir, ref, system_disk_gib=80, data_disk_gib=10, is_running=False)
        seen = cloud.get_server(ref)
        assert (seen.name, seen.vcpus, seen.memory_mib, seen.image) == ("renamed", 4, 8192, "mystery")
        assert (seen.system_disk_gib, seen.data_disk_gib, seen.networks) == (80, 10, ("dmz",))
        assert (seen.power, seen.token) == (PowerState.STOPPED, token)
        told = cloud.list_changes(cursor)
        assert (told.servers, told.gone, told.is_full) == ((seen,), (), False)
        assert cloud.list_changes(told.cursor).servers == ()
        assert [call.call for call in cloud.calls()] == ["create_server"]
        with pytest.raises(NotFound):
            drill.change(state_dir, "no-such-server", vcpus=1)

    def test_vanished_server_is_gone_and_comes_back_running(self, cloud, state_dir, made):
        ref, token, cursor = made
        drill.vanish(state_dir, ref)
        told = cloud.list_changes(cursor)
        assert (told.servers, told.gone) == ((), (ref,))
        assert drill.revive(state_dir, token) == ref
        back = cloud.get_server(ref)
        assert (back.token, back.power, back.ipv4) == (token, PowerState.RUNNING, ())
        again = cloud.list_changes(told.cursor)
        assert ([server.ref for server in again.servers], again.gone) == ([ref], ())

    def test_server_we_deleted_or_stopped_is_revived(self, cloud, state_dir, made, advance):
        ref, token, _ = made
        cloud.stop_server(ref)
        advance(1)
        drill.revive(state_dir, token)
        assert cloud.get_server(ref).power is PowerState.RUNNING
        cloud.delete_server(ref)
        drill.revive(state_dir, token)
        assert cloud.find_server(token).power is PowerState.RUNNING
        with pytest.raises(NotFound):
            drill.revive(state_dir, uuid.uuid4())

    def test_server_that_finishes_booting_is_a_change(self, cloud, advance):
        cursor = cloud.list_changes(None).cursor
        ref = cloud.create_server(spec(), uuid.uuid4()).ref
        told = cloud.list_changes(cursor)
        assert [server.power for server in told.servers] == [PowerState.BUILDING]
        advance(2)
        told = cloud.list_changes(told.cursor)
        assert [(server.ref, server.power) for server in told.servers] == [(ref, PowerState.RUNNING)]
        assert cloud.list_changes(told.cursor).servers == ()

    def test_cursor_of_another_installation_is_lost(self, cloud, tmp_path, made):
        with closing(opened(tmp_path / "other")) as other:
            foreign = other.list_changes(None).cursor
        told = cloud.list_changes(foreign)
        assert told.is_full
        assert [server.ref for server in told.servers] == [made[0]]

    def test_only_what_changed_is_told(self, cloud, state_dir):
        refs = [drill.add_foreign_server(state_dir, f"old-{n}") for n in range(60)]
        cursor = cloud.list_changes(None).cursor
        for ref in refs[:7]:
            drill.change(state_dir, ref, vcpus=8)
        assert {server.ref for server in cloud.list_changes(cursor).servers} == set(refs[:7])


class TestAddresses:
    def test_foreign_address_is_listed_never_handed_out_and_refused_when_told(self, cloud, state_dir, advance):
        for last in (2, 3, 5):
            drill.add_foreign_address(
                state_dir, "gov", f"10.20.0.{last}", owner="old firewall", mac="52:54:00:00:00:01"
            )
        refs = [cloud.create_server(spec(), uuid.uuid4()).ref for _ in range(2)]
        advance(2)
        assert [cloud.get_server(ref).ipv4 for ref in refs] == [("10.20.0.4",), ("10.20.0.6",)]
        with pytest.raises(AddressTaken):
            cloud.create_server(spec(addresses=(FixedAddress("10.20.0.5", 24),)), uuid.uuid4())
        listed = {one.address: (one.server, one.owner) for one in cloud.list_addresses("gov") if ":" not in one.address}
        assert listed == {
            "10.20.0.2": (None, "old firewall"),
            "10.20.0.3": (None, "old firewall"),
            "10.20.0.4": (refs[0], ""),
            "10.20.0.5": (None, "old firewall"),
            "10.20.0.6": (refs[1], ""),
        }
        drill.remove_foreign_address(state_dir, "gov", "10.20.0.3")
        assert cloud.create_server(spec(addresses=(FixedAddress("10.20.0.3", 24),)), uuid.uuid4())

    def test_foreign_server_may_have_an_address_of_ours(self, cloud, state_dir, made):
        drill.add_foreign_server(state_dir, "twin", network="gov", addresses=["10.20.0.2"])
        assert sorted(one.owner for one in cloud.list_addresses("gov") if one.address == "10.20.0.2") == ["", "twin"]
        twin = next(server for server in cloud.list_servers() if server.token is None)
        assert (twin.ipv4, twin.networks) == (("10.20.0.2",), ("gov",))

    def test_addresses_beyond_sqlites_integers_are_kept_apart(self, cloud, advance):
        far = [FixedAddress(f"fd00:20::ffff:ffff:ffff:{n:x}", 64) for n in (1, 2)]
        refs = [cloud.create_server(spec(addresses=(one,)), uuid.uuid4()).ref for one in far]
        advance(2)
        assert [cloud.get_server(ref).ipv6 for ref in refs] == [(one.address,) for one in far]
        assert cloud.create_server(spec(), uuid.uuid4())

    @pytest.mark.parametrize(
        "wrong", ["10.20.0.0", "10.20.0.255", "10.20.0.1", "fd00:20::", "fd00:20::1", "10.21.0.9", "x"]
    )
    def test_address_that_no_server_can_have_is_refused(self, cloud, wrong):
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(addresses=(FixedAddress(wrong, 24),)), uuid.uuid4())

    def test_two_addresses_of_one_family_are_refused(self, cloud):
        two = (FixedAddress("10.20.0.8", 24), FixedAddress("10.20.0.9", 24))
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(addresses=two), uuid.uuid4())

    def test_one_told_address_goes_to_one_of_many_threads(self, cloud):
        def create() -> str:
            try:
                return cloud.create_server(spec(addresses=(FixedAddress("10.20.0.77", 24),)), uuid.uuid4()).ref
            except AddressTaken:
                return ""

        assert len(set(in_threads([create] * 8))) == 2
        assert len(list(cloud.list_servers())) == 1

    def test_networks_tell_their_subnets_and_which_are_external(self, cloud):
        gov, _, public = cloud.list_networks()
        assert [(one.cidr, one.gateway) for one in gov.subnets] == [
            ("10.20.0.0/24", "10.20.0.1"),
            ("fd00:20::/64", None),
        ]
        assert (gov.is_external, public.is_external) == (False, True)
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(networks=("public",)), uuid.uuid4())

    def test_public_addresses_are_counted_and_outlive_their_server(self, cloud, made):
        tokens = [uuid.uuid4() for _ in range(5)]
        given = [cloud.assign_public_address(made[0], token).address for token in tokens]
        assert given == [f"203.0.113.{last}" for last in range(2, 7)]
        with pytest.raises(NoCapacity):
            cloud.assign_public_address(made[0], uuid.uuid4())
        cloud.delete_server(made[0])
        assert cloud.find_public_address(tokens[0]).server is None
        assert {one.name for one in cloud.list_resources() if one.kind is ResourceKind.ADDRESS} == set(given)


class TestDisks:
    def test_volumes_and_servers_share_the_zones_disks_exactly(self, cloud):
        for size in (1000, 400):
            cloud.create_volume(VolumeSpec("v", size, "kp"), uuid.uuid4())
        cloud.create_server(spec(), uuid.uuid4())
        cloud.create_volume(VolumeSpec("v", 60, "kp"), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.create_volume(VolumeSpec("v", 1, "kp"), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.create_server(spec(), uuid.uuid4())
        cloud.create_volume(VolumeSpec("v", 1, "x86"), uuid.uuid4())

    def test_volume_takes_its_time_and_opposites_wait(self, cloud, made, advance):
        token = uuid.uuid4()
        ref = cloud.create_volume(VolumeSpec("v", 10, "kp"), token).ref
        assert cloud.find_volume(token).state is VolumeState.BUILDING
        with pytest.raises(Busy):
            cloud.attach_volume(ref, made[0])
        advance(0.5)
        cloud.attach_volume(ref, made[0])
        with pytest.raises(Busy):
            cloud.detach_volume(ref)
        advance(0.5)
        assert cloud.find_volume(token).native_state == "in-use"
        cloud.detach_volume(ref)
        with pytest.raises(Busy):
            cloud.attach_volume(ref, made[0])
        advance(0.5)
        assert cloud.find_volume(token).server is None

    def test_foreign_volumes_and_leftovers_are_told_until_they_are_taken_away(self, cloud, state_dir, made):
        volume = drill.add_foreign_volume(state_dir, "forgotten", 200, zone="kp")
        token = uuid.uuid4()
        disk = drill.add_leftover(state_dir, ResourceKind.DISK, "old-disk", size_gib=40, token=token)
        loose = {(one.kind, one.ref, one.size_gib, one.token) for one in cloud.list_resources()}
        assert loose == {(ResourceKind.VOLUME, volume, 200, None), (ResourceKind.DISK, disk, 40, token)}
        assert volume in {one.ref for one in cloud.list_volumes()}
        kept = cloud.list_resources(token)
        assert cloud.still_there(kept) == kept
        drill.remove_leftover(state_dir, disk)
        assert cloud.still_there(kept) == []

    def test_evidence_names_every_part_of_a_server(self, cloud, made):
        ref, token, _ = made
        snapshot = cloud.create_snapshot(ref, "s").ref
        cloud.set_port_rules(ref, [PortRule("a", "0.0.0.0/0", "tcp", 443, 443)])
        kept = {(one.kind.value, one.ref) for one in cloud.list_resources(token)}
        assert kept == {
            ("server", ref),
            ("disk", f"{ref}/system"),
            ("nic", f"{ref}/nic0"),
            ("address", f"{ref}/10.20.0.2"),
            ("address", f"{ref}/fd00:20::2"),
            ("port_rules", f"{ref}/rules"),
            ("snapshot", snapshot),
        }


class TestLimits:
    def test_quota_of_the_cloud_binds_before_its_room(self, state_dir):
        limited = opened(state_dir, cloud_quota={"servers": 2, "volumes": 0})
        with closing(limited) as cloud:
            for _ in range(2):
                cloud.create_server(spec(**X86_SMALL), uuid.uuid4())
            with pytest.raises(NoCapacity) as caught:
                cloud.create_server(spec(**X86_SMALL), uuid.uuid4())
            assert "servers is 2; 2 are used" in str(caught.value)
            with pytest.raises(NoCapacity):
                cloud.create_volume(VolumeSpec("v", 1, "x86"), uuid.uuid4())
            told = {one.resource: (one.used, one.limit) for one in cloud.read_quota()}
        assert told["servers"] == (2, 2)
        assert told["vcpus"] == (2, None)

    def test_installation_does_without_what_it_lacks(self, state_dir):
        with closing(opened(state_dir, lacks=["port_rules"], cloud_quota=None, networks=[])) as cloud:
            assert cloud.unable() == {"port_rules", "cloud_quota", "public_ips"}
            for call in (lambda: cloud.set_port_rules("x", []), cloud.read_quota):
                with pytest.raises(Unsupported):
                    call()

    @pytest.mark.parametrize(
        "wrong", [{"lacks": ["flying"]}, {"cloud_quota": {"horses": 1}}, {"cloud_quota": {"vcpus": -1}}]
    )
    def test_wrong_limits_are_refused_at_open(self, state_dir, wrong):
        with pytest.raises(ValueError):
            opened(state_dir, **wrong)


def test_state_of_an_older_version_is_brought_up_to_date(state_dir):
    state_dir.mkdir()
    with closing(sqlite3.connect(state_dir / "simulated.sqlite3")) as db:
        db.executescript(f"{_FIRST} PRAGMA user_version = 1;")
        db.execute(
            "INSERT INTO servers (ref, name, state, created_at) VALUES (?, 'old', 'ACTIVE', 0)", (str(uuid.uuid4()),)
        )
        db.commit()
    with closing(opened(state_dir)) as cloud:
        (old,) = cloud.list_servers()
        assert (old.name, old.networks) == ("old", ())
        assert [server.name for server in cloud.list_changes(None).servers] == ["old"]

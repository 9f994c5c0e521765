"""The simulated cloud keeps the contract, counts its room exactly, and fails the way it was told to."""

import multiprocessing
import sqlite3
import time
import tomllib
import uuid
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from cloudmgr.domain import clock
from cloudmgr.domain.architectures import CpuFamily
from providers.base import PowerState
from providers.errors import (
    Busy,
    InvalidSpec,
    NoCapacity,
    ProviderError,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from providers.simulated import drill
from providers.simulated.faults import Fault
from providers.simulated.processors import MODELS
from providers.simulated.provider import SimulatedProvider
from tests.providers.checks import ROOT, in_threads
from tests.providers.contract import ProviderContract
from tests.providers.simulated_cloud import ARM, MORNING, OPTIONS, X86, X86_SMALL, opened, spec


class TestContract(ProviderContract):
    driver = "simulated"
    unlabelled_image = True
    at_once_s = 0.5
    answer_limit_s = 1.0
    wait_s = 20.0

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, tmp_path_factory):
        cls.state_dir = tmp_path_factory.mktemp("contract") / "sim"
        with clock.stepped(clock.now()) as step, closing(opened(cls.state_dir)) as provider:
            cls.step = step
            yield provider

    @classmethod
    def pass_time(cls):
        cls.step(timedelta(seconds=0.5))

    @classmethod
    def settings(cls, provider):
        return OPTIONS, cls.state_dir

    @classmethod
    def changes_sent(cls, provider):
        return len(provider.calls())

    @classmethod
    def lose_create(cls, provider, spec, token):
        provider.inject(Fault("create_server", "lost_answer"))
        with pytest.raises(ProviderError) as caught:
            provider.create_server(spec, token)
        return caught.value

    @classmethod
    def unreachable(cls, state_dir):
        (state_dir / "a-file").write_text("in the way")
        return opened(state_dir / "a-file")

    @classmethod
    def leave_half_built(cls, provider, spec, token):
        provider.inject(Fault("create_server", "half_created"))
        with pytest.raises(UnknownOutcome):
            provider.create_server(spec, token)

    @classmethod
    @contextmanager
    def foreign_server(cls, provider):
        ref = drill.add_foreign_server(cls.state_dir, "old-oracle", zone="x86", host="xeon")
        yield ref
        drill.vanish(cls.state_dir, ref)

    @classmethod
    def unknown_state(cls, provider, ref):
        drill.set_native_state(cls.state_dir, ref, "MIGRATING_BY_HAND")
        seen = provider.get_server(ref)
        drill.set_native_state(cls.state_dir, ref, "ACTIVE")
        return seen.power, seen.native_state, "MIGRATING_BY_HAND"

    @classmethod
    def timed_out_write(cls, provider):
        provider.inject(Fault("delete_server", "lost_answer"))
        with pytest.raises(ProviderError) as caught:
            provider.delete_server("no-such-server")
        return caught.value

    @classmethod
    def timed_out_read(cls, provider):
        provider.inject(Fault("list_servers", "lost_answer"))
        with pytest.raises(ProviderError) as caught:
            provider.list_servers()
        return caught.value


class TestContractOnX86(TestContract):
    arch = X86


class TestTime:
    def test_server_boots_by_the_clock_and_then_shows_addresses(self, cloud, advance):
        made = cloud.create_server(spec(), uuid.uuid4())
        assert (made.power, made.native_state, made.ipv4) == (PowerState.BUILDING, "BUILD", ())
        advance(1.9)
        assert cloud.get_server(made.ref).power is PowerState.BUILDING
        advance(0.1)
        seen = cloud.get_server(made.ref)
        assert (seen.power, seen.ipv4, seen.ipv6) == (PowerState.RUNNING, ("10.20.0.2",), ("fd00:20::2",))
        assert seen.created_at == MORNING

    def test_power_takes_its_time_and_opposites_wait(self, cloud, advance):
        ref = cloud.create_server(spec(), uuid.uuid4()).ref
        with pytest.raises(Busy):
            cloud.stop_server(ref)
        advance(2)
        cloud.stop_server(ref)
        assert cloud.get_server(ref).native_state == "POWERING_OFF"
        with pytest.raises(Busy):
            cloud.start_server(ref)
        advance(0.5)
        assert cloud.get_server(ref).power is PowerState.STOPPED
        with pytest.raises(Unsupported):
            cloud.reboot_server(ref)
        cloud.start_server(ref)
        assert cloud.get_server(ref).native_state == "POWERING_ON"
        advance(0.5)
        assert cloud.get_server(ref).power is PowerState.RUNNING

    def test_state_survives_a_restart(self, state_dir, advance):
        token = uuid.uuid4()
        with closing(opened(state_dir)) as first:
            ref = first.create_server(spec(), token).ref
        advance(5)
        with closing(opened(state_dir)) as second:
            assert second.create_server(spec(), token).ref == ref
            assert second.get_server(ref).power is PowerState.RUNNING


class TestRoom:
    def test_capacity_of_hosts_is_never_exceeded(self, cloud):
        for _ in range(12):
            cloud.create_server(spec(), uuid.uuid4())
        with pytest.raises(NoCapacity) as caught:
            cloud.create_server(spec(), uuid.uuid4())
        assert "鲲鹏资源池" in str(caught.value)
        placed = [server.host for server in cloud.list_servers()]
        assert {host: placed.count(host) for host in placed} == {"kp-01": 4, "kp-02": 4, "kp-03": 4}

    @pytest.mark.parametrize(
        "wide", [{"memory_mib": 16384}, {"system_disk_gib": 400, "data_disk_gib": 100}, {"vcpus": 8}]
    )
    def test_each_kind_of_room_binds(self, cloud, wide):
        for _ in range(3):
            cloud.create_server(spec(**wide), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.create_server(spec(**wide), uuid.uuid4())

    def test_deleting_gives_room_and_addresses_back(self, cloud, advance):
        first = cloud.create_server(spec(vcpus=8), uuid.uuid4()).ref
        for _ in range(2):
            cloud.create_server(spec(vcpus=8), uuid.uuid4())
        cloud.delete_server(first)
        again = cloud.create_server(spec(vcpus=8), uuid.uuid4()).ref
        advance(2)
        assert cloud.get_server(again).ipv4 == ("10.20.0.2",)

    def test_spread_group_goes_to_different_hosts_and_then_doubles_up(self, cloud):
        group = uuid.uuid4()
        cloud.create_server(spec("heavy", vcpus=6, memory_mib=12000), uuid.uuid4())
        members = [cloud.create_server(spec(spread_group=group), uuid.uuid4()) for _ in range(4)]
        assert len({server.host for server in members[:3]}) == 3
        assert members[3].host in {server.host for server in members[:3]}

    def test_overcommit_sells_vcpus_and_nothing_else(self, cloud):
        x86 = {"arch": X86, "zone": "x86", "image": "kylin-x86"}
        assert [zone.vcpus for zone in cloud.list_zones()] == [24, 16]
        cloud.create_server(spec(**x86, vcpus=32), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.create_server(spec(**x86, vcpus=1), uuid.uuid4())

    def test_foreign_servers_take_room_too(self, cloud, state_dir):
        drill.add_foreign_server(state_dir, "old", arch=ARM, vcpus=8, zone="kp", host="kp-01")
        assert cloud.create_server(spec(vcpus=8), uuid.uuid4()).host == "kp-02"

    def test_closed_zone_takes_none_and_says_so(self, cloud, state_dir):
        drill.close_zone(state_dir, "kp")
        assert [zone.available for zone in cloud.list_zones()] == [False, True]
        with pytest.raises(NoCapacity):
            cloud.create_server(spec(), uuid.uuid4())
        drill.open_zone(state_dir, "kp")
        cloud.create_server(spec(), uuid.uuid4())

    def test_resize_moves_only_when_its_host_is_full(self, cloud, advance):
        ref = cloud.create_server(spec(), uuid.uuid4()).ref
        home = cloud.get_server(ref).host
        advance(2)
        cloud.stop_server(ref)
        advance(1)
        cloud.resize_server(ref, vcpus=4, memory_mib=8192)
        assert cloud.get_server(ref).host == home
        for _ in range(2):  # fill the other two hosts but for two vCPUs, and ours up
            cloud.create_server(spec(vcpus=6), uuid.uuid4())
        cloud.create_server(spec(vcpus=4), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.resize_server(ref, vcpus=8, memory_mib=8192)
        seen = cloud.get_server(ref)
        assert (seen.vcpus, seen.host) == (4, home)


class TestAddresses:
    def test_network_runs_out_and_refuses_without_a_trace(self, cloud):
        for _ in range(6):
            cloud.create_server(spec(**X86_SMALL, networks=("dmz",)), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.create_server(spec(**X86_SMALL, networks=("gov", "dmz")), uuid.uuid4())
        assert len(list(cloud.list_servers())) == 6

    def test_server_on_two_networks_shows_its_addresses_in_order(self, cloud, advance):
        ref = cloud.create_server(spec(**X86_SMALL, networks=("dmz", "gov")), uuid.uuid4()).ref
        advance(2)
        seen = cloud.get_server(ref)
        assert (seen.ipv4, seen.ipv6) == (("198.51.100.1", "10.20.0.2"), ("fd00:20::2",))

    def test_network_that_does_not_reach_the_zone_is_refused(self, cloud):
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(networks=("dmz",)), uuid.uuid4())

    def test_changed_range_never_hands_out_what_is_still_held(self, cloud, state_dir, advance):
        for _ in range(3):
            cloud.create_server(spec(), uuid.uuid4())
        networks = [{**OPTIONS["networks"][0], "cidr_v4": "10.20.0.0/25"}]
        with closing(opened(state_dir, networks=networks)) as changed:
            changed.create_server(spec(), uuid.uuid4())
            advance(2)
            addresses = [address for server in changed.list_servers() for address in server.ipv4]
        assert sorted(addresses) == ["10.20.0.2", "10.20.0.3", "10.20.0.4", "10.20.0.5"]


class TestRefusals:
    def test_digest_that_differs_from_the_approved_one_is_refused(self, cloud):
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(image_digest="sha256:bb"), uuid.uuid4())
        cloud.create_server(spec(image_digest="sha256:aa"), uuid.uuid4())

    def test_disk_smaller_than_the_image_is_refused(self, cloud):
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(system_disk_gib=19), uuid.uuid4())

    def test_refused_before_the_cloud_is_asked(self, cloud):
        with pytest.raises(InvalidSpec):
            cloud.create_server(spec(image="mystery"), uuid.uuid4())
        assert cloud.calls() == []

    def test_state_of_a_newer_version_is_left_alone(self, cloud, state_dir):
        cloud.check()
        with closing(sqlite3.connect(state_dir / "simulated.sqlite3")) as db:
            db.execute("PRAGMA user_version = 99")
        with closing(opened(state_dir)) as older, pytest.raises(Unsupported):
            older.check()

    def test_damaged_state_is_unavailable(self, state_dir):
        state_dir.mkdir()
        (state_dir / "simulated.sqlite3").write_bytes(b"not a database" * 100)
        with closing(opened(state_dir)) as provider, pytest.raises(Unavailable):
            provider.check()


class TestOptions:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"zones": []},
            {"zones": [{"ref": "z", "name": "z", "hosts": []}]},
            {
                "zones": [
                    {
                        "ref": "z",
                        "name": "z",
                        "hosts": [{"name": "h", "model": "pentium", "vcpus": 1, "memory_mib": 1, "disk_gib": 1}],
                    }
                ]
            },
            {
                "zones": [
                    {
                        "ref": "z",
                        "name": "z",
                        "hosts": [
                            {"name": "h", "model": "s2500", "vcpus": 1, "memory_mib": 1, "disk_gib": 1},
                            {"name": "i", "model": "kunpeng-920", "vcpus": 1, "memory_mib": 1, "disk_gib": 1},
                        ],
                    }
                ]
            },
            {"zones": [OPTIONS["zones"][0], OPTIONS["zones"][0]]},
            {"images": [{"ref": "i", "name": "i", "arch": "pdp11"}]},
            {"networks": [{"ref": "n", "name": "n", "zones": ["nowhere"]}]},
            {"networks": [{"ref": "n", "name": "n", "cidr_v4": "10.0.0.0/24", "gateway_v4": "10.0.1.1"}]},
            {"networks": [{"ref": "n", "name": "n", "cidr_v4": "not-a-range"}]},
            {"boot_s": -1},
            {"colour": "red"},
        ],
    )
    def test_wrong_options_are_refused_at_open(self, state_dir, wrong):
        with pytest.raises(ValidationError):
            opened(state_dir, **wrong)

    def test_documented_example_is_accepted(self, state_dir):
        page = (ROOT / "docs" / "providers.md").read_text()
        (backend,) = tomllib.loads(page.split("\n## simulated\n")[1].split("```toml\n")[1].split("```")[0])["backends"]
        ours = {key: value for key, value in backend.items() if key not in {"name", "provider", "tier", "datacenter"}}
        with closing(SimulatedProvider.open(ours, backend=backend["name"], state_dir=state_dir)) as provider:
            assert provider.check() == "simulated 1, 4 hosts in 1 zones"

    def test_opening_touches_no_file(self, state_dir):
        opened(state_dir).close()
        assert not state_dir.exists()

    def test_processors_are_recognised_as_real_ones_are(self):
        families = {name: cpu.family for name, cpu in MODELS.items()}
        assert families["kunpeng-920"] is CpuFamily.KUNPENG
        assert families["ft-2000plus"] is families["s2500"] is CpuFamily.PHYTIUM
        assert families["hygon-7285"] is CpuFamily.HYGON
        assert families["xeon-8358"] is CpuFamily.INTEL
        assert families["cortex-a72"] is CpuFamily.UNKNOWN
        assert MODELS["s2500"].raw == "implementer=0x70 part=0x663 product=S2500"
        assert [cpu.is_xinchuang for cpu in MODELS.values()].count(True) == 6

    def test_zone_of_several_models_of_a_family_names_them_all(self, state_dir):
        hosts = [
            {"name": model, "model": model, "vcpus": 64, "memory_mib": 1, "disk_gib": 1}
            for model in ("ft-2000plus", "s2500")
        ]
        zones = [{"ref": "ft", "name": "飞腾资源池", "hosts": hosts}]
        with closing(opened(state_dir, zones=zones, networks=[])) as provider:
            (zone,) = provider.list_zones()
        assert (zone.cpu.family, zone.cpu.model, zone.vcpus, zone.hosts) == (
            CpuFamily.PHYTIUM,
            "FT-2000+/64 + S2500",
            128,
            2,
        )


class TestManyAtOnce:
    def test_sixteen_threads_fill_the_cloud_exactly(self, cloud, advance):
        def build() -> int:
            built = 0
            for _ in range(3):
                try:
                    cloud.create_server(spec(), uuid.uuid4())
                    built += 1
                except NoCapacity:
                    pass
            return built

        assert sum(in_threads([build] * 16)) == 12
        advance(2)
        addresses = [address for server in cloud.list_servers() for address in (*server.ipv4, *server.ipv6)]
        assert len(addresses) == len(set(addresses)) == 24

    def test_four_processes_share_one_cloud(self, state_dir):
        token = uuid.uuid4()
        context = multiprocessing.get_context("spawn")
        processes = [context.Process(target=_build_in_another_process, args=(state_dir, token)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 4
        outcomes = [call.outcome for call in drill.calls(state_dir, "create_server", token)]
        assert sorted(outcomes) == ["built", "found", "found", "found"]
        assert len(drill.list_servers(state_dir)) == 9

    def test_killed_process_leaves_a_whole_cloud(self, state_dir):
        victim = multiprocessing.get_context("spawn").Process(target=_build_and_remove_for_ever, args=(state_dir,))
        victim.start()
        deadline = time.monotonic() + 20
        while not (state_dir.exists() and len(drill.calls(state_dir)) > 40) and time.monotonic() < deadline:
            time.sleep(0.01)
        victim.kill()
        victim.join()
        calls = drill.calls(state_dir)
        assert len(calls) > 40
        assert all(call.outcome for call in calls), "a call is journalled whole or not at all"
        with closing(opened(state_dir)) as provider:
            for server in provider.list_servers():
                provider.delete_server(server.ref)
            assert [provider.create_server(spec(), uuid.uuid4()).ref for _ in range(12)]

    def test_calls_take_milliseconds(self, cloud):
        cloud.check()
        began = time.perf_counter()
        for _ in range(100):
            cloud.check()
        checked = time.perf_counter()
        for _ in range(10):
            cloud.create_server(spec(vcpus=1, memory_mib=512), uuid.uuid4())
        created = time.perf_counter()
        print(f"check {(checked - began) * 10:.3f} ms, create {(created - checked) * 100:.2f} ms")
        assert (checked - began) / 100 < 0.01
        assert (created - checked) / 10 < 0.05


def _build_in_another_process(state_dir: Path, token: uuid.UUID) -> None:
    with closing(opened(state_dir)) as provider:
        provider.create_server(spec("shared"), token)
        for _ in range(2):
            provider.create_server(spec(vcpus=1, memory_mib=512), uuid.uuid4())


def _build_and_remove_for_ever(state_dir: Path) -> None:
    provider = opened(state_dir)
    while True:
        provider.delete_server(provider.create_server(spec(), uuid.uuid4()).ref)

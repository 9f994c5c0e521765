"""Faults on demand: each strikes the call it was told for, as often as told, and leaves what such a fault leaves."""

import multiprocessing
import threading
import time
import uuid

import pytest

from providers.base import PowerState, ResourceKind, VolumeSpec
from providers.errors import AuthFailed, NoCapacity, NotFound, Throttled, Unavailable, UnknownOutcome
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.providers.checks import in_threads
from tests.providers.simulated_cloud import X86_SMALL, opened, spec


class TestFaults:
    def test_lost_answer_hides_a_server_that_was_built(self, cloud):
        token = uuid.uuid4()
        cloud.inject(Fault("create_server", "lost_answer"))
        with pytest.raises(UnknownOutcome):
            cloud.create_server(spec(), token)
        found = cloud.find_server(token)
        assert found is not None
        assert cloud.create_server(spec(), token).ref == found.ref
        assert [call.outcome for call in cloud.calls("create_server", token)] == ["lost", "found"]

    def test_lost_answer_may_hide_a_refusal_too(self, cloud):
        token = uuid.uuid4()
        cloud.inject(Fault("create_server", "lost_answer"))
        with pytest.raises(UnknownOutcome):
            cloud.create_server(spec(vcpus=64), token)
        assert cloud.find_server(token) is None

    def test_half_created_server_holds_room_until_it_is_dealt_with(self, cloud):
        token = uuid.uuid4()
        cloud.inject(Fault("create_server", "half_created"))
        with pytest.raises(UnknownOutcome):
            cloud.create_server(spec(), token)
        half = cloud.find_server(token)
        assert (half.power, half.native_state, half.host) == (PowerState.ERROR, "HALF_CREATED", "kp-01")
        whole = cloud.create_server(spec(), token)
        assert (whole.power, len(list(cloud.list_servers()))) == (PowerState.BUILDING, 1)

    def test_unfinished_server_goes_on_when_it_is_asked_for_again(self, cloud, advance):
        token = uuid.uuid4()
        cloud.inject(Fault("create_server", "unfinished", times=2))
        begun = [cloud.create_server(spec(), token) for _ in range(2)]
        assert {(one.ref, one.power, one.unfinished, one.ipv4) for one in begun} == {
            (begun[0].ref, PowerState.BUILDING, True, ())
        }
        advance(60)
        assert cloud.find_server(token).unfinished, "nobody goes on with it unasked"
        assert not cloud.create_server(spec(), token).unfinished
        advance(60)
        whole = cloud.find_server(token)
        assert (whole.ref, whole.power, len(whole.ipv4)) == (begun[0].ref, PowerState.RUNNING, 1)
        assert [call.outcome for call in cloud.calls("create_server", token)] == ["built", "found", "found"]

    @pytest.mark.parametrize(
        ("kind", "error"),
        [("throttled", Throttled), ("unavailable", Unavailable), ("no_capacity", NoCapacity), ("auth", AuthFailed)],
    )
    def test_fault_strikes_as_often_as_told_and_builds_nothing(self, cloud, kind, error):
        token = uuid.uuid4()
        cloud.inject(Fault("create_server", kind, times=2))
        for _ in range(2):
            with pytest.raises(error):
                cloud.create_server(spec(), token)
            assert cloud.find_server(token) is None
        cloud.create_server(spec(), token)
        assert cloud.faults() == []
        assert [call.outcome for call in cloud.calls(token=token)] == [error.code, error.code, "built"]

    def test_gone_server_vanishes_behind_our_back(self, cloud):
        made = cloud.create_server(spec(), uuid.uuid4())
        cloud.inject(Fault("get_server", "gone"))
        with pytest.raises(NotFound):
            cloud.get_server(made.ref)
        assert list(cloud.list_servers()) == []

    @pytest.mark.parametrize("call", ["start_server", "stop_server", "reboot_server"])
    def test_gone_before_a_change_is_not_found_and_stays_gone(self, cloud, advance, call):
        made = cloud.create_server(spec(), uuid.uuid4())
        advance(2)
        cloud.inject(Fault(call, "gone"))
        with pytest.raises(NotFound):
            getattr(cloud, call)(made.ref)
        assert list(cloud.list_servers()) == []

    def test_gone_right_after_create(self, cloud):
        token = uuid.uuid4()
        cloud.inject(Fault("create_server", "gone"))
        cloud.create_server(spec(), token)
        assert cloud.find_server(token) is None

    def test_fault_strikes_only_the_server_or_zone_it_is_meant_for(self, cloud):
        cloud.inject(Fault("create_server", "no_capacity", match_name="*-db*"))
        cloud.inject(Fault("create_server", "no_capacity", zone="x86"))
        cloud.create_server(spec("zhsq-app01"), uuid.uuid4())
        assert len(cloud.faults()) == 2
        with pytest.raises(NoCapacity):
            cloud.create_server(spec("zhsq-db01"), uuid.uuid4())
        with pytest.raises(NoCapacity):
            cloud.create_server(spec(**X86_SMALL), uuid.uuid4())
        assert cloud.faults() == []

    def test_outage_strikes_every_call_until_it_is_cleared(self, cloud, state_dir):
        drill.inject(state_dir, Fault("*", "unavailable", times=None))
        for call in (
            cloud.check,
            cloud.list_zones,
            lambda: cloud.find_server(uuid.uuid4()),
            lambda: cloud.delete_server("x"),
        ):
            for _ in range(2):
                with pytest.raises(Unavailable):
                    call()
        assert [fault.times for fault in drill.faults(state_dir)] == [None]
        drill.clear_faults(state_dir)
        cloud.check()

    def test_fault_told_by_one_process_meets_another(self, cloud, state_dir):
        told = multiprocessing.get_context("spawn").Process(
            target=drill.inject, args=(state_dir, Fault("check", "auth"))
        )
        told.start()
        told.join()
        with pytest.raises(AuthFailed):
            cloud.check()

    @pytest.mark.parametrize(
        ("call", "kind"),
        [
            ("delete_server", "half_created"),
            ("delete_server", "unfinished"),
            ("check", "gone"),
            ("*", "no_capacity"),
            ("get_server", "empty"),
            ("delete_volume", "left_behind"),
            ("check", "slow"),
            ("dance", "auth"),
            ("check", "dull"),
        ],
    )
    def test_fault_that_no_call_can_show_is_refused(self, call, kind):
        with pytest.raises(ValueError):
            Fault(call, kind)

    def test_lost_delete_has_deleted(self, cloud):
        made = cloud.create_server(spec(), uuid.uuid4())
        cloud.inject(Fault("delete_server", "lost_answer"))
        with pytest.raises(UnknownOutcome):
            cloud.delete_server(made.ref)
        assert cloud.find_server(made.token) is None

    def test_empty_answer_hides_servers_once(self, cloud):
        cloud.create_server(spec(), uuid.uuid4())
        cursor = cloud.list_changes(None).cursor
        cloud.inject(Fault("list_servers", "empty"))
        cloud.inject(Fault("list_changes", "empty"))
        assert list(cloud.list_servers()) == []
        told = cloud.list_changes(cursor)
        assert (told.servers, told.is_full) == ((), True)
        assert len(list(cloud.list_servers())) == 1
        assert cloud.faults() == []

    def test_slow_call_takes_its_time_goes_through_and_holds_nobody_up(self, cloud):
        cloud.check()
        cloud.inject(Fault("create_server", "slow", seconds=0.6))
        cloud.inject(Fault("list_servers", "slow", seconds=0.6))
        took = {}

        def timed(name, call):
            began = time.monotonic()
            call()
            took[name] = time.monotonic() - began

        in_threads(
            [
                lambda: timed("create", lambda: cloud.create_server(spec(), uuid.uuid4())),
                lambda: timed("list", cloud.list_servers),
                lambda: timed("check", cloud.check),
            ]
        )
        assert took["create"] >= 0.6
        assert took["list"] >= 0.6
        assert took["check"] < 0.5
        assert len(list(cloud.list_servers())) == 1
        assert [call.outcome for call in cloud.calls()] == ["built"]

    def test_closing_ends_a_slow_call(self, state_dir):
        cloud = opened(state_dir)
        cloud.inject(Fault("*", "slow", seconds=600, times=None))
        raised = []

        def ask():
            with pytest.raises(Unavailable) as caught:
                cloud.check()
            raised.append(caught.value)

        asking = threading.Thread(target=ask)
        asking.start()
        asking.join(0.2)
        assert asking.is_alive()
        cloud.close()
        asking.join(20)
        assert len(raised) == 1

    def test_disk_left_behind_by_a_delete_is_evidence_until_it_is_taken_away(self, cloud, state_dir):
        token = uuid.uuid4()
        made = cloud.create_server(spec(), token)
        kept = cloud.list_resources(token)
        cloud.inject(Fault("delete_server", "left_behind"))
        cloud.delete_server(made.ref)
        assert cloud.find_server(token) is None
        (left,) = cloud.still_there(kept)
        assert (left.kind, left.ref, left.size_gib) == (ResourceKind.DISK, f"{made.ref}/system", 40)
        assert [one.ref for one in cloud.list_resources(token)] == [left.ref]
        drill.remove_leftover(state_dir, left.ref)
        assert cloud.still_there(kept) == []

    def test_faults_strike_calls_about_volumes_too(self, cloud):
        token, volume = uuid.uuid4(), VolumeSpec("zhsq-data", 10, "kp")
        cloud.inject(Fault("create_volume", "lost_answer", match_name="*-data"))
        with pytest.raises(UnknownOutcome):
            cloud.create_volume(volume, token)
        assert cloud.create_volume(volume, token).token == token
        assert len(list(cloud.list_volumes())) == 1
        cloud.inject(Fault("delete_volume", "lost_answer", match_name="*-data"))
        with pytest.raises(UnknownOutcome):
            cloud.delete_volume(cloud.find_volume(token).ref)
        assert cloud.find_volume(token) is None

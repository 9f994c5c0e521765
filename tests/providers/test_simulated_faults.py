"""Faults on demand: each strikes the call it was told for, as often as told, and leaves what such a fault leaves."""

import multiprocessing
import uuid

import pytest

from providers.base import PowerState
from providers.errors import AuthFailed, NoCapacity, NotFound, Throttled, Unavailable, UnknownOutcome
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.providers.simulated_cloud import X86_SMALL, spec


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
            ("check", "gone"),
            ("*", "no_capacity"),
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

"""What a real vCenter does and a quiet simulator does not: slow tasks, ended sessions, restarts, pages, strange hosts."""

import socket
import ssl
import time
import uuid
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
from pyVmomi import SoapAdapter, vim

from cloudmgr.domain.architectures import Architecture
from providers.base import PowerState
from providers.errors import AuthFailed, Busy, NoCapacity, NotFound, Unavailable, UnknownOutcome, Unsupported
from tests.providers.certificates import make_certificate
from tests.providers.contract import ProviderContract
from tests.providers.faults import FaultProxy
from tests.providers.vsphere_lab import PASSWORD, vcenter

pytestmark = pytest.mark.lab("vsphere")
ARM = Architecture.AARCH64
SLOW = ("cloneVm", "reconfigVm", "customizeVm", "powerOn", "powerOff", "destroy")
LIMIT_S = 60


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with vcenter(tmp_path_factory.mktemp("vcenter"), "-vm", "30") as lab:
        yield lab


@pytest.fixture
def provider(lab, tmp_path):
    with closing(lab.open(tmp_path / "state")) as provider:
        yield provider


@pytest.fixture
def token(provider):
    token = uuid.uuid4()
    yield token
    gone(provider, token)


def spec_of(provider, arch=ARM, **changes):
    return replace(ProviderContract.spec_for(provider, arch), **changes)


def finished(provider, spec, token):
    """Create as the workflow does; how often it was called."""
    deadline = time.monotonic() + LIMIT_S
    for calls in range(1, 1000):
        seen = provider.create_server(spec, token)
        if not seen.unfinished:
            return seen, calls
        assert time.monotonic() < deadline, seen
        time.sleep(0.1)
    raise AssertionError


def gone(provider, token):
    """Delete as the workflow does."""
    deadline = time.monotonic() + LIMIT_S
    while (found := provider.find_server(token)) is not None:
        assert time.monotonic() < deadline, found
        try:
            provider.delete_server(found.ref)
        except (Busy, UnknownOutcome, Unavailable):
            time.sleep(0.1)


@contextmanager
def counted():
    """Names of the calls made to any vCenter inside the block."""
    calls = []
    original = SoapAdapter.SoapStubAdapter.InvokeMethod

    def invoke(stub, mo, info, *args, **kwargs):
        calls.append(info.wsdlName)
        return original(stub, mo, info, *args, **kwargs)

    SoapAdapter.SoapStubAdapter.InvokeMethod = invoke
    try:
        yield calls
    finally:
        SoapAdapter.SoapStubAdapter.InvokeMethod = original


class TestSlowTasks:
    def test_create_returns_at_once_and_goes_on_call_by_call(self, lab, provider, token):
        spec = spec_of(provider)
        with lab.slow("700ms", *SLOW):
            began = time.monotonic()
            first = provider.create_server(spec, token)
            assert time.monotonic() - began < 5
            assert (first.unfinished, first.power, first.token) == (True, PowerState.BUILDING, token)
            seen, calls = finished(provider, spec, token)
        assert calls > 3
        assert (seen.power, seen.vcpus, seen.memory_mib, seen.data_disk_gib) == (PowerState.RUNNING, 1, 512, 1)
        assert [one.ref for one in provider.list_servers() if one.token == token] == [seen.ref]

    def test_clone_that_is_being_made_is_found_by_whoever_never_heard_of_it(self, lab, provider, token, tmp_path):
        spec = spec_of(provider)
        with lab.slow("3s", "cloneVm"), closing(lab.open(tmp_path / "other")) as other:
            provider.create_server(spec, token)
            found = other.find_server(token)
            assert (found.token, found.power, found.unfinished) == (token, PowerState.BUILDING, True)
            assert token in {one.token for one in other.list_servers()}
            with pytest.raises(Busy):
                other.delete_server(found.ref)
            assert other.create_server(spec, token).unfinished, "nobody begins a second clone"
            finished(other, spec, token)
        assert sum(one.token == token for one in provider.list_servers()) == 1

    def test_undo_of_a_running_clone_leaves_nothing(self, lab, provider, token):
        with lab.slow("1500ms", "cloneVm"):
            provider.create_server(spec_of(provider), token)
            gone(provider, token)
        time.sleep(0.5)
        assert provider.find_server(token) is None
        assert provider.list_resources(token) == []

    def test_full_cluster_found_out_at_power_on_goes_to_the_next_zone(self, lab, provider, token):
        lab.knob("fail?name=powerOn&n=1")
        with pytest.raises(NoCapacity):
            provider.create_server(spec_of(provider), token)
        assert provider.find_server(token).power is PowerState.BUILDING
        gone(provider, token)

    def test_clone_that_failed_in_the_background_says_why(self, lab, provider, token):
        lab.knob("fail?name=cloneVm&n=1")
        with lab.slow("400ms", "cloneVm"):
            assert provider.create_server(spec_of(provider), token).unfinished
            time.sleep(1.0)
            with pytest.raises(NoCapacity):
                provider.create_server(spec_of(provider), token)
            gone(provider, token)

    def test_server_stopped_by_its_owner_is_not_started_by_its_token(self, provider, token):
        spec = spec_of(provider)
        made, _ = finished(provider, spec, token)
        provider.stop_server(made.ref)
        assert provider.create_server(spec, token).power is PowerState.STOPPED


class TestSessions:
    def test_ended_session_is_opened_anew_by_a_read(self, lab, provider):
        before = {one.ref for one in provider.list_servers()}
        lab.end_sessions()
        assert {one.ref for one in provider.list_servers()} == before

    def test_idle_sessions_end_and_nothing_is_noticed(self, lab, provider):
        provider.check()
        lab.knob("idle?after=200ms")
        try:
            time.sleep(0.6)
            assert provider.find_server(uuid.uuid4()) is None
        finally:
            lab.knob("idle?after=0s")

    def test_connection_that_ended_while_it_rested_is_opened_anew_by_a_read(self, provider):
        before = {one.ref for one in provider.list_servers()}
        kept = provider._connection._session.stub.pool
        assert kept, "the SDK keeps its connections"
        for connection, _ in kept:
            connection.sock.shutdown(socket.SHUT_RDWR)
        assert {one.ref for one in provider.list_servers()} == before

    def test_session_lost_while_watching_means_everything_again(self, lab, provider):
        first = provider.list_changes(None)
        assert provider.list_changes(first.cursor).servers == ()
        cursor = provider.list_changes(provider.list_changes(None).cursor).cursor
        lab.end_sessions()
        again = provider.list_changes(cursor)
        assert again.is_full
        assert {one.ref for one in again.servers} == {one.ref for one in first.servers}

    def test_restart_in_the_middle_of_a_list_is_no_short_list(self, lab, provider):
        rows = provider.list_servers()
        next(rows)
        lab.end_sessions()
        with pytest.raises(Unavailable):
            list(rows)

    def test_wrong_password_and_unreadable_password_tell_an_operator(self, lab, tmp_path):
        (tmp_path / "wrong").write_text("not-" + PASSWORD)
        for path in (tmp_path / "wrong", tmp_path / "absent"):
            with closing(lab.open(tmp_path, password_file=str(path))) as other, pytest.raises(AuthFailed) as caught:
                other.check()
            assert PASSWORD not in f"{caught.value} {caught.value.detail}"


class TestCertificates:
    def test_server_of_another_authority_is_refused(self, lab, tmp_path):
        stranger = make_certificate(tmp_path / "pki")
        for pin in ({"ca_file": str(stranger.ca_file)}, {"ca_file": None, "server_pem": str(stranger.cert_file)}):
            with closing(lab.open(tmp_path, **pin)) as other, pytest.raises(AuthFailed):
                other.check()

    def test_pinned_certificate_is_enough_whatever_its_name(self, lab, tmp_path):
        pin = {"ca_file": None, "server_pem": str(lab.certificate.cert_file)}
        with closing(lab.open(tmp_path, host="localhost", **pin)) as other:
            assert "vCenter" in other.check()

    def test_name_counts_where_an_authority_vouches(self, lab, tmp_path):
        certificate = make_certificate(tmp_path / "pki", names=("vcenter.example",))
        target = f"https://127.0.0.1:{lab.port}"
        with (
            FaultProxy(target, tls=certificate.server_context()) as proxy,
            closing(lab.open(tmp_path, port=proxy.port, ca_file=str(certificate.ca_file))) as other,
            pytest.raises(AuthFailed),
        ):
            other.check()

    def test_system_authorities_are_asked_without_either(self, lab, tmp_path):
        with closing(lab.open(tmp_path, ca_file=None)) as other, pytest.raises(AuthFailed) as caught:
            other.check()
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


class TestAnswers:
    def test_overloaded_vcenter_is_unavailable_and_then_not(self, lab, tmp_path):
        with (
            FaultProxy(f"https://127.0.0.1:{lab.port}", tls=lab.certificate.server_context()) as proxy,
            closing(lab.open(tmp_path, port=proxy.port)) as other,
        ):
            other.check()
            with proxy.fault("refuse", body=b"RetrievePropertiesEx"), pytest.raises(Unavailable):
                other.list_zones()
            with proxy.fault("cut", body=b"RetrievePropertiesEx"), pytest.raises(Unavailable):
                other.list_zones()
            assert other.list_zones()

    @pytest.mark.parametrize(
        "step", [b"CreateFolder", b"CloneVM_Task", b"equipped", b"configured", b"CustomizeVM_Task", b"PowerOnVM_Task"]
    )
    def test_lost_answer_at_any_step_makes_one_server(self, lab, provider, token, tmp_path, step):
        spec = spec_of(provider)
        with (
            FaultProxy(f"https://127.0.0.1:{lab.port}", tls=lab.certificate.server_context()) as proxy,
            closing(lab.open(tmp_path / "cut", port=proxy.port)) as cut,
            proxy.fault("lose", body=step) as strike,
        ):
            with pytest.raises(UnknownOutcome):
                cut.create_server(spec, token)
            assert strike.times_struck == 1
        assert provider.find_server(token) is not None
        seen, _ = finished(provider, spec, token)
        assert seen.power is PowerState.RUNNING
        assert len(lab.read(lab.machine(seen.ref), "network")) == 1
        assert [one.ref for one in provider.list_servers() if one.token == token] == [seen.ref]


class TestCalls:
    def test_list_takes_a_handful_of_calls_and_one_for_each_further_page(self, lab, tmp_path):
        with closing(lab.open(tmp_path, page_size=1000)) as other:
            other.check()
            with counted() as calls:
                seen = list(other.list_servers())
            assert len(seen) >= 60
            assert calls == ["CreateContainerView", "RetrievePropertiesEx", "DestroyView"] * 2
        with closing(lab.open(tmp_path, page_size=10)) as other:
            other.check()
            with counted() as calls:
                assert len(list(other.list_servers())) == len(seen)
        assert calls.count("CreateContainerView") == calls.count("DestroyView") == 2
        assert calls.count("ContinueRetrievePropertiesEx") >= len(seen) // 10
        assert set(calls) == {
            "CreateContainerView",
            "RetrievePropertiesEx",
            "ContinueRetrievePropertiesEx",
            "DestroyView",
        }

    def test_list_given_up_halfway_gives_back_its_view_and_its_page(self, provider):
        provider.check()
        with counted() as calls:
            rows = provider.list_servers()
            next(rows)
            rows.close()
        assert calls.count("CreateContainerView") == calls.count("DestroyView")
        assert "CancelRetrievePropertiesEx" in calls

    def test_nothing_new_is_told_in_one_call(self, provider):
        cursor = provider.list_changes(None).cursor
        cursor = provider.list_changes(cursor).cursor
        with counted() as calls:
            assert provider.list_changes(cursor).servers == ()
        assert calls == ["WaitForUpdatesEx"]


class TestStrangers:
    def test_machine_that_is_not_ours_is_switched_resized_and_removed_by_its_own_reference_alone(self, lab, provider):
        """So that one that was imported can be: which references may be asked for is the ledger's matter."""
        machine = lab.make_machine("taken-over", "DC0_C0")
        ref = lab.read(machine, "config.instanceUuid")
        for call, power in ((provider.start_server, PowerState.RUNNING), (provider.stop_server, PowerState.STOPPED)):
            call(ref)
            assert provider.get_server(ref).power is power
        provider.resize_server(ref, vcpus=2, memory_mib=512)
        assert (provider.get_server(ref).vcpus, provider.get_server(ref).token) == (2, None)
        assert provider.find_server(uuid.UUID(ref)) is None, "its UUID is no token of ours"
        with pytest.raises(Unsupported):
            provider.create_snapshot(ref, "before")
        provider.delete_server(ref)
        with pytest.raises(NotFound):
            provider.get_server(ref)

    def test_clone_made_by_hand_of_ours_is_not_ours(self, lab, provider, token):
        made, _ = finished(provider, spec_of(provider), token)
        machine = lab.machine(made.ref)
        location = vim.vm.RelocateSpec(pool=lab.read(machine, "resourcePool"))
        note = vim.option.OptionValue(key="cloudmgr.token", value=str(token))
        clone = vim.vm.CloneSpec(location=location, config=vim.vm.ConfigSpec(extraConfig=[note]))
        copy = lab.done(machine.CloneVM_Task(lab.find("/DC0/vm"), "by-hand", clone))
        try:
            ref = lab.read(copy, "config.instanceUuid")
            assert provider.get_server(ref).token is None
            assert [one.ref for one in provider.list_servers() if one.token == token] == [made.ref]
        finally:
            copy.Destroy_Task()

    def test_change_by_hand_is_told(self, lab, provider, token):
        made, _ = finished(provider, spec_of(provider), token)
        cursor = provider.list_changes(None).cursor
        lab.done(lab.machine(made.ref).ReconfigVM_Task(vim.vm.ConfigSpec(name="renamed", memoryMB=1024)))
        seen = provider.list_changes(cursor)
        assert [(one.ref, one.name, one.memory_mib) for one in seen.servers] == [(made.ref, "renamed", 1024)]
        assert not seen.is_full

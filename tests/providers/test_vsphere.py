"""The contract on VMware's vCenter simulator, with faults by a proxy in front of it."""

import uuid
from contextlib import closing, contextmanager

import pytest

from cloudmgr.domain.architectures import Architecture
from providers.errors import ProviderError
from providers.vsphere import observe
from tests.ports import free_port
from tests.providers.contract import ProviderContract
from tests.providers.faults import FaultProxy
from tests.providers.vsphere_lab import PASSWORD, vcenter

pytestmark = pytest.mark.lab("vsphere")


@contextmanager
def behind_proxy(lab, state_dir, **changes):
    """A provider that reaches the vCenter through a proxy which can lose answers."""
    with FaultProxy(f"https://127.0.0.1:{lab.port}", tls=lab.certificate.server_context()) as proxy:
        provider = lab.open(state_dir, port=proxy.port, **changes)
        with closing(provider):
            yield provider, proxy


class TestContract(ProviderContract):
    driver = "vsphere"
    arch = Architecture.AARCH64
    gives_addresses = False
    unlabelled_image = True
    poll_s = 0.1
    secrets = (PASSWORD,)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp("vsphere")
        with vcenter(folder / "vcenter") as lab:
            cls.lab, cls.state_dir = lab, folder / "state"
            with closing(lab.open(cls.state_dir)) as provider:
                yield provider

    @classmethod
    def settings(cls, provider):
        return cls.lab.options(), cls.state_dir

    @classmethod
    def unreachable(cls, state_dir):
        return cls.lab.open(state_dir, port=free_port(), call_timeout_s=2.0)

    @classmethod
    def leave_half_built(cls, provider, spec, token):
        with (
            behind_proxy(cls.lab, cls.state_dir) as (cut, proxy),
            proxy.fault("drop", body=b"PowerOnVM_Task"),
            pytest.raises(ProviderError),
        ):
            cut.create_server(spec, token)

    @classmethod
    def lose_create(cls, provider, spec, token):
        with behind_proxy(cls.lab, cls.state_dir) as (cut, proxy), proxy.fault("lose", body=b">built<"):
            return raised(lambda: cut.create_server(spec, token))

    @classmethod
    def foreign_server(cls, provider):
        return cls.lab.foreign()

    @classmethod
    def unknown_state(cls, provider, ref):
        power, told = observe.power_of("hibernatedByFrost", "connected")
        return power, told, "hibernatedByFrost"

    @classmethod
    def timed_out_write(cls, provider):
        spec, token = cls.spec_for(provider, cls.arch), uuid.uuid4()
        with (
            behind_proxy(cls.lab, cls.state_dir, call_timeout_s=1.0) as (slow, proxy),
            proxy.fault("hang", body=b"CreateFolder"),
        ):
            error = raised(lambda: slow.create_server(spec, token))
        cls.clear_away(provider, token)
        return error

    @classmethod
    def timed_out_read(cls, provider):
        with (
            behind_proxy(cls.lab, cls.state_dir, call_timeout_s=1.0) as (slow, proxy),
            proxy.fault("hang", body=b"FindByUuid"),
        ):
            return raised(lambda: slow.find_server(uuid.uuid4()))


def raised(call):
    """The error a call ends with."""
    with pytest.raises(ProviderError) as caught:
        call()
    return caught.value

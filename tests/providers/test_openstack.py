"""The OpenStack driver on a real OpenStack: the contract, and what only this cloud can show."""

import time
import uuid
from contextlib import closing

import pytest

from cloudmgr.domain.architectures import Architecture
from providers.errors import Busy, ProviderError, UnknownOutcome
from tests.providers.contract import ProviderContract
from tests.providers.openstack_lab import Wire, foreign_server, opened, options, wired

try:
    from providers.openstack import observe
except ImportError:  # the SDK's absence is reported as the lab's
    observe = None

pytestmark = pytest.mark.lab("openstack")
ARM, X86 = Architecture.AARCH64, Architecture.X86_64


class TestContract(ProviderContract):
    driver = "openstack"
    unlabelled_image = True
    at_once_s = 30.0
    wait_s = 150.0
    secrets = ("labpw",)

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, tmp_path_factory):
        cls.state_dir = tmp_path_factory.mktemp("state")
        cls.wire = Wire()
        with closing(cls.wire), closing(opened(cls.state_dir, endpoints=cls.wire.endpoints)) as provider:
            yield provider

    @classmethod
    def settings(cls, provider):
        return options(endpoints=cls.wire.endpoints), cls.state_dir

    @classmethod
    def changes_sent(cls, provider):
        return cls.wire.changes()

    @classmethod
    def unreachable(cls, state_dir):
        return opened(state_dir, auth_url="http://127.0.0.1:1")

    @classmethod
    def leave_half_built(cls, provider, spec, token):
        """Ports and disk made by another process, killed before it asks for the server."""
        with wired(cls.state_dir) as (killed, wire), wire.fault("compute", "drop", method="POST", path=r"/servers$"):
            error = cls._create_until_it_asks(killed, spec, token)
        assert type(error) is UnknownOutcome

    @classmethod
    def lose_create(cls, provider, spec, token):
        with cls.wire.fault("compute", "lose", method="POST", path=r"/servers$"):
            return cls._create_until_it_asks(provider, spec, token)

    @classmethod
    def _create_until_it_asks(cls, provider, spec, token) -> ProviderError:
        end = time.monotonic() + cls.wait_s
        while time.monotonic() < end:
            with pytest.raises(ProviderError) as caught:
                provider.create_server(spec, token)
            if not isinstance(caught.value, Busy):
                return caught.value
            time.sleep(cls.poll_s)
        raise AssertionError("it never asked")

    @classmethod
    def foreign_server(cls, provider):
        return foreign_server(provider)

    @classmethod
    def unknown_state(cls, provider, ref):
        return (*observe.power_of({"status": "CRYSTALLISED"}), "CRYSTALLISED")

    @classmethod
    def timed_out_write(cls, provider):
        token = uuid.uuid4()
        ref = cls.build(provider, cls.spec_for(provider, cls.arch), token).ref
        with wired(cls.state_dir, read_timeout_s=3) as (impatient, wire):
            impatient.check()
            with (
                wire.fault("compute", "hang", method="DELETE", path=r"/servers/"),
                pytest.raises(ProviderError) as caught,
            ):
                impatient.delete_server(ref)
        cls.clear_away(provider, token)
        return caught.value

    @classmethod
    def timed_out_read(cls, provider):
        with (
            wired(cls.state_dir, read_timeout_s=3) as (impatient, wire),
            wire.fault("compute", "hang", path=r"/servers/detail"),
            pytest.raises(ProviderError) as caught,
        ):
            list(impatient.list_servers())
        return caught.value

"""The libcloud provider against EC2's API, served by moto: the whole contract, in EC2's dialect and by standard calls."""

import uuid
from contextlib import closing, contextmanager
from typing import ClassVar

import pytest

from cloudmgr.domain.architectures import Architecture
from providers.errors import ProviderError
from providers.libcloud.ec2.wire import items, text
from providers.libcloud.provider import LibcloudProvider
from tests.providers import ec2_lab
from tests.providers.contract import ProviderContract

pytestmark = pytest.mark.lab("moto")


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with ec2_lab.peer(tmp_path_factory.mktemp("moto")) as proxy:
        yield proxy


class TestLibcloudEc2(ProviderContract):
    driver = "libcloud"
    arch = Architecture.X86_64
    other_size = (2, 512)
    secrets = (ec2_lab.SECRET, ec2_lab.KEY)
    poll_s = 0.2
    answer_limit_s = 60.0

    @pytest.fixture(scope="class")
    @classmethod
    def provider(cls, moto, tmp_path_factory):
        cls.moto, cls.folder = moto, tmp_path_factory.mktemp("ec2")
        cls.options = ec2_lab.settings(moto.port, cls.folder)
        with closing(cls.opened()) as first:
            cls.options["images"] = ec2_lab.images(first)
        with closing(cls.opened()) as provider:
            yield provider

    @classmethod
    def opened(cls, **changes):
        return LibcloudProvider.open(cls.options | changes, backend="ec2", state_dir=cls.folder)

    @classmethod
    def settings(cls, provider):
        return cls.options, cls.folder

    @classmethod
    def unreachable(cls, state_dir):
        return LibcloudProvider.open(ec2_lab.settings(9, state_dir, timeout_s=5), backend="lost", state_dir=state_dir)

    @classmethod
    def leave_half_built(cls, provider, spec, token):
        with cls.moto.fault("drop", path="Action=RunInstances"), pytest.raises(ProviderError):
            provider.create_server(spec, token)

    @classmethod
    def lose_create(cls, provider, spec, token):
        with cls.moto.fault("lose", path="Action=RunInstances"), pytest.raises(ProviderError) as caught:
            provider.create_server(spec, token)
        return caught.value

    @classmethod
    @contextmanager
    def foreign_server(cls, provider):
        image = cls.spec_for(provider, cls.arch).image
        made = ec2_lab.ask(provider, "RunInstances", ImageId=image, MinCount=1, MaxCount=1, InstanceType="m5.large")
        ref = text(items(made, "instancesSet/item")[0], "instanceId")
        try:
            yield ref
        finally:
            ec2_lab.ask(provider, "TerminateInstances", InstanceId__1=ref)

    @classmethod
    def unknown_state(cls, provider, ref):
        cls.moto.rewrites[b"<name>running</name>"] = b"<name>hibernating</name>"
        try:
            seen = provider.get_server(ref)
        finally:
            del cls.moto.rewrites[b"<name>running</name>"]
        return seen.power, seen.native_state, "hibernating"

    @classmethod
    def timed_out_write(cls, provider):
        spec, token = cls.spec_for(provider, cls.arch), uuid.uuid4()
        with (
            closing(cls.opened(timeout_s=2)) as hasty,
            cls.moto.fault("hang", path="Action=RunInstances"),
            pytest.raises(ProviderError) as caught,
        ):
            hasty.create_server(spec, token)
        cls.clear_away(provider, token)
        return caught.value

    @classmethod
    def timed_out_read(cls, provider):
        with (
            closing(cls.opened(timeout_s=2)) as hasty,
            cls.moto.fault("hang", path="Action=DescribeInstances"),
            pytest.raises(ProviderError) as caught,
        ):
            hasty.find_server(uuid.uuid4())
        return caught.value

    @classmethod
    def changes_sent(cls, provider):
        return cls.moto.count(path=r"Action=(?!Describe)")


class TestLibcloudPlain(TestLibcloudEc2):
    """The same cloud by Libcloud's standard calls, as every cloud without a dialect is spoken to."""

    unable = frozenset({"resize", "volumes", "fixed_addresses", "port_rules", "public_ips", "evidence", "cloud_quota"})
    size: ClassVar = {"vcpus": 1, "memory_mib": 512, "system_disk_gib": 20, "data_disk_gib": 0}
    plain: ClassVar = {
        "dialect": "plain",
        "sizes": [{"ref": "t2.nano", "arch": "x86_64", "vcpus": 1, "memory_mib": 512, "disk_gib": 20}],
    }

    # One call makes everything, so there is nothing that could be half-built.
    test_p02_half_built_server_is_completed_by_the_same_token = None
    test_p02_half_built_server_is_found_and_removed_wholly = None

    @classmethod
    def opened(cls, **changes):
        options = cls.plain | cls.options | changes
        return LibcloudProvider.open(options, backend="plain", state_dir=cls.folder)

    @classmethod
    def settings(cls, provider):
        return cls.plain | cls.options, cls.folder

    @classmethod
    def leftovers(cls, provider, token):
        return [server.ref for server in provider.list_servers() if server.token == token]

    @classmethod
    @contextmanager
    def foreign_server(cls, provider):
        image = cls.spec_for(provider, cls.arch).image
        with provider._drivers.session() as driver:
            (native,) = driver.list_images(ex_image_ids=[image])
            made = driver.create_node("by-hand", driver.list_sizes()[0], native)
            try:
                yield made.id
            finally:
                driver.destroy_node(made)

"""What the libcloud provider does when EC2's answers are lost, unreadable, many, or from somebody else."""

import uuid
from contextlib import closing, suppress

import pytest

from cloudmgr.domain.architectures import Architecture
from providers.base import VolumeSpec
from providers.errors import AuthFailed, ProviderError, Remedy, Unavailable, UnknownOutcome
from providers.libcloud.ec2 import wire
from providers.libcloud.provider import LibcloudProvider
from tests.providers import ec2_lab
from tests.providers.certificates import make_certificate
from tests.providers.faults import FaultProxy
from tests.providers.hooks import ProviderHooks

pytestmark = pytest.mark.lab("moto")

BUSY = b"<Response><Errors><Error><Code>Unavailable</Code><Message>later</Message></Error></Errors></Response>"


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    with ec2_lab.peer(tmp_path_factory.mktemp("moto")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def section(peer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ec2")
    told = ec2_lab.settings(peer.port, folder)
    with closing(LibcloudProvider.open(told, backend="first", state_dir=folder)) as first:
        return told | {"images": ec2_lab.images(first)}


@pytest.fixture
def cloud(section, tmp_path):
    with closing(LibcloudProvider.open(section, backend="ec2", state_dir=tmp_path)) as provider:
        yield provider


@pytest.fixture
def spec(cloud):
    return ProviderHooks.spec_for(cloud, Architecture.X86_64)


def test_answer_in_another_namespace_is_no_empty_list(peer, cloud, spec):
    token = uuid.uuid4()
    made = cloud.create_server(spec, token)
    kept, peer.rewrites = peer.rewrites, {ec2_lab.WRONG_ERROR: ec2_lab.RIGHT_ERROR}
    try:
        with pytest.raises(Unavailable, match="nothing is concluded"):
            list(cloud.list_servers())
        with pytest.raises(Unavailable):
            cloud.find_server(token)
        with pytest.raises(UnknownOutcome):
            ec2_lab.ask(cloud, "TerminateInstances", InstanceId__1=made.ref)
    finally:
        peer.rewrites = kept
    ProviderHooks.clear_away(cloud, token)


@pytest.mark.parametrize("action", ["CreateSecurityGroup", "RunInstances"])
@pytest.mark.parametrize("fault", ["lose", "drop", "refuse", "cut"])
def test_whatever_answer_of_a_create_is_lost_one_server_is_made(peer, cloud, spec, action, fault):
    token = uuid.uuid4()
    with peer.fault(fault, path=f"Action={action}", answer=BUSY) as strike:
        with pytest.raises(ProviderError) as caught:
            cloud.create_server(spec, token)
        assert strike.times_struck == 1
    assert caught.value.remedy is (Remedy.RETRY if fault == "refuse" else Remedy.RECONCILE)
    made = ProviderHooks.create(cloud, spec, token)
    assert [one.ref for one in cloud.list_servers() if one.token == token] == [made.ref]
    assert [one.kind for one in cloud.list_resources(token)].count("port_rules") == 1
    ProviderHooks.clear_away(cloud, token)
    assert cloud.list_resources(token) == []


@pytest.mark.parametrize("action", ["TerminateInstances", "DeleteSecurityGroup"])
def test_whatever_answer_of_a_delete_is_lost_nothing_is_left(peer, cloud, spec, action):
    token = uuid.uuid4()
    made = ProviderHooks.create(cloud, spec, token)
    kept = cloud.list_resources(token)
    with peer.fault("lose", path=f"Action={action}"), suppress(ProviderError):
        cloud.delete_server(made.ref)
    ProviderHooks.clear_away(cloud, token)
    assert cloud.still_there(kept) == []


@pytest.mark.parametrize("action", ["AllocateAddress", "AssociateAddress", "DisassociateAddress", "ReleaseAddress"])
def test_whatever_answer_about_a_public_address_is_lost_it_is_one_and_none(peer, cloud, spec, action):
    token, address = uuid.uuid4(), uuid.uuid4()
    made = ProviderHooks.create(cloud, spec, token)
    with peer.fault("lose", path=f"Action={action}"):
        with suppress(ProviderError):
            cloud.assign_public_address(made.ref, address)
        seen = cloud.assign_public_address(made.ref, address)
        assert seen.server == made.ref
        with suppress(ProviderError):
            cloud.release_public_address(address)
        cloud.release_public_address(address)
    assert cloud.find_public_address(address) is None
    ProviderHooks.clear_away(cloud, token)


@pytest.mark.parametrize("action", ["CreateVolume", "AttachVolume", "DetachVolume", "DeleteVolume"])
def test_whatever_answer_about_a_volume_is_lost_it_is_one_and_none(peer, cloud, spec, action):
    token, volume = uuid.uuid4(), uuid.uuid4()
    made = ProviderHooks.create(cloud, spec, token)
    wanted = VolumeSpec("lost-and-found", 1, spec.zone)
    with peer.fault("lose", path=f"Action={action}"):
        found = ProviderHooks.insist(lambda: cloud.create_volume(wanted, volume))
        ProviderHooks.insist(lambda: cloud.attach_volume(found.ref, made.ref))
        assert [one.ref for one in cloud.list_volumes() if one.token == volume] == [found.ref]
        ProviderHooks.insist(lambda: cloud.detach_volume(found.ref))
        ProviderHooks.insist(lambda: cloud.delete_volume(found.ref))
    assert cloud.find_volume(volume) is None
    ProviderHooks.clear_away(cloud, token)


def test_more_servers_than_a_page_are_all_told(peer, cloud, spec, monkeypatch):
    monkeypatch.setattr(wire, "PAGE", 5)  # EC2 gives at least five a page
    for _ in range(12):
        ec2_lab.ask(cloud, "RunInstances", ImageId=spec.image, InstanceType="t2.nano", MinCount=1, MaxCount=1)
    peer.forget()
    seen = list(cloud.list_servers())
    assert len(seen) == len({one.ref for one in seen}) == 12
    assert peer.count(path="Action=DescribeInstances") >= 3, "page by page"
    assert all((one.vcpus, one.memory_mib, one.token) == (1, 512, None) for one in seen)
    refs = {f"InstanceId__{number}": one.ref for number, one in enumerate(seen, 1)}
    ec2_lab.ask(cloud, "TerminateInstances", **refs)
    assert list(cloud.list_servers()) == []


def test_authority_is_the_one_given_and_no_other(peer, section, tmp_path):
    right, wrong = make_certificate(tmp_path / "right"), make_certificate(tmp_path / "wrong")
    with FaultProxy(f"http://127.0.0.1:{peer.port}", tls=right.server_context()) as tls:
        arguments = section["arguments"] | {"secure": True, "port": tls.port}
        for ca_file, trusted in ((right.ca_file, True), (wrong.ca_file, False), (None, False)):
            told = section | {"arguments": arguments, "ca_file": str(ca_file) if ca_file else None}
            with closing(LibcloudProvider.open(told, backend="tls", state_dir=tmp_path)) as provider:
                if trusted:
                    assert provider.check().startswith("EC2 API")
                else:
                    with pytest.raises(AuthFailed):
                        provider.check()
        assert tls.count(path="DescribeAvailabilityZones") == 1, "nothing is told to a stranger"


def test_refused_credentials_are_for_an_operator(peer, cloud):
    answer = b"<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors></Response>"
    with peer.fault("refuse", path="Action=", status=401, answer=answer), pytest.raises(AuthFailed) as caught:
        cloud.check()
    assert caught.value.remedy is Remedy.OPERATOR

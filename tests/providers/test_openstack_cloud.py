"""What only a real OpenStack can show: logins, catalogues, zones, lists of many, refusals told apart, and half-done things."""

import uuid
from contextlib import closing, suppress
from dataclasses import replace

import pytest
from pydantic import ValidationError

from cloudmgr.domain.architectures import Architecture, CpuFamily
from providers.base import PortRule, PowerState, ResourceKind
from providers.errors import (
    AuthFailed,
    Busy,
    InvalidSpec,
    NoCapacity,
    NotFound,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from tests.providers.certificates import make_certificate
from tests.providers.checks import assert_safe
from tests.providers.contract import ProviderContract
from tests.providers.faults import FaultProxy
from tests.providers.openstack_lab import (
    by_credential,
    cloned,
    foreign_server,
    lab,
    opened,
    options,
    secrets,
    until,
    wired,
)

try:
    from providers.openstack import build, claim, errors, lookup
    from providers.openstack.options import OpenStackOptions
    from providers.openstack.provider import OpenStackProvider
except ImportError:  # the SDK's absence is reported as the lab's
    OpenStackOptions = OpenStackProvider = None

pytestmark = pytest.mark.lab("openstack")
ARM, X86 = Architecture.AARCH64, Architecture.X86_64


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    with closing(opened(tmp_path_factory.mktemp("state"))) as provider:
        yield provider


@pytest.fixture
def token(provider):
    token = uuid.uuid4()
    yield token
    clear_away(provider, token)


def clear_away(provider, token):
    def is_gone():
        with suppress(Busy, UnknownOutcome):
            if (found := provider.find_server(token)) is None:
                return True
            provider.delete_server(found.ref)
        return False

    until(is_gone, 150)
    assert provider.list_resources(token) == []


def spec(provider, arch=ARM, **changes):
    return replace(ProviderContract.spec_for(provider, arch), data_disk_gib=0, name="test-app01", **changes)


def built(provider, asked, token):
    return ProviderContract.build(provider, asked, token)


class TestLogin:
    def test_application_credential_serves_as_well_as_a_password(self, tmp_path):
        with closing(OpenStackProvider.open(by_credential(), backend="lab", state_dir=tmp_path)) as other:
            assert lab()["project_id"] in other.check()

    def test_wrong_password_is_a_matter_for_the_operator(self, tmp_path):
        (tmp_path / "password").write_text("hunter2")
        with (
            closing(opened(tmp_path, password_file=str(tmp_path / "password"))) as other,
            pytest.raises(AuthFailed) as caught,
        ):
            other.check()
        assert_safe(caught.value, ("hunter2", *secrets()))

    def test_missing_secret_is_told_without_its_place(self, tmp_path):
        with (
            closing(opened(tmp_path, password_file=str(tmp_path / "nothing"))) as other,
            pytest.raises(AuthFailed) as caught,
        ):
            other.check()
        assert_safe(caught.value)
        assert str(tmp_path) in caught.value.detail

    def test_rotated_password_is_taken_up_by_the_next_login(self, tmp_path):
        file = tmp_path / "password"
        file.write_text("outdated")
        with closing(opened(tmp_path, password_file=str(file))) as other:
            with pytest.raises(AuthFailed):
                other.check()
            file.write_text(secrets()[0])
            assert other.check()

    def test_secret_may_come_from_the_environment(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LAB_OS_PASSWORD", secrets()[0])
        with closing(opened(tmp_path, password_file=None, password_env="LAB_OS_PASSWORD")) as other:
            assert other.check()

    def test_expired_login_is_renewed_within_the_call(self, tmp_path):
        with wired(tmp_path) as (other, wire):
            other.check()
            answer = b'{"error": {"code": 401, "message": "The request you have made requires authentication."}}'
            with wire.fault("compute", "refuse", path="/servers/detail", status=401, answer=answer) as strike:
                assert list(other.list_servers()) is not None
            assert strike.times_struck == 1
            assert wire.reads("compute", "/servers/detail") == 2

    def test_region_that_is_not_in_the_catalogue_is_told(self, tmp_path):
        with closing(opened(tmp_path, region="Nowhere")) as other, pytest.raises(AuthFailed) as caught:
            other.check()
        assert "Nowhere" in caught.value.detail

    def test_other_certificate_than_the_expected_is_refused(self, tmp_path):
        ours, theirs = make_certificate(tmp_path / "ours"), make_certificate(tmp_path / "theirs")
        target = lab()["auth_url"].removesuffix("/v3")
        with FaultProxy(target, tls=ours.server_context()) as proxy:
            with closing(opened(tmp_path, auth_url=proxy.url, ca_file=str(ours.ca_file))) as other:
                assert other.check()
            with (
                closing(opened(tmp_path, auth_url=proxy.url, ca_file=str(theirs.ca_file))) as other,
                pytest.raises(AuthFailed),
            ):
                other.check()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"application_credential_id": "x"},
            {"password_env": "X"},
            {"password_file": None},
            {"auth_url": "https://user:pw@keystone"},
            {"project": None},
            {"zones": [{"availability_zone": "a", "arch": "arm64", "vcpus": 1, "memory_mib": 1, "disk_gib": 1}] * 2},
        ],
        ids=str,
    )
    def test_options_that_contradict_themselves_are_refused(self, wrong):
        with pytest.raises(ValidationError):
            OpenStackOptions.model_validate(options(**wrong))


class TestOffer:
    def test_zones_come_from_the_hypervisors_where_they_may_be_read(self, tmp_path):
        with closing(opened(tmp_path, username=lab()["admin"], zones=[])) as admin:
            seen = {zone.ref: zone for zone in admin.list_zones()}
        assert {zone.arch for zone in seen.values()} == {ARM, X86}
        arm = seen["nova/aarch64"]
        assert (arm.hosts, arm.vcpus, arm.memory_mib, arm.available) == (2, 2000, 1_600_000, True)
        assert seen["nova/x86_64"].cpu.family is CpuFamily.INTEL
        assert "Neoverse" in arm.cpu.raw

    def test_member_without_zones_is_told_to_configure_them(self, tmp_path):
        with closing(opened(tmp_path, zones=[])) as member, pytest.raises(Unsupported):
            member.list_zones()

    def test_size_without_a_flavor_is_refused_with_the_nearest(self, provider, token):
        with pytest.raises(InvalidSpec) as caught:
            provider.create_server(spec(provider, vcpus=3, memory_mib=4096, system_disk_gib=40), token)
        assert "lab.2c4096m40g" in str(caught.value)

    def test_networks_tell_subnets_and_which_leads_outside(self, provider):
        seen = {network.name: network for network in provider.list_networks()}
        assert seen["outside"].is_external
        assert not seen["lab"].is_external
        assert {one.cidr for one in seen["lab"].subnets} == {"10.64.0.0/16", "fd64::/64"}
        assert ("10.64.0.2",) in {one.dns for one in seen["lab"].subnets}

    def test_quota_of_the_cloud_has_limits(self, provider):
        seen = {one.resource: one for one in provider.read_quota()}
        assert (seen["servers"].limit, seen["vcpus"].limit, seen["volume_gib"].limit) == (40, 80, 2000)
        assert seen["public_addresses"].limit == 20


class TestMany:
    def test_a_thousand_servers_are_two_requests(self, tmp_path):
        with wired(tmp_path) as (provider, wire), foreign_server(provider) as ref, cloned(ref, 1000):
            provider.list_networks()
            for proxy in wire.proxies.values():
                proxy.forget()
            seen = list(provider.list_servers())
            assert len(seen) >= 1000
            assert wire.reads("compute", "/servers/detail") == 2
            assert sum(proxy.count() for proxy in wire.proxies.values()) <= 4, "flavors and images, remembered after"
            one = next(server for server in seen if server.ref == ref)
            assert (one.vcpus, one.memory_mib, one.arch) == (1, 512, ARM)
            copy = next(server for server in seen if server.ref != ref and server.name == one.name)
            assert (copy.vcpus, copy.arch, copy.zone, copy.ipv4) == (1, ARM, one.zone, one.ipv4)

    def test_small_pages_are_followed_to_the_end(self, tmp_path):
        with closing(opened(tmp_path, page_size=3)) as provider, foreign_server(provider) as ref, cloned(ref, 10):
            assert len({server.ref for server in provider.list_servers()}) >= 10


class TestRefusals:
    def test_quota_and_policy_are_told_apart_though_both_are_403(self, tmp_path, provider, token):
        quota = b'{"forbidden": {"code": 403, "message": "Quota exceeded for cores: Requested 1, but already used 80 of 80"}}'
        policy = b'{"forbidden": {"code": 403, "message": "Policy doesn\'t allow os_compute_api:servers:create."}}'
        with wired(tmp_path) as (other, wire):
            for answer, kind in ((quota, NoCapacity), (policy, AuthFailed)):
                with (
                    wire.fault("compute", "refuse", method="POST", path=r"/servers$", status=403, answer=answer),
                    pytest.raises(kind) as caught,
                ):
                    other.create_server(spec(other), token)
                assert_safe(caught.value)

    def test_real_quota_refuses_at_once(self, provider):
        volume = replace(ProviderContract.volume_spec(provider), size_gib=5000)
        with pytest.raises(NoCapacity):
            provider.create_volume(volume, uuid.uuid4())

    def test_answers_of_every_kind_have_one_word(self):
        for status, kind in ((404, NotFound), (409, Busy), (400, InvalidSpec), (501, Unsupported), (503, Unavailable)):
            assert type(errors.from_answer(status, {"x": {"message": "m"}}, write=True)) is kind
        assert type(errors.from_answer(500, "<html>", write=True)) is UnknownOutcome
        assert type(errors.from_answer(502, None, write=False)) is Unavailable

    def test_cut_answer_of_a_list_is_unavailable(self, tmp_path):
        with wired(tmp_path) as (other, wire):
            other.check()
            with wire.fault("compute", "cut", path="/servers/detail"), pytest.raises(Unavailable):
                list(other.list_servers())

    def test_server_without_a_host_is_removed_and_the_zone_is_full(self, tmp_path, provider, token):
        """Nova accepts what no host can take; the create called again finds the wreck, takes it away and says why."""
        asked = spec(provider, X86)
        host = {"host": "x86-1", "binary": "nova-compute"}
        with closing(opened(tmp_path, username=lab()["admin"], zones=[])) as admin:
            admin._cloud.change("compute", "PUT", "/os-services/disable", host)
            try:
                ref = provider.create_server(asked, token).ref
                seen = ProviderContract.wait_for(
                    lambda: provider.get_server(ref), lambda found: found.power is PowerState.ERROR
                )
                assert "No valid host" in seen.native_state
                with pytest.raises(NoCapacity) as caught:
                    provider.create_server(asked, token)
                assert_safe(caught.value)
                until(lambda: not lookup.servers_of(provider._cloud, token))
            finally:
                admin._cloud.change("compute", "PUT", "/os-services/enable", host)


class TestHalfDone:
    def test_claim_of_a_dead_process_is_taken_over(self, tmp_path, provider, token):
        asked = spec(provider)
        with (
            wired(tmp_path) as (killed, wire),
            wire.fault("compute", "drop", method="POST", path=r"/servers$"),
            pytest.raises(UnknownOutcome),
        ):
            killed.create_server(asked, token)
        with pytest.raises(Busy):
            provider.create_server(asked, token)
        assert provider.find_server(token).native_state == "half-created"
        assert {one.kind for one in provider.list_resources(token)} == {ResourceKind.NIC}
        made = built(provider, asked, token)
        assert provider.find_server(token).ref == made.ref
        assert len(lookup.ports_of(provider._cloud, token)) == 1

    def test_two_creations_that_both_go_on_end_as_one_server(self, provider, token):
        """A creation thought dead goes on after its claim was taken: both ask for the same port."""
        asked = spec(provider)
        made = built(provider, asked, token)
        cloud = provider._cloud
        port = next(port for port in lookup.ports_of(cloud, token) if claim.is_claim(port))
        body = cloud.get("compute", f"/servers/{made.ref}")["server"]
        with pytest.raises((Busy, InvalidSpec)):
            cloud.change(
                "compute",
                "POST",
                "/servers",
                {
                    "server": {
                        "name": body["name"],
                        "imageRef": body["image"]["id"],
                        "flavorRef": body["flavor"]["id"],
                        "metadata": body["metadata"],
                        "networks": [{"port": port["id"]}],
                    }
                },
            )
        assert provider.find_server(token).ref == made.ref

    def test_creation_that_arrives_late_is_waited_for(self, tmp_path, token):
        """Its answer was given up; a second request would end as a server in ERROR beside the first."""
        late = {"action": "delay", "method": "POST", "path": r"/servers$", "delay_s": 12}
        with wired(tmp_path, read_timeout_s=8, claim_s=60) as (impatient, wire):
            asked = spec(impatient)
            with wire.fault("compute", **late) as strike, pytest.raises(UnknownOutcome):
                impatient.create_server(asked, token)
            assert strike.times_struck == 1
            with pytest.raises(Busy):
                impatient.create_server(asked, token)
            until(lambda: lookup.servers_of(impatient._cloud, token), 60)
            made = ProviderContract.insist(lambda: impatient.create_server(asked, token))
            assert [row["id"] for row in lookup.servers_of(impatient._cloud, token)] == [made.ref]
            assert wire.proxies["compute"].count(method="POST", path=r"/servers$") == 1

    def test_server_renamed_by_hand_is_found_by_its_port(self, provider, token):
        made = built(provider, spec(provider), token)
        provider._cloud.change("compute", "PUT", f"/servers/{made.ref}", {"server": {"name": "oracle-prod"}})
        assert provider.find_server(token).ref == made.ref
        assert provider.find_server(token).name == "oracle-prod"
        assert provider.create_server(spec(provider), token).ref == made.ref

    def test_server_has_its_place_and_its_labels(self, provider, token):
        made = built(provider, spec(provider, labels={"project": "民政", "部门": "x"}), token)
        metadata = provider._cloud.get("compute", f"/servers/{made.ref}")["server"]["metadata"]
        assert metadata["cloudmgr.project"] == "民政"
        assert (made.zone, made.arch, made.power) == ("nova/aarch64", ARM, PowerState.RUNNING)
        assert made.networks == (lab()["networks"]["lab"],)

    def test_x86_server_is_built_on_x86(self, provider, token, tmp_path):
        made = built(provider, spec(provider, X86), token)
        with closing(opened(tmp_path, username=lab()["admin"], zones=[])) as admin:
            assert admin.get_server(made.ref).host == "x86-1"

    def test_servers_of_one_group_are_put_on_different_hosts(self, provider, tmp_path):
        tokens, group = [uuid.uuid4(), uuid.uuid4()], uuid.uuid4()
        try:
            made = [built(provider, spec(provider, spread_group=group), token).ref for token in tokens]
            with closing(opened(tmp_path, username=lab()["admin"], zones=[])) as admin:
                assert {admin.get_server(ref).host for ref in made} == {"arm-1", "arm-2"}
        finally:
            for token in tokens:
                clear_away(provider, token)
        assert provider._cloud.get("compute", "/os-server-groups")["server_groups"] == []

    def test_user_data_holds_the_key_and_no_password(self, provider):
        plain = build.user_data(spec(provider, ssh_keys=("ssh-ed25519 AAAA 张三",)))
        assert plain.startswith("#cloud-config\n")
        assert "ssh-ed25519 AAAA" in plain
        assert '"lock_passwd": true' in plain


class TestConsole:
    def test_one_time_token_is_the_password_and_shown_nowhere(self, provider, token):
        made = built(provider, spec(provider), token)
        (console,) = provider.console_addresses(made.ref)
        assert (console.kind, console.port, console.path) == ("vnc", lab()["vnc_port"], "/?token=")
        assert uuid.UUID(console.password)
        provider.stop_server(made.ref)
        until(lambda: provider.get_server(made.ref).power is PowerState.STOPPED)
        assert provider.console_addresses(made.ref) == []


class TestSnapshots:
    def test_reverted_server_keeps_image_architecture_and_address(self, provider, token):
        made = built(provider, spec(provider), token)
        before = provider.get_server(made.ref)
        shot = provider.create_snapshot(made.ref, "升级前")
        until(lambda: provider._cloud.get("image", f"/images/{shot.ref}")["status"] == "active")
        assert shot.ref not in {image.ref for image in provider.list_images()}, "a snapshot is no template"
        ProviderContract.insist(lambda: provider.revert_snapshot(made.ref, shot.ref))
        seen = ProviderContract.wait_until_running(provider, made.ref)
        assert (seen.image, seen.arch, seen.zone, seen.ipv4) == (before.image, before.arch, before.zone, before.ipv4)
        ProviderContract.insist(lambda: provider.delete_snapshot(made.ref, shot.ref))
        provider.list_images()
        seen = provider.get_server(made.ref)
        assert (seen.image, seen.arch, seen.zone) == (before.image, before.arch, before.zone), "its snapshot is gone"


class TestPorts:
    def test_two_openings_of_the_same_ports_are_both_told(self, provider, token):
        made = built(provider, spec(provider), token)
        rules = [PortRule("a", "10.0.0.0/8", "tcp", 22, 22), PortRule("b", "10.0.0.0/8", "tcp", 22, 22)]
        rules += [PortRule("c", "2001:db8::/32", "icmp")]
        provider.set_port_rules(made.ref, rules)
        assert {rule.key for rule in provider.list_port_rules(made.ref)} == {"a", "b", "c"}
        provider.set_port_rules(made.ref, rules[1:])
        assert set(provider.list_port_rules(made.ref)) == set(rules[1:])

    def test_groups_of_others_are_left_alone(self, provider, token):
        made = built(provider, spec(provider), token)
        (port,) = lookup.ports_of(provider._cloud, token)
        provider.set_port_rules(made.ref, [PortRule("a", "10.0.0.0/8", "tcp", 22, 22)])
        (after,) = lookup.ports_of(provider._cloud, token)
        assert set(port["security_groups"]) < set(after["security_groups"])

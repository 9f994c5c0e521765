"""What the libcloud provider says and refuses before and after the wire: settings, sizes, errors, secrets."""

import ssl
import uuid

import pytest
import requests
from libcloud.common.exceptions import BaseHTTPError, RateLimitReachedError
from libcloud.common.types import InvalidCredsError, LibcloudError, MalformedResponseError
from libcloud.compute.providers import get_driver
from libcloud.compute.types import Provider as Names
from pydantic import ValidationError

from cloudmgr.domain.architectures import Architecture
from providers.base import ServerSpec
from providers.capabilities import capabilities
from providers.errors import (
    AddressTaken,
    AuthFailed,
    Busy,
    InvalidSpec,
    NoCapacity,
    NotFound,
    Throttled,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)
from providers.libcloud import zones
from providers.libcloud.errors import classify
from providers.libcloud.options import LibcloudOptions
from providers.libcloud.plain import name_of, token_of
from providers.libcloud.provider import LibcloudProvider
from providers.libcloud.sizes import Sizes
from tests.providers import ec2_lab
from tests.providers.checks import assert_no_secret, assert_safe

READ_AND_WRITE = [
    (requests.exceptions.ConnectTimeout("x"), Unavailable, Unavailable),
    (requests.exceptions.ConnectionError("NewConnectionError: refused"), Unavailable, Unavailable),
    (requests.exceptions.ReadTimeout("x"), Unavailable, UnknownOutcome),
    (requests.exceptions.ConnectionError("RemoteDisconnected"), Unavailable, UnknownOutcome),
    (requests.exceptions.SSLError("self-signed certificate"), AuthFailed, AuthFailed),
    (ssl.SSLError("bad"), AuthFailed, AuthFailed),
    (InvalidCredsError("no"), AuthFailed, AuthFailed),
    (MalformedResponseError("not XML", body="<html>"), Unavailable, UnknownOutcome),
    (KeyError("instanceId"), Unavailable, UnknownOutcome),
    (RateLimitReachedError(), Throttled, Throttled),
    (BaseHTTPError(500, "InternalError: oops"), Unavailable, UnknownOutcome),
    (BaseHTTPError(502, "Bad Gateway"), Unavailable, UnknownOutcome),
    (BaseHTTPError(503, "Service Unavailable"), Unavailable, Unavailable),
    (BaseHTTPError(503, "RequestLimitExceeded: slow down"), Throttled, Throttled),
    (BaseHTTPError(400, "InvalidInstanceID.NotFound: i-1"), NotFound, NotFound),
    (BaseHTTPError(400, "InvalidVolume.NotFound: vol-1"), NotFound, NotFound),
    (BaseHTTPError(400, "InvalidGroup.NotFound: sg-1"), NotFound, NotFound),
    (BaseHTTPError(400, "InsufficientInstanceCapacity: none"), NoCapacity, NoCapacity),
    (BaseHTTPError(400, "VcpuLimitExceeded: 32"), NoCapacity, NoCapacity),
    (BaseHTTPError(400, "InsufficientFreeAddressesInSubnet: 0"), NoCapacity, NoCapacity),
    (BaseHTTPError(400, "InvalidIPAddress.InUse: 10.0.0.9"), AddressTaken, AddressTaken),
    (BaseHTTPError(400, "IncorrectInstanceState: pending"), Busy, Busy),
    (BaseHTTPError(400, "DependencyViolation: in use"), Busy, Busy),
    (BaseHTTPError(400, "InvalidGroup.Duplicate: there"), Busy, Busy),
    (BaseHTTPError(400, "InvalidParameterValue: VolumeSize"), InvalidSpec, InvalidSpec),
    (BaseHTTPError(400, "UnsupportedOperation: never"), Unsupported, Unsupported),
    (BaseHTTPError(400, "AuthFailure: no"), AuthFailed, AuthFailed),
    (BaseHTTPError(404, "no such thing"), NotFound, NotFound),
    (BaseHTTPError(418, "?"), Unavailable, UnknownOutcome),
    (LibcloudError("a driver's own words"), InvalidSpec, InvalidSpec),
    (NotImplementedError("list_volumes"), Unsupported, Unsupported),
]


@pytest.mark.parametrize(("error", "read", "write"), READ_AND_WRITE, ids=lambda one: str(one)[:60])
def test_every_failure_has_one_word_and_none_hides_what_may_have_happened(error, read, write):
    assert type(classify(error, write=False)) is read
    assert type(classify(error, write=True)) is write
    assert_safe(classify(error, write=True))


@pytest.fixture
def section(tmp_path):
    return ec2_lab.settings(9, tmp_path)


def options(section, **changes):
    return LibcloudOptions.model_validate(section | changes)


@pytest.mark.parametrize("name", ["key", "secret", "password", "api_key", "ex_force_auth_token"])
def test_secret_is_a_reference_and_its_value_is_never_repeated(section, name):
    arguments = section["arguments"] | {name: "hunter2"}
    with pytest.raises(ValidationError) as caught:
        options(section, arguments=arguments)
    assert f"write {name} as a reference" in str(caught.value)
    assert_no_secret(str(caught.value), ("hunter2",))


def test_secret_comes_from_a_file_or_the_environment(section, tmp_path, monkeypatch):
    monkeypatch.setenv("EC2_SECRET", "from the environment")
    arguments = section["arguments"] | {"secret": {"env": "EC2_SECRET"}}
    read = options(section, arguments=arguments).constructor()
    assert (read["key"], read["secret"], read["region"]) == (ec2_lab.KEY, "from the environment", ec2_lab.REGION)
    monkeypatch.delenv("EC2_SECRET")
    with pytest.raises(AuthFailed) as caught:
        options(section, arguments=arguments).constructor()
    assert_safe(caught.value)
    provider = LibcloudProvider.open(section | {"arguments": arguments}, backend="x", state_dir=tmp_path)
    with pytest.raises(AuthFailed):
        provider.check()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"driver": "no-such-cloud"}, "Libcloud has no compute driver of this name"),
        ({"zones": []}, "name zones"),
        ({"zones": [ec2_lab.zone("a", "x86_64")] * 2}, "stands twice"),
        ({"arguments": {"secure": False, "host": "ec2.example.com"}}, "for loopback only"),
        ({"arguments": {"timeout": 3}}, "write timeout_s"),
        ({"arguments": {"key": {"file": "/a", "env": "B"}}}, "either a file or an env"),
        ({"zones": [ec2_lab.zone("a", "vax")]}, "vax"),
    ],
    ids=lambda one: str(one)[:50],
)
def test_settings_that_cannot_work_are_refused_with_the_reason(section, changes, said):
    with pytest.raises(ValidationError) as caught:
        options(section, **changes)
    assert said in str(caught.value)


def test_zone_of_every_location_where_the_settings_name_the_room(section):
    told = options(section, zones=[], archs=["amd64", "arm64"], room={"vcpus": 8, "memory_mib": 1024, "disk_gib": 10})
    made = zones.observe(told, ["here", "there"])
    assert [zone.ref for zone in made] == ["here/x86_64", "here/aarch64", "there/x86_64", "there/aarch64"]
    assert all(zone.available and zone.vcpus == 8 and zone.cpu.raw for zone in made)


def test_size_is_exact_and_the_cheapest_of_its_architecture(section):
    driver = get_driver(Names.EC2)("key", "secret", region=ec2_lab.REGION)
    sizes = Sizes(options(section, size_names=["t*", "m*", "a1.*"]))
    x86 = sizes.match(driver, Architecture.X86_64, vcpus=2, memory_mib=8192)
    arm = sizes.match(driver, Architecture.AARCH64, vcpus=2, memory_mib=8192)
    assert (x86.vcpus, x86.memory_mib, x86.disk_gib, x86.arch) == (2, 8192, 0, Architecture.X86_64)
    assert arm.ref.split(".")[0] in {"m6g", "t4g", "m7g", "m8g"}
    assert x86.price <= min(
        one.price
        for one in sizes.all(driver).values()
        if (one.arch, one.vcpus, one.memory_mib, one.disk_gib) == (x86.arch, 2, 8192, 0)
    )
    for vcpus, memory_mib in ((2, 8191), (3, 8192), (0, 0)):
        with pytest.raises(InvalidSpec) as caught:
            sizes.match(driver, Architecture.X86_64, vcpus=vcpus, memory_mib=memory_mib)
        assert_safe(caught.value)


def test_size_with_a_disk_of_its_own_is_not_one_without(section):
    driver = get_driver(Names.EC2)("key", "secret", region=ec2_lab.REGION)
    sizes = Sizes(options(section, size_names=["m5d.large"]))
    with pytest.raises(InvalidSpec):
        sizes.match(driver, Architecture.X86_64, vcpus=2, memory_mib=8192)


@pytest.mark.parametrize(
    ("driver", "can"),
    [
        (
            "ec2",
            {"power", "resize", "volumes", "fixed_addresses", "port_rules", "public_ips", "evidence", "cloud_quota"},
        ),
        ("aliyun_ecs", {"power"}),
        ("digitalocean", set()),
        ("rimuhosting", set()),
    ],
)
def test_capabilities_are_those_of_the_driver_named_in_the_settings(section, tmp_path, driver, can):
    provider = LibcloudProvider.open(section | {"driver": driver, "arguments": {}}, backend="x", state_dir=tmp_path)
    assert set(capabilities(provider)) == can
    assert provider.unable() == set(capabilities(LibcloudProvider)) - can


def test_token_is_the_end_of_a_plain_name_and_nothing_else_is_taken_for_one():
    token = uuid.uuid4()
    spec = ServerSpec("430102-mzj-zhsq-prd-app-with-a-long-name-01", Architecture.X86_64, 1, 512, 10, "z", "i")
    name = name_of(spec, token)
    assert len(name) <= 63
    assert token_of(name) == token
    for other in ("", "web-01", f"{token.hex}", f"web-{token}", f"web-{token.hex.upper()}", f"web-{token.hex[:-1]}"):
        assert token_of(other) is None or other.endswith(token.hex)

"""A small simulated installation for tests: three Kunpeng hosts, one overcommitted x86 host, two networks."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cloudmgr.domain.architectures import Architecture
from providers.base import ServerSpec
from providers.simulated.provider import SimulatedProvider

ARM, X86 = Architecture.AARCH64, Architecture.X86_64
OPTIONS = {
    "boot_s": 2.0,
    "power_s": 0.5,
    "zones": [
        {
            "ref": "kp",
            "name": "鲲鹏资源池",
            "hosts": [
                {"name": "kp", "model": "kunpeng-920", "count": 3, "vcpus": 8, "memory_mib": 16384, "disk_gib": 500},
            ],
        },
        {
            "ref": "x86",
            "name": "x86资源池",
            "hosts": [{"name": "xeon", "model": "xeon-8358", "vcpus": 16, "memory_mib": 32768, "disk_gib": 500}],
            "cpu_overcommit": 2.0,
        },
    ],
    "networks": [
        {
            "ref": "gov",
            "name": "政务外网区",
            "cidr_v4": "10.20.0.0/24",
            "cidr_v6": "fd00:20::/64",
            "gateway_v4": "10.20.0.1",
        },
        {"ref": "dmz", "name": "互联网区", "cidr_v4": "198.51.100.0/29", "zones": ["x86"]},
        {
            "ref": "public",
            "name": "公网",
            "cidr_v4": "203.0.113.0/29",
            "gateway_v4": "203.0.113.1",
            "is_external": True,
        },
    ],
    "cloud_quota": {"servers": 100, "vcpus": 200},
    "images": [
        {"ref": "kylin-arm", "name": "kylin-v10", "arch": "arm64", "min_disk_gib": 20, "digest": "sha256:aa"},
        {"ref": "kylin-x86", "name": "kylin-v10", "arch": "amd64", "min_disk_gib": 20},
        {"ref": "mystery", "name": "unlabelled"},
    ],
}
X86_SMALL = {"arch": X86, "zone": "x86", "image": "kylin-x86", "vcpus": 1, "memory_mib": 512}
MORNING = datetime(2026, 11, 22, 1, 0, tzinfo=UTC)


def opened(state_dir: Path, **changes) -> SimulatedProvider:
    return SimulatedProvider.open({**OPTIONS, **changes}, backend="sim", state_dir=state_dir)


def spec(name: str = "a", **changes) -> ServerSpec:
    base = ServerSpec(name, ARM, vcpus=2, memory_mib=4096, system_disk_gib=40, zone="kp", image="kylin-arm")
    return replace(base, **changes)

"""The demonstration's three clouds: `[[backends]]` sections for the simulated provider, as a settings file would hold them."""

from collections.abc import Mapping, Sequence
from typing import Any

IMAGES: Mapping[str, Sequence[str]] = {
    "kylin-v10": ("aarch64", "x86_64"),
    "openeuler-22.03": ("aarch64", "x86_64"),
    "uos-20": ("aarch64", "x86_64"),
    "debian-12": ("aarch64", "x86_64"),
    "anolis-8": ("x86_64",),
}
"""Logical images and the architectures they exist for; on each cloud by the same name."""

_NETWORKS = (("hlw", "互联网区"), ("ww", "政务外网区"), ("gg", "公共服务区"), ("dmz", "DMZ"), ("gl", "管理区"))
_ARM, _X86 = "aarch64", "x86_64"


def demo_backends() -> tuple[dict[str, Any], ...]:
    """Return the three sections: a 鲲鹏 pool and a 飞腾 pool (both Arm, 信创), and an x86 pool. Each serves every network zone."""
    return (
        _cloud(
            "cs-hcs-kp",
            "长沙市政务云·鲲鹏信创区",
            datacenter="高新区机房",
            vendor="OpenStack（模拟）",
            number=10,
            arch=_ARM,
            zones=[
                _zone("kp-az1", "kunpeng-920", count=8, vcpus=96, memory_gib=384),
                _zone("kp-az2", "kunpeng-920", count=8, vcpus=96, memory_gib=384),
            ],
        ),
        _cloud(
            "cs-kvm-ft",
            "长沙市政务云·飞腾麒麟信创区",
            datacenter="雨花机房",
            vendor="KVM（模拟）",
            number=20,
            arch=_ARM,
            zones=[
                _zone("ft-az1", "ft-2000plus", count=8, vcpus=64, memory_gib=256),
                _zone("ft-az2", "s2500", count=6, vcpus=128, memory_gib=512),
            ],
        ),
        _cloud(
            "cs-os-x86",
            "长沙市政务云·x86 资源区",
            datacenter="市本级机房",
            vendor="OpenStack（模拟）",
            number=30,
            arch=_X86,
            zones=[
                _zone("hg-az1", "hygon-7285", count=8, vcpus=64, memory_gib=256),
                _zone("x86-az2", "xeon-8358", count=8, vcpus=64, memory_gib=256),
            ],
            public={"ref": "cs-os-x86-gw", "name": "公网出口", "cidr_v4": "203.0.113.0/24", "is_external": True},
        ),
    )


def network_zones_of(section: Mapping[str, Any]) -> dict[str, str]:
    """Return which network zone each network of a section carries, by the network's reference."""
    return {f"{section['name']}-{suffix}": network_zone for suffix, network_zone in _NETWORKS}


def _cloud(
    name: str,
    title: str,
    *,
    datacenter: str,
    vendor: str,
    number: int,
    arch: str,
    zones: list[dict[str, Any]],
    public: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "provider": "simulated",
        "tier": "city",
        "datacenter": datacenter,
        "vendor": vendor,
        "network_zones": network_zones_of({"name": name}),
        "zones": zones,
        "networks": [
            *(_network(name, suffix, title, number + at) for at, (suffix, title) in enumerate(_NETWORKS)),
            *([public] if public else []),
        ],
        "images": [
            {"ref": f"{image}-{arch}", "name": image, "arch": arch, "min_disk_gib": 20}
            for image, architectures in IMAGES.items()
            if arch in architectures
        ],
        "boot_s": 2.0,
    }


def _zone(ref: str, model: str, *, count: int, vcpus: int, memory_gib: int) -> dict[str, Any]:
    host = {"name": f"{ref}-host", "model": model, "count": count, "vcpus": vcpus, "memory_mib": memory_gib * 1024}
    return {"ref": ref, "name": ref, "hosts": [host | {"disk_gib": 40_000}]}


def _network(backend: str, suffix: str, title: str, octet: int) -> dict[str, Any]:
    """A network of 4,000 addresses of RFC 1918 and of RFC 4193, so that a demonstration never meets a real one."""
    return {
        "ref": f"{backend}-{suffix}",
        "name": title,
        "cidr_v4": f"10.{octet}.0.0/20",
        "cidr_v6": f"fd00:{octet}::/64",
        "gateway_v4": f"10.{octet}.0.1",
    }

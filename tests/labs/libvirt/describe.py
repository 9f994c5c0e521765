"""Print lab.json: where the lab is and, under "options", the libvirt provider's options that reach it."""

import json
import sys
from pathlib import Path


def present(lab: Path, name: str) -> str:
    """Return the path of an image's present version."""
    return str(lab / "img" / (lab / "img" / f"{name}.current").read_text().strip())


def small_guest(lab: Path, arch: str, debian_arch: str, console: str) -> dict[str, object]:
    """Return the image entry of the small guest: direct kernel boot, its own PID 1."""
    return {
        "ref": f"debian-12-{arch}",
        "name": f"Debian 12 small guest ({arch})",
        "arch": arch,
        "path": present(lab, f"guest-{debian_arch}"),
        "format": "qcow2",
        "firmware": "direct",
        "kernel": str(lab / "img" / f"vmlinuz-{debian_arch}"),
        "initrd": str(lab / "img" / f"initrd-{debian_arch}"),
        "cmdline": f"console={console} root=/dev/vda rw panic=-1 quiet init=/sbin/guest-init",
        "min_disk_gib": 1,
    }


def full_guest(lab: Path) -> dict[str, object]:
    """Return the image entry of the full Debian with systemd and cloud-init."""
    return {
        **small_guest(lab, "x86_64", "amd64", "ttyS0"),
        "ref": "debian-12-full",
        "name": "Debian 12 with systemd and cloud-init (x86_64)",
        "path": present(lab, "debian12-amd64"),
        "cmdline": "console=ttyS0 root=/dev/vda rw panic=-1 quiet",
        "min_disk_gib": 2,
    }


def uefi_guest(lab: Path) -> dict[str, object]:
    """Return the small aarch64 guest again, started by UEFI firmware: it has ACPI and an NVRAM file."""
    return {
        **small_guest(lab, "aarch64", "arm64", "ttyAMA0"),
        "ref": "debian-12-aarch64-uefi",
        "name": "Debian 12 small guest by UEFI (aarch64)",
        "firmware": "uefi",
    }


def main() -> None:
    lab, netns = Path(sys.argv[1]), sys.argv[2]
    images = [
        small_guest(lab, "aarch64", "arm64", "ttyAMA0"),
        small_guest(lab, "x86_64", "amd64", "ttyS0"),
        uefi_guest(lab),
    ]
    if (lab / "img" / "debian12-amd64.current").exists():
        images.append(full_guest(lab))
    options = {
        "uri": "qemu:///system",
        "domain_type": "qemu",
        "cpu_models": {"aarch64": "neoverse-n1", "x86_64": "Nehalem"},
        "storage_pool": "cloudmgr-lab",
        "disk_cache": "unsafe",
        "default_network": "lab",
        "management_sources": ["10.231.0.1/32", "fd42:231::1/128"],
        "zones": [
            {"ref": "lab-aarch64", "arch": "aarch64", "vcpus": 32, "memory_mib": 16384, "disk_gib": 500},
            {"ref": "lab-x86_64", "arch": "x86_64", "vcpus": 32, "memory_mib": 16384, "disk_gib": 500},
        ],
        "images": images,
    }
    described = {
        "uri": options["uri"],
        "socket": "/run/libvirt/libvirt-sock",
        "netns": netns,
        "network": "lab",
        "storage_pool": "cloudmgr-lab",
        "storage_dir": str(lab / "servers"),
        "ssh_key_file": str(lab / "id"),
        "images": [image["ref"] for image in images],
        "options": options,
    }
    json.dump(described, sys.stdout, indent=2)


if __name__ == "__main__":
    main()

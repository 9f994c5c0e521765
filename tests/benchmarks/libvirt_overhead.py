"""What the libvirt driver costs over a bare script, from the first call to the guest's first SSH answer.

The bare script does what an operator's would: `qemu-img create` over the same base image, the same seed, a description of
its own, define, start. Both take turns, so that a noisy machine is as noisy to both. Reported are wall time, the guest's
CPU time (the steadier of the two under emulation) and their ratios. Needs the libvirt lab.
Run: `python -m tests.benchmarks.libvirt_overhead [--arch aarch64] [--rounds 3]`.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import libvirt

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.ids import new_id
from providers.base import ServerSpec
from providers.libvirt.seed import Card, seed_iso
from providers.libvirt.xml import mac_address
from tests.providers.libvirt_lab import files_of, lab, opened

LIMIT_S = 300
BARE = """<domain type='qemu'><name>bare-{token}</name><uuid>{token}</uuid><memory unit='MiB'>512</memory><vcpu>1</vcpu>
<os><type arch='{arch}' machine='{machine}'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{cmdline}</cmdline></os>
<features>{features}<tcg><tb-cache unit='MiB'>256</tb-cache></tcg></features>
<cpu mode='custom' match='exact' check='none'><model fallback='forbid'>{cpu}</model></cpu>
<devices><disk type='file' device='disk'><driver name='qemu' type='qcow2' cache='unsafe'/><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{seed}'/><target dev='vdb' bus='virtio'/><readonly/></disk>
<controller type='usb' model='none'/>
<interface type='network'><source network='lab'/><mac address='{mac}'/><model type='virtio'/><rom enabled='no'/></interface>
<serial type='pty'/><console type='pty'/><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices></domain>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", choices=["aarch64", "x86_64"], default="aarch64")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    arch = Architecture(given.arch)
    with tempfile.TemporaryDirectory() as state:
        provider = opened(Path(state))
        taken: dict[str, list[tuple[float, float]]] = {"bare": [], "driver": []}
        for turn in range(given.rounds):
            for name in ("bare", "driver") if turn % 2 == 0 else ("driver", "bare"):
                taken[name].append(by_driver(provider, arch) if name == "driver" else by_script(arch))
                print(f"{name}: {taken[name][-1][0]:.1f} s, guest CPU {taken[name][-1][1]:.1f} s", file=sys.stderr)
        provider.close()
    wall = {name: statistics.median(t[0] for t in times) for name, times in taken.items()}
    cpu = {name: statistics.median(t[1] for t in times) for name, times in taken.items()}
    print(f"{arch}, median of {given.rounds}: wall {wall['bare']:.1f} s bare, {wall['driver']:.1f} s driver")
    print(f"guest CPU {cpu['bare']:.1f} s bare, {cpu['driver']:.1f} s driver")
    print(f"ratio wall {wall['driver'] / wall['bare']:.2f}, guest CPU {cpu['driver'] / cpu['bare']:.2f}")


def by_driver(provider, arch):
    token = new_id()
    began = time.monotonic()
    provider.create_server(plain_spec(arch), token)
    try:
        return first_answer(began, token)
    finally:
        provider.delete_server(str(token))
        assert files_of(token) == []


def by_script(arch):
    token = new_id()
    image = next(i for i in lab()["options"]["images"] if i["ref"] == f"debian-12-{arch}")
    with tempfile.TemporaryDirectory() as folder:
        disk, seed = Path(folder) / "disk.qcow2", Path(folder) / "seed.iso"
        mac = mac_address(token, 0)
        conn = libvirt.open(lab()["uri"])
        began = time.monotonic()
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image["path"], str(disk), "1G"], check=True
        )
        seed.write_bytes(seed_iso(plain_spec(arch), token, [Card(mac, "lab", dhcp6=True)]))
        arm = arch is Architecture.AARCH64
        domain = conn.defineXML(
            BARE.format(
                token=token,
                arch=arch,
                machine="virt" if arm else "q35",
                features="<gic version='2'/>" if arm else "<acpi/><apic/>",
                cpu=lab()["options"]["cpu_models"][arch],
                disk=disk,
                seed=seed,
                mac=mac,
                **{key: image[key] for key in ("kernel", "initrd", "cmdline")},
            )
        )
        domain.create()
        try:
            return first_answer(began, token)
        finally:
            domain.destroy()
            domain.undefine()
            conn.close()


def plain_spec(arch):
    key = Path(lab()["ssh_key_file"] + ".pub").read_text().strip()
    return ServerSpec(
        "bench", arch, 1, 512, 1, zone=f"lab-{arch}", image=f"debian-12-{arch}", networks=("lab",), ssh_keys=(key,)
    )


def first_answer(began, token):
    """Wait for the lease, then for the banner of the SSH server; return wall and guest CPU seconds."""
    conn = libvirt.open(lab()["uri"])
    domain = conn.lookupByUUID(token.bytes)
    try:
        address = ""
        while not address:
            assert time.monotonic() - began < LIMIT_S, "no lease"
            cards = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
            address = next((a["addr"] for card in cards.values() for a in card["addrs"] or [] if a["type"] == 0), "")
            time.sleep(0.1)
        program = (
            "import socket,sys,time\n"
            f"end=time.monotonic()+{LIMIT_S}\n"
            "while time.monotonic()<end:\n"
            "    try:\n"
            f"        if socket.create_connection(('{address}',22),2).recv(4)==b'SSH-': sys.exit(0)\n"
            "    except OSError: time.sleep(0.1)\n"
            "sys.exit(1)\n"
        )
        subprocess.run(["ip", "netns", "exec", lab()["netns"], sys.executable, "-c", program], check=True)
        return time.monotonic() - began, domain.info()[4] / 1e9
    finally:
        conn.close()


if __name__ == "__main__":
    main()

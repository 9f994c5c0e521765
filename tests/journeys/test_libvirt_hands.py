"""What hands do on a libvirt host: servers made, switched off, resized and undefined behind our back, by libvirt's own calls.

The whole journey of a request is in test_libvirt.py, on guests that can be logged into.
"""

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.journeys.peer import Peer
from tests.journeys.stories import Changes
from tests.journeys.town import Town, town
from tests.providers import libvirt_lab
from tests.world import ZONE

pytestmark = pytest.mark.lab("libvirt")

DOMAIN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/><target dev='vda' bus='virtio'/></disk>
</devices></domain>"""
VOLUME = """<volume><name>{name}.qcow2</name><capacity unit='MiB'>1</capacity>
<target><format type='qcow2'/></target></volume>"""


class Libvirt(Peer):
    arch = "x86_64"
    flavor, size, size_by_hand = "small", (1, 1024), (2, 2048)
    size_refused = (64, 131072)
    pieces = frozenset({"server"})
    is_shared = True

    def __init__(self) -> None:
        import libvirt  # noqa: PLC0415 - the SDK comes with the lab

        self._error = libvirt.libvirtError
        self._config = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        self._most_vcpus = self._config | libvirt.VIR_DOMAIN_VCPU_MAXIMUM
        self._most_memory = self._config | libvirt.VIR_DOMAIN_MEM_MAXIMUM
        self._undefine = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        self._conn = libvirt.open(libvirt_lab.lab()["uri"])
        self._pool = self._conn.storagePoolLookupByName(libvirt_lab.lab()["storage_pool"])
        self._made: list[str] = []

    def close(self) -> None:
        for ref in self._made:
            with contextlib.suppress(self._error):
                self.delete(ref)
        self._conn.close()

    def section(self) -> dict[str, Any]:
        told = super().section()
        del told["rehearses"]  # one can log into its guests
        return told

    def options(self) -> dict[str, Any]:
        return {"provider": "libvirt", "network_zones": {"lab": ZONE}, **libvirt_lab.options(), "stop_grace_s": 1}

    @property
    def image(self) -> str:
        return f"debian-12-{self.arch}"

    def everything(self) -> set[str]:
        self._pool.refresh(0)
        files = {str(volume.name()) for volume in self._pool.listAllVolumes(0)}
        return files | {str(domain.UUIDString()) for domain in self._conn.listAllDomains(0)}

    def make(self, name: str) -> str:
        volume = self._pool.createXML(VOLUME.format(name=name), 0)
        domain = self._conn.defineXML(DOMAIN.format(name=name, path=volume.path()))
        self._made.append(str(domain.UUIDString()))
        domain.create()
        return self._made[-1]

    def _domain(self, ref: str) -> Any:
        return self._conn.lookupByUUID(uuid.UUID(ref).bytes)

    def stop(self, ref: str) -> None:
        self._domain(ref).destroy()

    def resize(self, ref: str) -> None:
        vcpus, memory_mib = self.size_by_hand
        domain = self._domain(ref)  # `virsh setmaxmem|setmem|setvcpus --config`
        for flags in (self._most_memory, self._config):
            domain.setMemoryFlags(memory_mib * 1024, flags)
        for flags in (self._most_vcpus, self._config):
            domain.setVcpusFlags(vcpus, flags)

    def delete(self, ref: str) -> None:
        domain = self._domain(ref)
        name = domain.name()
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(self._undefine)
        self._pool.refresh(0)
        for volume in self._pool.listAllVolumes(0):
            if volume.name() == f"{name}.qcow2" or ref in volume.name():  # ours carry the token
                volume.delete(0)

    def seen(self, ref: str) -> tuple[str, int, int] | None:
        try:
            domain = self._domain(ref)
        except self._error:
            return None
        _, memory_kib, _, vcpus, _ = domain.info()
        return "running" if domain.isActive() else "stopped", vcpus, memory_kib // 1024


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    peer = Libvirt()
    told = {"ANSIBLE_COMMAND_PREFIX": json.dumps(["ip", "netns", "exec", libvirt_lab.lab()["netns"]])}
    told |= {"BOOT_POLL_S": "1", "BOOT_TIMEOUT_S": "600"}
    environment = {f"CLOUDMGR_WORKER__{key}": value for key, value in told.items()}
    try:
        with town(tmp_path_factory.mktemp("libvirt") / "city", peer, **environment) as found:
            yield found
    finally:
        peer.close()


class TestLibvirtByHand(Changes):
    test_a_server_lives_from_its_request_to_its_certificate = None  # type: ignore[assignment]

    @pytest.fixture
    def town(self, city: Town) -> Town:
        return city

    def test_nothing_of_an_imported_server_is_left_not_even_its_disk(self, town: Town) -> None:
        """Runs behind the inherited journey: of what was made by hand only the server that nobody retired stands."""
        ours = {name for name in town.left() if town.tag in name}
        assert {name.split("-")[0] for name in ours} <= {"stood"}, ours

"""The journeys on VMware's vCenter simulator; the hands are pyVmomi in an administrator's own session."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.journeys.peer import Peer
from tests.journeys.stories import Changes
from tests.journeys.town import Town, town
from tests.providers import vsphere_lab
from tests.world import ZONE

pytestmark = pytest.mark.lab("vsphere")

TEMPLATE = "debian-12-aarch64"
POWER = {"poweredOn": "running", "poweredOff": "stopped"}
DATASTORES = ("LocalDS_0", "LocalDS_1")


class VSphere(Peer):
    arch = "aarch64"
    flavor, size, size_by_hand = "small", (1, 1024), (2, 2048)  # its hosts have two processors and four GiB
    size_refused = (64, 131072)
    pieces = frozenset({"server", "disk", "nic"})
    opens_ports = False
    leads_public_addresses = False
    managed = str(vsphere_lab.NETWORK["cidr_v4"])

    def __init__(self, lab: vsphere_lab.Lab) -> None:
        self._lab = lab

    def options(self) -> dict[str, Any]:
        told = self._lab.options(images=[{"name": TEMPLATE, "arch": self.arch}])
        network = self._lab.find(f"/DC0/network/{vsphere_lab.NETWORK['name']}")
        return {"provider": "vsphere", "network_zones": {network._moId: ZONE}, **told}

    @property
    def image(self) -> str:
        return str(self._lab.read(self._lab.find(f"/DC0/vm/{TEMPLATE}"), "config.instanceUuid"))

    def everything(self) -> set[str]:
        from pyVmomi import vim  # noqa: PLC0415 - the SDK comes with the lab

        content = self._lab.content
        kinds = [vim.VirtualMachine, vim.Folder, vim.ResourcePool]
        view = content.viewManager.CreateContainerView(content.rootFolder, kinds, True)
        found = {str(each._moId) for each in self._lab.read(view, "view")}
        view.Destroy()
        return found | {file for name in DATASTORES for file in self._files(name)}

    def _files(self, datastore: str) -> Iterator[str]:
        from pyVmomi import vim  # noqa: PLC0415 - the SDK comes with the lab

        browser = self._lab.read(self._lab.find(f"/DC0/datastore/{datastore}"), "browser")
        spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*.vmdk"])
        for folder in self._lab.done(browser.SearchDatastoreSubFolders_Task(f"[{datastore}]", spec)):
            yield from (f"{folder.folderPath}/{file.path}" for file in folder.file)

    def make(self, name: str) -> str:
        machine = self._lab.make_machine(name, "DC0_C1", memory_mib=1024)
        self._lab.done(machine.PowerOnVM_Task())
        return str(self._lab.read(machine, "config.instanceUuid"))

    def stop(self, ref: str) -> None:
        self._lab.done(self._lab.machine(ref).PowerOffVM_Task())

    def resize(self, ref: str) -> None:
        from pyVmomi import vim  # noqa: PLC0415 - the SDK comes with the lab

        vcpus, memory_mib = self.size_by_hand
        spec = vim.vm.ConfigSpec(numCPUs=vcpus, memoryMB=memory_mib)
        self._lab.done(self._lab.machine(ref).ReconfigVM_Task(spec))

    def delete(self, ref: str) -> None:
        if self.seen(ref)[0] == "running":  # type: ignore[index]
            self.stop(ref)
        self._lab.done(self._lab.machine(ref).Destroy_Task())

    def seen(self, ref: str) -> tuple[str, int, int] | None:
        machine = self._lab.machine(ref)
        if machine is None:
            return None
        power, vcpus, memory = self._lab.read(
            machine, "runtime.powerState", "config.hardware.numCPU", "config.hardware.memoryMB"
        )
        return POWER[str(power)], vcpus, memory


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("vsphere")
    with vsphere_lab.vcenter(home / "vcenter", "-vm", "0") as lab, town(home / "city", VSphere(lab)) as found:
        yield found


class TestVSphere(Changes):
    @pytest.fixture
    def town(self, city: Town) -> Town:
        return city

"""Another size of a stopped server, in one reconfiguration of the machine as we saw it."""

from pyVmomi import vim

from cloudmgr.domain.messages import N_
from providers.base import PowerState
from providers.errors import InvalidSpec, Unsupported
from providers.vsphere import create, errors, observe, placing, servers, tasks
from providers.vsphere.connection import Connection
from providers.vsphere.options import VSphereOptions


def resize(connection: Connection, options: VSphereOptions, ref: str, *, vcpus: int, memory_mib: int) -> None:
    """Set vCPUs and memory; the size it has already is success.

    Raises:
        NotFound, InvalidSpec, NoCapacity, Unsupported: it is on.
    """
    row = servers.require(connection, ref, create.PATHS)
    if min(vcpus, memory_mib) < 1:
        raise InvalidSpec(N_("Sizes are whole numbers above zero."))
    placing.check_memory(memory_mib)
    if (row.get("config.hardware.numCPU"), row.get("config.hardware.memoryMB")) == (vcpus, memory_mib):
        return
    power, _ = observe.power_of(row.get("runtime.powerState"), row.get("runtime.connectionState"))
    if power is not PowerState.STOPPED:
        raise Unsupported(N_("The server must be stopped before its size can be changed."))
    world = servers.world_of(connection, options)
    seen = observe.observe(row, world)
    place = next((place for place in world.places if seen is not None and place.ref == seen.zone), None)
    if place is not None:
        placing.check_fits(place, vcpus=vcpus, memory_mib=memory_mib)
    if tasks.of_server(connection, list(row.get("recentTask") or []))[0]:
        raise errors.busy(f"a task of {row.moid} is running")
    create.reconfigure(connection, row, vim.vm.ConfigSpec(numCPUs=vcpus, numCoresPerSocket=1, memoryMB=memory_mib))

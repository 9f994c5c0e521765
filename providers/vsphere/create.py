"""Making a server, in steps that are each right whether or not an earlier, interrupted call did them already.

claim → clone (with the token as instance UUID) → equip (size, disks, cards) → configure (what the guest is told) →
customise, where the options say so → power on → the claim goes → mark as built. Each is a task of the vCenter. A task
that ends within our call is followed by the next step; one that does not leaves the server `unfinished`, and the next
call with the same token goes on from what it finds. The size at cloning is the template's: a clone can be told another,
but only a reconfiguration is refused as a whole when it cannot be exact.
"""

import uuid
from pathlib import Path
from typing import Any

from pyVmomi import vim

from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_
from providers.base import PowerState, ServerSpec
from providers.errors import Busy, InvalidSpec, NotFound, Remedy
from providers.vsphere import guest, observe, placing, servers, tasks
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection
from providers.vsphere.inventory import Port, id_of
from providers.vsphere.observe import Stage
from providers.vsphere.options import VSphereOptions
from providers.vsphere.placing import Plan

PATHS = (*observe.PATHS, "recentTask", "config.changeVersion", "config.tools.pendingCustomization")
_KIB_PER_GIB = 1024 * 1024
_SCSI_CONTROLLER_UNIT = 7
_UNITS = 16
STEPS = 8
"""More than there are: each step that ends at once is followed by the next."""


def build(connection: Connection, options: VSphereOptions, state_dir: Path, spec: ServerSpec, token: uuid.UUID) -> None:
    """Make the server of a token, or go on making it; one that has been on is left alone, running or not (P2).

    Raises:
        ProviderError
    """
    row = _existing(connection, token)
    if row is not None and observe.stage_of(row) is Stage.BUILT:
        return
    # What is equipped needs no place any more, and its own disks may have filled the datastore.
    is_placed = row is not None and observe.stage_of(row) is not Stage.CLONED
    plan = None if is_placed else placing.plan(connection, options, _without_own_addresses(spec, row))
    if row is None and plan is not None:
        if not _clone(connection, options, state_dir, plan, spec, token):
            return
        row = _existing(connection, token)
    for _ in range(STEPS):
        if row is None or not _step(connection, options, plan, spec, token, row):
            return
        row = _existing(connection, token)


def _existing(connection: Connection, token: uuid.UUID) -> Row | None:
    row = servers.row_of(connection, str(token), PATHS)
    if row is not None and observe.token_of(row) != token:
        raise InvalidSpec(
            N_("This server was not made by cloudmgr, which neither builds on it nor deletes it."),
            detail=f"{row.moid} has instance UUID {token} and not our note",
        )
    return row


def _without_own_addresses(spec: ServerSpec, row: Row | None) -> ServerSpec:
    """Its own addresses are in use, by itself."""
    if row is None:
        return spec
    own = {*observe.addresses_of(row)[0], *observe.addresses_of(row)[1]}
    changes = {field: getattr(spec, field) for field in spec.__dataclass_fields__}
    return ServerSpec(**changes | {"addresses": tuple(one for one in spec.addresses if one.address not in own)})


# The clone


def _clone(
    connection: Connection, options: VSphereOptions, state_dir: Path, plan: Plan, spec: ServerSpec, token: uuid.UUID
) -> bool:
    """Begin the clone unless one is being made; True when it is there."""
    noted = Note(state_dir, token)
    if servers.claim_of(connection, options, token) is not None:
        known = noted.read()
        progress, fault = tasks.look(connection, known) if known else (tasks.Progress.UNKNOWN, None)
        if progress is tasks.Progress.RUNNING or (known is None and tasks.clone_is_running(connection)):
            return False
        noted.forget()
        if progress is tasks.Progress.FAILED:
            raise tasks.failure(fault)
        if progress is tasks.Progress.DONE:
            return True
    else:
        _claim(connection, options, token)
    task = _begin_clone(connection, options, plan, spec, token)
    noted.write(task)
    progress, fault = tasks.look(connection, task)
    if progress is tasks.Progress.RUNNING:
        return False
    noted.forget()
    if progress is tasks.Progress.FAILED:
        if isinstance(fault, vim.fault.DuplicateName) and servers.row_of(connection, str(token)) is not None:
            return True  # somebody else with the same token was quicker
        raise tasks.failure(fault)
    return True


def _claim(connection: Connection, options: VSphereOptions, token: uuid.UUID) -> None:
    _, folder = servers.home_of(connection, options)
    name = f"{servers.CLAIM}{token}"
    try:
        connection.write(lambda session: session.bound(folder).CreateFolder(name))
    except Busy:  # DuplicateName: another call with the same token was quicker
        return


def _begin_clone(
    connection: Connection, options: VSphereOptions, plan: Plan, spec: ServerSpec, token: uuid.UUID
) -> str:
    _, folder = servers.home_of(connection, options)
    notes = {
        observe.TOKEN: str(token),
        observe.NAME: spec.name,
        observe.IMAGE: spec.image,
        observe.STAGE: Stage.CLONED.value,
        observe.MADE: clock.now().isoformat(timespec="seconds"),
        "disk.EnableUUID": "TRUE",
    }
    relocation = vim.vm.RelocateSpec(pool=plan.place.pool, datastore=plan.datastore.obj)
    if plan.host is not None:
        relocation.host = plan.host
    clone = vim.vm.CloneSpec(
        location=relocation,
        powerOn=False,
        template=False,
        config=vim.vm.ConfigSpec(instanceUuid=str(token), extraConfig=options_of(notes)),
    )
    task = connection.write(
        lambda session: session.bound(plan.template.obj).CloneVM_Task(
            folder,
            observe.native_name(spec.name, token),
            clone,
        )
    )
    return str(id_of(task))


class Note:
    """The clone's task by the id the vCenter gave it, kept beside us: losing it costs patience and no server."""

    def __init__(self, state_dir: Path, token: uuid.UUID) -> None:
        self._path = state_dir / "clones" / str(token)

    def read(self) -> str | None:
        """Return the id, None where none was noted."""
        try:
            return self._path.read_text().strip() or None
        except OSError:
            return None

    def write(self, moid: str) -> None:
        """Keep the id."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(moid)

    def forget(self) -> None:
        """Drop the id."""
        self._path.unlink(missing_ok=True)


# What follows it


def _step(
    connection: Connection, options: VSphereOptions, plan: Plan | None, spec: ServerSpec, token: uuid.UUID, row: Row
) -> bool:
    """Do the next step of a clone that is there; True when it is done and another may follow."""
    running, failed = tasks.of_server(connection, list(row.get("recentTask") or []))
    if running:
        return False
    if failed is not None and failed.remedy in {Remedy.FAIL, Remedy.NEXT_ZONE, Remedy.OPERATOR}:
        raise failed
    stage = observe.stage_of(row)
    power, _ = observe.power_of(row.get("runtime.powerState"), row.get("runtime.connectionState"))
    if stage is Stage.CLONED and plan is not None:
        return reconfigure(connection, row, _equipment(plan, spec, row))
    if stage is Stage.EQUIPPED:
        return reconfigure(connection, row, _words(options, spec, token, row))
    if power is PowerState.STOPPED and options.guest_setup == "customization" and not _is_customised(row):
        return _customise(connection, options, spec, row)
    if power is PowerState.STOPPED:
        task = connection.write(lambda session: session.bound(row.obj).PowerOnVM_Task())
        return tasks.finished(connection, task)
    if not drop_claim(connection, options, token):
        return False
    reconfigure(connection, row, vim.vm.ConfigSpec(extraConfig=options_of({observe.STAGE: Stage.BUILT.value})))
    return False


def reconfigure(connection: Connection, row: Row, change: Any) -> bool:
    """Change a machine as we saw it: the vCenter refuses where it has been changed since."""
    change.changeVersion = row.get("config.changeVersion")
    task = connection.write(lambda session: session.bound(row.obj).ReconfigVM_Task(change))
    return tasks.finished(connection, task)


def _equipment(plan: Plan, spec: ServerSpec, row: Row) -> Any:
    """The exact size, the disks, and cards on the networks asked for in place of the template's."""
    kind = vim.vm.device.VirtualDeviceSpec
    changes = [kind(operation=kind.Operation.remove, device=card) for card in observe.cards_of(row)]
    disks = observe.disks_of(row)
    system = disks[0]
    if system.capacityInKB < spec.system_disk_gib * _KIB_PER_GIB:
        system.capacityInKB = spec.system_disk_gib * _KIB_PER_GIB
        system.capacityInBytes = None
        changes.append(kind(operation=kind.Operation.edit, device=system))
    if spec.data_disk_gib and len(disks) == 1:
        changes.append(
            kind(
                operation=kind.Operation.add,
                fileOperation=kind.FileOperation.create,
                device=new_disk(row, system.controllerKey, size_gib=spec.data_disk_gib),
            )
        )
    changes += [
        kind(operation=kind.Operation.add, device=_card(port, number)) for number, port in enumerate(plan.ports)
    ]
    return vim.vm.ConfigSpec(
        numCPUs=spec.vcpus,
        numCoresPerSocket=1,
        memoryMB=spec.memory_mib,
        deviceChange=changes,
        annotation="\n".join(f"{key}: {value}" for key, value in spec.labels.items()) or None,
        extraConfig=options_of(
            {
                observe.STAGE: Stage.EQUIPPED.value,
                observe.ADDRESSES: ",".join(fixed.address for fixed in spec.addresses),
            }
        ),
    )


def _words(options: VSphereOptions, spec: ServerSpec, token: uuid.UUID, row: Row) -> Any:
    macs = [str(card.macAddress) for card in sorted(observe.cards_of(row), key=lambda card: card.key)]
    words = guest.guestinfo(spec, token, options, macs)
    return vim.vm.ConfigSpec(extraConfig=options_of(words | {observe.STAGE: Stage.CONFIGURED.value}))


def _is_customised(row: Row) -> bool:
    return bool(row.get("config.tools.pendingCustomization"))


def _customise(connection: Connection, options: VSphereOptions, spec: ServerSpec, row: Row) -> bool:
    change = guest.customization(spec, options, len(observe.cards_of(row)))
    task = connection.write(lambda session: session.bound(row.obj).CustomizeVM_Task(change))
    progress, fault = tasks.look(connection, task)
    if progress is tasks.Progress.FAILED and not isinstance(fault, vim.fault.CustomizationPending):
        raise tasks.failure(fault)
    return progress is not tasks.Progress.RUNNING


def drop_claim(connection: Connection, options: VSphereOptions, token: uuid.UUID) -> bool:
    """Remove the claim; True when it is gone."""
    claim = servers.claim_of(connection, options, token)
    if claim is None:
        return True
    try:
        task = connection.write(lambda session: session.bound(claim).Destroy_Task())
        return tasks.finished(connection, task)
    except NotFound:
        return True


def new_disk(row: Row, controller: int, *, size_gib: int, file_name: str = "") -> Any:
    """Return a thin disk for a free place at a controller.

    Raises:
        InvalidSpec: all places are taken.
    """
    taken = {device.unitNumber for device in observe.devices_of(row) if device.controllerKey == controller}
    free = next((unit for unit in range(_UNITS) if unit not in {*taken, _SCSI_CONTROLLER_UNIT}), None)
    if free is None:
        raise InvalidSpec(N_("This server has no room for another disk."))
    backing = vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
        fileName=file_name, diskMode="independent_persistent" if file_name else "persistent", thinProvisioned=True
    )
    return vim.vm.device.VirtualDisk(
        key=-1, controllerKey=controller, unitNumber=free, capacityInKB=size_gib * _KIB_PER_GIB, backing=backing
    )


def _card(port: Port, number: int) -> Any:
    if port.switch is not None:
        backing: Any = vim.vm.device.VirtualEthernetCard.DistributedVirtualPortBackingInfo(
            port=vim.dvs.PortConnection(portgroupKey=port.key, switchUuid=port.switch)
        )
    else:
        backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(
            deviceName=port.observation.name, network=port.obj
        )
    return vim.vm.device.VirtualVmxnet3(
        key=-100 - number,
        backing=backing,
        addressType="generated",
        wakeOnLanEnabled=False,
        connectable=vim.vm.device.VirtualDevice.ConnectInfo(
            startConnected=True, allowGuestControl=True, connected=True
        ),
    )


def options_of(values: dict[str, str]) -> list[Any]:
    return [vim.option.OptionValue(key=key, value=value) for key, value in values.items()]

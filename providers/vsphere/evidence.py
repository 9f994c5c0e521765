"""What the vCenter keeps for a server, and whether it is gone: machine, disks, cards, snapshots, volumes, claim."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from pyVmomi import vim

from providers.base import ResourceKind, ResourceObservation
from providers.vsphere import collector, observe, servers, snapshots, volumes
from providers.vsphere.connection import Connection
from providers.vsphere.inventory import id_of
from providers.vsphere.options import VSphereOptions

_PATHS = (*observe.PATHS, "snapshot")
_KIB_PER_GIB = 1024 * 1024


def of_token(connection: Connection, options: VSphereOptions, token: uuid.UUID) -> list[ResourceObservation]:
    """Return everything kept for a server or a volume."""
    return [*_machine(connection, token), *_others(connection, options, token)]


def without_owner(connection: Connection, options: VSphereOptions) -> list[ResourceObservation]:
    """Return the volumes no server has. Files elsewhere on datastores are not looked through."""
    return [
        ResourceObservation(ResourceKind.VOLUME, one.ref, one.name, one.size_gib, one.token, None, one.created_at)
        for one in volumes.every(connection, options)
        if one.server is None
    ]


def still_there(
    connection: Connection, options: VSphereOptions, resources: Sequence[ResourceObservation]
) -> list[ResourceObservation]:
    """Ask for each by its own reference."""
    return [one for one in resources if _is_there(connection, options, one)]


def _machine(connection: Connection, token: uuid.UUID) -> Iterator[ResourceObservation]:
    row = servers.row_of(connection, str(token), _PATHS)
    if row is None or observe.token_of(row) != token:
        return
    ref = str(token)
    yield ResourceObservation(ResourceKind.SERVER, ref, observe.name_of(row), None, token, ref)
    for disk in observe.disks_of(row):
        size = -(-int(disk.capacityInKB) // _KIB_PER_GIB)
        for path in _files(disk.backing):
            yield ResourceObservation(ResourceKind.DISK, path, path.rpartition("/")[2], size, token, ref)
    for card in observe.cards_of(row):
        yield ResourceObservation(ResourceKind.NIC, f"{ref}/{card.macAddress}", str(card.macAddress), None, token, ref)
    for node in snapshots.nodes_of(row):
        yield ResourceObservation(ResourceKind.SNAPSHOT, str(id_of(node.snapshot)), node.name, None, token, ref)


def _files(backing: Any) -> Iterator[str]:
    """Yield a disk's file, and those that snapshots left below it."""
    while backing is not None:
        yield str(backing.fileName)
        backing = getattr(backing, "parent", None)


def _others(connection: Connection, options: VSphereOptions, token: uuid.UUID) -> Iterator[ResourceObservation]:
    if servers.claim_of(connection, options, token) is not None:
        name = f"{servers.CLAIM}{token}"
        yield ResourceObservation(ResourceKind.OTHER, name, name, None, token)
    volume = volumes.find(connection, options, token)
    if volume is not None:
        yield ResourceObservation(
            ResourceKind.VOLUME, volume.ref, volume.name, volume.size_gib, token, volume.server, volume.created_at
        )


def _is_there(connection: Connection, options: VSphereOptions, one: ResourceObservation) -> bool:
    match one.kind:
        case ResourceKind.SERVER:
            return servers.row_of(connection, one.ref) is not None
        case ResourceKind.DISK:
            return volumes.file_is_there(connection, options, one.ref)
        case ResourceKind.NIC:
            ref, _, mac = one.ref.partition("/")
            row = servers.row_of(connection, ref)
            return row is not None and mac in {str(card.macAddress) for card in observe.cards_of(row)}
        case ResourceKind.SNAPSHOT:
            paths = {vim.vm.Snapshot: ("config.hardware.numCPU",)}
            asked = [vim.vm.Snapshot(one.ref, None)]
            return bool(connection.read(lambda session: collector.these(session, asked, paths)))
        case ResourceKind.VOLUME:
            return volumes.is_there(connection, options, one.ref)
        case ResourceKind.OTHER:
            token = servers.parsed(one.ref.removeprefix(servers.CLAIM))
            return token is not None and servers.claim_of(connection, options, token) is not None
    return False

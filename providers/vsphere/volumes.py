"""Volumes: disks in a folder of their own on a datastore, `<volumes_folder>/<token>/<size>GiB~<name>.vmdk`.

The path is made of the token and the specification, so a second creation finds the file there (P2). A server that has a
volume notes its file in the same reconfiguration that attaches it; beside the disk stands an empty folder
`to-<server>`, made before, so that the server is found without asking all of them. Attached disks are independent:
snapshots of the server leave them alone.
"""

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from cloudmgr.domain.messages import N_
from providers.base import VolumeObservation, VolumeSpec, VolumeState
from providers.errors import Busy, InvalidSpec, NotFound, Unsupported
from providers.vsphere import collector, create, errors, inventory, observe, placing, servers, tasks
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection
from providers.vsphere.inventory import Place
from providers.vsphere.options import VSphereOptions

_FILE = re.compile(r"(?P<size>\d+)GiB~(?P<name>.*)\.vmdk")
_STRANGE = re.compile(r"[^\w.-]")
_MARK = "to-"
_NAME_CHARS = 60
_KIB_PER_GIB = 1024 * 1024
_SEARCH_S = 10


@dataclass(frozen=True, slots=True)
class Found:
    """A volume on a datastore."""

    datastore: Row
    folder: str
    """`[datastore] volumes/token`."""
    file: str
    size_gib: int
    name: str
    token: uuid.UUID | None
    marks: tuple[str, ...]
    """Servers that have it, had it, or were to get it."""

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file}"

    @property
    def ref(self) -> str:
        return f"{self.datastore.moid}:{self.token or self.path}"


def make(connection: Connection, options: VSphereOptions, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
    """Begin to make an empty, thin disk; the same token returns the one that stands.

    Raises:
        InvalidSpec, NoCapacity
    """
    place = next((one for one in _places(connection, options) if one.ref == spec.zone), None)
    if place is None:
        raise InvalidSpec(N_("There is no zone {zone} at this backend."), zone=spec.zone)
    if spec.size_gib < 1:
        raise InvalidSpec(N_("Sizes are whole numbers above zero."))
    found = find(connection, options, token)
    if found is not None:
        return found
    datastore = placing.choose_datastore(place, spec.size_gib)
    name = _STRANGE.sub("_", spec.name)[:_NAME_CHARS]
    volume = Found(
        datastore, _folder(datastore, options, token), f"{spec.size_gib}GiB~{name}.vmdk", spec.size_gib, name, token, ()
    )
    datacenter, _ = servers.home_of(connection, options)
    _make_folder(connection, datacenter, volume.folder)
    disk = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(
        diskType="thin", adapterType="lsiLogic", capacityKb=spec.size_gib * _KIB_PER_GIB
    )
    task = connection.write(
        lambda session: session.content.virtualDiskManager.CreateVirtualDisk_Task(volume.path, datacenter, disk)
    )
    progress, fault = tasks.look(connection, task)
    if progress is tasks.Progress.FAILED and not isinstance(fault, vim.fault.FileAlreadyExists):
        raise tasks.failure(fault)
    state = VolumeState.BUILDING if progress is tasks.Progress.RUNNING else VolumeState.AVAILABLE
    return VolumeObservation(volume.ref, name, spec.size_gib, state, str(progress), token, None, spec.zone)


def find(connection: Connection, options: VSphereOptions, token: uuid.UUID) -> VolumeObservation | None:
    """Return the volume of a token."""
    places = _places(connection, options)
    for datastore in _datastores(places):
        found = _at(connection, datastore, _folder(datastore, options, token), token)
        if found is not None:
            return _observe(connection, found, places)
    return None


def every(connection: Connection, options: VSphereOptions) -> Iterator[VolumeObservation]:
    """Yield every disk in the folders for volumes, whoever made it."""
    places = _places(connection, options)
    for datastore in _datastores(places):
        root = f"[{datastore.get('name')}] {options.volumes_folder}"
        for folder, files in _search(connection, datastore, root, below=True):
            token = servers.parsed(folder.rstrip("/").rpartition("/")[2])
            for found in _volumes(datastore, folder.rstrip("/"), files, token):
                yield _observe(connection, found, places)


def attach(connection: Connection, options: VSphereOptions, ref: str, server: str) -> None:
    """Give a volume to a server.

    Raises:
        Busy: another server has it. NotFound
    """
    volume, holder = _held(connection, _require(connection, options, ref))
    row = servers.require_ours(connection, server, create.PATHS)
    if holder == server:
        return
    if holder is not None:
        raise Busy(N_("Another server has this volume."), detail=f"{ref} is attached to {holder}")
    if tasks.of_server(connection, list(row.get("recentTask") or []))[0]:
        raise errors.busy(f"a task of {row.moid} is running")
    datacenter, _ = servers.home_of(connection, options)
    for mark in volume.marks:
        _drop(connection, datacenter, f"{volume.folder}/{_MARK}{mark}")
    _make_folder(connection, datacenter, f"{volume.folder}/{_MARK}{server}")
    own = observe.disks_of(row)
    disk = create.new_disk(row, own[0].controllerKey, size_gib=volume.size_gib, file_name=volume.path)
    kind = vim.vm.device.VirtualDeviceSpec
    change = vim.vm.ConfigSpec(
        deviceChange=[kind(operation=kind.Operation.add, device=disk)],
        extraConfig=create.options_of(
            {observe.VOLUMES: "\n".join(sorted({*observe.volume_files_of(row), volume.path}))}
        ),
    )
    create.reconfigure(connection, row, change)


def detach(connection: Connection, options: VSphereOptions, ref: str) -> None:
    """Take a volume from the server that has it.

    Raises:
        NotFound: there is no such volume. Busy: it is being taken.
    """
    volume, holder = _held(connection, _require(connection, options, ref))
    datacenter, _ = servers.home_of(connection, options)
    if holder is not None:
        row = servers.require(connection, holder, create.PATHS)
        if not release(connection, row, {volume.path}):
            raise errors.busy(f"{ref} is being detached")
    for mark in volume.marks:
        _drop(connection, datacenter, f"{volume.folder}/{_MARK}{mark}")


def release(connection: Connection, row: Row, files: set[str]) -> bool:
    """Take disks off a server and keep their files; True when it is done."""
    kind = vim.vm.device.VirtualDeviceSpec
    disks: list[Any] = [one for one in observe.devices_of(row) if isinstance(one, vim.vm.device.VirtualDisk)]
    change = vim.vm.ConfigSpec(
        deviceChange=[
            kind(operation=kind.Operation.remove, device=disk) for disk in disks if disk.backing.fileName in files
        ],
        extraConfig=create.options_of({observe.VOLUMES: "\n".join(sorted(observe.volume_files_of(row) - files))}),
    )
    return create.reconfigure(connection, row, change)


def delete(connection: Connection, options: VSphereOptions, ref: str) -> None:
    """Remove a volume; the absent succeeds (P3).

    Raises:
        Busy: a server has it.
    """
    try:
        volume, holder = _held(connection, _require(connection, options, ref))
    except NotFound:
        return
    if volume.token is None:
        raise Unsupported(N_("This volume was not made by cloudmgr, which leaves it alone."), detail=ref)
    if holder is not None:
        raise Busy(N_("A server has this volume; detach it first."), detail=f"{ref} is attached to {holder}")
    datacenter, _ = servers.home_of(connection, options)
    task = connection.write(
        lambda session: session.content.virtualDiskManager.DeleteVirtualDisk_Task(volume.path, datacenter)
    )
    if tasks.finished(connection, task):
        _drop(connection, datacenter, volume.folder)


def is_there(connection: Connection, options: VSphereOptions, ref: str) -> bool:
    """Tell whether a volume exists."""
    return _by_ref(connection, options, ref) is not None


def file_is_there(connection: Connection, options: VSphereOptions, path: str) -> bool:
    """Tell whether a disk's file exists, by its `[datastore] folder/file`."""
    parts = re.fullmatch(r"\[(?P<datastore>[^\]]+)\] (?P<folder>.*)/(?P<file>[^/]+)", path)
    if parts is None:
        return False
    for datastore in inventory.read(connection, options.page_size).datastores.values():
        if datastore.get("name") == parts["datastore"]:
            folder = f"[{parts['datastore']}] {parts['folder']}"
            return any(
                file.path == parts["file"] for _, files in _search(connection, datastore, folder) for file in files
            )
    return False


# On the datastore


def _require(connection: Connection, options: VSphereOptions, ref: str) -> Found:
    found = _by_ref(connection, options, ref)
    if found is None:
        raise errors.not_found(f"volume {ref!r}")
    return found


def _by_ref(connection: Connection, options: VSphereOptions, ref: str) -> Found | None:
    moid, _, name = ref.partition(":")
    token = servers.parsed(name)
    for datastore in _datastores(_places(connection, options)):
        if datastore.moid != moid:
            continue
        if token is not None:
            return _at(connection, datastore, _folder(datastore, options, token), token)
        folder, _, file = name.rpartition("/")
        listed = _search(connection, datastore, folder) if folder.startswith("[") else []
        found = [one for at, files in listed for one in _volumes(datastore, at.rstrip("/"), files, None)]
        return next((one for one in found if one.file == file), None)
    return None


def _places(connection: Connection, options: VSphereOptions) -> list[Place]:
    return inventory.read(connection, options.page_size).places(options)


def _datastores(places: list[Place]) -> list[Row]:
    return list({row.moid: row for place in places for row in place.datastores}.values())


def _folder(datastore: Row, options: VSphereOptions, token: uuid.UUID) -> str:
    return f"[{datastore.get('name')}] {options.volumes_folder}/{token}"


def _at(connection: Connection, datastore: Row, folder: str, token: uuid.UUID | None) -> Found | None:
    for _, files in _search(connection, datastore, folder):
        for found in _volumes(datastore, folder, files, token):
            return found
    return None


def _volumes(datastore: Row, folder: str, files: list[Any], token: uuid.UUID | None) -> Iterator[Found]:
    marks = tuple(file.path.removeprefix(_MARK) for file in files if file.path.startswith(_MARK))
    for file in files:
        if not file.path.endswith(".vmdk") or file.path.endswith("-flat.vmdk"):
            continue
        told = _FILE.fullmatch(file.path)
        size = int(told["size"]) if told else 0
        if getattr(file, "capacityKb", None):
            size = -(-int(file.capacityKb) // _KIB_PER_GIB)
        yield Found(datastore, folder, file.path, size, told["name"] if told else file.path, token, marks)


def _search(connection: Connection, datastore: Row, folder: str, *, below: bool = False) -> list[tuple[str, list[Any]]]:
    """List a folder, or a folder and those below it; one that is not there lists nothing."""
    kind = vim.host.DatastoreBrowser
    spec = kind.SearchSpec(
        query=[
            kind.FolderQuery(),
            kind.VmDiskQuery(details=kind.VmDiskQuery.Details(capacityKb=True, diskType=False, hardwareVersion=False)),
        ],
        details=kind.FileInfo.Details(fileType=True, fileSize=False, modification=False, fileOwner=False),
        matchPattern=["*"],
    )
    browser = connection.read(
        lambda session: collector.these(session, [datastore.obj], {vim.Datastore: ["browser"]})[0].get("browser")
    )

    def begin(session: Any) -> Any:
        bound = session.bound(browser)
        call = bound.SearchDatastoreSubFolders_Task if below else bound.SearchDatastore_Task
        return call(folder, spec)

    try:
        found = tasks.result_of(connection, connection.read(begin), _SEARCH_S)
    except NotFound:
        return []
    results = found if below else [found]
    return [(one.folderPath, list(one.file or [])) for one in results or []]


def _make_folder(connection: Connection, datacenter: Any, path: str) -> None:
    try:
        connection.write(lambda session: session.content.fileManager.MakeDirectory(path, datacenter, True))
    except Busy:  # FileAlreadyExists
        return


def _drop(connection: Connection, datacenter: Any, path: str) -> None:
    task = connection.write(lambda session: session.content.fileManager.DeleteDatastoreFile_Task(path, datacenter))
    try:
        tasks.finished(connection, task)
    except NotFound:
        return


# And the server that has it


def _held(connection: Connection, volume: Found) -> tuple[Found, str | None]:
    """Return the server that notes the volume's file, by the marks beside it."""
    for mark in volume.marks:
        row = servers.row_of(connection, mark)
        if row is not None and volume.path in observe.volume_files_of(row):
            return volume, mark
    return volume, None


def _observe(connection: Connection, found: Found, places: list[Place]) -> VolumeObservation:
    _, holder = _held(connection, found)
    zone = next((place.ref for place in places if found.datastore.moid in {one.moid for one in place.datastores}), None)
    state = VolumeState.AVAILABLE if holder is None else VolumeState.ATTACHED
    return VolumeObservation(found.ref, found.name, found.size_gib, state, str(state), found.token, holder, zone)

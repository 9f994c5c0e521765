"""Disks that live apart from servers: qcow2 volumes of the pool, whose file name holds token, architecture and name.

`<token>-volume-<arch>.<name>.qcow2`: a volume has no other place for words of ours. Who has it is read from the domains'
descriptions, the stored and the running one; each is changed by a call of its own, and a half-done change is seen and
finished by the same call again.
"""

import re
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import libvirt

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.messages import N_
from cloudmgr.domain.units import BYTES_PER_GIB
from providers.base import VolumeObservation, VolumeSpec, VolumeState
from providers.errors import Busy, InvalidSpec, NoCapacity, NotFound, Unsupported
from providers.libvirt import inventory, stages, storage
from providers.libvirt.connection import Session
from providers.libvirt.lookup import domain_of
from providers.libvirt.metadata import Stage
from providers.libvirt.observe import describe
from providers.libvirt.options import LibvirtOptions
from providers.libvirt.tree import parse
from providers.libvirt.xml import volume_disk_xml

_NAME = re.compile(r"(?P<token>[0-9a-f-]{36})-volume-(?P<arch>[a-z0-9_]+)\.(?P<name>.+)\.qcow2", re.DOTALL)
_UNSAFE = re.compile(r"[/%\x00-\x1f\x7f]")
_MAX_FILE_NAME_BYTES = 255
_TARGETS = [f"vd{letter}" for letter in "cdefghijklmnopqrstuvwxy"]
_SERIAL_CHARS = 20
"""All of a serial number that virtio-blk shows to a guest."""
_NO_VOLUME = {libvirt.VIR_ERR_NO_STORAGE_VOL}
_NO_DISK = {libvirt.VIR_ERR_DEVICE_MISSING, libvirt.VIR_ERR_INVALID_ARG, libvirt.VIR_ERR_OPERATION_INVALID}
_UNPLUG_PENDING = re.compile(r"already in the process of unplug|guest is busy")


@dataclass(frozen=True, slots=True)
class Use:
    """A domain that has a file as its disk, in its stored description, in its running one, or in both."""

    server: uuid.UUID
    is_active: bool
    stored: ET.Element | None
    running: ET.Element | None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to be done for it to be attached."""
        return self.stored is not None and (self.running is not None or not self.is_active)


def create(session: Session, options: LibvirtOptions, pool: Any, spec: VolumeSpec, token: uuid.UUID) -> Any:
    """Make an empty volume; the same token returns the one it made (P2).

    Raises:
        InvalidSpec: no such zone, no size, a name that makes no file name. NoCapacity: larger than the whole pool.
    """
    arch = next((arch for arch, ref in inventory.zone_refs(options).items() if ref == spec.zone), None)
    if arch is None:
        raise InvalidSpec(N_("There is no zone {zone} on this backend."), zone=spec.zone)
    if spec.size_gib < 1:
        raise InvalidSpec(N_("Sizes are whole numbers above zero."))
    name = file_name(spec.name, arch, token)
    there = find(session, pool, token)
    if there is not None:
        return there
    if spec.size_gib > storage.capacity_gib(session, pool):
        raise NoCapacity(
            N_("A volume of {size_gib} GiB is larger than this backend's storage."), size_gib=spec.size_gib
        )
    return storage.make_disk(session, pool, name, size_gib=spec.size_gib)


def file_name(name: str, arch: Architecture, token: uuid.UUID) -> str:
    """Return the file of a volume.

    Raises:
        InvalidSpec: the name is empty or longer than a file's may be.
    """
    safe = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)
    file = f"{token}-volume-{arch}.{safe}.qcow2"
    if not name or len(file.encode()) > _MAX_FILE_NAME_BYTES:
        raise InvalidSpec(N_("A volume's name has at least one character and makes a file name; shorten it."))
    return file


def token_of(file: str) -> uuid.UUID | None:
    """Return the token in a volume's file name; None when it is no volume of ours."""
    found = _NAME.fullmatch(file)
    try:
        return uuid.UUID(found["token"]) if found else None
    except ValueError:
        return None


def find(session: Session, pool: Any, token: uuid.UUID) -> Any | None:
    """Return the volume of a token; None when there is none."""
    return next(
        (one for one in session.call(pool.listAllVolumes, 0) if token_of(session.call(one.name)) == token), None
    )


def observe(session: Session, options: LibvirtOptions, volume: Any, uses: Mapping[str, list[Use]]) -> VolumeObservation:
    """Return what a volume is now."""
    file, path = session.call(volume.name), session.call(volume.path)
    description = parse(session.call(volume.XMLDesc, 0))
    found = _NAME.fullmatch(file)
    token = token_of(file)
    zones = {str(arch): ref for arch, ref in inventory.zone_refs(options).items()}
    use = next(iter(uses.get(path, [])), None)
    state, native = _state(use)
    return VolumeObservation(
        ref=str(token) if token else file,
        name=unquote(found["name"]) if found and token else file,
        size_gib=-(-int(description.findtext("capacity", "0")) // BYTES_PER_GIB),
        state=state,
        native_state=native,
        token=token,
        server=str(use.server) if use else None,
        zone=zones.get(found["arch"]) if found and token else None,
        created_at=_made_at(description),
    )


def every(session: Session, options: LibvirtOptions, pool: Any) -> Iterator[VolumeObservation]:
    """Yield the volumes of the pool that are no server's own disk and no image."""
    uses = uses_of(session)
    volumes = [(one, session.call(one.name), session.call(one.path)) for one in session.call(pool.listAllVolumes, 0)]
    strange = {path for _, name, path in volumes if token_of(name) is None and not storage.is_servers(name)}
    strange -= {image.path for image in options.images} | set(uses)
    if strange:
        strange -= {storage.backing_of(session, one) for one, *_ in volumes}
    for volume, name, path in volumes:
        if token_of(name) or path in strange:
            yield observe(session, options, volume, uses)


def uses_of(session: Session) -> dict[str, list[Use]]:
    """Return which domains use which files as disks."""
    found: dict[str, list[Use]] = {}
    for domain in session.call(session.conn.listAllDomains, 0):
        for path, use in _disks_of(session, domain).items():
            found.setdefault(path, []).append(use)
    return found


def attach(session: Session, options: LibvirtOptions, pool: Any, token: uuid.UUID, server: uuid.UUID) -> None:
    """Give the volume to a server, stored and running; what an earlier call left half-done is finished.

    Raises:
        NotFound, Busy: another server has it. Unsupported: the server is not ours, or has no slot left while it runs.
    """
    volume = _existing(session, pool, token)
    path = session.call(volume.path)
    domain = domain_of(session, server)
    if stages.read(session, domain) is Stage.DELETING:
        raise Busy(N_("Something else is being done to this server; try again shortly."), detail="being deleted")
    _require_free(session, path, server)
    use = _disks_of(session, domain).get(path)
    began = use is None
    if use is None or use.stored is None:
        target = _target_of(use.running) if use and use.running is not None else _free_target(session, domain)
        disk = volume_disk_xml(path, target, token.hex[-_SERIAL_CHARS:], options.disk_cache)
        session.change(domain.attachDeviceFlags, disk, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    try:
        _require_free(session, path, server)  # somebody may have asked in the same moment: then neither gets it
        use = _disks_of(session, domain).get(path)
        if use is not None and use.is_active and use.running is None and use.stored is not None:
            disk = volume_disk_xml(path, _target_of(use.stored), token.hex[-_SERIAL_CHARS:], options.disk_cache)
            session.change(domain.attachDeviceFlags, disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except (Busy, Unsupported):
        if began:
            _take_away(session, domain, path)
        raise


def detach(session: Session, pool: Any, token: uuid.UUID) -> None:
    """Take the volume from whoever has it; a running guest lets go of it in its own time, so callers look again.

    Raises:
        NotFound: there is no such volume. Unsupported: a server that is not ours has it.
    """
    path = session.call(_existing(session, pool, token).path)
    for use in uses_of(session).get(path, []):
        domain = domain_of(session, use.server)
        stages.read(session, domain)
        _take_away(session, domain, path)


def delete(session: Session, pool: Any, token: uuid.UUID) -> None:
    """Remove the volume; the absent succeeds (P3).

    Raises:
        Busy: a server has it.
    """
    volume = find(session, pool, token)
    if volume is None:
        return
    if uses_of(session).get(session.call(volume.path)):
        raise Busy(N_("A server has this volume; detach it first."))
    session.attempt(volume.delete, 0, absent=_NO_VOLUME)


def of_ref(session: Session, pool: Any, ref: str) -> uuid.UUID:
    """Return the token of a volume's reference.

    Raises:
        NotFound: it is none. Unsupported: it is a file that cloudmgr did not make.
    """
    try:
        return uuid.UUID(ref)
    except ValueError:
        if ref in {session.call(one.name) for one in session.call(pool.listAllVolumes, 0)}:
            raise Unsupported(
                N_("This volume was not made by cloudmgr, which leaves it alone."), detail=f"volume {ref!r}"
            ) from None
        raise _not_found(ref) from None


def _existing(session: Session, pool: Any, token: uuid.UUID) -> Any:
    volume = find(session, pool, token)
    if volume is None:
        raise _not_found(str(token))
    return volume


def _not_found(ref: str) -> NotFound:
    return NotFound(N_("There is no such volume on this host."), detail=f"volume {ref!r}")


def _state(use: Use | None) -> tuple[VolumeState, str]:
    if use is None:
        return VolumeState.AVAILABLE, "no domain has it"
    if use.stored is None:
        return VolumeState.ATTACHED, "detached, but the guest has not let go of it"
    if not use.is_whole:
        return VolumeState.BUILDING, "attached from the next start on, not to the running guest"
    return VolumeState.ATTACHED, "attached"


def _made_at(description: ET.Element) -> datetime | None:
    # libvirt tells a birth time only where the file system has one; the time of change would move with every write.
    birth = description.findtext("target/timestamps/btime")
    return datetime.fromtimestamp(float(birth), UTC) if birth and float(birth) > 0 else None


def _disks_of(session: Session, domain: Any) -> dict[str, Use]:
    stored = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    if stored is None:
        return {}
    server = uuid.UUID(stored.findtext("uuid", ""))
    is_active = bool(session.attempt(domain.isActive, absent={libvirt.VIR_ERR_NO_DOMAIN}))
    running = describe(session, domain) if is_active else None
    kept, used = _by_path(stored), _by_path(running) if running is not None else {}
    return {path: Use(server, is_active, kept.get(path), used.get(path)) for path in {**kept, **used}}


def _by_path(description: ET.Element) -> dict[str, ET.Element]:
    found = {}
    for disk in description.findall("devices/disk"):
        source = disk.find("source")
        if source is not None and (path := source.get("file")):
            found[path] = disk
    return found


def _require_free(session: Session, path: str, server: uuid.UUID) -> None:
    others = [use.server for use in uses_of(session).get(path, []) if use.server != server]
    if others:
        raise Busy(N_("Another server has this volume; detach it there first."), detail=f"domain {others[0]}")


def _target_of(disk: ET.Element) -> str:
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""


def _free_target(session: Session, domain: Any) -> str:
    disks = [disk for use in _disks_of(session, domain).values() for disk in (use.stored, use.running)]
    taken = {_target_of(disk) for disk in disks if disk is not None}
    free = next((target for target in _TARGETS if target not in taken), None)
    if free is None:
        raise Unsupported(N_("This server has as many volumes as it can have."))
    return free


def _take_away(session: Session, domain: Any, path: str) -> None:
    use = _disks_of(session, domain).get(path)
    if use is None:
        return
    if use.stored is not None:
        _detach(session, domain, use.stored, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    if use.running is not None:
        _detach(session, domain, use.running, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def _detach(session: Session, domain: Any, disk: ET.Element, flags: int) -> None:
    def ask() -> None:
        try:
            domain.detachDeviceFlags(ET.tostring(disk, encoding="unicode"), flags)
        except libvirt.libvirtError as error:
            if not _UNPLUG_PENDING.search(str(error)):
                raise

    session.attempt(ask, absent=_NO_DISK)

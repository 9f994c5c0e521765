"""The disks of a server: volumes of one libvirt pool, named by the server's token, so that they can always be found.

Goes through libvirt's volume API only, so it works the same on a remote host. A volume that is there already is kept
when it is what is wanted: volumes without a domain come from a creation that was cut off, and were never booted.
"""

import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any

import libvirt

from cloudmgr.domain.units import BYTES_PER_GIB
from providers.libvirt.connection import Session
from providers.libvirt.options import Image, LibvirtOptions
from providers.libvirt.tree import parse

ROLES = {"system": "system.qcow2", "data": "data.qcow2", "seed": "seed.iso"}
NVRAM = "-nvram.fd"
_NO_POOL = {libvirt.VIR_ERR_NO_STORAGE_POOL}
_NO_VOLUME = {libvirt.VIR_ERR_NO_STORAGE_VOL}
_CHUNK_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Disks:
    """Paths, on the host, of a server's volumes."""

    system: str
    seed: str
    nvram: str
    data: str | None = None


def volume_name(token: uuid.UUID, role: str) -> str:
    """Return the name of a server's volume."""
    return f"{token}-{ROLES[role]}"


def open_pool(session: Session, options: LibvirtOptions) -> Any:
    """Return the configured pool, started; one is defined for `storage_dir` where libvirt has none there."""
    conn = session.conn
    if options.storage_pool:
        pool = session.call(conn.storagePoolLookupByName, options.storage_pool)
    else:
        pool = session.attempt(conn.storagePoolLookupByTargetPath, options.storage_dir, absent=_NO_POOL)
        if pool is None:
            pool = session.change(conn.storagePoolDefineXML, _pool_xml(str(options.storage_dir)), 0)
            session.change(pool.build, 0)
            session.change(pool.setAutostart, 1)
    if not session.call(pool.isActive):
        session.change(pool.create, 0)
    return pool


def pool_path(session: Session, pool: Any) -> str:
    """Return the folder of a pool."""
    return parse(session.call(pool.XMLDesc, 0)).findtext("target/path", "")


def capacity_gib(session: Session, pool: Any) -> int:
    """Return the size of the pool's file system."""
    return int(session.call(pool.info)[1]) // BYTES_PER_GIB


def find_volumes(session: Session, pool: Any, token: uuid.UUID) -> dict[str, Any]:
    """Return the volumes that stand under a token, by role."""
    found = {
        role: session.attempt(pool.storageVolLookupByName, volume_name(token, role), absent=_NO_VOLUME)
        for role in ROLES
    }
    return {role: volume for role, volume in found.items() if volume is not None}


def make_volumes(
    session: Session, pool: Any, token: uuid.UUID, image: Image, *, system_gib: int, data_gib: int, seed: bytes
) -> Disks:
    """Make, or complete, the volumes of a server that has no domain yet."""
    there = find_volumes(session, pool, token)
    backing = (image.path, image.format)
    system = _disk(
        session, pool, there.get("system"), volume_name(token, "system"), size_gib=system_gib, backing=backing
    )
    data = None
    if data_gib:
        data = _disk(session, pool, there.get("data"), volume_name(token, "data"), size_gib=data_gib, backing=None)
    elif "data" in there:
        session.change(there["data"].delete, 0)
    iso = _seed(session, pool, there.get("seed"), volume_name(token, "seed"), seed)
    path = session.call
    return Disks(
        system=path(system.path),
        seed=path(iso.path),
        nvram=f"{pool_path(session, pool)}/{token}{NVRAM}",
        data=path(data.path) if data is not None else None,
    )


def delete_volumes(session: Session, pool: Any, token: uuid.UUID) -> None:
    """Remove every volume of a token; the absent succeeds."""
    for volume in find_volumes(session, pool, token).values():
        session.attempt(volume.delete, 0, absent=_NO_VOLUME)


def delete_nvram(session: Session, pool: Any, token: uuid.UUID) -> None:
    """Remove the firmware variables of a token, which libvirt wrote past the pool; the absent succeeds."""
    session.call(pool.refresh, 0)
    nvram = session.attempt(pool.storageVolLookupByName, f"{token}{NVRAM}", absent=_NO_VOLUME)
    if nvram is not None:
        session.attempt(nvram.delete, 0, absent=_NO_VOLUME)


def tokens_with_volumes(session: Session, pool: Any) -> set[uuid.UUID]:
    """Return every token that has a server's volume here, whether or not it has a domain."""
    owners = {owner_of(session.call(volume.name)) for volume in session.call(pool.listAllVolumes, 0)}
    return {owner for owner in owners if owner is not None}


def owner_of(file: str) -> uuid.UUID | None:
    """Return the token of the server whose own disk a file is; None when it is none's."""
    for suffix in ROLES.values():
        if file.endswith(f"-{suffix}"):
            try:
                return uuid.UUID(file.removesuffix(f"-{suffix}"))
            except ValueError:
                return None  # somebody else's file
    return None


def is_servers(file: str) -> bool:
    """Tell whether a file is one that some server of ours has, or had: a disk, a seed, or firmware variables."""
    return owner_of(file) is not None or owner_of(file.replace(NVRAM, f"-{ROLES['seed']}")) is not None


def make_disk(session: Session, pool: Any, name: str, *, size_gib: int) -> Any:
    """Make an empty disk that takes room as it is written to."""
    return session.change(pool.createXML, _volume_xml(name, size_gib * BYTES_PER_GIB, "qcow2", None), 0)


def size_gib(session: Session, volume: Any) -> int:
    """Return how large a disk is for its guest."""
    return int(session.call(volume.info)[1]) // BYTES_PER_GIB


def backing_of(session: Session, volume: Any) -> str | None:
    """Return the path of the image a volume is an overlay of; None when it stands alone, or has gone."""
    text = session.attempt(volume.XMLDesc, 0, absent=_NO_VOLUME)
    return parse(text).findtext("backingStore/path") if text is not None else None


def abort(stream: Any) -> None:
    """End a stream after an error."""
    try:
        stream.abort()
    except libvirt.libvirtError:
        return  # already ended; the first error is the one that counts


def _disk(session: Session, pool: Any, there: Any, name: str, *, size_gib: int, backing: tuple[str, str] | None) -> Any:
    if there is not None:
        if _is(parse(session.call(there.XMLDesc, 0)), size_gib, backing):
            return there
        session.change(there.delete, 0)
    return session.change(pool.createXML, _volume_xml(name, size_gib * BYTES_PER_GIB, "qcow2", backing), 0)


def _is(volume: ET.Element, size_gib: int, backing: tuple[str, str] | None) -> bool:
    fmt = volume.find("target/format")
    return (
        fmt is not None
        and fmt.get("type") == "qcow2"
        and int(volume.findtext("capacity", "0")) == size_gib * BYTES_PER_GIB
        and volume.findtext("backingStore/path") == (backing[0] if backing else None)
    )


def _seed(session: Session, pool: Any, there: Any, name: str, content: bytes) -> Any:
    if there is not None and int(session.call(there.info)[1]) != len(content):
        session.change(there.delete, 0)
        there = None
    if there is None:
        there = session.change(pool.createXML, _volume_xml(name, len(content), "raw", None), 0)
    stream = session.call(session.conn.newStream, 0)
    try:
        session.change(there.upload, stream, 0, len(content), 0)
        for start in range(0, len(content), _CHUNK_BYTES):
            chunk = content[start : start + _CHUNK_BYTES]
            while chunk:
                chunk = chunk[session.change(stream.send, chunk) :]
        session.change(stream.finish)
    except BaseException:
        abort(stream)
        raise
    return there


def _volume_xml(name: str, size_bytes: int, fmt: str, backing: tuple[str, str] | None) -> str:
    volume = ET.Element("volume")
    ET.SubElement(volume, "name").text = name
    ET.SubElement(volume, "capacity", unit="bytes").text = str(size_bytes)
    ET.SubElement(volume, "allocation", unit="bytes").text = str(size_bytes if fmt == "raw" else 0)
    target = ET.SubElement(volume, "target")
    ET.SubElement(target, "format", type=fmt)
    permissions = ET.SubElement(target, "permissions")
    ET.SubElement(permissions, "mode").text = "0600"
    if fmt == "qcow2":
        ET.SubElement(target, "compat").text = "1.1"
    if backing:
        store = ET.SubElement(volume, "backingStore")
        ET.SubElement(store, "path").text = backing[0]
        ET.SubElement(store, "format", type=backing[1])
    return ET.tostring(volume, encoding="unicode")


def _pool_xml(folder: str) -> str:
    pool = ET.Element("pool", type="dir")
    ET.SubElement(pool, "name").text = "cloudmgr-" + folder.strip("/").replace("/", "-")
    ET.SubElement(ET.SubElement(pool, "target"), "path").text = folder
    return ET.tostring(pool, encoding="unicode")

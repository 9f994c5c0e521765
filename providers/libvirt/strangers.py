"""Removing a server that was taken over: a domain that carries no word of ours, with the disks that are its alone.

A file that another server uses, or an image or a disk stands on, is nobody's to remove; nor is one outside the storage that
is given to us. Where there is such a disk nothing is touched, so that no server is unregistered whose disks stay.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.errors import Unsupported
from providers.libvirt import storage, volumes
from providers.libvirt.connection import Session
from providers.libvirt.observe import describe
from providers.libvirt.options import LibvirtOptions

_NO_VOLUME = {libvirt.VIR_ERR_NO_STORAGE_VOL}
_OFF = {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN}


def give_up_disks(session: Session, options: LibvirtOptions, pool: Any, domain: Any) -> None:
    """Power a domain off and remove its own disks; those of an earlier, unfinished call are gone already.

    Raises:
        Unsupported: a disk is not its own, or lies elsewhere; nothing was touched.
    """
    description = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    if description is None:
        return
    paths = list(_writable(description))
    folder = storage.pool_path(session, pool)
    session.call(pool.refresh, 0)
    uses = volumes.uses_of(session)
    bases = {storage.backing_of(session, volume) for volume in session.call(pool.listAllVolumes, 0)}
    bases |= {image.path for image in options.images}
    for path in paths:
        if path is None or str(PurePosixPath(path).parent) != folder:
            raise _refused(f"disk {path or 'that is no file'} is not in {folder}")
        if path in bases or len(uses.get(path, [])) > 1:
            raise _refused(f"others stand on {path}, or use it")
    if session.call(domain.isActive):
        session.attempt(domain.destroy, absent=_OFF)
    for path in paths:
        name = PurePosixPath(path or "").name
        volume = session.attempt(pool.storageVolLookupByName, name, absent=_NO_VOLUME)
        if volume is not None:
            session.attempt(volume.delete, 0, absent=_NO_VOLUME)


def _writable(description: ET.Element) -> Iterator[str | None]:
    """Yield the file of each disk that its guest may write to alone; None for one that is no file."""
    for disk in description.findall("devices/disk"):
        is_its_own = disk.get("device", "disk") == "disk" and disk.find("readonly") is None
        if is_its_own and disk.find("shareable") is None:
            source = disk.find("source")
            yield source.get("file") if source is not None else None


def _refused(detail: str) -> Unsupported:
    return Unsupported(
        N_(
            "This server was not made by cloudmgr, and a disk of it is not its own or lies outside the storage given to cloudmgr. Remove it at the host; the retirement then ends by itself."
        ),
        detail=detail,
    )

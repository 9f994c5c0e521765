"""Points in time: internal qcow2 snapshots, of running servers with their memory.

Taking one of a running server stops it for as long as writing its memory takes. libvirt of this age takes none of a
server with UEFI variables (`Unsupported`).
"""

import hashlib
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.base import SnapshotObservation
from providers.errors import InvalidSpec, NotFound, Unsupported
from providers.libvirt.connection import Session
from providers.libvirt.observe import describe
from providers.libvirt.tree import parse

_NO_SNAPSHOT = {libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_NAME_CHARS = 200


def create(session: Session, domain: Any, name: str) -> SnapshotObservation:
    """Take a snapshot; its reference follows from its name, so the same name twice is one snapshot.

    Raises:
        InvalidSpec: the name is empty, long or holds control characters.
        Unsupported: the host takes none of this server.
    """
    if not 1 <= len(name) <= _MAX_NAME_CHARS or _CONTROL.search(name):
        raise InvalidSpec(N_("A snapshot's name has 1 to {most} printable characters."), most=_MAX_NAME_CHARS)
    reference = f"cm-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    there = session.attempt(domain.snapshotLookupByName, reference, 0, absent=_NO_SNAPSHOT)
    if there is None:
        there = session.change(domain.snapshotCreateXML, _snapshot_xml(reference, name), 0)
    return _observe(parse(session.call(there.getXMLDesc, 0)))


def list_all(session: Session, domain: Any) -> list[SnapshotObservation]:
    """Return the snapshots of a server, oldest first, ours or not."""
    found = []
    for snapshot in session.call(domain.listAllSnapshots, 0):
        text = session.attempt(snapshot.getXMLDesc, 0, absent=_NO_SNAPSHOT)
        if text is not None:
            found.append(_observe(parse(text)))
    return sorted(found, key=lambda one: (one.created_at, one.ref))


def revert(session: Session, domain: Any, reference: str) -> None:
    """Go back to a snapshot; the server is then as it was: on or off.

    Raises:
        NotFound: there is none.
        Unsupported: the server had another size or other disks then; going back would change its size behind the
            quota, or take a volume from whoever has it now.
    """
    snapshot = session.attempt(domain.snapshotLookupByName, reference, 0, absent=_NO_SNAPSHOT)
    if snapshot is None:
        raise NotFound(N_("There is no such server or snapshot on this host."), detail=f"snapshot {reference!r}")
    then = parse(session.call(snapshot.getXMLDesc, 0)).find("domain")
    now = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    if then is None or now is None or _size(then) != _size(now):
        raise Unsupported(
            N_("The server had another size when this snapshot was taken; set that size first."),
            detail=f"then {_size(then)}, now {_size(now)}",
        )
    if _disks(then) != _disks(now):
        raise Unsupported(
            N_("The server had other volumes when this snapshot was taken; attach or detach them first."),
            detail=f"then {sorted(_disks(then))}, now {sorted(_disks(now))}",
        )
    session.change(domain.revertToSnapshot, snapshot, libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)


def delete(session: Session, domain: Any, reference: str) -> None:
    """Remove a snapshot; the absent succeeds (P3)."""
    snapshot = session.attempt(domain.snapshotLookupByName, reference, 0, absent=_NO_SNAPSHOT)
    if snapshot is not None:
        session.attempt(snapshot.delete, 0, absent=_NO_SNAPSHOT)


def _snapshot_xml(reference: str, name: str) -> str:
    snapshot = ET.Element("domainsnapshot")
    ET.SubElement(snapshot, "name").text = reference
    ET.SubElement(snapshot, "description").text = name
    disks = ET.SubElement(snapshot, "disks")
    ET.SubElement(disks, "disk", name="vdz", snapshot="no")
    return ET.tostring(snapshot, encoding="unicode")


def _observe(snapshot: ET.Element) -> SnapshotObservation:
    reference = snapshot.findtext("name", "")
    return SnapshotObservation(
        ref=reference,
        name=snapshot.findtext("description") or reference,
        created_at=datetime.fromtimestamp(int(snapshot.findtext("creationTime", "0")), UTC),
    )


def _size(domain: ET.Element | None) -> tuple[str, str] | None:
    return (domain.findtext("vcpu", ""), domain.findtext("memory", "")) if domain is not None else None


def _disks(domain: ET.Element) -> set[str]:
    return {source.get("file", "") for source in domain.findall("devices/disk/source")}

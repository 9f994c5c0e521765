"""What cloudmgr writes into a domain's metadata, and reads back: whose it is, what it was made from, how far it is."""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

NAMESPACE = "https://cloudmgr.dev/ns/libvirt/1"
PREFIX = "cloudmgr"
_SERVER = f"{{{NAMESPACE}}}server"

STOP_NAMESPACE = "https://cloudmgr.dev/ns/libvirt-stop/1"
STOP_PREFIX = "cloudmgrstop"
"""A second element, in the running domain only, so that it goes away with the power."""

ET.register_namespace(PREFIX, NAMESPACE)


class Stage(StrEnum):
    """How far a domain of ours is."""

    BUILDING = "building"
    BUILT = "built"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata element of one of our domains."""

    stage: Stage
    name: str
    zone: str
    image: str
    created_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    addresses: tuple[str, ...] = ()
    """Addresses its seed gives to the first card: nobody leases them, so nothing else on the host tells of them."""


def to_element(metadata: Metadata) -> ET.Element:
    """Return the element to put into a new domain's description."""
    return _element(metadata, f"{{{NAMESPACE}}}")


def to_text(metadata: Metadata) -> str:
    """Return the element as virDomainSetMetadata takes it: without a namespace, which libvirt adds itself."""
    return ET.tostring(_element(metadata, ""), encoding="unicode")


def _element(metadata: Metadata, space: str) -> ET.Element:
    server = ET.Element(
        f"{space}server",
        stage=metadata.stage,
        name=metadata.name,
        zone=metadata.zone,
        image=metadata.image,
        created=metadata.created_at.astimezone(UTC).isoformat(timespec="milliseconds"),
    )
    for key, value in sorted(metadata.labels.items()):
        ET.SubElement(server, f"{space}label", name=key).text = value
    for address in metadata.addresses:
        ET.SubElement(server, f"{space}address").text = address
    return server


def from_domain(domain: ET.Element) -> Metadata | None:
    """Return the metadata of a domain's description; None when it is not ours."""
    server = domain.find(f"metadata/{_SERVER}")
    if server is None:
        return None
    try:
        stage, created = Stage(server.get("stage", "")), datetime.fromisoformat(server.get("created", ""))
    except ValueError:
        return None  # edited by hand beyond recognition: not ours to touch
    return Metadata(
        stage=stage,
        name=server.get("name", ""),
        zone=server.get("zone", ""),
        image=server.get("image", ""),
        created_at=created,
        labels={label.get("name", ""): label.text or "" for label in server.findall(f"{{{NAMESPACE}}}label")},
        addresses=tuple(address.text or "" for address in server.findall(f"{{{NAMESPACE}}}address")),
    )


def stop_element(at: datetime) -> str:
    """Return the note that the guest was asked to shut down."""
    return ET.tostring(ET.Element("asked", at=at.astimezone(UTC).isoformat(timespec="seconds")), encoding="unicode")


def stop_asked_at(domain: ET.Element) -> datetime | None:
    """Return when a running guest was asked to shut down; None when it was not."""
    asked = domain.find(f"metadata/{{{STOP_NAMESPACE}}}asked")
    try:
        return datetime.fromisoformat(asked.get("at", "")) if asked is not None else None
    except ValueError:
        return None

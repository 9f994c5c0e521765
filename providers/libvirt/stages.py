"""How far a domain of ours is, read from and written to its metadata."""

from dataclasses import replace
from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.errors import Unsupported
from providers.libvirt import metadata
from providers.libvirt.connection import Session
from providers.libvirt.metadata import Metadata, Stage
from providers.libvirt.observe import describe


def read(session: Session, domain: Any) -> Stage | None:
    """Return a domain's stage; None when it has gone meanwhile.

    Raises:
        Unsupported: the domain is not ours, so nothing is to be built into it or taken from it.
    """
    found = _stored(session, domain)
    return found.stage if found is not None else None


def is_ours(session: Session, domain: Any) -> bool:
    """Tell whether a domain carries our words; one that has gone meanwhile counts as ours."""
    description = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    return description is None or metadata.from_domain(description) is not None


def write(session: Session, domain: Any, stage: Stage) -> None:
    """Write a stage into the domain's stored and, where it runs, its running description."""
    ours = _stored(session, domain)
    if ours is None or ours.stage is stage:
        return
    flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    if session.call(domain.isActive):
        flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
    session.change(
        domain.setMetadata,
        libvirt.VIR_DOMAIN_METADATA_ELEMENT,
        metadata.to_text(replace(ours, stage=stage)),
        metadata.PREFIX,
        metadata.NAMESPACE,
        flags,
    )


def _stored(session: Session, domain: Any) -> Metadata | None:
    description = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    if description is None:
        return None
    ours = metadata.from_domain(description)
    if ours is None:
        raise Unsupported(
            N_("This server was not made by cloudmgr, which neither builds on it nor deletes it."),
            detail=f"domain {description.findtext('name')} ({description.findtext('uuid')}) has no cloudmgr metadata",
        )
    return ours

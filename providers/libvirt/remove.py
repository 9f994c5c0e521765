"""Removing a server: nothing stays, and until nothing stays the token still finds it."""

import uuid
from typing import Any

import libvirt

from providers.libvirt import addresses, ports, stages, storage, strangers
from providers.libvirt.connection import Session
from providers.libvirt.metadata import Stage
from providers.libvirt.options import LibvirtOptions

_NO_DOMAIN = {libvirt.VIR_ERR_NO_DOMAIN}
_OFF = {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN}
_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
)


def by_ref(session: Session, options: LibvirtOptions, pool: Any, ref: uuid.UUID) -> None:
    """Remove a server by its UUID: one of ours, or one that was taken over, which has no token.

    Raises:
        Unsupported: it was taken over, and a disk of it is not its own.
    """
    domain = session.attempt(session.conn.lookupByUUID, ref.bytes, absent=_NO_DOMAIN)
    if domain is None or stages.is_ours(session, domain):
        remove(session, pool, ref)
        return
    strangers.give_up_disks(session, options, pool, domain)
    session.attempt(domain.undefineFlags, _EVERYTHING, absent=_NO_DOMAIN)


def remove(session: Session, pool: Any, token: uuid.UUID) -> None:
    """Remove the domain, filter, reservations and own disks of a token; what is not there is no matter (P3).

    Volumes that were attached to it stay, and belong to nobody then.
    The domain goes last and is marked first: volumes without a domain are always a creation's, never a deletion's,
    so that a later creation may use them as they are.

    Raises:
        Unsupported: the domain with this UUID is not ours.
    """
    domain = session.attempt(session.conn.lookupByUUID, token.bytes, absent=_NO_DOMAIN)
    if domain is not None and stages.read(session, domain) is not None:
        stages.write(session, domain, Stage.DELETING)
        if session.call(domain.isActive):
            session.attempt(domain.destroy, absent=_OFF)
    ports.remove(session, token)
    addresses.release(session, token)
    if domain is None:
        storage.delete_nvram(session, pool, token)  # a domain takes it along; one undefined by hand may not have
    storage.delete_volumes(session, pool, token)
    if domain is not None:
        session.attempt(domain.undefineFlags, _EVERYTHING, absent=_NO_DOMAIN)

"""From a reference to a domain."""

import uuid
from typing import Any

from cloudmgr.domain.messages import N_
from providers.errors import NotFound
from providers.libvirt.connection import Session


def parse_ref(ref: str) -> uuid.UUID:
    """Return the domain's UUID from a reference.

    Raises:
        NotFound: it is no UUID, so no domain of ours or anybody's has it.
    """
    try:
        return uuid.UUID(ref)
    except ValueError:
        raise NotFound(
            N_("There is no such server or snapshot on this host."), detail=f"reference {ref!r} is no UUID"
        ) from None


def domain_of(session: Session, token: uuid.UUID) -> Any:
    """Return the domain.

    Raises:
        NotFound: there is none.
    """
    return session.call(session.conn.lookupByUUID, token.bytes)

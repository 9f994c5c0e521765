"""Finding a server at its backend: what we built by its token, what we took over by its reference. Writes nothing."""

import contextlib
import uuid

from cloudmgr.domain.findings import ServerSource
from cloudmgr.models import Server
from providers.base import Provider, ServerObservation
from providers.errors import NotFound


def ref_of(server: Server) -> str | None:
    """Return what an imported server is found by; None for one that we built, which its token finds."""
    return server.native_ref if server.source == ServerSource.IMPORTED else None


def locate(provider: Provider, server_id: str, ref: str | None) -> ServerObservation | None:
    """Return a server of ours as its backend sees it, whole or half-built; None when there is none.

    An imported server carries no token of ours: `ref` is what it is known by (see `ref_of`).
    """
    if ref is None:
        return provider.find_server(uuid.UUID(server_id))
    with contextlib.suppress(NotFound):
        return provider.get_server(ref)
    return None

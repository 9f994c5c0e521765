"""What a backend says of the pieces it keeps for a server: asked in `call` steps, as plain JSON. Writes nothing."""

import uuid
from typing import Any

from cloudmgr.domain.certificates import EvidenceKind
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from providers.base import Provider, ResourceKind, ResourceObservation, ServerObservation
from providers.capabilities import Evidence, capabilities


def gather(server_id: str, backend: str) -> Outcome:
    """Ask for everything that is kept for a server, itself included: {"evidence", "pieces"}."""

    def deed() -> dict[str, Any]:
        provider = runtime().provider(backend)
        token = uuid.UUID(server_id)
        witness = _witness(provider)
        if witness is not None:
            pieces = [_told(piece) for piece in witness.list_resources(token)]
            return {"evidence": EvidenceKind.ASKED.value, "pieces": pieces}
        return {"evidence": EvidenceKind.NONE.value, "pieces": _server_alone(provider.find_server(token))}

    return attempt(deed)


def ask(server_id: str, backend: str, pieces: list[dict[str, Any]]) -> Outcome:
    """Ask for each of these pieces by its own reference, and once more for everything; the result is what is there."""

    def deed() -> list[dict[str, Any]]:
        provider = runtime().provider(backend)
        token = uuid.UUID(server_id)
        witness = _witness(provider)
        if witness is None:
            return _server_alone(provider.find_server(token))
        there = [*witness.still_there([_piece(told) for told in pieces]), *witness.list_resources(token)]
        return list({(piece.kind, piece.ref): _told(piece) for piece in there}.values())

    return attempt(deed)


def _witness(provider: Provider) -> Evidence | None:
    return provider if isinstance(provider, Evidence) and "evidence" in capabilities(provider) else None


def _server_alone(found: ServerObservation | None) -> list[dict[str, Any]]:
    if found is None:
        return []
    return [_told(ResourceObservation(ResourceKind.SERVER, found.ref, found.name, token=found.token))]


def _told(piece: ResourceObservation) -> dict[str, Any]:
    return {
        "kind": piece.kind.value,
        "ref": piece.ref,
        "name": piece.name,
        "size_gib": piece.size_gib,
        "token": str(piece.token) if piece.token else None,
        "attached_to": piece.server,
    }


def _piece(told: dict[str, Any]) -> ResourceObservation:
    return ResourceObservation(
        kind=ResourceKind(told["kind"]),
        ref=told["ref"],
        name=told["name"],
        size_gib=told["size_gib"],
        token=uuid.UUID(told["token"]) if told["token"] else None,
        server=told["attached_to"],
    )

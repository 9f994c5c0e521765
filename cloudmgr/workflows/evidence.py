"""What a backend says of the pieces it keeps for a server: asked in `call` steps, as plain JSON. Writes nothing."""

import uuid
from typing import Any

from cloudmgr.domain.certificates import EvidenceKind
from cloudmgr.workflows.locate import locate
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from providers.base import Provider, ResourceKind, ResourceObservation, ServerObservation
from providers.capabilities import Evidence, capabilities


def gather(server_id: str, backend: str, ref: str | None = None) -> Outcome:
    """Ask for everything that is kept for a server, itself included: {"evidence", "pieces"}.

    An imported server is asked for by `ref`, and by the token its backend has for it, where there is one; without one
    its pieces cannot be told from others', and only the server itself stands on the certificate.
    """

    def deed() -> dict[str, Any]:
        provider = runtime().provider(backend)
        witness = _witness(provider)
        found = locate(provider, server_id, ref) if ref is not None or witness is None else None
        token = uuid.UUID(server_id) if ref is None else (found.token if found else None)
        if witness is not None and token is not None:
            pieces = [_told(piece) for piece in witness.list_resources(token)]
            return {"evidence": EvidenceKind.ASKED.value, "pieces": pieces}
        return {"evidence": EvidenceKind.NONE.value, "pieces": _server_alone(found)}

    return attempt(deed)


def ask(server_id: str, backend: str, pieces: list[dict[str, Any]], ref: str | None = None) -> Outcome:
    """Ask for each of these pieces by its own reference, and once more for everything; the result is what is there."""

    def deed() -> list[dict[str, Any]]:
        provider = runtime().provider(backend)
        witness = _witness(provider)
        alone = _server_alone(locate(provider, server_id, ref)) if ref is not None or witness is None else []
        if witness is None:
            return alone
        there = witness.still_there([_piece(told) for told in pieces])
        for token in {server_id} if ref is None else {told["token"] for told in pieces if told["kind"] == "server"}:
            there = [*there, *(witness.list_resources(uuid.UUID(token)) if token else ())]
        if alone and not any(piece.kind is ResourceKind.SERVER and piece.ref == alone[0]["ref"] for piece in there):
            return [*alone, *map(_told, there)]
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

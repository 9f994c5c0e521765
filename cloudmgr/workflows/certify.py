"""What the end of a server writes: its certificate, piece by piece, and the quota that each missing piece sets free.

Each function is one transaction, called as a `write` step. A server is retired only when nothing of it is left; until
then it is `retiring`, with the reason, and is taken up again.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.certificates import NUMBER_PREFIX, CertificateState, ItemState, freed, wait_before
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import CertificateItem, DeletionCertificate, Organization, ResourceRequest, Server, Volume
from cloudmgr.services import audit, snapshots
from cloudmgr.store import certificates, requests, servers, volumes
from cloudmgr.workflows import facts, public_ips, server_changes
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.locate import ref_of
from cloudmgr.workflows.runtime import runtime
from providers.base import ResourceKind
from providers.errors import Remedy

_SHOWN = (
    "resource_no", "name", "arch", "vcpus", "memory_mib", "system_disk_gib", "data_disk_gib", "os_name", "os_version",
    "flavor", "image", "ipv4", "ipv6", "network_zone", "env", "purpose_kind", "zone", "backend", "datacenter", "host",
    "native_ref", "organization_name", "organization_code", "district_name", "project_name", "system_code",
    "project_no", "mlps_level", "request_no", "release_no", "source", "lease_start", "lease_end", "built_at",
    "activated_at",
)  # fmt: skip
"""What of the ledger's record of a server stands on its certificate; no person is among it."""
_NAMED = 5
"""So many leftovers are named in a sentence."""


def begin(session: Session, server_id: str, number: int) -> dict[str, Any] | None:
    """Mark a server as going and open its certificate; return where it is, or None when it is retired already."""
    server, request, organization = facts.load(session, server_id, retire=True)
    if server.phase == ServerPhase.RETIRED:
        return None
    if server.phase != ServerPhase.RETIRING:
        servers.move(session, server, ServerPhase.RETIRING, actor=SYSTEM.username, change="retiring")
        message = Message(N_("{name} is being retired."), {"name": server.name})
        facts.tell(session, request, server, "retire", number, message)
    if server.backend_id is None:
        return {"backend": None, "ref": None, "public_ips": [], "volumes": []}
    if certificates.of_server(session, server.id, lock=True) is None:
        held = servers.snapshot(session, server)
        certificate = DeletionCertificate(
            server_id=server.id,
            organization_id=organization.id,
            request_id=server.retire_request_id,  # none: at the end of its lease
            backend_id=server.backend_id,
            server={key: held[key] for key in _SHOWN if key in held},
            due_at=clock.now() + wait_before(4, _first_wait()),
        )
        certificates.add(session, certificate)
    return {
        "backend": servers.backend_name(session, server.backend_id),
        "ref": ref_of(server),
        "public_ips": public_ips.tokens_of(session, server.id),
        "volumes": _part_with_volumes(session, server, request),
    }


def _part_with_volumes(session: Session, server: Server, request: ResourceRequest) -> list[dict[str, Any]]:
    """Put the server's volumes on their way: detached and kept, or deleted where the request says so."""
    is_end = request.kind == "retire" and request.body.get("volumes") == "delete"
    for volume in volumes.of_servers(session, [server.id]):
        if volume.phase != VolumePhase.DELETING:
            volume.phase = (VolumePhase.DELETING if is_end else VolumePhase.DETACHING).value
            volume.change_request_id = request.id
            volume.delete_request_id = request.id if is_end else None
            session.add(volume)
    session.flush()
    return [
        {"id": str(volume.id), "is_end": volume.phase == VolumePhase.DELETING}
        for volume in volumes.of_servers(session, [server.id])
    ]


def list_pieces(session: Session, server_id: str, found: dict[str, Any]) -> list[dict[str, Any]]:
    """Write what the backend keeps for the server before anything is removed; return the pieces that must go.

    A certificate that another look has issued meanwhile is left as it is, here and in `checked`.
    """
    server, _, _, certificate = _open(session, server_id)
    if certificate.issued_at is not None:
        return []
    certificate.evidence = found["evidence"]
    known = _by_ref(session, certificate)
    for piece in found["pieces"]:
        _see(session, certificate, known, piece)
    for volume in volumes.of_servers(session, [server.id]):
        ref = volume.native_ref or str(volume.id)
        piece = {"kind": "volume", "ref": ref, "name": volume.name, "size_gib": volume.size_gib}
        _see(session, certificate, known, piece | {"token": str(volume.id), "attached_to": server.native_ref})
    if not any(kind == ResourceKind.SERVER for kind, _ in known):
        ref = server.native_ref or str(server.id)
        whole = {"kind": "server", "ref": ref, "name": server.name, "token": str(server.id)}
        _see(session, certificate, known, whole)
    certificates.add(session, certificate, *known.values())
    return _must_go(known.values())


def checked(session: Session, server_id: str, seen: dict[str, Any]) -> list[dict[str, Any]]:
    """Write what is gone and what is not, and give back the quota of what is gone; return the pieces that are left."""
    server, _, _, certificate = _open(session, server_id)
    if certificate.issued_at is not None:
        return []
    known = _by_ref(session, certificate)
    now = clock.now()
    if not seen["ok"]:
        for item in known.values():
            if item.state == ItemState.THERE:
                item.state, item.checked_at = ItemState.UNKNOWN.value, now
        certificates.add(session, *known.values())
        return _must_go(known.values())
    there = {(piece["kind"], piece["ref"]): piece for piece in seen["result"]}
    for key, item in known.items():
        if item.state != ItemState.KEPT and key not in there:
            item.gone_at = item.gone_at or now
            item.state, item.checked_at = ItemState.GONE.value, now
    for piece in there.values():
        _see(session, certificate, known, piece)
    left = _must_go(known.values())
    certificate.checked_at = now
    certificate.state = (CertificateState.INCOMPLETE if left else CertificateState.OPEN).value
    certificates.add(session, certificate, *known.values())
    _give_back(session, server, {piece["kind"] for piece in left})
    return left


def waits(session: Session, server_id: str, number: int, failure: dict[str, Any] | None) -> None:
    """Nothing more can be done now: say why, once for each reason, and when the server is taken up again."""
    server, request, organization, certificate = _open(session, server_id)
    if server.phase != ServerPhase.RETIRING:
        return
    if failure is not None:
        code = str(failure["code"])
        message = Message(
            N_("{name} cannot be retired yet: {reason} Its quota stays held, and it is taken up again by itself."),
            {"name": server.name, "reason": Message.from_json(failure["message"])},
        )
    else:
        code = "delete_unconfirmed"
        message = Message(
            N_(
                "{name}: the cloud still has {pieces}. Quota stays held for what is left; it is asked again by itself, and an operator should look."
            ),
            {"name": server.name, "pieces": _names(certificates.items(session, certificate.id))},
        )
    now = clock.now()
    certificate.due_at = now + wait_before(certificate.checks, _first_wait())
    certificate.unanswered_at = now if failure is not None and failure["remedy"] == Remedy.RETRY else None
    reason = {"code": code, "message": message.as_json()}
    is_news = certificate.reason != reason
    certificate.reason = reason
    certificates.add(session, certificate)
    if not is_news:
        return
    server.failed_step, server.failure = "delete", reason
    servers.keep(session, server, actor=SYSTEM.username, change="retire_waits")
    facts.tell(session, request, server, f"retire_waits:{code}:{certificate.checks}", number, message, kind="warning")
    facts.record(session, Event.VM_FAIL, server, organization, outcome=Outcome.FAILURE, reason=code, step="delete")


def retired(session: Session, server_id: str, number: int) -> None:
    """Nothing of the server is left: its certificate is issued; quota, capacity and name are free again."""
    server, request, organization = facts.load(session, server_id, retire=True)
    if server.phase == ServerPhase.RETIRED:
        return
    _give_back(session, server, ())
    snapshots.end_with_server(session, server.id, clock.now())
    server_changes.end_with_server(session, server)
    facts.vacate(session, server)
    server.frozen_by = server.frozen_at = None
    server.released_at = clock.now()
    server.state = "unknown"
    server.failed_step, server.failure = None, None
    servers.move(session, server, ServerPhase.RETIRED, actor=SYSTEM.username, change="retired")
    facts.record(session, Event.VM_DELETE, server, organization, request=request.number)
    facts.tell(
        session,
        request,
        server,
        "retired",
        number,
        Message(N_("{name} is gone from the cloud; its quota is free."), {"name": server.name}),
    )
    certificate = certificates.of_server(session, server.id, lock=True)
    if certificate is not None:
        _issue(session, certificate, server, organization.path)


def _issue(session: Session, certificate: DeletionCertificate, server: Server, path: str) -> None:
    day = clock.today().strftime("%Y%m%d")
    certificate.number = f"{NUMBER_PREFIX}{day}-{requests.next_number(session, NUMBER_PREFIX, day):04d}"
    certificate.issued_at = clock.now()
    certificate.state = CertificateState.COMPLETE.value
    certificate.reason = certificate.due_at = certificate.unanswered_at = None
    certificates.add(session, certificate)
    found = certificates.items(session, certificate.id)
    audit.record(
        session,
        SYSTEM,
        Event.CERTIFICATE_ISSUE,
        object_type="certificate",
        object_id=certificate.id,
        object_name=certificate.number,
        organization_path=path,
        server=server.name,
        evidence=certificate.evidence,
        pieces=len(found),
        kept=sum(item.state == ItemState.KEPT for item in found),
    )


def _give_back(session: Session, server: Server, left: Sequence[str] | set[str]) -> None:
    """Release what no piece stands for any more; what was only reserved is given back with the last piece."""
    reservation = quotas.get_reservation(session, server.reservation_id)
    part = next((part for part in reservation.parts if part.part_id == server.id), None)
    if part is None:
        return
    if part.state is quotas.PartState.PENDING and not left:
        quotas.void(session, reservation_id=server.reservation_id, part_id=server.id)
    if part.state is quotas.PartState.POSTED:
        amounts = freed(part.amounts, left)
        if amounts:
            quotas.release(session, reservation_id=server.reservation_id, part_id=server.id, amounts=amounts)


def _open(session: Session, server_id: str) -> tuple[Server, ResourceRequest, Organization, DeletionCertificate]:
    server, request, organization = facts.load(session, server_id, retire=True)
    certificate = certificates.of_server(session, server.id, lock=True)
    if certificate is None:
        raise LookupError(f"server {server_id} has no certificate")
    return server, request, organization, certificate


def _by_ref(session: Session, certificate: DeletionCertificate) -> dict[tuple[str, str], CertificateItem]:
    return {(item.kind, item.ref): item for item in certificates.items(session, certificate.id)}


def _see(
    session: Session,
    certificate: DeletionCertificate,
    known: dict[tuple[str, str], CertificateItem],
    piece: dict[str, Any],
) -> None:
    """Note that a piece is there; one that was not known is added."""
    key = (piece["kind"], piece["ref"][:300])
    item = known.get(key)
    if item is None:
        token = uuid.UUID(piece["token"]) if piece.get("token") else None
        item = known[key] = CertificateItem(
            certificate_id=certificate.id,
            kind=piece["kind"],
            ref=piece["ref"][:300],
            name=str(piece.get("name") or "")[:300],
            size_gib=piece.get("size_gib"),
            token=token,
            attached_to=piece.get("attached_to"),
        )
    item.checked_at = clock.now()
    item.gone_at = None
    item.state = (ItemState.KEPT if _stays(session, item) else ItemState.THERE).value


def _stays(session: Session, item: CertificateItem) -> bool:
    """Whether a piece outlives the server: a volume of the ledger that is not deleted with it."""
    volume = session.get(Volume, item.token) if item.kind == ResourceKind.VOLUME and item.token else None
    return volume is not None and volume.phase not in (VolumePhase.DELETING, VolumePhase.DELETED)


def _must_go(items: Any) -> list[dict[str, Any]]:
    return [
        {
            "kind": item.kind,
            "ref": item.ref,
            "name": item.name,
            "size_gib": item.size_gib,
            "token": str(item.token) if item.token else None,
            "attached_to": item.attached_to,
        }
        for item in items
        if item.state in (ItemState.THERE, ItemState.UNKNOWN)
    ]


def _names(items: Sequence[CertificateItem]) -> str:
    left = [item for item in items if item.state in (ItemState.THERE, ItemState.UNKNOWN)]
    named = ", ".join(f"{item.kind} {item.name or item.ref}" for item in left[:_NAMED])
    return named if len(left) <= _NAMED else f"{named} (+{len(left) - _NAMED})"


def _first_wait() -> timedelta:
    return timedelta(seconds=runtime().settings.worker.retire_recheck_s)

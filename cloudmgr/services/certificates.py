"""Deletion certificates 销毁证明: read them, ask again what is left, and take up retirements that wait. Commits nothing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.adapters import queue
from cloudmgr.domain import clock
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.certificates import CertificateState, ItemState, keeping, wait_before
from cloudmgr.domain.errors import Conflict, Hidden, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import (
    Approval,
    Backend,
    CertificateItem,
    DeletionCertificate,
    Organization,
    Project,
    ResourceRequest,
    Server,
    User,
)
from cloudmgr.services import audit
from cloudmgr.services.server_parts import amounts_of
from cloudmgr.store import certificates, requests, servers

CertificateRow = certificates.CertificateRow

AT_ONCE = 200
"""So many waiting retirements are taken up in one round; the rest is next."""


@dataclass(frozen=True, slots=True)
class QuotaShare:
    """One resource of the server's quota: `released` is free again, `held` is not; `kept_by` are the kinds of pieces it waits for."""

    resource: str
    released: int
    held: int
    kept_by: list[str]


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate with everything its printable page shows. `held` is what the ledger had of the server at its end."""

    certificate: DeletionCertificate
    held: dict[str, Any]
    items: list[CertificateItem]
    server: Server
    project: Project
    organization: Organization
    backend: Backend | None
    request: ResourceRequest | None
    requester: User | None
    approvals: list[tuple[Approval, User]]
    quota: list[QuotaShare]
    """What became of the server's quota; volumes and snapshots hold their own. Empty: it counted against none."""


def list_certificates(
    session: Session,
    actor: Actor,
    *,
    states: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    backend: str | None = None,
    number: str | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[CertificateRow], uuid.UUID | None]:
    """Return the certificates of servers the actor may read, newest first; those not issued yet are among them."""
    require(actor, Action.SERVER_READ)
    return certificates.page(
        session,
        paths=actor.scope(Action.SERVER_READ),
        states=states,
        project_id=project_id,
        backend=backend,
        number=number,
        limit=limit,
        cursor=cursor,
    )


def get_certificate(session: Session, actor: Actor, server_id: uuid.UUID) -> CertificateView:
    """Return the certificate of one server, issued or not.

    Raises:
        NotFound: the server is not being retired, never stood anywhere, or is not the actor's to see.
    """
    server = servers.get(session, server_id)
    if server is None:
        raise NotFound(N_("There is no such server."))
    organization = session.get_one(Organization, server.organization_id)
    if not actor.may(Action.SERVER_READ, organization.path):
        raise Hidden(N_("There is no such server."), detail=f"{actor.username} may not read {server_id}")
    certificate = certificates.of_server(session, server_id)
    if certificate is None:
        raise NotFound(N_("There is no such object."))
    return _view(session, actor, certificate, server, organization)


def read_certificate(session: Session, actor: Actor, certificate_id: uuid.UUID) -> CertificateView:
    """Return a certificate by its own id, issued or not.

    Raises:
        NotFound: there is none, or it is not the actor's to see.
    """
    certificate = certificates.get(session, certificate_id)
    if certificate is None:
        raise NotFound(N_("There is no such object."))
    organization = session.get_one(Organization, certificate.organization_id)
    if not actor.may(Action.SERVER_READ, organization.path):
        raise Hidden(N_("There is no such object."), detail=f"{actor.username} may not read {certificate_id}")
    return _view(session, actor, certificate, session.get_one(Server, certificate.server_id), organization)


def find_certificate(session: Session, actor: Actor, server_id: uuid.UUID) -> DeletionCertificate | None:
    """Return the certificate of a server without its pieces; None before its end, and where it is not the actor's to see."""
    certificate = certificates.of_server(session, server_id)
    if certificate is None:
        return None
    organization = session.get_one(Organization, certificate.organization_id)
    return certificate if actor.may(Action.SERVER_READ, organization.path) else None


def check_now(session: Session, actor: Actor, server_id: uuid.UUID) -> DeletionCertificate:
    """Take up a retirement that waits without waiting for its turn. Returns with the look enqueued.

    Raises:
        Conflict: the certificate is issued already, or a look was begun this moment.
    """
    view = get_certificate(session, actor, server_id)
    require(actor, Action.SERVER_POWER, view.organization.path, see=Action.SERVER_READ)
    if view.certificate.state == CertificateState.COMPLETE:
        raise Conflict(
            N_("The certificate {number} is issued: nothing is left to ask."), number=view.certificate.number
        )
    if not _take_up(session, view.certificate, wait_before(view.certificate.checks, timedelta(minutes=1))):
        raise Conflict(N_("The cloud is being asked right now; look again in a moment."))
    audit.record(
        session,
        actor,
        Event.CERTIFICATE_CHECK,
        object_type="server",
        object_id=server_id,
        object_name=view.server.name,
        organization_path=view.organization.path,
    )
    session.refresh(view.certificate)
    return view.certificate


def take_up_due(session: Session, first_wait: timedelta) -> int:
    """Enqueue a look at every retirement whose time has come or whose backend is back; return how many.

    Two workers that do this at once enqueue each look once: its number is taken by a conditional update.
    """
    now = clock.now()
    found = certificates.due(session, now=now, rested_by=now - first_wait, limit=AT_ONCE)
    return sum(_take_up(session, certificate, wait_before(certificate.checks, first_wait)) for certificate in found)


def _view(
    session: Session, actor: Actor, certificate: DeletionCertificate, server: Server, organization: Organization
) -> CertificateView:
    items = certificates.items(session, certificate.id)
    request = session.get(ResourceRequest, certificate.request_id) if certificate.request_id else None
    held = dict(certificate.server)
    if not actor.may(Action.HOST_READ, organization.path):
        held.pop("host", None)
    return CertificateView(
        certificate=certificate,
        held=held,
        items=items,
        server=server,
        project=session.get_one(Project, server.project_id),
        organization=organization,
        backend=session.get(Backend, certificate.backend_id) if certificate.backend_id else None,
        request=request,
        requester=session.get(User, request.requester_id) if request else None,
        approvals=requests.approvals(session, request.id) if request else [],
        quota=_quota(session, server, items),
    )


def _quota(session: Session, server: Server, items: Sequence[CertificateItem]) -> list[QuotaShare]:
    """Return what of the server's quota is free again and what is held, and by what."""
    if not server.counts_quota:
        return []
    reservation = quotas.get_reservation(session, server.reservation_id)
    held = next((part.amounts for part in reservation.parts if part.part_id == server.id), {})
    left = [item.kind for item in items if item.state in (ItemState.THERE, ItemState.UNKNOWN)]
    return [
        QuotaShare(
            resource,
            released=amount - held.get(resource, 0),
            held=held.get(resource, 0),
            kept_by=keeping(resource, left) if held.get(resource) else [],
        )
        for resource, amount in amounts_of(server).items()
        if amount
    ]


def _take_up(session: Session, certificate: DeletionCertificate, wait: timedelta) -> bool:
    number = certificates.take(session, certificate, due_at=clock.now() + wait)
    if number is None:
        return False
    queue.enqueue(
        session,
        "recheck_retire",
        queue.workflow_id("recheck_retire", certificate.server_id, number),
        str(certificate.server_id),
        number,
    )
    return True

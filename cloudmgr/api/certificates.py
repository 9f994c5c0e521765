"""Deletion certificates 销毁证明: list, read, and ask again at once."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.certificates import CertificateState
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import Message
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import certificates
from cloudmgr.services.certificates import CertificateView

router = api_router("", "certificates")


class CertificateLine(Shape):
    """A certificate in a list. It has a `number` once it is issued, and is issued when every piece is gone."""

    id: UUID
    number: str | None = Field(examples=["XH20261122-0001"])
    state: str = Field(examples=["complete"])
    evidence: str = Field(examples=["asked"])
    server: UUID
    server_name: str
    resource_no: str | None
    organization: UUID
    organization_name: str
    backend: str | None
    checked_at: datetime | None
    issued_at: datetime | None
    created_at: At


class PieceShape(Shape):
    """One thing the cloud kept for the server, and whether it still has it: there, gone, unknown or kept (on purpose)."""

    kind: str = Field(examples=["disk"])
    ref: str
    name: str
    size_gib: int | None
    state: str = Field(examples=["gone"])
    checked_at: datetime | None
    gone_at: datetime | None


class CertificateShape(CertificateLine):
    """A certificate with every piece, and with what the ledger held of the server at its end."""

    request: UUID | None
    request_number: str | None
    requested_by: str | None
    decided_by: list[str]
    reason: dict[str, Any] | None
    due_at: datetime | None
    held: dict[str, Any]
    items: list[PieceShape]


class CheckShape(Shape):
    """A look that was taken on; the certificate follows within seconds."""

    server: UUID
    checks: int


@router.get(
    "/certificates",
    response_model=ItemPage[CertificateLine],
    openapi_extra=rule(Action.SERVER_READ, object_type="certificate"),
)
def list_certificates(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    state: Annotated[list[CertificateState] | None, Query(description="One or more states.")] = None,
    project: UUID | None = None,
    backend: Annotated[str | None, Query(max_length=64, description="Only this cloud's, by name.")] = None,
    number: Annotated[str | None, Query(max_length=32)] = None,
) -> ItemPage[CertificateLine]:
    """List the certificates of servers you may read, newest first; those not issued yet are among them."""
    rows, following = certificates.list_certificates(
        session,
        actor,
        states=state or (),
        project_id=project,
        backend=backend,
        number=number,
        limit=page.limit,
        cursor=page.cursor,
    )
    lines = [
        CertificateLine(
            id=row.id,
            number=row.number,
            state=row.state,
            evidence=row.evidence,
            server=server.id,
            server_name=server.name,
            resource_no=server.resource_no,
            organization=organization.id,
            organization_name=organization.name,
            backend=cloud.name if cloud else None,
            checked_at=row.checked_at,
            issued_at=row.issued_at,
            created_at=row.created_at,
        )
        for row, server, organization, cloud in rows
    ]
    return ItemPage(items=lines, next_cursor=encode_cursor(following))


@router.get(
    "/servers/{server_id}/certificate",
    response_model=CertificateShape,
    openapi_extra=rule(Action.SERVER_READ, object_type="certificate"),
)
def read_certificate(server_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> CertificateShape:
    """Tell what the cloud kept for a server and what is left of it; 404 before its end has begun."""
    return _shape(certificates.get_certificate(session, actor, server_id), http)


@router.post(
    "/servers/{server_id}/certificate/checks",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=CheckShape,
    openapi_extra=rule(Action.SERVER_POWER, event=Event.CERTIFICATE_CHECK, object_type="certificate"),
)
def check_certificate(server_id: UUID, actor: ActorDep, session: SessionDep) -> CheckShape:
    """Take up a retirement that waits, without waiting for its turn; 409 once the certificate is issued."""
    return CheckShape(server=server_id, checks=certificates.check_now(session, actor, server_id).checks)


def _shape(view: CertificateView, http: Request) -> CertificateShape:
    row, reason = view.certificate, view.certificate.reason
    translate = translator(language_of(http))
    return CertificateShape(
        id=row.id,
        number=row.number,
        state=row.state,
        evidence=row.evidence,
        server=view.server.id,
        server_name=view.server.name,
        resource_no=view.server.resource_no,
        organization=view.organization.id,
        organization_name=view.organization.name,
        backend=view.backend.name if view.backend else None,
        checked_at=row.checked_at,
        issued_at=row.issued_at,
        created_at=row.created_at,
        request=view.request.id if view.request else None,
        request_number=view.request.number if view.request else None,
        requested_by=view.requester.display_name if view.requester else None,
        decided_by=[person.display_name for _, person in view.approvals],
        reason={"code": reason["code"], "message": Message.from_json(reason["message"]).render(translate)}
        if reason
        else None,
        due_at=row.due_at,
        held=view.held,
        items=[PieceShape.model_validate(item) for item in view.items],
    )

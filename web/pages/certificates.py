"""Deletion certificates 销毁证明: the list, one to print and sign, and asking the cloud once more."""

import uuid

from fastapi import Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.certificates import CertificateState
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import certificates
from cloudmgr.services.certificates import CertificateView
from web.desk import Desk, DeskDep, go
from web.forms import Form
from web.lists import PAGE, cursor_of, filters_of, pages
from web.presenters import certificates as lines

router = page_router()


@router.get("/certificates", openapi_extra=rule(Action.SERVER_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the certificates of servers the reader may see; those not issued yet are among them."""
    filters = filters_of(request, "number", "state")
    if filters.get("state") not in {None, *CertificateState}:
        raise InvalidInput(N_("There is no such state."), field="state")
    rows, following = certificates.list_certificates(
        desk.session,
        desk.actor,
        states=[filters["state"]] if "state" in filters else (),
        number=filters.get("number"),
        limit=PAGE,
        cursor=cursor_of(request),
    )
    return desk.page(
        "pages/certificates.html",
        form=Form(filters),
        lines=[lines.line(row) for row in rows],
        states=[(state, desk.words.label("certificate_state", state)) for state in CertificateState],
        filtered=bool(filters),
        **pages(request, filters, following),
    )


@router.get("/certificates/{certificate_id}", openapi_extra=rule(Action.SERVER_READ))
def show(desk: DeskDep, certificate_id: uuid.UUID) -> Response:
    """Show one certificate, made to be printed on A4 and signed."""
    return _Paper(desk, certificates.read_certificate(desk.session, desk.actor, certificate_id)).page(Form(), 200)


@router.post(
    "/certificates/{certificate_id}/checks",
    openapi_extra=rule(Action.SERVER_POWER, event=Event.CERTIFICATE_CHECK, object_type="server", remembers=False),
)
def check(desk: DeskDep, certificate_id: uuid.UUID) -> Response:
    """Have the cloud asked at once for what is left."""
    view = certificates.read_certificate(desk.session, desk.actor, certificate_id)
    desk.on_refusal(_Paper(desk, view).page, {}, ())
    certificates.check_now(desk.session, desk.actor, view.server.id)
    return go(f"/certificates/{certificate_id}", done="asked_again")


class _Paper:
    """The certificate, read before anything is done about it."""

    def __init__(self, desk: Desk, view: CertificateView) -> None:
        self._desk = desk
        self._certificate = lines.page(desk.words, view)
        is_issued = view.certificate.state == CertificateState.COMPLETE
        self._may_check = not is_issued and desk.may(Action.SERVER_POWER, view.organization.path)

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/certificate.html", status, certificate=self._certificate, may_check=self._may_check, form=form
        )

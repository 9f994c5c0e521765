"""Public addresses: the list of those the reader may see, one server's own, asking for one and giving it back."""

import uuid
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.openings import PublicIpPhase
from cloudmgr.domain.phases import RequestKind
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import public_ips, servers
from cloudmgr.services.request_inputs import PublicIpRequest
from web import corrections
from web.desk import Desk, DeskDep, FormDep, command, texts
from web.forms import Form, whole
from web.lists import PAGE, cursor_of, filters_of, pages
from web.pages.openings import backends_by_id, may_ask, server_line
from web.presenters import openings as lines

router = page_router()

_CAPABILITY = "public_ips"
_BANDWIDTH = "assign[0].bandwidth_mbps"
_SHOWN = ("purpose", _BANDWIDTH)
_ENDED = (PublicIpPhase.RELEASED, PublicIpPhase.FAILED)


@router.get("/public-ips", openapi_extra=rule(Action.SERVER_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the public addresses of the servers the reader may see."""
    filters = filters_of(request, "phase")
    if filters.get("phase") not in {None, *PublicIpPhase}:
        raise InvalidInput(N_("There is no such state."), field="phase")
    rows, following = public_ips.list_public_ips(
        desk.session,
        desk.actor,
        phases=[PublicIpPhase(filters["phase"])] if filters else (),
        limit=PAGE,
        cursor=cursor_of(request),
    )
    backends = backends_by_id(desk)
    return desk.page(
        "pages/public_ips.html",
        lines=[lines.public_ip(desk.words, row, backends) for row in rows],
        phases=[(each, desk.words.label("public_ip_phase", each)) for each in PublicIpPhase],
        form=Form(filters),
        filtered=bool(filters),
        **pages(request, filters, following),
    )


@router.get("/servers/{server_id}/public-ip", openapi_extra=rule(Action.SERVER_READ))
def show(request: Request, desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show the public addresses of one server, with the form that asks for one or gives it back."""
    correction = corrections.named(desk, RequestKind.PUBLIC_IP, server_id, request.query_params.get("request", ""))
    return _Sheet(desk, server_id, correction).page(Form({_BANDWIDTH: "10"} | correction.values()), 200)


@router.post(
    "/servers/{server_id}/public-ip",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False),
)
def ask(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Submit the request for a public address, or that gives one back."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    typed = texts(sent)
    correction = corrections.named(desk, RequestKind.PUBLIC_IP, server_id, typed.get("request", ""))
    sheet = _Sheet(desk, server_id, correction)
    payload: dict[str, Any] = {
        "kind": "public_ip",
        "project": str(sheet.project_id),
        "purpose": typed.get("purpose", "").strip(),
    }
    if typed.get("release"):
        payload["release"] = [typed["release"]]
    else:
        payload["assign"] = [{"server": str(server_id), "bandwidth_mbps": whole(typed.get(_BANDWIDTH, ""))}]
    try:
        wanted = command(PublicIpRequest, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, typed, error, _SHOWN)
    desk.on_refusal(sheet.page, typed, _SHOWN)
    return correction.hand_in(desk, wanted)


class _Sheet:
    """The public addresses of one server with their form."""

    def __init__(self, desk: Desk, server_id: uuid.UUID, correction: corrections.Correction) -> None:
        row = servers.get_server(desk.session, desk.actor, server_id)
        backend = row[6]
        rows, _ = public_ips.list_public_ips(desk.session, desk.actor, server_id=server_id, limit=PAGE)
        found = [lines.public_ip(desk.words, each, {backend.id: backend} if backend else {}) for each in rows]
        has_one = any(each.phase not in _ENDED for each in found)
        can = backend is not None and _CAPABILITY in backend.capabilities
        self.project_id = row[1].id
        self._desk = desk
        self._shown = {
            "server": server_line(row),
            "lines": found,
            "in_use": next((each for each in found if each.can_release), None),
            "may_ask": may_ask(desk, row),
            "can_assign": can and not has_one,
            "backend": (backend.title or backend.name) if backend else "",
            "cannot": not can,
            **correction.shown,
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page("pages/server_public_ip.html", status, form=form, **self._shown)

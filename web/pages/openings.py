"""Port openings: the table of everything the reader may see, one server's own, and asking to open and to close."""

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.openings import OpeningState
from cloudmgr.domain.phases import RequestKind, ServerPhase
from cloudmgr.domain.port_rules import PROTOCOLS
from cloudmgr.http.routes import page_router, rule
from cloudmgr.models import Backend
from cloudmgr.services import catalogue, openings, servers
from cloudmgr.services.openings import CAPABILITY, no_rules
from cloudmgr.services.request_inputs import PortsRequest
from cloudmgr.services.servers import ServerRow
from web import corrections, formats
from web.desk import Desk, DeskDep, FormDep, command, texts
from web.forms import Form, row_indices, text_of
from web.lists import PAGE, cursor_of, every, filters_of, pages
from web.presenters import openings as lines

router = page_router()

_LINE = ("source", "protocol", "port", "purpose", "valid_until", "reason")
_TYPED = ("source", "port", "purpose")
_STANDING = (ServerPhase.ACTIVE, ServerPhase.SUSPENDED)


@router.get("/openings", openapi_extra=rule(Action.SERVER_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the port-opening table of the servers the reader may see."""
    filters = filters_of(request, "state")
    if filters.get("state") not in {None, *OpeningState}:
        raise InvalidInput(N_("There is no such state."), field="state")
    rows, following = openings.list_openings(
        desk.session,
        desk.actor,
        states=[OpeningState(filters["state"])] if filters else (),
        limit=PAGE,
        cursor=cursor_of(request),
    )
    backends = backends_by_id(desk)
    return desk.page(
        "pages/openings.html",
        lines=[lines.line(desk.words, row, backends) for row in rows],
        states=[(each, desk.words.label("opening_state", each)) for each in OpeningState],
        form=Form(filters),
        filtered=bool(filters),
        may_request=desk.may(Action.REQUEST_MAKE),
        **pages(request, filters, following),
    )


@router.get("/servers/{server_id}/openings", openapi_extra=rule(Action.SERVER_READ))
def show(request: Request, desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show the table of one server, with the form that asks to change it."""
    correction = corrections.named(desk, RequestKind.PORTS, server_id, request.query_params.get("request", ""))
    sheet = _Sheet(request, desk, server_id, correction, closing=frozenset(correction.chosen("close")))
    return sheet.page(Form(correction.values()), 200)


@router.post(
    "/servers/{server_id}/openings",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False),
)
def ask(request: Request, desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Submit the request that opens and closes ports of one server."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    typed = texts(sent)
    closing = [str(value) for value in sent.getlist("close")][:100]
    correction = corrections.named(desk, RequestKind.PORTS, server_id, typed.get("request", ""))
    sheet = _Sheet(request, desk, server_id, correction, closing=frozenset(closing))
    if typed.get("action") == "add-row":
        return sheet.page(Form(typed), 200, more=1)
    wanted_lines = [index for index in row_indices(typed, "open") if _is_typed(typed, index)]
    values = _renumbered(typed, wanted_lines)
    shown = ["purpose", *(f"open[{at}].{name}" for at in range(len(wanted_lines)) for name in (*_LINE, "ports"))]
    payload = {
        "kind": "ports",
        "project": str(sheet.project_id),
        "purpose": typed.get("purpose", "").strip(),
        "open": [{"server": str(server_id), **_entry(values, at)} for at in range(len(wanted_lines))],
        "close": closing,
    }
    try:
        wanted = command(PortsRequest, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, shown)
    desk.on_refusal(sheet.page, values, shown)
    return correction.hand_in(desk, wanted)


class _Sheet:
    """The table of one server with its form."""

    def __init__(
        self,
        request: Request,
        desk: Desk,
        server_id: uuid.UUID,
        correction: corrections.Correction,
        *,
        closing: frozenset[str],
    ) -> None:
        row = servers.get_server(desk.session, desk.actor, server_id)
        project, backend = row[1], row[6]
        rows, following = openings.list_openings(
            desk.session, desk.actor, server_id=server_id, limit=PAGE, cursor=cursor_of(request)
        )
        self.project_id = project.id
        self._desk = desk
        words = desk.words
        self._shown: dict[str, Any] = {
            "server": server_line(row),
            "lines": [lines.line(words, each, {backend.id: backend} if backend else {}) for each in rows],
            "closing": closing,
            "may_ask": may_ask(desk, row),
            "difference": words.told(no_rules(backend)) if backend and CAPABILITY not in backend.capabilities else "",
            "protocols": [(each, each.upper()) for each in PROTOCOLS],
            "today": formats.day(clock.today()),
            **correction.shown,
            **pages(request, {}, following),
        }

    def page(self, form: Form, status: int, *, more: int = 0) -> Response:
        """Draw it; a fault of a range of ports stands at the field that both are typed in."""
        for name in [each for each in form.errors if each.endswith(".ports")]:
            form.errors.setdefault(name[:-1], []).extend(form.errors.pop(name))
        count = max(1, len(row_indices(form.values, "open")) + more)
        return self._desk.page("pages/server_openings.html", status, form=form, rows=list(range(count)), **self._shown)


def server_line(row: ServerRow) -> dict[str, Any]:
    """Return what the head of a page about one server's network needs."""
    server, project, organization = row[0], row[1], row[2]
    return {"id": server.id, "name": server.name, "project": project.name, "organization": organization.name}


def may_ask(desk: Desk, row: ServerRow) -> bool:
    """Whether the reader may ask for changes of a server, and it stands so that it can be changed."""
    server, organization = row[0], row[2]
    return (
        desk.may(Action.REQUEST_MAKE, organization.path)
        and server.phase in _STANDING
        and server.retire_request_id is None
    )


def backends_by_id(desk: Desk) -> dict[uuid.UUID, Backend]:
    """Return every cloud platform."""
    views = every(lambda at: catalogue.list_backends(desk.session, desk.actor, limit=PAGE, cursor=at))
    return {view.backend.id: view.backend for view in views}


def _is_typed(typed: Mapping[str, str], index: int) -> bool:
    return any(typed.get(f"open[{index}].{name}", "").strip() for name in _TYPED)


def _renumbered(typed: Mapping[str, str], kept: list[int]) -> dict[str, str]:
    """Return the form with its empty lines left out: positions and field names agree again."""
    values = {"purpose": typed.get("purpose", "")}
    for new, old in enumerate(kept):
        values |= {f"open[{new}].{name}": typed.get(f"open[{old}].{name}", "") for name in _LINE}
    return values


def _entry(values: Mapping[str, str], at: int) -> dict[str, Any]:
    """Return one line as the API takes it: what is typed as port is one port or a range."""
    given: dict[str, Any] = text_of({name: values[f"open[{at}].{name}"] for name in _LINE}, *_LINE)
    port = given.pop("port", None)
    if port is not None:
        given |= (
            {"port": int(port)} if port.isascii() and port.isdigit() and len(port) <= len("65535") else {"ports": port}
        )
    return given

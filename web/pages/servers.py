"""Servers: the list, one server, its power, and asking for its end."""

import uuid
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import FindingState, ServerSource
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestKind, ServerPhase
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import certificates, discovery, findings, requests, servers, snapshots, volumes
from cloudmgr.services.request_inputs import PowerAction, RetireRequest
from cloudmgr.services.servers import ServerRow
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.lists import PAGE, cursor_of, filters_of, pages
from web.pages import server_changes
from web.pages import volumes as disks
from web.presenters import findings as finding_lines
from web.presenters import servers as lines
from web.presenters import volumes as disk_lines
from web.presenters import words as phrases

router = page_router()

_DIGITS = 4
_RETIREMENT = frozenset({RequestKind.RETIRE})
_RETIRE_FIELDS = ("purpose", "volumes")
_STANDING = (ServerPhase.ACTIVE, ServerPhase.SUSPENDED, ServerPhase.FAILED)
_SWITCHED = (ServerPhase.ACTIVE, ServerPhase.FAILED)
_SHOWN = 20
"""So many volumes, snapshots and differences stand on a server's own page."""


@dataclass(frozen=True, slots=True)
class OtherServer:
    """A server that could go together with this one."""

    id: uuid.UUID
    name: str
    size: str
    chosen: bool


@router.get("/servers", openapi_extra=rule(Action.SERVER_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the servers the reader may see."""
    filters = filters_of(request, "name", "phase", "arch", "ending_within")
    ending_within = filters.get("ending_within")
    if filters.get("phase") not in {None, *ServerPhase} or filters.get("arch") not in {None, *Architecture}:
        raise InvalidInput(N_("There is no such state."), field="phase")
    if ending_within is not None and not (
        ending_within.isascii() and ending_within.isdigit() and len(ending_within) <= _DIGITS
    ):
        raise InvalidInput(N_("Give a number of days."), field="ending_within")
    rows, following = servers.list_servers(
        desk.session,
        desk.actor,
        phases=[filters["phase"]] if "phase" in filters else (),
        name=filters.get("name"),
        arch=filters.get("arch"),
        ending_within=int(ending_within) if ending_within is not None else None,
        include_retired=filters.get("phase") == ServerPhase.RETIRED,
        limit=PAGE,
        cursor=cursor_of(request),
    )
    label = desk.words.label
    return desk.page(
        "pages/servers.html",
        form=Form(filters),
        lines=[lines.line(desk.words, row, discovery.server_freshness(desk.session, row[0], row[6])) for row in rows],
        phases=[(phase, label("server_phase", phase)) for phase in ServerPhase],
        archs=[(arch, label("architecture", arch)) for arch in Architecture],
        filtered=bool(filters),
        may_request=desk.may(Action.REQUEST_MAKE),
        **pages(request, filters, following),
    )


@router.get("/servers/{server_id}", openapi_extra=rule(Action.SERVER_READ))
def show(desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show one server."""
    return _Sheet(desk, server_id).page(Form(), 200)


@router.post(
    "/servers/{server_id}/actions",
    openapi_extra=rule(Action.SERVER_POWER, event=Event.VM_REBOOT, object_type="server", remembers=False),
)
def act(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Ask for a power action."""
    sheet = _Sheet(desk, server_id)
    try:
        wanted = command(PowerAction, {"action": texts(sent).get("action", "")})
    except ValidationError as error:
        return desk.invalid(sheet.page, {}, error, ())
    desk.on_refusal(sheet.page, {}, ())
    servers.act(desk.session, desk.actor, server_id, wanted)
    return go(f"/servers/{server_id}", done="asked")


@router.get("/servers/{server_id}/retire", openapi_extra=rule(Action.REQUEST_MAKE))
def show_retire(request: Request, desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show the form that asks for a server's end, with others that were chosen."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    also = frozenset(request.query_params.getlist("also"))
    return _Retirement(desk, server_id, also).page(Form(), 200)


@router.post(
    "/servers/{server_id}/retire",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False),
)
def retire(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Submit the request for a server's end."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    return _take_retirement(desk, server_id, sent)


@router.get("/requests/{request_id}/retirement", openapi_extra=rule(Action.REQUEST_MAKE))
def edit_retirement(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show a request for the end of servers that was returned, for correction."""
    _, body, comment = server_changes.correctable(desk, request_id, _RETIREMENT)
    first, *also = _servers_of(body)
    sheet = _Retirement(desk, first, frozenset(map(str, also)), request_id, comment)
    return sheet.page(Form({name: str(body[name]) for name in _RETIRE_FIELDS if body.get(name)}), 200)


@router.post(
    "/requests/{request_id}/retirement",
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False),
)
def correct_retirement(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Submit the corrected request for the end of servers again."""
    _, body, comment = server_changes.correctable(desk, request_id, _RETIREMENT)
    return _take_retirement(desk, _servers_of(body)[0], sent, request_id, comment)


def _servers_of(body: dict[str, Any]) -> list[uuid.UUID]:
    try:
        found = [uuid.UUID(str(each)) for each in body.get("servers", [])]
    except ValueError:
        found = []
    if not found:  # a draft may be of anything
        raise InvalidInput(N_("Choose at least one server first."), field="server")
    return found


def _take_retirement(
    desk: Desk, server_id: uuid.UUID, sent: FormDep, request_id: uuid.UUID | None = None, returned: str = ""
) -> Response:
    typed = texts(sent)
    also = [str(value) for value in sent.getlist("also")][:199]
    sheet = _Retirement(desk, server_id, frozenset(also), request_id, returned)
    values = {name: typed.get(name, "") for name in _RETIRE_FIELDS}
    payload: dict[str, Any] = {
        "kind": "retire",
        "project": str(sheet.project_id),
        "purpose": values["purpose"],
        "servers": [str(server_id), *also],
    }
    if values["volumes"]:
        payload["volumes"] = values["volumes"]
    try:
        wanted = command(RetireRequest, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, _RETIRE_FIELDS)
    desk.on_refusal(sheet.page, values, _RETIRE_FIELDS)
    if request_id is not None:
        requests.update_request(desk.session, desk.actor, request_id, wanted)
        requests.submit(desk.session, desk.actor, request_id)
    stored_id = request_id or requests.submit_new(desk.session, desk.actor, wanted).id
    return go(f"/requests/{stored_id}", done="submitted")


class _Sheet:
    """The page of one server, read before anything is done to it."""

    def __init__(self, desk: Desk, server_id: uuid.UUID) -> None:
        row = servers.get_server(desk.session, desk.actor, server_id)
        server, _, organization, _, _, _, backend = row
        self._desk = desk
        self._server = arranged(desk, row)
        stands = server.phase in _SWITCHED and server.native_ref is not None
        has_power = backend is not None and "power" in backend.capabilities
        may = stands and has_power and desk.may(Action.SERVER_POWER, organization.path)
        self._actions = _offered(server.state) if may else ()
        self._may_retire = (
            desk.may(Action.REQUEST_MAKE, organization.path)
            and server.phase in _STANDING
            and server.retire_request_id is None
            and server.source != ServerSource.MANUAL
        )
        self._changes = server_changes.offered(desk, row)
        self._shown = _of_server(desk, row)

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/server.html",
            status,
            server=self._server,
            actions=self._actions,
            may_retire=self._may_retire,
            changes=self._changes,
            form=form,
            **self._shown,
        )


def _of_server(desk: Desk, row: ServerRow) -> dict[str, Any]:
    """Return what hangs on a server: volumes, snapshots, differences that were found, and its certificate."""
    server, path, words = row[0], row[2].path, desk.words
    own, _ = volumes.list_volumes(desk.session, desk.actor, server_id=server.id, limit=_SHOWN)
    taken, _ = snapshots.list_snapshots(desk.session, desk.actor, server_id=server.id, limit=_SHOWN)
    found: list[findings.FindingRow] = []
    shows_findings = desk.may(Action.FINDING_READ, path)
    if shows_findings:
        found, _ = findings.list_findings(
            desk.session, desk.actor, states=list(FindingState), server_id=server.id, limit=_SHOWN
        )
    return {
        "volumes": [disk_lines.volume(words, each) for each in own],
        "snapshots": [disk_lines.snapshot(words, each) for each in taken],
        "unable": {name: disks.unable(desk, row, name) for name in ("volumes", "snapshots")},
        "may_ask": {name: disks.may_ask(desk, row, name) for name in ("volumes", "snapshots")},
        "shows_findings": shows_findings,
        "findings": [finding_lines.line(words, each) for each in found],
        "certificate": certificates.find_certificate(desk.session, desk.actor, server.id),
        "may_open_backend": desk.may(Action.CAPACITY_READ) or desk.may(Action.FINDING_READ),
        "may_keep": server.source == ServerSource.MANUAL
        and server.phase == ServerPhase.ACTIVE
        and desk.may(Action.INVENTORY_IMPORT, path),
    }


class _Retirement:
    """The form for a server's end."""

    def __init__(
        self,
        desk: Desk,
        server_id: uuid.UUID,
        chosen: frozenset[str],
        request_id: uuid.UUID | None = None,
        returned: str = "",
    ) -> None:
        self._action = f"/requests/{request_id}/retirement" if request_id else f"/servers/{server_id}/retire"
        self._returned = returned
        row = servers.get_server(desk.session, desk.actor, server_id)
        self.project_id = row[1].id
        self._desk = desk
        self._server = arranged(desk, row)
        others, _ = servers.list_servers(desk.session, desk.actor, phases=_STANDING, project_id=row[1].id, limit=200)
        self._others = [
            OtherServer(other[0].id, other[0].name, phrases.size(other[0]), str(other[0].id) in chosen)
            for other in others
            if other[0].id != server_id and other[0].retire_request_id is None
        ]

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/retire.html",
            status,
            server=self._server,
            others=self._others,
            action=self._action,
            returned=self._returned,
            form=form,
        )


def arranged(desk: Desk, row: ServerRow) -> lines.ServerPage:
    """Arrange a server for this reader."""
    path = row[2].path
    return lines.page(
        desk.words,
        row,
        discovery.server_freshness(desk.session, row[0], row[6]),
        may_read_personal=desk.may(Action.PERSONAL_READ, path),
        may_know_host=desk.may(Action.HOST_READ, path),
    )


def _offered(state: str) -> tuple[str, ...]:
    if state == "running":
        return ("stop", "reboot")
    return ("start",) if state == "stopped" else ("start", "stop", "reboot")

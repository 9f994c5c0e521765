"""Asking for changes of servers that stand: other sizes, later leases, freezing and back; one form for one server or many."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.leases import last_day
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import EDITABLE_REQUESTS, RequestKind, RequestPhase, ServerPhase
from cloudmgr.domain.server_changes import FrozenBy
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue, requests, servers
from cloudmgr.services.request_inputs import FreezeRequest, RenewRequest, ResizeRequest, UnfreezeRequest
from cloudmgr.services.servers import ServerRow
from web import formats
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, text_of, whole
from web.lists import every
from web.presenters import plans
from web.presenters import words as phrases
from web.presenters.requests import last_comment

router = page_router()

_MOST = 200
_STANDING = (ServerPhase.ACTIVE, ServerPhase.SUSPENDED)
_MODELS: Mapping[str, type[BaseModel]] = {
    RequestKind.RESIZE: ResizeRequest,
    RequestKind.RENEW: RenewRequest,
    RequestKind.FREEZE: FreezeRequest,
    RequestKind.UNFREEZE: UnfreezeRequest,
}
CORRECTED = frozenset(_MODELS)
"""Kinds that are corrected on this form after they were returned."""
_TYPED = ("flavor", "add_data_disk_gib", "lease_end", "lease_reason", "emergency_reason")
_SHOWN = ("purpose", *_TYPED, "lease_long_term", "emergency")
_SUBMIT = rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False)


@dataclass(frozen=True, slots=True)
class Choice:
    """A server that can be chosen."""

    id: uuid.UUID
    name: str
    phase: str
    size: str
    lease: str
    chosen: bool


@router.get("/server-changes", openapi_extra=rule(Action.REQUEST_MAKE))
def show(request: Request, desk: DeskDep) -> Response:
    """Show the form for the servers that were chosen; to retire them has a form of its own."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    kind = request.query_params.get("kind", "")
    chosen = [_id(text) for text in request.query_params.getlist("server")[:_MOST]]
    if not chosen:
        raise InvalidInput(N_("Choose at least one server first."), field="server")
    if kind == RequestKind.RETIRE:
        others = "&".join(f"also={each}" for each in chosen[1:])
        return go(f"/servers/{chosen[0]}/retire{'?' + others if others else ''}")
    return _Sheet(desk, kind, chosen).page(Form(), 200)


@router.post("/server-changes", openapi_extra=_SUBMIT)
def ask(desk: DeskDep, sent: FormDep) -> Response:
    """Preview, or submit the request."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    return _take(_Sheet(desk, texts(sent).get("kind", ""), _chosen(sent)), texts(sent))


@router.get("/requests/{request_id}/change", openapi_extra=rule(Action.REQUEST_MAKE))
def edit(desk: DeskDep, request_id: uuid.UUID) -> Response:
    """Show a request for a change of servers that was returned, for correction."""
    _, body, _ = correctable(desk, request_id, CORRECTED)
    sheet = _stored(desk, request_id, [_id(str(each)) for each in body.get("servers", [])])
    return sheet.page(Form({name: str(body[name]) for name in _SHOWN if body.get(name)}), 200)


@router.post("/requests/{request_id}/change", openapi_extra=_SUBMIT)
def save(desk: DeskDep, request_id: uuid.UUID, sent: FormDep) -> Response:
    """Preview, or submit it again as corrected."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    return _take(_stored(desk, request_id, _chosen(sent)), texts(sent))


def correctable(desk: Desk, request_id: uuid.UUID, kinds: Collection[str]) -> tuple[str, dict[str, Any], str]:
    """Return kind, body and the last decider's comment of one's own draft or returned request of these kinds.

    Raises:
        NotFound, Forbidden: it is not the reader's. Conflict: it is past that, or of another kind.
    """
    access.require(desk.actor, Action.REQUEST_MAKE)
    view = requests.get_request(desk.session, desk.actor, request_id)
    if view.request.requester_id != desk.actor.user_id:
        raise Forbidden(N_("Only the person who made a request can change, submit or withdraw it."))
    if RequestPhase(view.request.phase) not in EDITABLE_REQUESTS or view.request.kind not in kinds:
        raise Conflict(N_("This request can no longer be changed. Withdraw it or make a new one."))
    return view.request.kind, view.request.body, last_comment(view)


def _stored(desk: Desk, request_id: uuid.UUID, chosen: list[uuid.UUID]) -> "_Sheet":
    kind, _, comment = correctable(desk, request_id, CORRECTED)
    sheet = _Sheet(desk, kind, chosen)
    sheet.request_id, sheet.returned = request_id, comment
    return sheet


def _chosen(sent: FormDep) -> list[uuid.UUID]:
    return [_id(str(value)) for value in sent.getlist("server")[:_MOST]]


def _take(sheet: "_Sheet", typed: dict[str, str]) -> Response:
    desk = sheet.desk
    try:
        wanted = command(_MODELS[sheet.kind], sheet.payload(typed))
    except ValidationError as error:
        return desk.invalid(sheet.page, typed, error, _SHOWN)
    desk.on_refusal(sheet.page, typed, _SHOWN)
    if typed.get("action") == "plan":
        plan = requests.plan(desk.session, desk.actor, wanted)  # type: ignore[arg-type]
        sheet.plan = plans.panel(desk.words, plan)
        return sheet.page(Form(typed), 200)
    if sheet.request_id is not None:
        requests.update_request(desk.session, desk.actor, sheet.request_id, wanted)  # type: ignore[arg-type]
        requests.submit(desk.session, desk.actor, sheet.request_id)
        return go(f"/requests/{sheet.request_id}", done="submitted")
    made = requests.submit_new(desk.session, desk.actor, wanted)  # type: ignore[arg-type]
    return go(f"/requests/{made.id}", done="submitted")


class _Sheet:
    """The form. All is read before anything is done."""

    def __init__(self, desk: Desk, kind: str, chosen: list[uuid.UUID]) -> None:
        if kind not in _MODELS:
            raise NotFound(N_("There is no such object."))
        if not chosen:
            raise InvalidInput(N_("Choose at least one server first."), field="server")
        self.desk, self.kind, self.chosen = desk, kind, chosen
        rows = [servers.get_server(desk.session, desk.actor, each) for each in chosen]
        if len({row[1].id for row in rows}) > 1:
            raise InvalidInput(
                N_("One request is about servers of one information system: choose those of one."), field="server"
            )
        self.project_id, self._project_name = rows[0][1].id, rows[0][1].name
        others, _ = servers.list_servers(
            desk.session, desk.actor, phases=_STANDING, project_id=self.project_id, limit=_MOST
        )
        self.plan: plans.PlanPanel | None = None
        self.request_id: uuid.UUID | None = None
        """The request that is corrected; None: a new one."""
        self.returned = ""
        shown = {row[0].id: row for row in [*rows, *others]}
        self._choices = [self._choice(row) for row in sorted(shown.values(), key=lambda row: row[0].name)]
        self._flavors = _flavors(desk) if kind == RequestKind.RESIZE else []
        desk.chrome()

    def payload(self, typed: Mapping[str, str]) -> dict[str, Any]:
        """Return the body as the API takes it."""
        given: dict[str, Any] = text_of(typed, *_TYPED)
        if "add_data_disk_gib" in given:
            given["add_data_disk_gib"] = whole(given["add_data_disk_gib"])
        if typed.get("lease_long_term"):
            given["lease_long_term"] = True
            given.pop("lease_end", None)
        if typed.get("emergency"):
            given["emergency"] = True
        return {
            "kind": self.kind,
            "project": str(self.project_id),
            "purpose": typed.get("purpose", "").strip(),
            "servers": [str(each) for each in self.chosen],
            **given,
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        today = clock.today()
        return self.desk.page(
            "pages/server_changes.html",
            status,
            kind=self.kind,
            action=f"/requests/{self.request_id}/change" if self.request_id else "/server-changes",
            returned=self.returned,
            title=self.desk.words.label("request_kind", self.kind),
            project=self._project_name,
            choices=self._choices,
            flavors=self._flavors,
            first_day=formats.day(today),
            last_day=formats.day(last_day(today, self.desk.settings.policy.lease_max_days)),
            plan=self.plan,
            form=form,
        )

    def _choice(self, row: ServerRow) -> Choice:
        server = row[0]
        return Choice(
            server.id,
            server.name,
            server.phase,
            phrases.size(server),
            phrases.lease(self.desk.words, server.lease_end, long_term=server.lease_long_term),
            server.id in self.chosen,
        )


def offered(desk: Desk, row: ServerRow) -> list[str]:
    """Return what a reader may ask for of one server, as kinds of requests."""
    server, organization, backend = row[0], row[2], row[6]
    if (
        not desk.may(Action.REQUEST_MAKE, organization.path)
        or server.phase not in _STANDING
        or server.retire_request_id is not None
    ):
        return []
    kinds = [RequestKind.RENEW.value]
    if backend is None or server.source == ServerSource.MANUAL:
        return kinds
    can = backend.capabilities
    if "resize" in can or "volumes" in can:
        kinds.append(RequestKind.RESIZE.value)
    if "power" in can and server.phase == ServerPhase.ACTIVE:
        kinds.append(RequestKind.FREEZE.value)
    if "power" in can and server.phase == ServerPhase.SUSPENDED and server.frozen_by == FrozenBy.REQUEST:
        kinds.append(RequestKind.UNFREEZE.value)
    return kinds


def _flavors(desk: Desk) -> list[tuple[str, str]]:
    found = every(lambda at: catalogue.list_flavors(desk.session, desk.actor, limit=_MOST, cursor=at))
    return [
        (flavor.name, f"{flavor.name} ({flavor.vcpus} vCPU, {formats.amount(flavor.memory_mib, 'memory_mib')})")
        for flavor in sorted(found, key=lambda each: (each.vcpus, each.memory_mib))
        if flavor.is_active
    ]


def _id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise NotFound(N_("There is no such server.")) from error

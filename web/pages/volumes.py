"""Volumes 云硬盘 and snapshots 快照: the list, and of one server what it has, with the forms that ask for a change."""

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import RequestKind, ServerPhase
from cloudmgr.domain.volumes import SnapshotPhase, VolumePhase
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import servers, snapshots, volumes
from cloudmgr.services.request_inputs import SnapshotRequest, VolumeRequest
from cloudmgr.services.servers import ServerRow
from web import corrections
from web.corrections import Correction
from web.desk import Desk, DeskDep, FormDep, command, texts
from web.forms import Form, text_of, whole
from web.lists import PAGE, cursor_of, filters_of, pages
from web.presenters import servers as server_lines
from web.presenters import volumes as lines

router = page_router()

_MOST = 200
_VOLUME_FIELDS = ("purpose", "create[0].name", "create[0].size_gib", "create[0].count", "attach", "detach", "delete")
_SNAPSHOT_FIELDS = ("purpose", "create[0].name", "revert", "revert[0].server", "delete")
_VOLUME_CHOICES, _SNAPSHOT_CHOICES = ("attach", "detach", "delete"), ("revert", "delete")
_SUBMIT = rule(Action.REQUEST_MAKE, event=Event.REQUEST_SUBMIT, object_type="request", remembers=False)


@router.get("/volumes", openapi_extra=rule(Action.SERVER_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List the volumes the reader may see."""
    filters = filters_of(request, "phase")
    if filters.get("phase") not in {None, *VolumePhase}:
        raise InvalidInput(N_("There is no such state."), field="phase")
    rows, following = volumes.list_volumes(
        desk.session,
        desk.actor,
        phases=[filters["phase"]] if "phase" in filters else (),
        limit=PAGE,
        cursor=cursor_of(request),
    )
    return desk.page(
        "pages/volumes.html",
        form=Form(filters),
        lines=[lines.volume(desk.words, row) for row in rows],
        phases=[(phase, desk.words.label("volume_phase", phase)) for phase in VolumePhase],
        filtered=bool(filters),
        **pages(request, filters, following),
    )


@router.get("/servers/{server_id}/volumes", openapi_extra=rule(Action.SERVER_READ))
def show_volumes(request: Request, desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show the volumes of one server, with the form that asks for a change."""
    correction = corrections.named(desk, RequestKind.VOLUME, server_id, request.query_params.get("request", ""))
    sheet = _Volumes(desk, server_id, {name: correction.chosen(name) for name in _VOLUME_CHOICES}, correction)
    return sheet.page(Form({"create[0].count": "1"} | correction.values()), 200)


@router.post("/servers/{server_id}/volumes", openapi_extra=_SUBMIT)
def ask_volumes(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Submit the request that makes, attaches, detaches and deletes volumes of one server."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    typed, chosen = texts(sent), _chosen(sent, *_VOLUME_CHOICES)
    correction = corrections.named(desk, RequestKind.VOLUME, server_id, typed.get("request", ""))
    sheet = _Volumes(desk, server_id, chosen, correction)
    new = {name.partition(".")[2]: text for name, text in text_of(typed, *_VOLUME_FIELDS[1:4]).items()}
    is_new = bool(new.keys() - {"count"})
    line = {name: text if name == "name" else whole(text) for name, text in new.items()} | {"server": str(server_id)}
    payload = {
        "create": [line] if is_new else [],
        "attach": [{"volume": each, "server": str(server_id)} for each in chosen["attach"]],
        "detach": chosen["detach"],
        "delete": chosen["delete"],
    }
    return sheet.submit(VolumeRequest, "volume", typed, payload, _VOLUME_FIELDS)


@router.get("/servers/{server_id}/snapshots", openapi_extra=rule(Action.SERVER_READ))
def show_snapshots(request: Request, desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show the snapshots of one server, with the form that asks for a change."""
    correction = corrections.named(desk, RequestKind.SNAPSHOT, server_id, request.query_params.get("request", ""))
    sheet = _Snapshots(desk, server_id, {name: correction.chosen(name) for name in _SNAPSHOT_CHOICES}, correction)
    return sheet.page(Form(correction.values()), 200)


@router.post("/servers/{server_id}/snapshots", openapi_extra=_SUBMIT)
def ask_snapshots(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Submit the request that takes, goes back to and deletes snapshots of one server."""
    access.require(desk.actor, Action.REQUEST_MAKE)
    typed, chosen = texts(sent), _chosen(sent, *_SNAPSHOT_CHOICES)
    correction = corrections.named(desk, RequestKind.SNAPSHOT, server_id, typed.get("request", ""))
    sheet = _Snapshots(desk, server_id, chosen, correction)
    new = text_of(typed, "create[0].name")
    payload = {
        "create": [{"server": str(server_id), "name": name} for name in new.values()],
        "revert": [
            {"snapshot": each, "server": typed.get("revert[0].server", "").strip()} for each in chosen["revert"]
        ],
        "delete": chosen["delete"],
    }
    return sheet.submit(SnapshotRequest, "snapshot", typed, payload, _SNAPSHOT_FIELDS)


class _Sheet:
    """What one server has, with the form that asks for a change. All is read before anything is done."""

    template = ""
    capability = ""

    def __init__(
        self, desk: Desk, server_id: uuid.UUID, chosen: Mapping[str, list[str]], correction: Correction
    ) -> None:
        row = servers.get_server(desk.session, desk.actor, server_id)
        self.desk = desk
        self.correction = correction
        self.project_id = row[1].id
        self.shown: dict[str, Any] = {
            "server": server_lines.line(desk.words, row),
            "chosen": chosen,
            **correction.shown,
            "unable": unable(desk, row, self.capability),
            "may_ask": may_ask(desk, row, self.capability),
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self.desk.page(self.template, status, form=form, **self.shown)

    def submit(
        self,
        model: type[BaseModel],
        kind: str,
        typed: Mapping[str, str],
        payload: Mapping[str, Any],
        shown: tuple[str, ...],
    ) -> Response:
        """Submit the request, or draw the form again with what was refused."""
        whole_payload = {
            "kind": kind,
            "project": str(self.project_id),
            "purpose": typed.get("purpose", "").strip(),
            **payload,
        }
        try:
            wanted = command(model, whole_payload)
        except ValidationError as error:
            return self.desk.invalid(self.page, typed, error, shown)
        self.desk.on_refusal(self.page, typed, shown)
        return self.correction.hand_in(self.desk, wanted)  # type: ignore[arg-type]


class _Volumes(_Sheet):
    template = "pages/server_volumes.html"
    capability = "volumes"

    def __init__(
        self, desk: Desk, server_id: uuid.UUID, chosen: Mapping[str, list[str]], correction: Correction
    ) -> None:
        super().__init__(desk, server_id, chosen, correction)
        own, _ = volumes.list_volumes(desk.session, desk.actor, server_id=server_id, limit=_MOST)
        backend_id = servers.get_server(desk.session, desk.actor, server_id)[0].backend_id
        free, _ = volumes.list_volumes(
            desk.session, desk.actor, project_id=self.project_id, phases=[VolumePhase.AVAILABLE], limit=_MOST
        )
        self.shown["lines"] = [lines.volume(desk.words, row) for row in own]
        self.shown["free"] = [lines.volume(desk.words, row) for row in free if row[0].backend_id == backend_id]


class _Snapshots(_Sheet):
    template = "pages/server_snapshots.html"
    capability = "snapshots"

    def __init__(
        self, desk: Desk, server_id: uuid.UUID, chosen: Mapping[str, list[str]], correction: Correction
    ) -> None:
        super().__init__(desk, server_id, chosen, correction)
        rows, _ = snapshots.list_snapshots(desk.session, desk.actor, server_id=server_id, limit=_MOST)
        self.shown["lines"] = [lines.snapshot(desk.words, row) for row in rows]
        self.shown["has_ready"] = any(row[0].phase == SnapshotPhase.AVAILABLE for row in rows)


def may_ask(desk: Desk, row: ServerRow, capability: str) -> bool:
    """Whether the reader may ask for such a change of a server, and it stands at a cloud that can."""
    server, organization, backend = row[0], row[2], row[6]
    return (
        desk.may(Action.REQUEST_MAKE, organization.path)
        and server.phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED)
        and server.retire_request_id is None
        and backend is not None
        and capability in backend.capabilities
    )


def unable(desk: Desk, row: ServerRow, capability: str) -> str:
    """Return why no such change can be asked for whoever asks, in words; empty when it can."""
    server, backend = row[0], row[6]
    if backend is None:
        return desk.words.translate(N_("No cloud of ours knows this server."))
    if capability not in backend.capabilities:
        templates = {
            "volumes": N_("The cloud {backend} has no volumes."),
            "snapshots": N_("The cloud {backend} takes no snapshots."),
        }
        return desk.words.told(Message(templates[capability], {"backend": backend.title or backend.name}))
    if server.phase not in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED):
        return desk.words.translate(N_("Only a server that is in service is changed."))
    return desk.words.translate(N_("It is being retired.")) if server.retire_request_id is not None else ""


def _chosen(sent: FormData, *names: str) -> dict[str, list[str]]:
    return {name: [str(value) for value in sent.getlist(name)][:_MOST] for name in names}

"""Rows kept by hand: enter a server that no driver reaches, change it, confirm it, and end it."""

import uuid
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.architectures import Architecture, CpuFamily
from cloudmgr.domain.errors import Conflict, ImportRefused
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import ResourceType, ServerSource
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Environment, PurposeKind
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import manual_servers, servers
from cloudmgr.services.manual_servers import ChangeServer, EndServer, EnterServer
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, text_of, whole
from web.pages.imports import importable, marked, zones_of
from web.presenters import servers as lines

router = page_router()

_TEXTS = ("cpu_model", "datacenter", "platform", "host", "os_name", "os_version", "owner_name", "owner_phone", "remark")
_CHOICES = ("env", "purpose_kind", "cpu_family")
_SIZES = ("vcpus", "memory_gib", "system_disk_gib", "data_disk_gib")
_ONCE = ("project", "name", "resource_type", "network_zone", "arch", "ipv4", "ipv6", "lease_start")
_CHANGED = (*_CHOICES, *_SIZES, *_TEXTS, "lease_end", "counts_quota")
_ENTERED = (*_ONCE, *_CHANGED)
_COLUMNS = {"system_name": "project", "vcpu": "vcpus", "purpose": "purpose_kind", "memory_mib": "memory_gib"}
_UNPROCESSABLE = 422
_MIB = 1024


@router.get("/imports/by-hand", openapi_extra=rule(Action.INVENTORY_IMPORT))
def show_new(desk: DeskDep) -> Response:
    """Show the form that enters a server by hand."""
    access.require(desk.actor, Action.INVENTORY_IMPORT)
    usual = {"resource_type": "baremetal", "env": "prd", "purpose_kind": "app", "data_disk_gib": "0"}
    return _page(desk, Form({**usual, "cpu_family": "unknown"}), 200)


@router.post(
    "/imports/by-hand",
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_ENTER, object_type="server", remembers=False),
)
def enter(desk: DeskDep, sent: FormDep) -> Response:
    """Enter a server by hand."""
    access.require(desk.actor, Action.INVENTORY_IMPORT)
    values = _typed(texts(sent), _ENTERED)
    choices = _choices(desk)

    def draw(form: Form, status: int) -> Response:
        return _page(desk, form, status, choices)

    payload = _payload(values) | text_of(
        values, "project", "name", "resource_type", "network_zone", "arch", "lease_start"
    )
    payload |= {name: values[name].replace(";", " ").split() for name in ("ipv4", "ipv6")}
    try:
        wanted = command(EnterServer, payload)
    except ValidationError as error:
        return desk.invalid(draw, values, error, (*_ENTERED, "memory_mib"))
    desk.on_refusal(draw, values, _ENTERED)
    try:
        row = manual_servers.enter(desk.session, desk.actor, wanted)
    except ImportRefused as refusal:
        return draw(marked(desk, values, refusal, _ENTERED, _COLUMNS), _UNPROCESSABLE)
    return go(f"/servers/{row[0].id}", done="entered")


@router.get("/servers/{server_id}/by-hand", openapi_extra=rule(Action.INVENTORY_IMPORT))
def show(desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Show what is kept by hand of a server, to be changed, confirmed or ended."""
    sheet = _Kept(desk, server_id)
    return sheet.page(Form(sheet.values), 200)


@router.post(
    "/servers/{server_id}/by-hand",
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_CHANGE, object_type="server", remembers=False),
)
def change(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """Change what is kept by hand; it counts as confirmed."""
    sheet = _Kept(desk, server_id)
    values = _typed(texts(sent), _CHANGED)
    payload = dict.fromkeys(sheet.emptied, "") | {"lease_end": None, "cpu_model": "unknown"} | _payload(values)
    try:
        wanted = command(ChangeServer, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, (*_CHANGED, "memory_mib"))
    desk.on_refusal(sheet.page, values, _CHANGED)
    manual_servers.change(desk.session, desk.actor, server_id, wanted)
    return go(f"/servers/{server_id}", done="saved")


@router.post(
    "/servers/{server_id}/by-hand/confirmations",
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_CONFIRM, object_type="server", remembers=False),
)
def confirm(desk: DeskDep, server_id: uuid.UUID) -> Response:
    """Say that it is as written, as of now."""
    desk.on_refusal(_Kept(desk, server_id).drawn, {}, ())
    manual_servers.confirm(desk.session, desk.actor, server_id)
    return go(f"/servers/{server_id}", done="confirmed")


@router.post(
    "/servers/{server_id}/by-hand/retirement",
    openapi_extra=rule(Action.INVENTORY_IMPORT, event=Event.INVENTORY_RETIRE, object_type="server", remembers=False),
)
def end(desk: DeskDep, server_id: uuid.UUID, sent: FormDep) -> Response:
    """End it, on the word of who says so."""
    sheet = _Kept(desk, server_id)
    values = {**sheet.values, "reason": texts(sent).get("reason", "")}
    try:
        wanted = command(EndServer, {"reason": values["reason"]})
    except ValidationError as error:
        return desk.invalid(sheet.page, values, error, ("reason",))
    desk.on_refusal(sheet.page, values, ("reason",))
    manual_servers.retire(desk.session, desk.actor, server_id, wanted)
    return go(f"/servers/{server_id}", done="ended")


class _Kept:
    """What is kept by hand of one server, read before anything is done to it."""

    def __init__(self, desk: Desk, server_id: uuid.UUID) -> None:
        row = servers.get_server(desk.session, desk.actor, server_id)
        access.require(desk.actor, Action.INVENTORY_IMPORT, row[2].path, see=Action.SERVER_READ)
        server = row[0]
        if server.source != ServerSource.MANUAL:
            raise Conflict(
                N_("Server {name} stands at a cloud; only what is kept by hand is changed here."), name=server.name
            )
        held = {name: getattr(server, name, None) or server.stated.get(name) for name in _CHANGED}
        memory = f"{server.memory_mib / _MIB:g}"
        self.values = {name: "" if value is None else str(value) for name, value in held.items()}
        self.values |= {"memory_gib": memory, "data_disk_gib": str(server.data_disk_gib)}
        self.values |= {"counts_quota": "1" if server.counts_quota else ""}
        if self.values["cpu_model"] == "unknown":
            self.values["cpu_model"] = ""
        self._hides_phone = not desk.may(Action.PERSONAL_READ, row[2].path)
        if self._hides_phone:
            self.values["owner_phone"] = ""
        self.emptied = [name for name in _TEXTS if name != "owner_phone" or not self._hides_phone]
        """Texts that are taken away when their field is empty."""
        self._desk = desk
        self._server = lines.line(desk.words, row)
        self._choices = _choices(desk)

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return _page(self._desk, form, status, self._choices, self._server, hides_phone=self._hides_phone)

    def drawn(self, form: Form, status: int) -> Response:
        """Draw it with what is kept, whatever was typed."""
        form.values = self.values
        return self.page(form, status)


def _page(
    desk: Desk,
    form: Form,
    status: int,
    choices: Mapping[str, Any] | None = None,
    server: lines.ServerLine | None = None,
    *,
    hides_phone: bool = False,
) -> Response:
    if "memory_mib" in form.errors:
        form.errors["memory_gib"] = form.errors.pop("memory_mib")
    more = choices or _choices(desk)
    return desk.page("pages/by_hand.html", status, form=form, server=server, hides_phone=hides_phone, **more)


def _choices(desk: Desk) -> dict[str, Any]:
    label = desk.words.label
    return {
        "projects": importable(desk),
        "network_zones": zones_of(desk),
        "types": [(each, label("resource_type", each)) for each in ResourceType],
        "environments": [(each, label("environment", each)) for each in Environment],
        "purposes": [(each, label("purpose_kind", each)) for each in PurposeKind],
        "architectures": [(each, label("architecture", each)) for each in Architecture],
        "families": [(each, label("cpu_family", each)) for each in CpuFamily],
    }


def _typed(typed: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: typed.get(name, "") for name in names}


def _payload(values: Mapping[str, str]) -> dict[str, Any]:
    """Return what both commands take; memory is typed in GiB."""
    payload: dict[str, Any] = text_of(values, *_CHOICES, *_TEXTS, "lease_end")
    for name in ("vcpus", "system_disk_gib", "data_disk_gib"):
        if values[name].strip():
            payload[name] = whole(values[name])
    memory = whole(values["memory_gib"])
    if memory != "":
        payload["memory_mib"] = memory * _MIB if isinstance(memory, int) else memory
    return payload | {"counts_quota": bool(values["counts_quota"])}

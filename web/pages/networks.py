"""Networks: the address plan by network zone, one subnet with its addresses and what its cloud says, and changing the plan."""

import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue, organizations, reported_addresses, subnets
from cloudmgr.services.networks import NetworkView
from cloudmgr.services.organizations import OrganizationFilter
from cloudmgr.services.subnets import CreateSubnet, RangeInput, ReserveAddress, SubnetView, UpdateSubnet
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form, row_indices, text_of, whole
from web.lists import PAGE, cursor_of, every, filters_of, pages
from web.presenters import networks as lines

router = page_router()

_READ = rule(Action.CATALOGUE_READ)
_PLAIN = ("network_zone", "cidr", "network", "name", "gateway", "vlan")
_CHECKS = ("is_managed", "is_enabled")
_SHOWN = (*_PLAIN, "dns", *_CHECKS)
_RESERVE = ("address", "purpose", "organization")
_RANGE = ("kind", "first", "last", "reason")
_FAMILIES = ("4", "6")
_MOST = 200


def _change(event: Event) -> dict[str, Any]:
    return rule(Action.CATALOGUE_WRITE, event=event, object_type="subnet", remembers=False)


@router.get("/networks", openapi_extra=_READ)
def show_list(request: Request, desk: DeskDep) -> Response:
    """Show the address plan by network zone."""
    filters = filters_of(request, "zone", "family")
    zones = zone_names(desk)
    if filters.get("family") not in {None, *_FAMILIES}:
        raise InvalidInput(N_("Addresses are of family 4 or 6."), field="family")
    cursor = cursor_of(request)
    views, following = subnets.list_subnets(
        desk.session,
        desk.actor,
        network_zone=filters.get("zone"),
        family=int(filters["family"]) if "family" in filters else None,
        limit=PAGE,
        cursor=cursor,
    )
    bare: list[NetworkView] = []
    if cursor is None and "family" not in filters:
        bare, _ = catalogue.list_networks(
            desk.session, desk.actor, network_zone=filters.get("zone"), without_subnet=True, limit=PAGE
        )
    return desk.page(
        "pages/networks.html",
        groups=lines.by_zone(views, zones),
        shown=len(views),
        bare=lines.bare(bare, zones),
        zones=list(zones.items()),
        families=[(each, desk.words.label("ip_family", each)) for each in _FAMILIES],
        form=Form(filters),
        filtered=bool(filters),
        may_write=desk.may(Action.CATALOGUE_WRITE),
        **pages(request, filters, following),
    )


@router.get("/networks/subnets/new", openapi_extra=rule(Action.CATALOGUE_WRITE))
def new(request: Request, desk: DeskDep) -> Response:
    """Show an empty form for a subnet."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    wanted = filters_of(request, "network", "network_zone")
    return _Sheet(desk).page(Form({"is_managed": "1", "is_enabled": "1", **wanted}), 200)


@router.post("/networks/subnets/new", openapi_extra=_change(Event.NETWORK_WRITE))
def create(desk: DeskDep, sent: FormDep) -> Response:
    """Add a subnet."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    sheet, typed = _Sheet(desk), texts(sent)
    payload = {**text_of(typed, *_PLAIN), **_checked(typed), "dns": _resolvers(typed)}
    if "vlan" in payload:
        payload["vlan"] = whole(str(payload["vlan"]))
    try:
        wanted = command(CreateSubnet, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, typed, error, _SHOWN)
    desk.on_refusal(sheet.page, typed, _SHOWN)
    made = subnets.create_subnet(desk.session, desk.actor, wanted)
    return go(f"/networks/subnets/{made.subnet.id}", done="saved")


@router.get("/networks/subnets/{subnet_id}", openapi_extra=_READ)
def show(request: Request, desk: DeskDep, subnet_id: uuid.UUID) -> Response:
    """Show one subnet."""
    return _Room(request, desk, subnet_id).page(Form(), 200)


@router.get("/networks/subnets/{subnet_id}/edit", openapi_extra=rule(Action.CATALOGUE_WRITE))
def edit(desk: DeskDep, subnet_id: uuid.UUID) -> Response:
    """Show the form of a subnet that stands."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    view = subnets.get_subnet(desk.session, desk.actor, subnet_id)
    return _Sheet(desk, view).page(Form(_typed(view)), 200)


@router.post("/networks/subnets/{subnet_id}/edit", openapi_extra=_change(Event.NETWORK_WRITE))
def save(desk: DeskDep, subnet_id: uuid.UUID, sent: FormDep) -> Response:
    """Change a subnet."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    sheet, typed = _Sheet(desk, subnets.get_subnet(desk.session, desk.actor, subnet_id)), texts(sent)
    given = text_of(typed, *_PLAIN)
    payload = {
        "name": given.get("name", ""),
        "network": given.get("network"),
        "gateway": given.get("gateway"),
        "vlan": whole(given["vlan"]) if "vlan" in given else None,
        "dns": _resolvers(typed),
        **_checked(typed),
    }
    try:
        wanted = command(UpdateSubnet, payload)
    except ValidationError as error:
        return desk.invalid(sheet.page, typed, error, _SHOWN)
    desk.on_refusal(sheet.page, typed, _SHOWN)
    subnets.update_subnet(desk.session, desk.actor, subnet_id, wanted)
    return go(f"/networks/subnets/{subnet_id}", done="saved")


@router.post("/networks/subnets/{subnet_id}/delete", openapi_extra=_change(Event.NETWORK_WRITE))
def delete(request: Request, desk: DeskDep, subnet_id: uuid.UUID) -> Response:
    """Take a subnet out of the plan."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    desk.on_refusal(_Room(request, desk, subnet_id).page, {}, ())
    subnets.delete_subnet(desk.session, desk.actor, subnet_id)
    return go("/networks", done="saved")


@router.post("/networks/subnets/{subnet_id}/ranges", openapi_extra=_change(Event.NETWORK_WRITE))
def add_range(request: Request, desk: DeskDep, subnet_id: uuid.UUID, sent: FormDep) -> Response:
    """Add a pool or keep a range out of use."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    room, typed = _Room(request, desk, subnet_id), texts(sent)
    at = next(iter(row_indices(typed, "ranges")), 0)
    values = {f"{room.next_range}.{name}": typed.get(f"ranges[{at}].{name}", "").strip() for name in _RANGE}
    given = {name: values[f"{room.next_range}.{name}"] for name in _RANGE}
    try:
        wanted = command(RangeInput, given | {"last": given["last"] or given["first"]})
    except ValidationError as error:
        return desk.invalid(room.page_of_range, values, error, _RANGE)
    desk.on_refusal(room.page, values, values)
    subnets.add_range(desk.session, desk.actor, subnet_id, wanted)
    return go(f"/networks/subnets/{subnet_id}", done="saved")


@router.post(
    "/networks/subnets/{subnet_id}/ranges/{range_id}/remove",
    openapi_extra=_change(Event.NETWORK_WRITE),
)
def remove_range(request: Request, desk: DeskDep, subnet_id: uuid.UUID, range_id: uuid.UUID) -> Response:
    """Take one range away."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    desk.on_refusal(_Room(request, desk, subnet_id).page, {}, ())
    subnets.remove_range(desk.session, desk.actor, subnet_id, range_id)
    return go(f"/networks/subnets/{subnet_id}", done="saved")


@router.post("/networks/subnets/{subnet_id}/addresses", openapi_extra=_change(Event.ADDRESS_WRITE))
def reserve(request: Request, desk: DeskDep, subnet_id: uuid.UUID, sent: FormDep) -> Response:
    """Keep an address for something."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    room, typed = _Room(request, desk, subnet_id), texts(sent)
    try:
        wanted = command(ReserveAddress, text_of(typed, *_RESERVE))
    except ValidationError as error:
        return desk.invalid(room.page, typed, error, _RESERVE)
    desk.on_refusal(room.page, typed, _RESERVE)
    subnets.reserve_address(desk.session, desk.actor, subnet_id, wanted)
    return go(f"/networks/subnets/{subnet_id}", done="reserved")


@router.post(
    "/networks/subnets/{subnet_id}/addresses/{address_id}/free",
    openapi_extra=_change(Event.ADDRESS_WRITE),
)
def free(request: Request, desk: DeskDep, subnet_id: uuid.UUID, address_id: uuid.UUID) -> Response:
    """Let go of an address that was kept."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    desk.on_refusal(_Room(request, desk, subnet_id).page, {}, ())
    subnets.free_address(desk.session, desk.actor, subnet_id, address_id)
    return go(f"/networks/subnets/{subnet_id}", done="freed")


class _Room:
    """The page of one subnet, read before anything is done to it."""

    def __init__(self, request: Request, desk: Desk, subnet_id: uuid.UUID) -> None:
        session, actor = desk.session, desk.actor
        view = subnets.get_subnet(session, actor, subnet_id)
        rows, following = subnets.list_addresses(session, actor, subnet_id, limit=PAGE, cursor=cursor_of(request))
        may_write = desk.may(Action.CATALOGUE_WRITE)
        shows_reported = reported_addresses.may_read(session, actor, view.backend)
        seen, more = (
            reported_addresses.list_reported(session, actor, subnet_id, limit=PAGE) if shows_reported else ([], None)
        )
        self._desk = desk
        self.next_range = f"ranges[{len(view.ranges)}]"
        line = lines.line(view, zone_names(desk))
        self._shown: dict[str, Any] = {
            "subnet": line,
            "fill_text": lines.fill_text(desk.words, line.fill),
            "addresses": [lines.address(row) for row in rows],
            "shows_reported": shows_reported,
            "reported": [lines.reported(row) for row in seen],
            "has_more_reported": more is not None,
            "may_write": may_write,
            "organizations": _organizations(desk) if may_write else [],
            "range_kinds": [(kind, desk.words.label("range_kind", kind)) for kind in ("excluded", "pool")],
            "at": self.next_range,
            **pages(request, {}, following),
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page("pages/subnet.html", status, form=form, **self._shown)

    def page_of_range(self, form: Form, status: int) -> Response:
        """Draw it with what was malformed of a single range, which knows nothing of its place among the others."""
        form.errors = {f"{self.next_range}.{name}": told for name, told in form.errors.items()}
        return self.page(form, status)


class _Sheet:
    """The form of a subnet: a new one, or one that stands."""

    def __init__(self, desk: Desk, view: SubnetView | None = None) -> None:
        zones = zone_names(desk)
        self._desk = desk
        self._subnet = lines.line(view, zones) if view else None
        zone = view.subnet.network_zone if view else None
        networks = every(
            lambda at: catalogue.list_networks(desk.session, desk.actor, network_zone=zone, limit=_MOST, cursor=at)
        )
        self._choices = {
            "zones": list(zones.items()),
            "networks": [(str(each.network.id), lines.network_name(each, zones)) for each in networks],
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page("pages/subnet_form.html", status, subnet=self._subnet, form=form, **self._choices)


def zone_names(desk: Desk) -> dict[str, str]:
    """Return what network zones are called in the reader's language, in the order of the dictionary."""
    rows = every(lambda at: catalogue.list_network_zones(desk.session, desk.actor, limit=_MOST, cursor=at))
    in_chinese = desk.language == "zh_CN"
    return {row.name: row.name if in_chinese else row.name_en or row.name for row in rows}


def _organizations(desk: Desk) -> list[tuple[str, str]]:
    rows = every(
        lambda at: organizations.list_organizations(
            desk.session, desk.actor, OrganizationFilter(), limit=_MOST, cursor=at
        )
    )
    return [(str(view.organization.id), view.organization.name) for view in rows]


def _checked(typed: Mapping[str, str]) -> dict[str, bool]:
    return {name: typed.get(name) == "1" for name in _CHECKS}


def _resolvers(typed: Mapping[str, str]) -> list[str]:
    return typed.get("dns", "").replace(",", " ").replace("，", " ").split()


def _typed(view: SubnetView) -> dict[str, str]:
    subnet = view.subnet
    values = {
        "network_zone": subnet.network_zone,
        "cidr": subnet.cidr,
        "network": str(subnet.network_id or ""),
        "name": subnet.name,
        "gateway": subnet.gateway or "",
        "vlan": str(subnet.vlan or ""),
        "dns": " ".join(subnet.dns),
    }
    return values | {name: "1" for name in _CHECKS if getattr(subnet, name)}

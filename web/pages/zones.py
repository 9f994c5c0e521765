"""Pools by architecture: what all of them hold together, and each with what is left and how old that word is."""

from fastapi import Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue
from cloudmgr.services.catalogue import ZoneFilter
from web.desk import DeskDep, command
from web.forms import Form
from web.lists import PAGE, cursor_of, every, filters_of, pages
from web.pages.networks import zone_names
from web.presenters import backends, zones

router = page_router()

_MOST = 200


@router.get("/zones", openapi_extra=rule(Action.CATALOGUE_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List pools with capacity by architecture, with numbers where the reader may know them."""
    filters = filters_of(request, "arch", "network_zone")
    if filters.get("arch") not in {None, *Architecture}:
        raise InvalidInput(N_("There is no such architecture."), field="arch")
    wanted = command(ZoneFilter, filters)
    rows, following = catalogue.list_zones(desk.session, desk.actor, wanted, limit=PAGE, cursor=cursor_of(request))
    names = zone_names(desk)
    return desk.page(
        "pages/zones.html",
        architectures=backends.by_architecture(
            every(lambda at: catalogue.list_zones(desk.session, desk.actor, limit=_MOST, cursor=at))
        ),
        lines=[zones.line(desk.words, view, names) for view in rows],
        archs=[(arch, desk.words.label("architecture", arch)) for arch in Architecture],
        network_zones=list(names.items()),
        form=Form(filters),
        filtered=bool(filters),
        **pages(request, filters, following),
    )

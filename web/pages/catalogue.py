"""Pools and catalogue, read only: what can be asked for, where it would stand, and how the clouds are."""

import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import Request
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue
from cloudmgr.services.catalogue import BackendView, ImageView, ZoneView
from web import formats
from web.desk import Desk, DeskDep
from web.lists import PAGE, cursor_of, pages
from web.presenters.quota import in_order

router = page_router()

_READ = rule(Action.CATALOGUE_READ)
_TABS = (
    ("/catalogue/zones", N_("Pools")),
    ("/catalogue/backends", N_("Cloud platforms")),
    ("/catalogue/flavors", N_("Flavors")),
    ("/catalogue/images", N_("Images")),
)


@router.get("/catalogue/zones", openapi_extra=_READ)
def show_zones(request: Request, desk: DeskDep) -> Response:
    """List pools, with numbers where the reader may know them."""
    rows, following = catalogue.list_zones(desk.session, desk.actor, limit=PAGE, cursor=cursor_of(request))
    return _page(request, desk, "zones", [_zone(desk, view) for view in rows], following)


@router.get("/catalogue/backends", openapi_extra=_READ)
def show_backends(request: Request, desk: DeskDep) -> Response:
    """List cloud platforms and how they were when last asked."""
    rows, following = catalogue.list_backends(desk.session, desk.actor, limit=PAGE, cursor=cursor_of(request))
    return _page(request, desk, "backends", [_backend(desk, view) for view in rows], following)


@router.get("/catalogue/flavors", openapi_extra=_READ)
def show_flavors(request: Request, desk: DeskDep) -> Response:
    """List sizes, the small ones first."""
    rows, following = catalogue.list_flavors(desk.session, desk.actor, limit=PAGE, cursor=cursor_of(request))
    return _page(request, desk, "flavors", sorted(rows, key=lambda each: (each.vcpus, each.memory_mib)), following)


@router.get("/catalogue/images", openapi_extra=_READ)
def show_images(request: Request, desk: DeskDep) -> Response:
    """List images with the architectures they exist for."""
    rows, following = catalogue.list_images(desk.session, desk.actor, limit=PAGE, cursor=cursor_of(request))
    return _page(request, desk, "images", [_image(view) for view in rows], following)


def _page(request: Request, desk: Desk, kind: str, rows: Sequence[Any], following: uuid.UUID | None) -> Response:
    tabs = [(address, desk.words.translate(text)) for address, text in _TABS]
    return desk.page(
        "pages/catalogue.html",
        kind=kind,
        tabs=tabs,
        heading=dict(tabs)[f"/catalogue/{kind}"],
        rows=rows,
        **pages(request, {}, following),
    )


def _zone(desk: Desk, view: ZoneView) -> dict[str, Any]:
    zone, backend = view.zone, view.backend
    return {
        "title": zone.title or zone.name,
        "backend": backend.title or backend.name,
        "health": view.standing.health,
        "arch": zone.arch,
        "cpu_family": zone.cpu_family,
        "cpu_model": zone.cpu_model if zone.cpu_model != "unknown" else "",
        "is_xinchuang": zone.is_xinchuang,
        "is_open": zone.is_enabled and backend.is_enabled,
        "network_zones": desk.words.joined(sorted(view.network_zones)),
        "capacity": _capacity(desk, view),
        "last_seen_at": zone.last_seen_at,
    }


def _capacity(desk: Desk, view: ZoneView) -> list[str]:
    if view.capacity is None or view.used is None:
        return []
    return [
        desk.words.translate(
            N_("{resource}: {used} of {total} used"),
            resource=desk.words.key_label(key),
            used=formats.amount(view.used.get(key, 0), key),
            total=formats.amount(view.capacity[key], key),
        )
        for key in in_order(view.capacity)
    ]


def _backend(desk: Desk, view: BackendView) -> dict[str, Any]:
    backend = view.backend
    return {
        "id": backend.id,
        "title": backend.title or backend.name,
        "name": backend.name,
        "provider": backend.provider,
        "rehearses": backend.rehearses,
        "version": backend.version,
        "tier": backend.tier,
        "datacenter": backend.datacenter,
        "owner": view.owner.name if view.owner else "",
        "shared_with": desk.words.joined([each.name for each in view.shared_with]),
        "health": view.standing.health,
        "message": desk.words.told(backend.health_message),
        "last_seen_at": backend.last_seen_at,
    }


def _image(view: ImageView) -> dict[str, Any]:
    image = view.image
    return {
        "title": image.title,
        "name": image.name,
        "system": f"{image.os_name} {image.os_version}",
        "is_xinchuang": image.os_is_xinchuang,
        "archs": sorted({each.arch for each in view.variants}),
        "login_user": image.login_user,
        "playbook": image.playbook,
    }

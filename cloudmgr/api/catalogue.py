"""The catalogue: flavors, images, backends, zones, networks, network zones. Everybody reads, system administrators write."""

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, status

from cloudmgr.api.catalogue_shapes import (
    BackendShape,
    FlavorShape,
    ImageShape,
    NetworkShape,
    NetworkZoneShape,
    ZoneShape,
    backend_shape,
    image_shape,
    network_shape,
    zone_shape,
)
from cloudmgr.api.shapes import ItemPage
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import Translator
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import catalogue
from cloudmgr.services.catalogue import (
    CreateBackend,
    CreateFlavor,
    CreateImage,
    CreateNetwork,
    CreateNetworkZone,
    CreateZone,
    UpdateBackend,
    UpdateFlavor,
    UpdateImage,
    UpdateNetwork,
    UpdateNetworkZone,
    UpdateZone,
    ZoneFilter,
)

router = api_router("", "catalogue")

_CREATED = status.HTTP_201_CREATED
BackendName = Annotated[str | None, Query(max_length=64, description="Only this backend's, by name.")]


def _translate(request: Request) -> Translator:
    return translator(language_of(request))


@router.get(
    "/flavors", response_model=ItemPage[FlavorShape], openapi_extra=rule(Action.CATALOGUE_READ, object_type="flavor")
)
def list_flavors(actor: ActorDep, session: SessionDep, page: PageDep) -> ItemPage[FlavorShape]:
    """List the named sizes."""
    rows, following = catalogue.list_flavors(session, actor, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[FlavorShape.model_validate(row) for row in rows], next_cursor=encode_cursor(following))


@router.post(
    "/flavors",
    status_code=_CREATED,
    response_model=FlavorShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.FLAVOR_WRITE, object_type="flavor"),
)
def create_flavor(command: CreateFlavor, actor: ActorDep, session: SessionDep) -> FlavorShape:
    """Add a named size."""
    return FlavorShape.model_validate(catalogue.create_flavor(session, actor, command))


@router.patch(
    "/flavors/{flavor_id}",
    response_model=FlavorShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.FLAVOR_WRITE, object_type="flavor"),
)
def update_flavor(flavor_id: UUID, command: UpdateFlavor, actor: ActorDep, session: SessionDep) -> FlavorShape:
    """Change a size; servers that stand keep the numbers they were built with."""
    return FlavorShape.model_validate(catalogue.update_flavor(session, actor, flavor_id, command))


@router.get(
    "/images", response_model=ItemPage[ImageShape], openapi_extra=rule(Action.CATALOGUE_READ, object_type="image")
)
def list_images(actor: ActorDep, session: SessionDep, page: PageDep) -> ItemPage[ImageShape]:
    """List the logical images with their variants."""
    views, following = catalogue.list_images(session, actor, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[image_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "/images",
    status_code=_CREATED,
    response_model=ImageShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.IMAGE_WRITE, object_type="image"),
)
def create_image(command: CreateImage, actor: ActorDep, session: SessionDep) -> ImageShape:
    """Add a logical image; each variant names its backend and the backend's own reference."""
    return image_shape(catalogue.create_image(session, actor, command))


@router.patch(
    "/images/{image_id}",
    response_model=ImageShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.IMAGE_WRITE, object_type="image"),
)
def update_image(image_id: UUID, command: UpdateImage, actor: ActorDep, session: SessionDep) -> ImageShape:
    """Change an image; `variants`, where given, is the whole new list."""
    return image_shape(catalogue.update_image(session, actor, image_id, command))


@router.get(
    "/backends", response_model=ItemPage[BackendShape], openapi_extra=rule(Action.CATALOGUE_READ, object_type="backend")
)
def list_backends(request: Request, actor: ActorDep, session: SessionDep, page: PageDep) -> ItemPage[BackendShape]:
    """List the backends and how they were when last asked."""
    views, following = catalogue.list_backends(session, actor, limit=page.limit, cursor=page.cursor)
    told = [backend_shape(view, _translate(request)) for view in views]
    return ItemPage(items=told, next_cursor=encode_cursor(following))


@router.get(
    "/backends/{backend_id}",
    response_model=BackendShape,
    openapi_extra=rule(Action.CATALOGUE_READ, object_type="backend"),
)
def read_backend(backend_id: UUID, request: Request, actor: ActorDep, session: SessionDep) -> BackendShape:
    """Tell about one backend."""
    return backend_shape(catalogue.get_backend(session, actor, backend_id), _translate(request))


@router.post(
    "/backends",
    status_code=_CREATED,
    response_model=BackendShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.BACKEND_WRITE, object_type="backend"),
)
def create_backend(request: Request, command: CreateBackend, actor: ActorDep, session: SessionDep) -> BackendShape:
    """Add a backend to the catalogue; its connection belongs in the worker's settings."""
    return backend_shape(catalogue.create_backend(session, actor, command), _translate(request))


@router.patch(
    "/backends/{backend_id}",
    response_model=BackendShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.BACKEND_WRITE, object_type="backend"),
)
def update_backend(
    backend_id: UUID, request: Request, command: UpdateBackend, actor: ActorDep, session: SessionDep
) -> BackendShape:
    """Change a backend; `shared_with` is the whole new list."""
    return backend_shape(catalogue.update_backend(session, actor, backend_id, command), _translate(request))


@router.get("/zones", response_model=ItemPage[ZoneShape], openapi_extra=rule(Action.CATALOGUE_READ, object_type="zone"))
def list_zones(
    request: Request,
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    backend: BackendName = None,
    arch: Annotated[str | None, Query(max_length=32, description="Only of this architecture.")] = None,
    network_zone: Annotated[str | None, Query(max_length=64, description="Only those that serve it.")] = None,
) -> ItemPage[ZoneShape]:
    """List the zones; capacity numbers only where you may read the owner's."""
    filters = ZoneFilter(backend=backend, arch=arch, network_zone=network_zone)
    views, following = catalogue.list_zones(session, actor, filters, limit=page.limit, cursor=page.cursor)
    return ItemPage(
        items=[zone_shape(view, _translate(request)) for view in views], next_cursor=encode_cursor(following)
    )


@router.post(
    "/zones",
    status_code=_CREATED,
    response_model=ZoneShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.ZONE_WRITE, object_type="zone"),
)
def create_zone(command: CreateZone, request: Request, actor: ActorDep, session: SessionDep) -> ZoneShape:
    """Add a zone before the backend was first asked; the next sync fills in what the backend says."""
    return zone_shape(catalogue.create_zone(session, actor, command), _translate(request))


@router.patch(
    "/zones/{zone_id}",
    response_model=ZoneShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.ZONE_WRITE, object_type="zone"),
)
def update_zone(
    zone_id: UUID, command: UpdateZone, request: Request, actor: ActorDep, session: SessionDep
) -> ZoneShape:
    """Change what people decide of a zone: title, network zones, reserve, overcommit, 信创, whether it takes servers."""
    return zone_shape(catalogue.update_zone(session, actor, zone_id, command), _translate(request))


@router.get(
    "/networks", response_model=ItemPage[NetworkShape], openapi_extra=rule(Action.CATALOGUE_READ, object_type="network")
)
def list_networks(
    actor: ActorDep, session: SessionDep, page: PageDep, backend: BackendName = None
) -> ItemPage[NetworkShape]:
    """List the networks and the network zone that each carries."""
    views, following = catalogue.list_networks(session, actor, backend=backend, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[network_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "/networks",
    status_code=_CREATED,
    response_model=NetworkShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="network"),
)
def create_network(command: CreateNetwork, actor: ActorDep, session: SessionDep) -> NetworkShape:
    """Add a network of a backend."""
    return network_shape(catalogue.create_network(session, actor, command))


@router.patch(
    "/networks/{network_id}",
    response_model=NetworkShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="network"),
)
def update_network(network_id: UUID, command: UpdateNetwork, actor: ActorDep, session: SessionDep) -> NetworkShape:
    """Change a network."""
    return network_shape(catalogue.update_network(session, actor, network_id, command))


@router.get(
    "/network-zones",
    response_model=ItemPage[NetworkZoneShape],
    openapi_extra=rule(Action.CATALOGUE_READ, object_type="network_zone"),
)
def list_network_zones(actor: ActorDep, session: SessionDep, page: PageDep) -> ItemPage[NetworkZoneShape]:
    """List the dictionary of network zones (网络区域)."""
    rows, following = catalogue.list_network_zones(session, actor, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[NetworkZoneShape.model_validate(row) for row in rows], next_cursor=encode_cursor(following))


@router.post(
    "/network-zones",
    status_code=_CREATED,
    response_model=NetworkZoneShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="network_zone"),
)
def create_network_zone(command: CreateNetworkZone, actor: ActorDep, session: SessionDep) -> NetworkZoneShape:
    """Add an entry to the dictionary."""
    return NetworkZoneShape.model_validate(catalogue.create_network_zone(session, actor, command))


@router.patch(
    "/network-zones/{network_zone_id}",
    response_model=NetworkZoneShape,
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.NETWORK_WRITE, object_type="network_zone"),
)
def update_network_zone(
    network_zone_id: UUID, command: UpdateNetworkZone, actor: ActorDep, session: SessionDep
) -> NetworkZoneShape:
    """Change an entry; its name stays."""
    return NetworkZoneShape.model_validate(catalogue.update_network_zone(session, actor, network_zone_id, command))

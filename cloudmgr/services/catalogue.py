"""The catalogue's use cases under one name: flavors, images, backends, zones, networks, network zones. Adds nothing."""

from cloudmgr.services.backends import (
    BackendView,
    CreateBackend,
    UpdateBackend,
    create_backend,
    get_backend,
    list_backends,
    update_backend,
)
from cloudmgr.services.flavors import CreateFlavor, UpdateFlavor, create_flavor, list_flavors, update_flavor
from cloudmgr.services.images import CreateImage, ImageView, UpdateImage, create_image, list_images, update_image
from cloudmgr.services.network_zones import (
    CreateNetworkZone,
    UpdateNetworkZone,
    create_network_zone,
    list_network_zones,
    update_network_zone,
)
from cloudmgr.services.networks import (
    CreateNetwork,
    NetworkView,
    UpdateNetwork,
    create_network,
    list_networks,
    update_network,
)
from cloudmgr.services.zones import CreateZone, UpdateZone, ZoneFilter, ZoneView, create_zone, list_zones, update_zone

__all__ = [
    "BackendView",
    "CreateBackend",
    "CreateFlavor",
    "CreateImage",
    "CreateNetwork",
    "CreateNetworkZone",
    "CreateZone",
    "ImageView",
    "NetworkView",
    "UpdateBackend",
    "UpdateFlavor",
    "UpdateImage",
    "UpdateNetwork",
    "UpdateNetworkZone",
    "UpdateZone",
    "ZoneFilter",
    "ZoneView",
    "create_backend",
    "create_flavor",
    "create_image",
    "create_network",
    "create_network_zone",
    "create_zone",
    "get_backend",
    "list_backends",
    "list_flavors",
    "list_images",
    "list_network_zones",
    "list_networks",
    "list_zones",
    "update_backend",
    "update_flavor",
    "update_image",
    "update_network",
    "update_network_zone",
    "update_zone",
]

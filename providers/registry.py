"""Which drivers there are; each is imported when it is first asked for, so a missing SDK costs nothing.

Other packages add drivers by an entry point of the group `cloudmgr.providers`; they cannot take the name of ours.
"""

import importlib
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from cloudmgr.domain.messages import N_
from providers.base import Provider
from providers.errors import Unsupported

GROUP = "cloudmgr.providers"

DRIVERS: Mapping[str, str] = {
    "simulated": "providers.simulated.provider:SimulatedProvider",
    "libvirt": "providers.libvirt.provider:LibvirtProvider",
    "openstack": "providers.openstack.provider:OpenStackProvider",
    "vsphere": "providers.vsphere.provider:VSphereProvider",
    "libcloud": "providers.libcloud.provider:LibcloudProvider",
}


def names() -> list[str]:
    """Return every name a `[[backends]]` entry may give as its provider: ours first, then those of other packages."""
    return [*DRIVERS, *sorted({point.name for point in entry_points(group=GROUP)} - DRIVERS.keys())]


def load(name: str) -> type[Provider]:
    """Return a driver's class.

    Raises:
        Unsupported: no such driver, or its SDK is not installed (the message names the extra to install); or a package
            that offers it is broken, or claims a name that is taken.
    """
    offers = list(entry_points(group=GROUP, name=name))
    if len(offers) > 1 or (offers and name in DRIVERS):
        raise Unsupported(
            N_("The provider name {name} is claimed by more than one package: {packages}. Uninstall all but one."),
            name=name,
            packages=", ".join(sorted({_package(point) for point in offers} | _owner(name))),
        )
    if offers:
        return _load_offer(offers[0])
    target = DRIVERS.get(name)
    if target is None:
        raise Unsupported(N_("There is no provider {name}; known are {known}."), name=name, known=", ".join(names()))
    module, _, attribute = target.partition(":")
    try:
        loaded: type[Provider] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise Unsupported(
            N_("Provider {name} needs its SDK: install cloudmgr[{name}]."), detail=str(error), name=name
        ) from error
    return loaded


def _load_offer(point: EntryPoint) -> type[Provider]:
    package = _package(point)
    try:
        loaded = point.load()
    except Exception as error:  # another package's code runs here, and may raise anything
        raise Unsupported(
            N_("Package {package} offers provider {name}, but it cannot be imported; reinstall or uninstall it."),
            detail=f"{point.value}: {type(error).__name__}: {error}",
            package=package,
            name=point.name,
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Provider) and loaded.name == point.name):
        raise Unsupported(
            N_("Package {package} offers provider {name}, but what it names is not a provider of this name."),
            detail=point.value,
            package=package,
            name=point.name,
        )
    return loaded


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "?"


def _owner(name: str) -> set[str]:
    return {"cloudmgr"} if name in DRIVERS else set()

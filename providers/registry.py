"""Which drivers there are; each is imported when it is first asked for, so a missing SDK costs nothing."""

import importlib
from collections.abc import Mapping

from cloudmgr.domain.messages import N_
from providers.base import Provider
from providers.errors import Unsupported

DRIVERS: Mapping[str, str] = {
    "simulated": "providers.simulated.provider:SimulatedProvider",
    "libvirt": "providers.libvirt.provider:LibvirtProvider",
}


def load(name: str) -> type[Provider]:
    """Return a driver's class.

    Raises:
        Unsupported: no such driver, or its SDK is not installed (the message names the extra to install).
    """
    target = DRIVERS.get(name)
    if target is None:
        raise Unsupported(N_("There is no provider {name}; known are {known}."), name=name, known=", ".join(DRIVERS))
    module, _, attribute = target.partition(":")
    try:
        loaded: type[Provider] = getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise Unsupported(
            N_("Provider {name} needs its SDK: install cloudmgr[{name}]."), detail=str(error), name=name
        ) from error
    return loaded

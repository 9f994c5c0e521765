"""Power: each call asks once and returns."""

import xml.etree.ElementTree as ET
from datetime import timedelta
from typing import Any

import libvirt

from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_
from providers.errors import Busy, Unsupported
from providers.libvirt import metadata
from providers.libvirt.connection import Session
from providers.libvirt.observe import describe
from providers.libvirt.options import LibvirtOptions

_ALREADY = {libvirt.VIR_ERR_OPERATION_INVALID}
_FORGOTTEN = timedelta(hours=1)
"""A note of asking older than this is of an earlier attempt (or came back with a snapshot)."""


def start(session: Session, domain: Any) -> None:
    """Power on, or let a paused server go on; running already is success."""
    if session.call(domain.state, 0)[0] == libvirt.VIR_DOMAIN_PAUSED:
        session.attempt(domain.resume, absent=_ALREADY)
        return
    if session.call(domain.isActive):
        return
    session.attempt(domain.create, absent=_ALREADY)
    if not session.call(domain.isActive):
        raise Busy(
            N_("Something else is being done to this server; try again shortly."), detail="not active after start"
        )


def stop(session: Session, domain: Any, options: LibvirtOptions) -> None:
    """Press the power button; cut the power where there is no button, or where it was pressed in vain.

    When the guest was asked is noted in the running domain, so that the first call after `stop_grace_s` cuts the
    power, whichever process makes it. Nothing here waits.
    """
    description = describe(session, domain)
    if description is None or not session.call(domain.isActive):
        return
    paused = session.call(domain.state, 0)[0] == libvirt.VIR_DOMAIN_PAUSED
    asked = metadata.stop_asked_at(description)
    now = clock.now()
    if asked is not None and now - asked > _FORGOTTEN:
        asked = None
    in_vain = asked is not None and now - asked >= timedelta(seconds=options.stop_grace_s)
    if paused or in_vain or not _can_be_asked(description, options):
        session.attempt(domain.destroy, absent=_ALREADY)
        return
    if asked is None:
        session.attempt(
            domain.setMetadata,
            libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            metadata.stop_element(now),
            metadata.STOP_PREFIX,
            metadata.STOP_NAMESPACE,
            libvirt.VIR_DOMAIN_AFFECT_LIVE,
            absent=_ALREADY,
        )
    session.attempt(domain.shutdownFlags, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, absent=_ALREADY)


def reboot(session: Session, domain: Any, options: LibvirtOptions) -> None:
    """Restart by the power button, or by a reset where there is none.

    Raises:
        Unsupported: the server is off.
    """
    description = describe(session, domain)
    if description is None or not session.call(domain.isActive):
        raise Unsupported(N_("The server is off; start it instead."))
    if _can_be_asked(description, options):
        session.change(domain.reboot, libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)
    else:
        session.change(domain.reset, 0)


def _can_be_asked(description: ET.Element, options: LibvirtOptions) -> bool:
    # aarch64 without UEFI has no ACPI, so its power button is connected to nothing.
    return options.stop_mode == "acpi" and description.find("features/acpi") is not None

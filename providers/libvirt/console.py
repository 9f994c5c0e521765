"""Where a running server's screen and serial line are, as the worker sees them."""

import xml.etree.ElementTree as ET
from typing import Any

import libvirt

from providers.base import ConsoleAddress
from providers.libvirt.connection import Session
from providers.libvirt.observe import describe
from providers.libvirt.options import LibvirtOptions

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not bound to


def addresses(session: Session, domain: Any, options: LibvirtOptions) -> list[ConsoleAddress]:
    """Return the addresses of a running server; only those the worker can reach.

    A screen that listens on a remote host's loopback, and a serial line of a remote host, cannot be reached and are
    left out: set `vnc_listen` to the host's management address.
    """
    if not session.call(domain.isActive):
        return []
    description = describe(session, domain, libvirt.VIR_DOMAIN_XML_SECURE)
    if description is None:
        return []
    found = []
    for screen in description.findall("devices/graphics[@type='vnc']"):
        host = _reachable(screen, options)
        port = int(screen.get("port", "-1"))
        if host and port > 0:
            found.append(ConsoleAddress(kind="vnc", host=host, port=port, password=screen.get("passwd", "")))
    if options.remote_host is None:
        lines = description.findall("devices/serial/source[@path]")
        found += [ConsoleAddress(kind="serial", path=line.get("path", "")) for line in lines]
    return found


def _reachable(screen: ET.Element, options: LibvirtOptions) -> str | None:
    listen = screen.find("listen[@type='address']")
    address = (listen.get("address") if listen is not None else None) or screen.get("listen") or "127.0.0.1"
    if options.remote_host is None:
        return "127.0.0.1" if address in _ANY else address
    if address in _LOOPBACK:
        return None
    return options.remote_host if address in _ANY else address

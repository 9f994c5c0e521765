"""Another size for a stopped server, in one change of its stored description."""

from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.errors import InvalidSpec, Unsupported
from providers.libvirt import inventory
from providers.libvirt.connection import Session
from providers.libvirt.observe import arch_of
from providers.libvirt.options import LibvirtOptions
from providers.libvirt.tree import parse
from providers.libvirt.xml import resized

_WHOLE = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE  # SECURE, or the console password is lost


def resize(session: Session, domain: Any, options: LibvirtOptions, *, vcpus: int, memory_mib: int) -> None:
    """Set the size exactly (P4); the same size again is success.

    Raises:
        Unsupported: the server is on.
        InvalidSpec: the size is none.
        NoCapacity: the whole host is smaller.
    """
    if min(vcpus, memory_mib) < 1:
        raise InvalidSpec(N_("Sizes are whole numbers above zero."))
    if session.call(domain.isActive):
        raise Unsupported(N_("The server is on; stop it before resizing."))
    description = session.call(domain.XMLDesc, _WHOLE)
    if (arch := arch_of(parse(description))) is not None:
        inventory.require_room(session, options, arch, vcpus=vcpus, memory_mib=memory_mib)
    session.change(session.conn.defineXMLFlags, resized(description, vcpus=vcpus, memory_mib=memory_mib), 0)

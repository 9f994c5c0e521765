"""Making a server: disks, domain, power, each step right whether or not an earlier, interrupted call did it already."""

import ipaddress
import re
import secrets
import uuid
from typing import Any

import libvirt

from cloudmgr.domain import clock
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.messages import N_
from providers.base import ServerSpec
from providers.errors import InvalidSpec, ProviderError, Remedy
from providers.libvirt import addresses, inventory, power, remove, stages, storage
from providers.libvirt.connection import Session
from providers.libvirt.metadata import Metadata, Stage
from providers.libvirt.options import Image, LibvirtOptions
from providers.libvirt.seed import Card, seed_iso
from providers.libvirt.tree import parse
from providers.libvirt.xml import Blueprint, domain_xml, mac_address

_NO_DOMAIN = {libvirt.VIR_ERR_NO_DOMAIN}
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_LOGIN = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_VNC_PASSWORD_CHARS = 8
"""All that the RFB protocol's own authentication looks at."""


def check_spec(spec: ServerSpec, options: LibvirtOptions) -> None:
    """Refuse what cannot be built exactly, before the host is called (P4, P13).

    Raises:
        InvalidSpec
    """
    zone = inventory.zone_refs(options).get(spec.arch)
    if zone != spec.zone:
        raise InvalidSpec(
            N_("Zone {zone} of this backend does not run servers of architecture {arch}."),
            zone=spec.zone,
            arch=spec.arch,
        )
    if spec.arch not in {Architecture.AARCH64, Architecture.X86_64}:
        raise InvalidSpec(N_("This provider builds no servers of architecture {arch}."), arch=spec.arch)
    if not _DNS_LABEL.fullmatch(spec.name):
        raise InvalidSpec(N_("{name} is no host name: use letters, digits and hyphens, 63 at most."), name=spec.name)
    if not _LOGIN.fullmatch(spec.login_user):
        raise InvalidSpec(N_("{name} is no account name a server accepts."), name=spec.login_user)
    if min(spec.vcpus, spec.memory_mib, spec.system_disk_gib) < 1 or spec.data_disk_gib < 0:
        raise InvalidSpec(N_("Sizes are whole numbers above zero."))
    addresses.check(spec)
    if not spec.networks and options.default_network is None:
        raise InvalidSpec(N_("No network was asked for, and this backend has no default one."))


def build(session: Session, options: LibvirtOptions, spec: ServerSpec, token: uuid.UUID, image: Image) -> None:
    """Make the server of a token, or complete it; a server that stands is left alone, running or not (P2).

    Where the host refuses, nothing is left; where its answer is lost, what was made stays for the caller to find.
    """
    pool = storage.open_pool(session, options)
    domain = session.attempt(session.conn.lookupByUUID, token.bytes, absent=_NO_DOMAIN)
    stage = stages.read(session, domain) if domain is not None else None
    if stage is Stage.DELETING:
        remove.remove(session, pool, token)
        domain = None
    elif stage is Stage.BUILT:
        return
    inventory.require_room(session, options, spec.arch, vcpus=spec.vcpus, memory_mib=spec.memory_mib)
    try:
        if domain is None:
            domain = define(session, options, pool, spec=spec, token=token, image=image)
        power.start(session, domain)
        stages.write(session, domain, Stage.BUILT)
    except ProviderError as error:
        if error.remedy in {Remedy.NEXT_ZONE, Remedy.NEXT_ADDRESS, Remedy.FAIL}:
            remove.remove(session, pool, token)
        raise


def define(
    session: Session, options: LibvirtOptions, pool: Any, *, spec: ServerSpec, token: uuid.UUID, image: Image
) -> Any:
    """Make the disks and define the domain, still without power."""
    cards = _cards(session, spec, token, options)
    addresses.require_free(session, cards[0].network, spec.addresses, token)
    disks = storage.make_volumes(
        session,
        pool,
        token,
        image,
        system_gib=spec.system_disk_gib,
        data_gib=spec.data_disk_gib,
        seed=seed_iso(spec, token, cards),
    )
    plan = Blueprint(
        spec=spec,
        token=token,
        image=image,
        disks=disks,
        cards=cards,
        metadata=Metadata(
            stage=Stage.BUILDING,
            name=spec.name,
            zone=spec.zone,
            image=spec.image,
            created_at=clock.now(),
            labels=spec.labels,
            addresses=tuple(str(ipaddress.ip_address(fixed.address)) for fixed in spec.addresses),
        ),
        vnc_password=secrets.token_urlsafe(32)[:_VNC_PASSWORD_CHARS],
    )
    description = domain_xml(plan, options)
    addresses.reserve(session, cards[0].network, spec.addresses, token)
    domain = session.change(session.conn.defineXMLFlags, description, 0)
    # Without libvirt's DHCP nothing but our domains tells who has an address: two that ask at once both see the other.
    addresses.require_free(session, cards[0].network, spec.addresses, token)
    return domain


def _cards(session: Session, spec: ServerSpec, token: uuid.UUID, options: LibvirtOptions) -> list[Card]:
    cards = []
    for number, name in enumerate(spec.networks or (str(options.default_network),)):
        network = session.attempt(session.conn.networkLookupByName, name, absent={libvirt.VIR_ERR_NO_NETWORK})
        if network is None:
            raise InvalidSpec(N_("There is no network {network} on this host."), network=name)
        description = parse(session.call(network.XMLDesc, 0))
        given = spec.addresses if number == 0 else ()
        cards.append(Card(mac_address(token, number), name, inventory.hands_out_v6(description), given))
    return cards

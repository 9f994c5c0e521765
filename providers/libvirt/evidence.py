"""What the host keeps for a server or a volume, and what it keeps for nobody.

Everything is asked for by its own name, files after the pool has looked at its folder again. A DHCP lease is no such
thing: dnsmasq forgets it by itself and cannot be told to; `list_addresses` shows it until then.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import libvirt

from providers.base import ResourceKind, ResourceObservation
from providers.libvirt import addresses, observe, ports, snapshots, storage, volumes
from providers.libvirt.connection import Session
from providers.libvirt.options import LibvirtOptions
from providers.libvirt.xml import mac_address

_NO_DOMAIN = {libvirt.VIR_ERR_NO_DOMAIN}
_NO_VOLUME = {libvirt.VIR_ERR_NO_STORAGE_VOL}
_NO_SNAPSHOT = {libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT}
_KINDS = {"system": ResourceKind.DISK, "data": ResourceKind.DISK, "seed": ResourceKind.SEED}


def kept_for(session: Session, options: LibvirtOptions, pool: Any, token: uuid.UUID) -> list[ResourceObservation]:
    """Return everything made for a token: domain, files, cards, snapshots, filter, reservations, or one volume."""
    session.call(pool.refresh, 0)
    found = list(_domain_of(session, token))
    is_there = str(token) if found else None
    found += [
        _file(session, volume, role, token, is_there)
        for role, volume in storage.find_volumes(session, pool, token).items()
    ]
    nvram = f"{token}{storage.NVRAM}"
    if session.attempt(pool.storageVolLookupByName, nvram, absent=_NO_VOLUME) is not None:
        found.append(ResourceObservation(ResourceKind.OTHER, nvram, nvram, token=token, server=is_there))
    if ports.filter_name(token) in ports.names(session):
        found.append(_filter(ports.filter_name(token), is_there))
    found += [
        ResourceObservation(ResourceKind.ADDRESS, f"{network}/{mac}/{address}", str(address), None, token, is_there)
        for network, mac, address in addresses.reservations(session)
        if mac == mac_address(token, 0)
    ]
    if (volume := volumes.find(session, pool, token)) is not None:
        found.append(_volume(session, options, volume))
    return found


def kept_for_nobody(session: Session, options: LibvirtOptions, pool: Any) -> list[ResourceObservation]:
    """Return files, volumes, filters and reservations that no server uses, ours or not."""
    session.call(pool.refresh, 0)
    domains, macs = set(), set()
    for domain in session.call(session.conn.listAllDomains, 0):
        description = observe.describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
        if description is not None:
            domains.add(uuid.UUID(description.findtext("uuid", "")))
            macs |= set(observe.macs_of(description))
    found = []
    for token in sorted(storage.tokens_with_volumes(session, pool) - domains):
        files = storage.find_volumes(session, pool, token)
        found += [_file(session, volume, role, token, None) for role, volume in files.items()]
    found += [
        ResourceObservation(ResourceKind.OTHER, name, name, token=owner)
        for name in (session.call(volume.name) for volume in session.call(pool.listAllVolumes, 0))
        if (owner := _owner(name, "", storage.NVRAM)) is not None and owner not in domains
    ]
    found += [
        ResourceObservation(
            ResourceKind.VOLUME, one.ref, one.name, one.size_gib, one.token, None, created_at=one.created_at
        )
        for one in volumes.every(session, options, pool)
        if one.server is None
    ]
    found += [_filter(name, None) for name in ports.names(session) if _owner(name, ports.PREFIX, "") not in domains]
    found += [
        ResourceObservation(ResourceKind.ADDRESS, f"{network}/{mac}/{address}", str(address))
        for network, mac, address in addresses.reservations(session)
        if mac not in macs
    ]
    return found


def still_there(session: Session, pool: Any, asked: Sequence[ResourceObservation]) -> list[ResourceObservation]:
    """Return those that the host still has, each looked for by its reference."""
    session.call(pool.refresh, 0)
    reserved = {f"{network}/{mac}/{address}" for network, mac, address in addresses.reservations(session)}
    filters = set(ports.names(session))
    return [one for one in asked if _is_there(session, pool, one, reserved | filters)]


def _is_there(session: Session, pool: Any, one: ResourceObservation, named: Iterable[str]) -> bool:
    if one.kind in {ResourceKind.ADDRESS, ResourceKind.PORT_RULES}:
        return one.ref in named
    if one.kind is ResourceKind.VOLUME and (token := _owner(one.ref, "", "")) is not None:
        return volumes.find(session, pool, token) is not None
    if one.kind in {ResourceKind.SERVER, ResourceKind.NIC, ResourceKind.SNAPSHOT}:
        server, _, part = one.ref.partition("/")
        token = _owner(server, "", "")
        domain = token and session.attempt(session.conn.lookupByUUID, token.bytes, absent=_NO_DOMAIN)
        if not domain or one.kind is ResourceKind.SERVER:
            return bool(domain)
        if one.kind is ResourceKind.SNAPSHOT:
            return session.attempt(domain.snapshotLookupByName, part, 0, absent=_NO_SNAPSHOT) is not None
        description = observe.describe(session, domain)
        return description is not None and part in observe.macs_of(description)
    return session.attempt(pool.storageVolLookupByName, one.ref, absent=_NO_VOLUME) is not None


def _domain_of(session: Session, token: uuid.UUID) -> Iterator[ResourceObservation]:
    domain = session.attempt(session.conn.lookupByUUID, token.bytes, absent=_NO_DOMAIN)
    description = observe.describe(session, domain) if domain is not None else None
    if domain is None or description is None:
        return
    ref = str(token)
    yield ResourceObservation(ResourceKind.SERVER, ref, description.findtext("name", ""), token=token, server=ref)
    for mac in observe.macs_of(description):
        yield ResourceObservation(ResourceKind.NIC, f"{ref}/{mac}", mac, token=token, server=ref)
    for one in snapshots.list_all(session, domain):
        yield ResourceObservation(
            ResourceKind.SNAPSHOT, f"{ref}/{one.ref}", one.name, None, token, ref, created_at=one.created_at
        )


def _file(session: Session, volume: Any, role: str, token: uuid.UUID, server: str | None) -> ResourceObservation:
    name = session.call(volume.name)
    size_gib = None if role == "seed" else storage.size_gib(session, volume)
    return ResourceObservation(_KINDS[role], name, name, size_gib, token, server)


def _volume(session: Session, options: LibvirtOptions, volume: Any) -> ResourceObservation:
    seen = volumes.observe(session, options, volume, volumes.uses_of(session))
    return ResourceObservation(
        ResourceKind.VOLUME, seen.ref, seen.name, seen.size_gib, seen.token, seen.server, created_at=seen.created_at
    )


def _filter(name: str, server: str | None) -> ResourceObservation:
    return ResourceObservation(ResourceKind.PORT_RULES, name, name, token=_owner(name, ports.PREFIX, ""), server=server)


def _owner(name: str, prefix: str, suffix: str) -> uuid.UUID | None:
    if not (name.startswith(prefix) and name.endswith(suffix)):
        return None
    try:
        return uuid.UUID(name.removeprefix(prefix).removesuffix(suffix))
    except ValueError:
        return None

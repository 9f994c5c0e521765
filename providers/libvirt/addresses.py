"""Addresses of libvirt's networks: who uses which, and keeping the DHCP server from giving away one of ours.

A server is told its addresses by its seed. Where libvirt's own DHCP serves the network, a host entry with the card's
hardware address says the same, so that both agree and nobody else is handed it.
"""

import ipaddress
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.base import AddressObservation, FixedAddress, ServerSpec
from providers.errors import AddressTaken, InvalidSpec, NotFound
from providers.libvirt import metadata
from providers.libvirt.connection import Session
from providers.libvirt.inventory import cidr_of
from providers.libvirt.observe import describe, macs_of, networks_of
from providers.libvirt.tree import parse
from providers.libvirt.xml import mac_address

_NO_NETWORK = {libvirt.VIR_ERR_NO_NETWORK}
_NO_LEASES = {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_OPERATION_UNSUPPORTED, libvirt.VIR_ERR_NO_NETWORK}
_NOT_UPDATED = {libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_NETWORK}
_IP = "ip"


def check(spec: ServerSpec) -> None:
    """Refuse addresses that no server could have, before the host is called.

    Raises:
        InvalidSpec: not an address, or two of one family.
    """
    families = [_parsed(fixed.address).version for fixed in spec.addresses]
    if len(families) != len(set(families)):
        raise InvalidSpec(N_("A server has at most one fixed address of each version."))


def of_network(session: Session, name: str) -> list[AddressObservation]:
    """Return every address in use on a network: its own, leased, reserved, or given by a seed of ours.

    Raises:
        NotFound: there is no such network.
    """
    network = session.attempt(session.conn.networkLookupByName, name, absent=_NO_NETWORK)
    if network is None:
        raise NotFound(N_("There is no network {network} on this host."), network=name)
    found: dict[str, AddressObservation] = {}
    for one in _every(session, network, name):
        known = found.get(one.address)
        if known is None or (known.server is None and one.server is not None):
            found[one.address] = one
    return list(found.values())


def require_free(session: Session, network: str, addresses: Sequence[FixedAddress], token: uuid.UUID) -> None:
    """Refuse addresses that somebody else uses or that do not lie in the network.

    Raises:
        AddressTaken, InvalidSpec
    """
    if not addresses:
        return
    ours = {str(token)}
    mac = mac_address(token, 0)
    taken = {one.address: one for one in of_network(session, network) if one.server not in ours and one.mac != mac}
    descriptions = _descriptions(session, session.call(session.conn.networkLookupByName, network))
    ranges = [one for _, description in descriptions[:1] for one in _ranges(description)]
    for fixed in addresses:
        address = _parsed(fixed.address)
        inside = [one for one in ranges if one.version == address.version]
        if inside and not any(address in one for one in inside):
            raise InvalidSpec(
                N_("Network {network} does not hold the address asked for."), detail=str(address), network=network
            )
        if (user := taken.get(str(address))) is not None:
            raise AddressTaken(
                N_("The address is in use on the network at the backend."),
                detail=f"{address} on {network}: {user.owner} {user.server or user.mac or ''}".rstrip(),
            )


def reserve(session: Session, network: str, addresses: Sequence[FixedAddress], token: uuid.UUID) -> None:
    """Keep libvirt's DHCP from giving the addresses to others; where it serves none of a family, nothing is to be done.

    Raises:
        AddressTaken: another card has it reserved.
    """
    found = session.call(session.conn.networkLookupByName, network)
    mac = mac_address(token, 0)
    for fixed in addresses:
        address = _parsed(fixed.address)
        for flag, description in _descriptions(session, found):
            place = _dhcp_place(description, address)
            if place is None:
                continue
            there = [host for host in _hosts(description) if _is_of(host, mac) and _version(host) == address.version]
            for stale in (host for host in there if host.get(_IP) != str(address)):
                _update(session, found, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, place, stale, flag)
            if any(host.get(_IP) == str(address) for host in there):
                continue
            host = _host_entry(mac, address)
            _update(session, found, libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST, place, host, flag)
            now = dict(_descriptions(session, found)).get(flag)
            if now is not None and not any(_is_of(h, mac) and h.get(_IP) == str(address) for h in _hosts(now)):
                raise AddressTaken(
                    N_("The address is in use on the network at the backend."), detail=f"{address} reserved meanwhile"
                )


def release(session: Session, token: uuid.UUID) -> None:
    """Take back whatever was reserved for a token, on every network; nothing there is no matter (P3)."""
    for name, mac, address in reservations(session):
        if mac != mac_address(token, 0):
            continue
        network = session.attempt(session.conn.networkLookupByName, name, absent=_NO_NETWORK)
        for flag, description in _descriptions(session, network) if network is not None else []:
            place = _dhcp_place(description, address)
            for host in _hosts(description):
                if place is not None and _is_of(host, mac) and host.get(_IP) == str(address):
                    _update(session, network, libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE, place, host, flag)


def reservations(session: Session) -> list[tuple[str, str, ipaddress.IPv4Address | ipaddress.IPv6Address]]:
    """Return every host entry of every network once: network, hardware address, address."""
    found = []
    for network in session.call(session.conn.listAllNetworks, 0):
        name = session.call(network.name)
        for _, description in _descriptions(session, network):
            found += [(name, _mac(host), _parsed(host.get(_IP, ""))) for host in _hosts(description) if host.get(_IP)]
    return list(dict.fromkeys(found))


def _every(session: Session, network: Any, name: str) -> Iterator[AddressObservation]:
    servers: dict[str, str] = {}
    given: list[AddressObservation] = []
    for domain in session.call(session.conn.listAllDomains, 0):
        description = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
        if description is None:
            continue
        ref, macs = description.findtext("uuid", ""), macs_of(description)
        servers |= dict.fromkeys(macs, ref)
        ours = metadata.from_domain(description)
        if ours is not None and networks_of(description)[:1] == (name,):
            first = macs[0] if macs else None
            given += [AddressObservation(address, name, ref, first, "seed") for address in ours.addresses]
    yield from given
    for lease in session.attempt(network.DHCPLeases, None, 0, absent=_NO_LEASES) or []:
        owner = f"lease {lease.get('hostname') or ''}".strip()
        address = str(_parsed(lease["ipaddr"]))
        yield AddressObservation(address, name, servers.get(lease["mac"]), lease["mac"], owner)
    for _, description in _descriptions(session, network):
        for host in _hosts(description):
            if address := host.get(_IP, ""):
                mac = _mac(host)
                yield AddressObservation(str(_parsed(address)), name, servers.get(mac), mac, "reservation")
        for ip in description.findall("ip"):
            yield AddressObservation(str(_parsed(ip.get("address", ""))), name, None, None, "host")


def _descriptions(session: Session, network: Any) -> list[tuple[int, ET.Element]]:
    """Return a network as it runs and as it is stored, each with the flag that changes it."""
    found = []
    if session.attempt(network.isActive, absent=_NO_NETWORK):
        text = session.attempt(network.XMLDesc, 0, absent=_NO_NETWORK)
        found += [(libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE, parse(text))] if text else []
    if session.attempt(network.isPersistent, absent=_NO_NETWORK):
        text = session.attempt(network.XMLDesc, libvirt.VIR_NETWORK_XML_INACTIVE, absent=_NO_NETWORK)
        found += [(libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG, parse(text))] if text else []
    return found


def _update(session: Session, network: Any, command: int, place: int, host: ET.Element, flag: int) -> None:
    # Refused when it is there, or gone, already: what counts is what stands afterwards, and callers look.
    section, text = libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, ET.tostring(host, encoding="unicode")
    session.attempt(network.update, command, section, place, text, flag, absent=_NOT_UPDATED)


def _hosts(description: ET.Element) -> list[ET.Element]:
    return description.findall("ip/dhcp/host")


def _host_entry(mac: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ET.Element:
    # DHCPv6 knows clients by DUID, not by hardware address; this is the one made of it (RFC 8415, 11.4: DUID-LL).
    identity = {"mac": mac} if address.version == 4 else {"id": f"{_DUID_LL}{mac}"}  # noqa: PLR2004 - IP versions
    return ET.Element("host", {**identity, _IP: str(address)})


_DUID_LL = "00:03:00:01:"


def _mac(host: ET.Element) -> str:
    return host.get("mac") or host.get("id", "").removeprefix(_DUID_LL)


def _is_of(host: ET.Element, mac: str) -> bool:
    return _mac(host).lower() == mac


def _version(host: ET.Element) -> int:
    return _parsed(host.get(_IP, "")).version


def _dhcp_place(description: ET.Element, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int | None:
    for place, ip in enumerate(description.findall("ip")):
        if ip.find("dhcp") is not None and address in ipaddress.ip_network(cidr_of(ip)):
            return place
    return None


def _ranges(description: ET.Element) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(cidr_of(ip)) for ip in description.findall("ip")]


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        return ipaddress.ip_address(address)
    except ValueError:
        raise InvalidSpec(N_("A fixed address is not an IP address."), detail=repr(address)) from None

"""Which ports of a server are open: a network filter of our own, named by the token and bound to each of its cards.

Two floors say the same (https://libvirt.org/formatnwfilter.html). Rules on frames (ebtables) hold on every network and
know no connections, so answers come in through ports from 32768 up and by ICMP. Rules on packets (iptables) know
connections and close those too, where frames are bridged and the host hands them to iptables
(`net.bridge.bridge-nf-call-iptables`); packets the host itself routes to the network pass only the first floor.
"""

import ipaddress
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from typing import Any

import libvirt

from cloudmgr.domain.messages import N_
from providers.base import PortRule
from providers.errors import InvalidSpec, Unsupported
from providers.libvirt import stages
from providers.libvirt.connection import Session
from providers.libvirt.observe import describe
from providers.libvirt.options import LibvirtOptions
from providers.libvirt.tree import parse

PREFIX = "cloudmgr-"
_OPENED, _NEEDED, _CLOSED = "500", "600", "1000"
"""Priorities: what was asked for, what a server cannot do without, everything else."""
_ANSWERS_FROM = 32768
"""First port of Linux's net.ipv4.ip_local_port_range."""
_SSH = 22
_V4 = 4
_HIGHEST = 65535
_NO_NETWORK = {libvirt.VIR_ERR_NO_NETWORK}
_NO_FILTER = {libvirt.VIR_ERR_NO_NWFILTER}
_NO_FILTERS_HERE = {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_UNSUPPORTED}
_KEPT = {libvirt.VIR_ERR_NO_NWFILTER, libvirt.VIR_ERR_OPERATION_INVALID, *_NO_FILTERS_HERE}
_PLACES = {"tcp", "udp", "icmp"}
Ports = tuple[int | None, int | None]


def filter_name(token: uuid.UUID) -> str:
    """Return the name of a server's filter."""
    return f"{PREFIX}{token}"


def are_here(session: Session) -> bool:
    """Tell whether the host has network filters."""
    return session.attempt(session.conn.numOfNWFilters, absent=_NO_FILTERS_HERE) is not None


def set_rules(
    session: Session, options: LibvirtOptions, domain: Any, token: uuid.UUID, rules: Sequence[PortRule]
) -> None:
    """Let exactly these in and nothing else; a server without a card has nothing to open.

    Raises:
        InvalidSpec: a rule that says nothing libvirt could hold. Unsupported: the server is not ours, or a card of it
            has somebody else's filter.
    """
    stages.read(session, domain)
    description = filter_xml(token, rules, options)
    for _, card in _cards(session, domain):
        bound = card.find("filterref")
        if bound is not None and bound.get("filter") != filter_name(token):
            raise Unsupported(
                N_("Somebody else filters this server's network card; that filter was left alone."),
                detail=f"filter {bound.get('filter')}",
            )
        _require_filterable(session, card)
    session.change(session.conn.nwfilterDefineXML, description)
    _bind(session, domain, token)


def rebind(session: Session, domain: Any, token: uuid.UUID) -> None:
    """Bind a server's filter again, if it has one: a snapshot of an earlier time brings back cards without it."""
    if session.attempt(session.conn.nwfilterLookupByName, filter_name(token), absent=_KEPT) is not None:
        _bind(session, domain, token)


def list_rules(session: Session, domain: Any, token: uuid.UUID) -> list[PortRule]:
    """Return what we opened; nothing where the filter is not bound to every card, as after a cut-off call."""
    if any(card.find("filterref") is None for _, card in _cards(session, domain)):
        return []
    found = session.attempt(session.conn.nwfilterLookupByName, filter_name(token), absent=_NO_FILTER)
    return rules_of(parse(session.call(found.XMLDesc, 0))) if found is not None else []


def remove(session: Session, token: uuid.UUID) -> None:
    """Remove a server's filter, which no running card may use any more; the absent succeeds (P3)."""
    found = session.attempt(session.conn.nwfilterLookupByName, filter_name(token), absent=_KEPT)
    if found is not None:
        session.attempt(found.undefine, absent=_NO_FILTER)


def names(session: Session) -> list[str]:
    """Return the names of every filter cloudmgr made."""
    filters = session.attempt(session.conn.listAllNWFilters, 0, absent=_NO_FILTERS_HERE) or []
    return sorted(name for one in filters if (name := session.call(one.name)).startswith(PREFIX))


def passes_filters(network: ET.Element) -> bool:
    """Tell whether a network's frames pass a Linux bridge of the host: macvtap, SR-IOV and Open vSwitch go past its filters."""
    virtual = network.find("virtualport")
    return network.find("bridge") is not None and (virtual is None or virtual.get("type") != "openvswitch")


def filter_xml(token: uuid.UUID, rules: Sequence[PortRule], options: LibvirtOptions) -> str:
    """Return the filter's description; its UUID is the token, so that the same server never gets two.

    Raises:
        InvalidSpec
    """
    root = ET.Element("filter", name=filter_name(token), chain="root")
    ET.SubElement(root, "uuid").text = str(token)
    for rule in rules:
        _check(rule)
        source = ipaddress.ip_network(rule.source, strict=False)
        _let_in(root, source, rule.protocol, (rule.port_from, rule.port_to or rule.port_from), key=rule.key)
    for given in options.management_sources:
        _let_in(root, given, "tcp", (_SSH, _SSH))
        _let_in(root, given, "icmp", (None, None))
    _let_needed_in(root)
    for protocol in ("ip", "ipv6", "all", "all-ipv6"):
        ET.SubElement(ET.SubElement(root, "rule", action="drop", direction="in", priority=_CLOSED), protocol)
    return ET.tostring(root, encoding="unicode")


def rules_of(description: ET.Element) -> list[PortRule]:
    """Return the rules a filter of ours was made of."""
    return list(_read(description))


def _read(description: ET.Element) -> Iterator[PortRule]:
    for rule in description.findall("rule"):
        frame = rule.find("ip") if rule.find("ip") is not None else rule.find("ipv6")
        if frame is None or not (key := frame.get("comment")):
            continue
        first, last = frame.get("dstportstart"), frame.get("dstportend")
        any_source = "0.0.0.0/0" if frame.tag == "ip" else "::/0"
        address = frame.get("srcipaddr")
        protocol = (frame.get("protocol") or "").removesuffix("v6")
        yield PortRule(
            key=key,
            source=str(ipaddress.ip_network(f"{address}/{frame.get('srcipmask')}")) if address else any_source,
            protocol=_PROTOCOL_NAMES.get(protocol, protocol),
            port_from=int(first) if first else None,
            port_to=int(last or first or 0) if first else None,
        )


_PROTOCOL_NAMES = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmp"}


def _check(rule: PortRule) -> None:
    try:
        ipaddress.ip_network(rule.source, strict=False)
    except ValueError:
        raise InvalidSpec(N_("A port rule's source is a range of addresses, as 10.0.0.0/8.")) from None
    ports = (rule.port_from, rule.port_to or rule.port_from)
    if rule.protocol not in _PLACES:
        raise InvalidSpec(N_("A port rule is of tcp, udp or icmp; {protocol} is none."), protocol=rule.protocol)
    if rule.protocol == "icmp":
        fits = ports == (None, None)
    else:
        fits = ports[0] is not None and ports[1] is not None and 1 <= ports[0] <= ports[1] <= _HIGHEST
    if not fits:
        raise InvalidSpec(N_("A port rule of tcp or udp has ports from 1 to 65535, the first not above the last."))


def _let_in(root: ET.Element, source: Any, protocol: str, ports: Ports, *, key: str = "") -> None:
    v4 = source.version == _V4
    frame = {"protocol": protocol if v4 or protocol != "icmp" else "icmpv6"}
    packet: dict[str, str] = {}
    if source.prefixlen:
        place = {"srcipaddr": str(source.network_address), "srcipmask": str(source.prefixlen)}
        frame, packet = frame | place, packet | place
    if ports[0] is not None:
        span = {"dstportstart": str(ports[0]), "dstportend": str(ports[1])}
        frame, packet = frame | span, packet | span
    if key:
        frame["comment"] = key
    _accept(root, "ip" if v4 else "ipv6", frame, _OPENED)
    _accept(root, protocol if v4 else {"icmp": "icmpv6"}.get(protocol, f"{protocol}-ipv6"), packet, _OPENED)


def _let_needed_in(root: ET.Element) -> None:
    for frame in ("ip", "ipv6"):
        for protocol in ("tcp", "udp"):
            _accept(
                root, frame, {"protocol": protocol, "dstportstart": str(_ANSWERS_FROM), "dstportend": str(_HIGHEST)}
            )
    _accept(root, "ip", {"protocol": "icmp"})
    _accept(root, "ipv6", {"protocol": "icmpv6"})
    for frame, packet, server, client in (("ip", "udp", "67", "68"), ("ipv6", "udp-ipv6", "547", "546")):
        ports = {"srcportstart": server, "dstportstart": client}
        _accept(root, frame, {"protocol": "udp", **ports})
        _accept(root, packet, ports)
    for kind in ("1", "2", "3", "4", "133", "134", "135", "136"):  # errors and neighbour discovery: RFC 4890, 4.3
        _accept(root, "icmpv6", {"type": kind})
    for packet in ("all", "all-ipv6"):
        _accept(root, packet, {"state": "ESTABLISHED,RELATED"})
        _accept(root, packet, {"state": "NEW,ESTABLISHED,RELATED"}, direction="out")


def _accept(
    root: ET.Element, protocol: str, attributes: dict[str, str], priority: str = _NEEDED, direction: str = "in"
) -> None:
    rule = ET.SubElement(root, "rule", action="accept", direction=direction, priority=priority)
    ET.SubElement(rule, protocol, attributes)


def _bind(session: Session, domain: Any, token: uuid.UUID) -> None:
    for flag, card in _cards(session, domain):
        if card.find("filterref") is None:
            ET.SubElement(card, "filterref", filter=filter_name(token))
            session.change(domain.updateDeviceFlags, ET.tostring(card, encoding="unicode"), flag)


def _require_filterable(session: Session, card: ET.Element) -> None:
    source = card.find("source")
    name = source.get("network") if source is not None else None
    network = name and session.attempt(session.conn.networkLookupByName, name, absent=_NO_NETWORK)
    if network and not passes_filters(parse(session.call(network.XMLDesc, 0))):
        raise Unsupported(
            N_("This server's network does not pass the host's filters; open ports at the network's firewall."),
            detail=f"network {name}",
        )


def _cards(session: Session, domain: Any) -> list[tuple[int, ET.Element]]:
    """Return each card as it is stored and, where the server is on, as it runs, with the flag that changes it."""
    found = []
    stored = describe(session, domain, libvirt.VIR_DOMAIN_XML_INACTIVE)
    if stored is not None:
        found += [(libvirt.VIR_DOMAIN_AFFECT_CONFIG, card) for card in stored.findall("devices/interface")]
    if session.call(domain.isActive):
        running = describe(session, domain)
        if running is not None:
            found += [(libvirt.VIR_DOMAIN_AFFECT_LIVE, card) for card in running.findall("devices/interface")]
    return found

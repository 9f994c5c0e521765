"""Opened ports as rules of the server's own security group; each carries the keys of its openings in its description."""

import ipaddress
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from cloudmgr.domain.messages import N_
from providers.base import PortRule
from providers.errors import InvalidSpec, Unsupported
from providers.libcloud.ec2.objects import SERVER, get, groups
from providers.libcloud.ec2.servers import of_token
from providers.libcloud.ec2.wire import Wire, items, text

OURS = "cloudmgr:"
"""Begins the description of a rule of ours; rules that others added to the group are left alone."""
LIMIT_CHARS = 255

Opening = tuple[str, str, int, int]
"""Protocol, source, first and last port as EC2 writes them; EC2 keeps one rule of each."""


def set_rules(wire: Wire, ref: str, rules: Sequence[PortRule]) -> None:
    """Open exactly these; a rule is opened before others are closed, and its keys are changed without closing it."""
    group = _group(wire, ref)
    wanted: dict[Opening, str] = {}
    for rule in rules:
        opening = _opening(rule)
        keys = sorted({*filter(None, wanted.get(opening, "").split(",")), rule.key})
        wanted[opening] = ",".join(keys)
        if len(OURS + wanted[opening]) > LIMIT_CHARS or any("," in key for key in keys):
            raise InvalidSpec(N_("Too many openings ask for the same ports from the same source."), detail=rule.key)
    there = dict(_ours(group))
    for opening, keys_of_it in wanted.items():
        if opening not in there:
            wire.ask("AuthorizeSecurityGroupIngress", _params(group["ref"], opening, keys_of_it))
        elif there[opening] != keys_of_it:
            wire.ask("UpdateSecurityGroupRuleDescriptionsIngress", _params(group["ref"], opening, keys_of_it))
    for opening, keys_of_it in there.items():
        if opening not in wanted:
            wire.ask("RevokeSecurityGroupIngress", _params(group["ref"], opening, keys_of_it))


def list_rules(wire: Wire, ref: str) -> list[PortRule]:
    """Return what we had opened."""
    found = []
    for (protocol, source, first, last), keys in _ours(_group(wire, ref)):
        is_icmp = protocol in ("icmp", "icmpv6")
        ports = (None, None) if is_icmp else (first, last)
        found += [PortRule(key, source, "icmp" if is_icmp else protocol, *ports) for key in keys.split(",")]
    return found


def _group(wire: Wire, ref: str) -> dict[str, Any]:
    token: uuid.UUID | None = get(wire, ref).token
    found = groups(wire, of_token(token, SERVER)) if token else []
    if not found:
        raise Unsupported(N_("This server has no security group of ours, so its ports are opened in the cloud itself."))
    return found[0]


def _opening(rule: PortRule) -> Opening:
    source = ipaddress.ip_network(rule.source, strict=False)
    if rule.protocol == "icmp":
        return ("icmp" if source.version == 4 else "icmpv6"), str(source), -1, -1  # noqa: PLR2004 - IPv4
    if rule.protocol not in ("tcp", "udp"):
        raise InvalidSpec(N_("The cloud cannot build exactly this."), detail=f"protocol {rule.protocol}")
    first = 0 if rule.port_from is None else rule.port_from
    return rule.protocol, str(source), first, 65535 if rule.port_from is None else rule.port_to or first


def _ours(group: dict[str, Any]) -> Iterator[tuple[Opening, str]]:
    for element in items(group["element"], "ipPermissions/item"):
        protocol = text(element, "ipProtocol") or ""
        first, last = int(text(element, "fromPort") or -1), int(text(element, "toPort") or -1)
        ranges = [(text(one, "cidrIp"), text(one, "description")) for one in items(element, "ipRanges/item")]
        ranges += [(text(one, "cidrIpv6"), text(one, "description")) for one in items(element, "ipv6Ranges/item")]
        for source, said in ranges:
            if source and (said or "").startswith(OURS):
                yield (protocol, source, first, last), (said or "").removeprefix(OURS)


def _params(group: str, opening: Opening, keys: str) -> dict[str, str | int]:
    protocol, source, first, last = opening
    root = "IpPermissions.1"
    ranges, name = (f"{root}.Ipv6Ranges.1", "CidrIpv6") if ":" in source else (f"{root}.IpRanges.1", "CidrIp")
    return {
        "GroupId": group,
        f"{root}.IpProtocol": protocol,
        f"{root}.FromPort": first,
        f"{root}.ToPort": last,
        f"{ranges}.{name}": source,
        f"{ranges}.Description": OURS + keys,
    }

"""Addresses in use, opened ports and public addresses: Neutron's ports, security groups and floating IPs."""

import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from cloudmgr.domain.messages import N_
from providers.base import AddressObservation, PortRule, PublicAddressObservation
from providers.errors import InvalidSpec, Unsupported
from providers.openstack import errors, lookup, words
from providers.openstack.catalogue import Catalogue
from providers.openstack.connection import Cloud

_ANY = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}
_PING = {"IPv4": "icmp", "IPv6": "ipv6-icmp"}
Content = tuple[str, str, str, int | None, int | None]
"""What Neutron holds to be one rule: ethertype, source, protocol and ports, whoever asked for it."""


def addresses(cloud: Cloud, catalogue: Catalogue, network: str) -> list[AddressObservation]:
    """Return every address of a network that a port we may see has."""
    if network not in catalogue.networks.get(anew=True):
        raise errors.not_found(f"network {network[:100]!r}")
    found = []
    for port in cloud.pages("network", "/ports", "ports", network_id=network):
        owner = str(port.get("device_owner") or "")
        server = port.get("device_id") if owner.startswith("compute:") else None
        found += [
            AddressObservation(
                address=str(ipaddress.ip_address(fixed["ip_address"])),
                network=network,
                server=server or None,
                mac=port.get("mac_address"),
                owner=owner,
            )
            for fixed in port.get("fixed_ips") or ()
        ]
    return found


# Opened ports


def set_rules(cloud: Cloud, ref: str, rules: Sequence[PortRule]) -> None:
    """Open exactly these by a security group of the server's own, beside whatever groups others gave it."""
    row = lookup.server(cloud, ref)
    wanted = _wanted(rules)
    group = _group(cloud, row) or (_make_group(cloud, row) if wanted else None)
    if group is None:
        return
    for port in _cards(cloud, row["id"]):
        groups = list(port.get("security_groups") or ())
        if group["id"] not in groups:
            body = {"port": {"security_groups": [*groups, group["id"]]}}
            cloud.change("network", "PUT", f"/ports/{port['id']}", body)
    standing = {_content(rule): rule for rule in _ingress(group)}
    for content, rule in standing.items():
        if wanted.get(content) != rule.get("description"):
            cloud.remove("network", f"/security-group-rules/{rule['id']}")
    for content, keys in wanted.items():
        if content not in standing or standing[content].get("description") != keys:
            _open(cloud, group["id"], content, keys)


def list_rules(cloud: Cloud, ref: str) -> list[PortRule]:
    """Return what our group opens; one rule of Neutron's may serve several openings."""
    group = _group(cloud, lookup.server(cloud, ref))
    if group is None:
        return []
    found = []
    for rule in _ingress(group):
        _, source, protocol, low, high = _content(rule)
        plain = "icmp" if protocol in _PING.values() else protocol
        found += [PortRule(key, source, plain, low, high) for key in str(rule.get("description") or "").split()]
    return found


def _wanted(rules: Sequence[PortRule]) -> dict[Content, str]:
    keys: dict[Content, set[str]] = {}
    for rule in rules:
        try:
            source = ipaddress.ip_network(rule.source, strict=False)
        except ValueError as error:
            raise InvalidSpec(N_("{source} is not a range of addresses."), source=rule.source) from error
        kind = f"IPv{source.version}"
        protocol = _PING[kind] if rule.protocol == "icmp" else rule.protocol
        keys.setdefault((kind, str(source), protocol, rule.port_from, rule.port_to), set()).add(rule.key)
    return {content: " ".join(sorted(named)) for content, named in keys.items()}


def _content(rule: Mapping[str, Any]) -> Content:
    kind = str(rule["ethertype"])
    source = rule.get("remote_ip_prefix") or _ANY[kind]
    protocol = str(rule.get("protocol") or "any")
    if protocol == "icmpv6":
        protocol = _PING["IPv6"]
    return kind, source, protocol, rule.get("port_range_min"), rule.get("port_range_max")


def _open(cloud: Cloud, group: str, content: Content, keys: str) -> None:
    kind, source, protocol, low, high = content
    rule = {
        "security_group_id": group,
        "direction": "ingress",
        "ethertype": kind,
        "protocol": protocol,
        "remote_ip_prefix": source,
        "port_range_min": low,
        "port_range_max": high,
        "description": keys,
    }
    cloud.change("network", "POST", "/security-group-rules", {"security_group_rule": rule})


def _ingress(group: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        rule for rule in group["security_group_rules"] if rule["direction"] == "ingress" and rule.get("description")
    ]


def _group(cloud: Cloud, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return next(iter(lookup.groups_named(cloud, _group_name(row))), None)


def _make_group(cloud: Cloud, row: Mapping[str, Any]) -> Mapping[str, Any]:
    body = {"security_group": {"name": _group_name(row), "description": "opened by request"}}
    made: Mapping[str, Any] = cloud.change("network", "POST", "/security-groups", body)["security_group"]
    return made


def _group_name(row: Mapping[str, Any]) -> str:
    return words.thing_name(words.token_of(row.get("metadata")) or uuid.UUID(row["id"]))


def _cards(cloud: Cloud, server: str) -> list[Mapping[str, Any]]:
    return list(cloud.pages("network", "/ports", "ports", device_id=server))


# Public addresses


def assign(cloud: Cloud, catalogue: Catalogue, ref: str, token: uuid.UUID) -> PublicAddressObservation:
    """Lead the token's address to the server, taking one where it has none.

    Raises:
        NotFound: no such server. Unsupported: it has no card with an IPv4 address, or no network leads outside.
    """
    row = lookup.server(cloud, ref)
    card = next((port for port in _cards(cloud, row["id"]) if _has_v4(port)), None)
    if card is None:
        raise Unsupported(N_("The server has no IPv4 address that a public one could lead to."))
    standing = _floating(cloud, token)
    if not standing:
        body = {
            "floating_network_id": _outside(cloud, catalogue),
            "port_id": card["id"],
            "description": words.thing_name(token),
        }
        made = cloud.change("network", "POST", "/floatingips", {"floatingip": body})["floatingip"]
        standing = _floating(cloud, token) or [made]
        if standing[0]["id"] != made["id"]:  # another call was first
            cloud.remove("network", f"/floatingips/{made['id']}")
    if standing[0].get("port_id") != card["id"]:
        change = {"floatingip": {"port_id": card["id"]}}
        standing[0] = cloud.change("network", "PUT", f"/floatingips/{standing[0]['id']}", change)["floatingip"]
    return _observe_public(cloud, standing[0], token)


def find_public(cloud: Cloud, token: uuid.UUID) -> PublicAddressObservation | None:
    """Return the address of a token."""
    rows = _floating(cloud, token)
    return _observe_public(cloud, rows[0], token) if rows else None


def release(cloud: Cloud, token: uuid.UUID) -> None:
    """Give back every address of a token."""
    for row in _floating(cloud, token):
        cloud.remove("network", f"/floatingips/{row['id']}")


def _floating(cloud: Cloud, token: uuid.UUID) -> list[Any]:
    name = words.thing_name(token)
    rows = cloud.pages("network", "/floatingips", "floatingips", description=name)
    return sorted(
        (row for row in rows if row.get("description") == name),
        key=lambda row: (row.get("created_at") or "", row["id"]),
    )


def _observe_public(cloud: Cloud, row: Mapping[str, Any], token: uuid.UUID) -> PublicAddressObservation:
    server = None
    if port := row.get("port_id"):
        answer = cloud.find("network", f"/ports/{port}")
        server = (answer or {}).get("port", {}).get("device_id") or None
    address = str(ipaddress.ip_address(row["floating_ip_address"]))
    return PublicAddressObservation(ref=row["id"], address=address, token=token, server=server)


def _outside(cloud: Cloud, catalogue: Catalogue) -> str:
    named = cloud.options.public_network
    outside = [network for network in catalogue.networks.get().values() if network.is_external]
    found = [network.ref for network in outside if named is None or named in {network.ref, network.name}]
    if len(found) != 1:
        raise Unsupported(N_("Say in the settings which network public addresses come from: there is not just one."))
    return found[0]


def _has_v4(port: Mapping[str, Any]) -> bool:
    return any(ipaddress.ip_address(one["ip_address"]).version == 4 for one in port.get("fixed_ips") or ())  # noqa: PLR2004

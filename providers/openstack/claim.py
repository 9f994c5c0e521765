"""Who may create for a token: the first port made for it is the claim, and the server that holds that port is the server.

Nova has no key that makes a create happen once. So a creation first makes a port named by the token, then looks who else
has made one: whoever sees another's steps back (Busy) and is called again. A port left by a process that ended is taken
over after `claim_s`, by a change that Neutron makes only if nobody changed the port in between. Should a creation that
was thought dead go on after all, both ask for the same port: Nova gives it to one server and the other ends in ERROR,
where `lookup.servers_of` ranks it last and the next delete removes it.
"""

import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from cloudmgr.domain import clock
from providers.base import FixedAddress, NetworkObservation
from providers.openstack import errors, lookup, words
from providers.openstack.connection import Cloud
from providers.openstack.observe import when

_CLAIM = "claim "
PRECONDITION_FAILED = 412


def take(
    cloud: Cloud,
    token: uuid.UUID,
    claimant: str,
    network: NetworkObservation,
    addresses: Sequence[FixedAddress],
    groups: Sequence[str] | None,
) -> str:
    """Return the port that is ours alone to give to a server, made as the spec wants it.

    Raises:
        Busy: another creation under this token is under way. AddressTaken: the address is in use.
    """
    claims = [port for port in lookup.ports_of(cloud, token) if is_claim(port)]
    for port in claims:
        if not let_go(cloud, port):
            raise errors.busy(f"port {port['id']} is still held by {port['device_id']}")
        if not _is_ours(port, claimant) and not _is_given_up(port, cloud.options.claim_s):
            raise errors.busy(f"port {port['id']} was claimed by another creation")
    if len(claims) == 1 and _fits(claims[0], network, addresses):
        return _adopt(cloud, claims[0], claimant)
    for port in claims:  # of another zone's network, of an address that was taken, or of a race nobody won
        cloud.remove("network", f"/ports/{port['id']}")
    made = make_port(cloud, token, network, addresses, groups, _CLAIM + claimant)
    rivals = [port for port in lookup.ports_of(cloud, token) if is_claim(port) and port["id"] != made]
    if rivals:
        cloud.remove("network", f"/ports/{made}")
        raise errors.busy(f"port {rivals[0]['id']} was claimed at the same moment")
    return made


def make_port(
    cloud: Cloud,
    token: uuid.UUID,
    network: NetworkObservation,
    addresses: Sequence[FixedAddress],
    groups: Sequence[str] | None,
    description: str,
) -> str:
    """Make a port named by the token; return its reference."""
    port: dict[str, Any] = {
        "network_id": network.ref,
        "name": words.thing_name(token),
        "description": description,
        "device_owner": words.CLAIM,
        "admin_state_up": True,
    }
    if fixed := fixed_ips(network, addresses):
        port["fixed_ips"] = fixed
    if groups is not None:
        port["security_groups"] = list(groups)
    return str(cloud.change("network", "POST", "/ports", {"port": port})["port"]["id"])


def fixed_ips(network: NetworkObservation, addresses: Sequence[FixedAddress]) -> list[dict[str, str]]:
    """Return what Neutron is asked for: the addresses told, and any of the other family's first subnet."""
    if not addresses:
        return []
    asked, versions = [], set()
    for one in addresses:
        address = ipaddress.ip_address(one.address)
        versions.add(address.version)
        subnet = next(s for s in network.subnets if address in ipaddress.ip_network(s.cidr))
        asked.append({"subnet_id": subnet.ref, "ip_address": str(address)})
    for subnet in network.subnets:
        if (version := ipaddress.ip_network(subnet.cidr).version) not in versions:
            versions.add(version)
            asked.append({"subnet_id": subnet.ref})
    return asked


def let_go(cloud: Cloud, port: Mapping[str, Any]) -> bool:
    """Tell whether no server holds a port; one still bound to a server that is gone is freed after `claim_s`.

    Nova frees it when it has taken the server down, which the list of servers may be ahead of; should the hypervisor have
    died meanwhile, nobody ever does, and Neutron lets no member delete a port that a server seems to hold.
    """
    if not port.get("device_id") and not str(port.get("device_owner") or "").startswith("compute:"):
        return True
    is_held = bool(port.get("device_id")) and lookup.find(cloud, port["device_id"]) is not None
    if is_held or not _is_given_up(port, cloud.options.claim_s):
        return False
    freed = {"port": {"device_id": "", "device_owner": words.CLAIM}}
    return cloud.call("network", "PUT", f"/ports/{port['id']}", body=freed, write=True, absent=True) is not None


def is_claim(port: Mapping[str, Any]) -> bool:
    """Tell whether a port is its token's first."""
    return str(port.get("description") or "").startswith(_CLAIM)


def _adopt(cloud: Cloud, port: Mapping[str, Any], claimant: str) -> str:
    if not _is_ours(port, claimant):
        answer = cloud.call(
            "network",
            "PUT",
            f"/ports/{port['id']}",
            body={"port": {"description": _CLAIM + claimant}},
            headers={"If-Match": f"revision_number={port['revision_number']}"},
            write=True,
            absent=True,
            gone=(404, PRECONDITION_FAILED),
        )
        if answer is None:
            raise errors.busy(f"port {port['id']} was taken over by another creation")
    return str(port["id"])


def _is_ours(port: Mapping[str, Any], claimant: str) -> bool:
    return bool(port.get("description") == _CLAIM + claimant)


def _is_given_up(port: Mapping[str, Any], claim_s: float) -> bool:
    touched = when(port.get("updated_at") or port.get("created_at"))
    return touched is None or clock.now() - touched > timedelta(seconds=claim_s)


def _fits(port: Mapping[str, Any], network: NetworkObservation, addresses: Sequence[FixedAddress]) -> bool:
    if port.get("network_id") != network.ref:
        return False
    has = {ipaddress.ip_address(one["ip_address"]) for one in port.get("fixed_ips") or ()}
    return all(ipaddress.ip_address(one.address) in has for one in addresses)

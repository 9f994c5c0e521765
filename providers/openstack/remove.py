"""Taking away a server and what was made for it, so that something of it stays findable until everything is gone.

The first port goes last: while it is there `find_server` says so, and a deletion that was cut off is gone on with.
Volumes and public addresses have tokens of their own and outlive the server.
"""

import uuid

from providers.openstack import claim, lookup, spread, words
from providers.openstack.connection import Cloud

_REMOVABLE = {"available", "error", "error_deleting"}


def by_ref(cloud: Cloud, ref: str) -> None:
    """Remove one server, ours or not, or what is left of one that never was; the absent succeeds (P3)."""
    if (token := words.token_of_half(ref)) is not None:
        by_token(cloud, token)
    elif (row := lookup.find(cloud, ref)) is not None:
        if (token := words.token_of(row.get("metadata"))) is not None:
            by_token(cloud, token)
        cloud.remove("compute", f"/servers/{row['id']}")


def by_token(cloud: Cloud, token: uuid.UUID) -> None:
    """Remove everything made for the server of a token, as far as the cloud lets go of it by now."""
    servers, ports = lookup.servers_and_ports(cloud, token)
    for row in servers:
        spread.forget(cloud, row, {each["id"] for each in servers})
        cloud.remove("compute", f"/servers/{row['id']}")
    for image in lookup.snapshots_of(cloud, token):
        cloud.remove("image", f"/images/{image['id']}")
    if servers:
        return  # its disk is removed by Nova with it, and its ports tell that it was here
    disks = lookup.data_disks_of(cloud, token)
    for disk in disks:
        if disk["status"] in _REMOVABLE:
            cloud.remove("volume", f"/volumes/{disk['id']}")
    if not all(claim.let_go(cloud, port) for port in ports):
        return
    _remove_groups(cloud, token, [port["id"] for port in ports])
    for port in ports:
        if not claim.is_claim(port):
            cloud.remove("network", f"/ports/{port['id']}")
    if disks and lookup.data_disks_of(cloud, token):
        return
    for port in ports:
        if claim.is_claim(port):
            cloud.remove("network", f"/ports/{port['id']}")


def _remove_groups(cloud: Cloud, token: uuid.UUID, ports: list[str]) -> None:
    groups = lookup.groups_named(cloud, words.thing_name(token))
    if not groups:
        return
    for port in ports:  # a group in use is not let go of
        cloud.change("network", "PUT", f"/ports/{port}", {"port": {"security_groups": []}})
    for group in groups:
        cloud.remove("network", f"/security-groups/{group['id']}")

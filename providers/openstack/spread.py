"""Servers of one group on different hosts as far as there are enough: Nova's server groups with soft anti-affinity.

A group is named by ours and removed with its last server. Two made at the same moment are made one by their identifiers.
"""

import uuid
from collections.abc import Collection, Mapping
from typing import Any

from providers.errors import ProviderError
from providers.openstack import words
from providers.openstack.connection import Cloud

SINCE_NOVA_13 = {"OpenStack-API-Version": "compute 2.15"}
"""Soft anti-affinity is the one thing asked for by microversion."""


def group_for(cloud: Cloud, spread: uuid.UUID) -> str:
    """Return Nova's group for ours, made where there is none."""
    if standing := _named(cloud, spread):
        return standing[0]
    body = {"server_group": {"name": words.thing_name(spread), "policies": ["soft-anti-affinity"]}}
    answer = cloud.call("compute", "POST", "/os-server-groups", body=body, headers=SINCE_NOVA_13, write=True)
    made = str(answer.body["server_group"]["id"])
    first = min([*_named(cloud, spread), made])
    if first != made:
        cloud.remove("compute", f"/os-server-groups/{made}")
    return first


def is_missing(error: ProviderError) -> bool:
    """Tell whether a server was refused because its group was removed with its last server meanwhile."""
    return "nstance group" in error.detail


def forget(cloud: Cloud, row: Mapping[str, Any], gone: Collection[str]) -> None:
    """Remove the group of a server when nobody but those that go is in it."""
    group = str((row.get("metadata") or {}).get(words.GROUP) or "")
    if not words.is_ref(group):
        return
    answer = cloud.find("compute", f"/os-server-groups/{group}")
    if answer is not None and set(answer["server_group"].get("members") or ()) <= set(gone):
        cloud.remove("compute", f"/os-server-groups/{group}")


def _named(cloud: Cloud, spread: uuid.UUID) -> list[str]:
    rows = cloud.get("compute", "/os-server-groups")["server_groups"]
    return sorted(str(row["id"]) for row in rows if row["name"] == words.thing_name(spread))

"""The cloud's own limits for our project: Nova's, Cinder's and Neutron's, each with its use."""

from collections.abc import Iterator, Mapping
from typing import Any

from providers.base import CloudQuotaObservation
from providers.errors import NotFound
from providers.openstack.connection import Cloud

_COMPUTE = {"instances": "servers", "cores": "vcpus", "ram": "memory_mib"}
_VOLUME = {"volumes": "volumes", "gigabytes": "volume_gib", "snapshots": "volume_snapshots"}
_NETWORK = {
    "port": "ports",
    "floatingip": "public_addresses",
    "security_group": "security_groups",
    "security_group_rule": "security_group_rules",
}


def read(cloud: Cloud) -> list[CloudQuotaObservation]:
    """Return limits and use; what a service does not tell is left out."""
    project = cloud.project_id()
    compute = cloud.get("compute", f"/os-quota-sets/{project}/detail")["quota_set"]
    volume = cloud.get("volume", f"/os-quota-sets/{project}", usage="true")["quota_set"]
    try:
        network = cloud.get("network", f"/quotas/{project}/details.json")["quota"]
    except NotFound:  # a Neutron without the extension `quota_details`
        network = {}
    return [*_read(_COMPUTE, compute), *_read(_VOLUME, volume), *_read(_NETWORK, network)]


def _read(names: Mapping[str, str], told: Mapping[str, Any]) -> Iterator[CloudQuotaObservation]:
    for theirs, ours in names.items():
        row = told.get(theirs)
        if isinstance(row, dict) and "limit" in row:
            limit = int(row["limit"])
            used = int(row.get("in_use", row.get("used")) or 0) + int(row.get("reserved") or 0)
            yield CloudQuotaObservation(ours, max(used, 0), limit if limit >= 0 else None)

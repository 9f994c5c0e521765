"""What the cloud keeps for a server, what nobody uses, and whether it is still there when asked by its own reference."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from providers.base import ResourceKind, ResourceObservation
from providers.openstack import lookup, words
from providers.openstack.connection import Cloud
from providers.openstack.observe import when
from providers.openstack.options import Service

_WHERE: Mapping[ResourceKind, tuple[Service, str, str | None]] = {
    ResourceKind.SERVER: ("compute", "/servers/{}", "server"),
    ResourceKind.VOLUME: ("volume", "/volumes/{}", "volume"),
    ResourceKind.SNAPSHOT: ("image", "/images/{}", None),
    ResourceKind.NIC: ("network", "/ports/{}", "port"),
    ResourceKind.ADDRESS: ("network", "/floatingips/{}", "floatingip"),
    ResourceKind.PORT_RULES: ("network", "/security-groups/{}", "security_group"),
}
SYSTEM_DISK = "system-disk-of-"
_GONE = {"DELETED", "SOFT_DELETED", "deleted", "pending_delete"}


def of_token(cloud: Cloud, token: uuid.UUID) -> list[ResourceObservation]:
    """Return everything made for the server, or the volume, of a token."""
    found = []
    servers = lookup.servers_of(cloud, token)
    for row in servers:
        found.append(_resource(ResourceKind.SERVER, row, token, created=row.get("created")))
        if row.get("image"):  # the disk beside the hypervisor, which has no name of its own
            disk = {"id": f"{SYSTEM_DISK}{row['id']}", "name": f"{row['name']}: system disk"}
            found.append(_resource(ResourceKind.DISK, disk, token, server=row["id"], created=row.get("created")))
    found += [_volume(row, token) for row in lookup.volumes_of(cloud, token)]
    found += [_resource(ResourceKind.SNAPSHOT, row, token) for row in lookup.snapshots_of(cloud, token)]
    ports = {row["id"]: row for row in lookup.ports_of(cloud, token)}
    for server in servers:
        ports |= {row["id"]: row for row in cloud.pages("network", "/ports", "ports", device_id=server["id"])}
    found += [_resource(ResourceKind.NIC, row, token, server=row.get("device_id")) for row in ports.values()]
    for row in lookup.groups_named(cloud, words.thing_name(token)):
        found.append(_resource(ResourceKind.PORT_RULES, row, token))
    public = cloud.pages("network", "/floatingips", "floatingips")
    found += [
        _address(row, token)
        for row in public
        if row.get("port_id") in ports or row.get("description") == words.thing_name(token)
    ]
    return found


def without_owner(cloud: Cloud) -> list[ResourceObservation]:
    """Return what no server uses, ours or not: volumes, cards, public addresses, and snapshots and groups of ours."""
    return list(_loose(cloud))


def still_there(cloud: Cloud, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
    """Ask for each by its own reference."""
    return [one for one in resources if _is_there(cloud, one)]


def _loose(cloud: Cloud) -> Iterator[ResourceObservation]:
    servers = {row["id"] for row in cloud.pages("compute", "/servers", "servers")}
    for row in cloud.pages("volume", "/volumes/detail", "volumes"):
        if not row.get("attachments") and row.get("status") in {"available", "error", "error_deleting"}:
            yield _volume(row, words.token_of(row.get("metadata")))
    used_groups = set()
    for row in cloud.pages("network", "/ports", "ports"):
        used_groups |= set(row.get("security_groups") or ())
        owner, device = str(row.get("device_owner") or ""), row.get("device_id")
        is_lost = owner.startswith("compute:") and device not in servers
        if not device or is_lost:
            yield _resource(ResourceKind.NIC, row, words.token_in_name(row.get("name")))
    for row in cloud.pages("network", "/floatingips", "floatingips"):
        if not row.get("port_id"):
            yield _address(row, words.token_in_name(row.get("description")))
    for row in cloud.pages("network", "/security-groups", "security_groups"):
        if (token := words.token_in_name(row["name"])) is not None and row["id"] not in used_groups:
            yield _resource(ResourceKind.PORT_RULES, row, token)
    for row in cloud.pages("image", "/images", "images", visibility="private"):
        if words.SNAPSHOT_OF in row and row[words.SNAPSHOT_OF] not in servers:
            yield _resource(ResourceKind.SNAPSHOT, row, words.token_of(row))


def _is_there(cloud: Cloud, one: ResourceObservation) -> bool:
    if one.kind is ResourceKind.DISK:
        service, path, key = (
            ("compute", "/servers/{}", "server") if one.ref.startswith(SYSTEM_DISK) else _WHERE[ResourceKind.VOLUME]
        )
    elif one.kind in _WHERE:
        service, path, key = _WHERE[one.kind]
    else:
        return False
    ref = one.ref.removeprefix(SYSTEM_DISK)
    if not words.is_ref(ref):
        return False
    answer = cloud.find(service, path.format(ref))
    if answer is None:
        return False
    row = answer if key is None else answer[key]
    return row.get("status") not in _GONE


def _volume(row: Mapping[str, Any], token: uuid.UUID | None) -> ResourceObservation:
    is_disk = (row.get("metadata") or {}).get(words.ROLE) == words.DATA_DISK
    server = next((one.get("server_id") for one in row.get("attachments") or ()), None)
    kind = ResourceKind.DISK if is_disk else ResourceKind.VOLUME
    return _resource(kind, row, token, server=server, size=int(row["size"]))


def _address(row: Mapping[str, Any], token: uuid.UUID | None) -> ResourceObservation:
    return _resource(ResourceKind.ADDRESS, {**row, "name": row["floating_ip_address"]}, token)


def _resource(
    kind: ResourceKind,
    row: Mapping[str, Any],
    token: uuid.UUID | None,
    *,
    server: str | None = None,
    size: int | None = None,
    created: str | None = None,
) -> ResourceObservation:
    return ResourceObservation(
        kind=kind,
        ref=row["id"],
        name=row.get("name") or row["id"],
        size_gib=size,
        token=token,
        server=server or None,
        created_at=when(created or row.get("created_at")),
    )

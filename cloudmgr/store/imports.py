"""SQL of taking servers into the ledger: what a sheet is matched with, read at once, and its rows written at once."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import addresses
from cloudmgr.domain.findings import FindingKind, FindingState
from cloudmgr.domain.phases import LIVE_SERVERS
from cloudmgr.models import (
    Address,
    Allocation,
    Backend,
    BackendShare,
    Finding,
    Flavor,
    Network,
    NetworkZone,
    ObservedServer,
    Organization,
    Project,
    Server,
    ServerVersion,
    Subnet,
    Zone,
    ZoneInventory,
)
from cloudmgr.store import paging
from cloudmgr.store.addresses import lock

_FOREIGN = (FindingKind.UNMANAGED.value, FindingKind.UNAUTHORISED.value)
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Candidate:
    """The little of a seen server that a row is matched by."""

    id: uuid.UUID
    backend_id: uuid.UUID
    name: str
    server_id: uuid.UUID | None
    names: tuple[str, ...]
    """What a row may call it by: reference, the guest's own uuid, its token, our id of what was seen."""
    addresses: tuple[str, ...]


def candidates(session: Session, backend_ids: Sequence[uuid.UUID]) -> Iterable[Candidate]:
    """Yield every server that these backends show now, as plain rows in batches."""
    query = (
        sa.select(
            col(ObservedServer.id),
            col(ObservedServer.backend_id),
            col(ObservedServer.name),
            col(ObservedServer.server_id),
            col(ObservedServer.ref),
            col(ObservedServer.native_uuid),
            col(ObservedServer.token),
            col(ObservedServer.ipv4),
            col(ObservedServer.ipv6),
        )
        .where(col(ObservedServer.backend_id).in_(backend_ids), col(ObservedServer.missing_since).is_(None))
        .order_by(col(ObservedServer.id))
    )
    with session.connection().execute(query, execution_options={"yield_per": _BATCH}) as found:
        for id_, backend_id, name, server_id, ref, native_uuid, token, ipv4, ipv6 in found:
            names = {str(each).lower() for each in (id_, ref, native_uuid, token) if each is not None}
            yield Candidate(id_, backend_id, name, server_id, tuple(names), (*ipv4, *ipv6))


def observed(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, ObservedServer]:
    """Return seen servers by id, locked: nobody else takes them over meanwhile."""
    return {
        row.id: row
        for piece in paging.batched(ids)
        for row in session.exec(
            select(ObservedServer)
            .where(col(ObservedServer.id).in_(piece))
            .order_by(col(ObservedServer.id))
            .with_for_update()
            .execution_options(populate_existing=True)
        )
    }


def backends(session: Session, *, paths: Sequence[str] | None) -> dict[uuid.UUID, Backend]:
    """Return backends by id; `paths` narrows them to those owned in these subtrees."""
    query = select(Backend)
    if paths is not None:
        query = query.join(Organization, col(Backend.owner_organization_id) == col(Organization.id)).where(
            paging.below(col(Organization.path), paths)
        )
    return {row.id: row for row in session.exec(query)}


def users_of(session: Session) -> dict[uuid.UUID, tuple[str | None, list[str]]]:
    """Return whose each backend is, and whom it is shared with, as paths."""
    owners = select(Backend.id, Organization.path).join(
        Organization, col(Backend.owner_organization_id) == col(Organization.id), isouter=True
    )
    found: dict[uuid.UUID, tuple[str | None, list[str]]] = {id_: (path, []) for id_, path in session.exec(owners)}
    shares = select(BackendShare.backend_id, Organization.path).join(
        Organization, col(BackendShare.organization_id) == col(Organization.id)
    )
    for backend_id, path in session.exec(shares):
        found[backend_id][1].append(path)
    return found


def zones(session: Session) -> dict[tuple[uuid.UUID, str], Zone]:
    """Return the pools by backend and reference."""
    return {(zone.backend_id, zone.ref): zone for zone in session.exec(select(Zone))}


def network_zones(session: Session) -> dict[str, bool]:
    """Return the active network zones, and whether a public cloud may carry each."""
    query = select(NetworkZone.name, NetworkZone.allows_public_cloud).where(col(NetworkZone.is_active))
    return dict(session.exec(query.order_by(col(NetworkZone.code))).all())


def flavors(session: Session) -> dict[tuple[int, int, int], uuid.UUID]:
    """Return the active flavors by size: vCPUs, MiB of memory, GiB of system disk; of equals the first by name."""
    found: dict[tuple[int, int, int], uuid.UUID] = {}
    for row in session.exec(select(Flavor).where(col(Flavor.is_active)).order_by(col(Flavor.name))):
        found.setdefault((row.vcpus, row.memory_mib, row.system_disk_gib), row.id)
    return found


def projects(
    session: Session, *, names: Sequence[str], codes: Sequence[str], paths: Sequence[str]
) -> list[tuple[Project, Organization]]:
    """Return the projects of these names or codes in the given subtrees."""
    query = select(Project, Organization).join(Organization, col(Project.organization_id) == col(Organization.id))
    found: dict[uuid.UUID, tuple[Project, Organization]] = {}
    for column, values in ((col(Project.name), names), (col(Project.system_code), codes)):
        for start in range(0, len(values), 500):
            some = query.where(column.in_(values[start : start + 500]), paging.below(col(Organization.path), paths))
            found |= {project.id: (project, organization) for project, organization in session.exec(some)}
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Held:
    """The little of a server of the ledger that a row is compared with. `path`: of its organization."""

    id: uuid.UUID
    name: str
    resource_no: str
    project_id: uuid.UUID
    path: str
    source: str
    phase: str
    arch: str
    vcpus: int
    memory_mib: int
    system_disk_gib: int
    data_disk_gib: int


_HELD = (
    sa.select(
        col(Server.id),
        col(Server.name),
        sa.func.coalesce(col(Server.resource_no), ""),
        col(Server.project_id),
        col(Organization.path),
        *(
            col(getattr(Server, name))
            for name in ("source", "phase", "arch", "vcpus", "memory_mib", "system_disk_gib", "data_disk_gib")
        ),
    )
    .select_from(Server)
    .join(Organization, col(Server.organization_id) == col(Organization.id))
)


def live_servers(session: Session, project_ids: Sequence[uuid.UUID]) -> Iterable[Held]:
    """Yield the servers of these projects that have their names still."""
    alive = col(Server.phase).in_([phase.value for phase in LIVE_SERVERS])
    for piece in paging.batched(project_ids):
        for found in session.connection().execute(_HELD.where(alive, col(Server.project_id).in_(piece))):
            yield Held(*found)


def servers_by_id(session: Session, ids: Sequence[uuid.UUID]) -> Iterable[Held]:
    """Yield these servers, whatever became of them."""
    for piece in paging.batched(ids):
        for found in session.connection().execute(_HELD.where(col(Server.id).in_(piece))):
            yield Held(*found)


def subnets(session: Session) -> list[tuple[Subnet, uuid.UUID | None]]:
    """Return every subnet with the backend it is at (None: kept for the ledger only)."""
    query = select(Subnet, Network.backend_id).join(Network, col(Subnet.network_id) == col(Network.id), isouter=True)
    return [(subnet, backend_id) for subnet, backend_id in session.exec(query)]


def taken(session: Session, wanted: Mapping[uuid.UUID, Sequence[str]]) -> set[tuple[uuid.UUID, str]]:
    """Return which of the addresses wanted of each subnet somebody has, as (subnet, key); the subnets are locked."""
    found: set[tuple[uuid.UUID, str]] = set()
    for subnet_id, texts in sorted(wanted.items()):
        lock(session, subnet_id)
        keys = [addresses.key_of(text) for text in texts]
        for start in range(0, len(keys), 500):
            query = select(Address.key).where(
                Address.subnet_id == subnet_id, col(Address.key).in_(keys[start : start + 500])
            )
            found |= {(subnet_id, key) for key in session.exec(query)}
    return found


def allocate(session: Session, servers: Sequence[Server], at: datetime) -> None:
    """Note the room that servers take of their pools already; not held to it: it is taken, whatever we say."""
    totals: dict[uuid.UUID, dict[str, int]] = {}
    rows: list[Allocation] = []
    for server in servers:
        if server.zone_id is None:
            continue
        amounts = {
            "vcpus": server.vcpus,
            "memory_mib": server.memory_mib,
            "disk_gib": server.system_disk_gib + server.data_disk_gib,
        }
        rows.append(Allocation(zone_id=server.zone_id, server_id=server.id, amounts=amounts, created_at=at))
        total = totals.setdefault(server.zone_id, {})
        for resource, amount in amounts.items():
            total[resource] = total.get(resource, 0) + amount
    for zone_id, total in sorted(totals.items()):
        session.execute(
            sa.update(Zone)
            .where(col(Zone.id) == zone_id)
            .values(generation=Zone.generation + 1)
            .execution_options(synchronize_session=False)
        )
        for resource, amount in total.items():
            session.execute(
                sa.update(ZoneInventory)
                .where(col(ZoneInventory.zone_id) == zone_id, col(ZoneInventory.resource) == resource)
                .values(used=ZoneInventory.used + amount)
                .execution_options(synchronize_session=False)
            )
    session.add_all(rows)
    session.flush()


def add(session: Session, rows: Sequence[Server | Address]) -> None:
    """Write new rows of one table."""
    session.add_all(rows)
    session.flush()


def add_versions(session: Session, rows: Sequence[ServerVersion]) -> None:
    """Write versions at once: their ids are the database's, and nobody asks for them (the ORM would, one by one)."""
    if rows:
        session.execute(sa.insert(ServerVersion), [row.model_dump(exclude={"id"}) for row in rows])


def settle(
    session: Session, refs: Mapping[tuple[uuid.UUID, str], uuid.UUID], *, by: str, reason: str, at: datetime
) -> int:
    """Close what the inbox says of servers that were not ours, (backend, reference) → the server it is now."""
    settled = 0
    by_backend: dict[uuid.UUID, dict[str, uuid.UUID]] = {}
    for (backend_id, ref), server_id in refs.items():
        by_backend.setdefault(backend_id, {})[ref] = server_id
    for backend_id, servers in by_backend.items():
        wanted = list(servers)
        for start in range(0, len(wanted), 500):
            for row in session.exec(
                select(Finding).where(
                    Finding.backend_id == backend_id,
                    col(Finding.kind).in_(_FOREIGN),
                    col(Finding.closed_at).is_(None),
                    col(Finding.ref).in_(wanted[start : start + 500]),
                )
            ):
                row.state, row.closed_at = FindingState.ACCEPTED.value, at
                row.decided_by, row.reason, row.server_id = by, reason[:500], servers[row.ref]
                session.add(row)
                settled += 1
    session.flush()
    return settled

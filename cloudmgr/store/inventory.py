"""The inventory's one wide query, read in pieces: Core rows, sorted by bytes, flat memory however many there are."""

from collections.abc import Generator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from cloudmgr.domain.openings import OpeningState
from cloudmgr.domain.phases import OrganizationKind, ServerPhase
from cloudmgr.models import (
    Backend,
    Image,
    Network,
    Organization,
    PortOpening,
    Project,
    PublicIp,
    ResourceRequest,
    Server,
    Zone,
)
from cloudmgr.store.db import is_sqlite
from cloudmgr.store.paging import below

PIECE_ROWS = 500
"""Rows held in memory at a time."""

_district = aliased(Organization, name="district")
_administrator = aliased(Organization, name="district_administrator")
_release = aliased(ResourceRequest, name="release")

_SERVER = (
    "resource_no", "name", "phase", "state", "env", "purpose_kind", "network_zone", "arch", "cpu_family", "cpu_model",
    "vcpus", "memory_mib", "system_disk_gib", "data_disk_gib", "image_digest", "is_xinchuang", "host", "ipv4", "ipv6",
    "guest", "rehearsed", "owner_name", "owner_phone", "lease_start", "lease_end", "lease_long_term", "built_at",
    "activated_at", "released_at", "last_seen_at", "source", "resource_type", "stated", "last_confirmed_at",
)  # fmt: skip

_PORT = (
    col(PortOpening.protocol)
    + "/"
    + sa.func.coalesce(sa.cast(col(PortOpening.port_from), sa.String), "")
    + "/"
    + sa.func.coalesce(sa.cast(col(PortOpening.port_to), sa.String), "")
)
_OPEN = [state.value for state in (OpeningState.ACTIVE, OpeningState.RECORDED, OpeningState.CLOSING)]
_LED = (
    col(PublicIp.server_id) == col(Server.id),
    col(PublicIp.address).is_not(None),
    col(PublicIp.released_at).is_(None),
)
_NETWORK: tuple[Any, ...] = (
    sa.select(sa.func.aggregate_strings(_PORT, ","))
    .where(col(PortOpening.server_id) == col(Server.id), col(PortOpening.state).in_(_OPEN))
    .correlate(Server)
    .scalar_subquery()
    .label("ports"),
    sa.select(sa.func.aggregate_strings(col(PublicIp.address), ","))
    .where(*_LED)
    .correlate(Server)
    .scalar_subquery()
    .label("public_ips"),
    sa.select(sa.func.sum(col(PublicIp.bandwidth_mbps)))
    .where(*_LED)
    .correlate(Server)
    .scalar_subquery()
    .label("bandwidth_mbps"),
)

_JOINED: tuple[Any, ...] = (
    col(Organization.path).label("path"),
    col(Organization.uscc).label("uscc"),
    col(Organization.code).label("organization_code"),
    col(Organization.name).label("organization_name"),
    _district.code.label("district_code"),  # type: ignore[attr-defined]
    _district.name.label("district_name"),  # type: ignore[attr-defined]
    _administrator.code.label("administrator_code"),  # type: ignore[attr-defined]
    _administrator.name.label("administrator_name"),  # type: ignore[attr-defined]
    col(Project.name).label("project_name"),
    col(Project.system_code).label("system_code"),
    col(Project.project_no).label("project_no"),
    col(Project.mlps_level).label("mlps_level"),
    col(Project.mlps_record_no).label("mlps_record_no"),
    col(Project.is_classified).label("is_classified"),
    col(Project.ops_vendor).label("ops_vendor"),
    col(Project.owner_name).label("project_owner_name"),
    col(Project.owner_phone).label("project_owner_phone"),
    col(Image.name).label("image"),
    col(Image.os_name).label("os_name"),
    col(Image.os_version).label("os_version"),
    col(Image.os_is_xinchuang).label("os_is_xinchuang"),
    col(Zone.name).label("zone"),
    col(Zone.cpu_raw).label("cpu_raw"),
    col(Zone.is_xinchuang).label("zone_is_xinchuang"),
    col(Backend.name).label("backend"),
    col(Backend.vendor).label("vendor"),
    col(Backend.datacenter).label("datacenter"),
    col(Network.cidr_v4).label("cidr_v4"),
    col(Network.cidr_v6).label("cidr_v6"),
    col(ResourceRequest.number).label("request_no"),
    col(ResourceRequest.purpose).label("purpose"),
    _release.number.label("release_no"),  # type: ignore[union-attr]
)


def hold_moment(session: Session) -> None:
    """Let all that a fresh session reads from here on be of one moment, in however many statements.

    Until the session's transaction ends. SQLite: one transaction, which no read alone begins (it waits for no writer and
    holds none up). PostgreSQL: REPEATABLE READ.
    """
    if session.in_transaction():
        return
    if is_sqlite(session):
        session.connection().exec_driver_sql("BEGIN")
    else:
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def pieces(
    session: Session, *, paths: Sequence[str], include_retired: bool
) -> Generator[Sequence[sa.Row[Any]], None, None]:
    """Yield the rows of the subtrees at `paths` in pieces of `PIECE_ROWS`, every server that was ever approved.

    One statement, hence one moment: what changes while it is read does not show. It holds no lock that a writer waits for
    (SQLite: a read of the write-ahead log; PostgreSQL: a server-side cursor), but holds the session's connection to its
    end. Sorted by division, organization, project and resource number, by their bytes whatever the database's collation.
    """
    connection = session.connection()
    query = _query(paths, include_retired=include_retired, collation=None if is_sqlite(session) else "C")
    with connection.execute(query, execution_options={"yield_per": PIECE_ROWS}) as result:
        yield from result.partitions(PIECE_ROWS)


def municipal(session: Session) -> Organization | None:
    """Return the organization that stands for the city's own level (市本级), if there is one."""
    return session.exec(
        select(Organization)
        .where(Organization.kind == OrganizationKind.MUNICIPAL.value)
        .order_by(col(Organization.code))
        .limit(1)
    ).first()


def _query(paths: Sequence[str], *, include_retired: bool, collation: str | None) -> sa.Select[Any]:
    columns: list[Any] = [col(getattr(Server, name)).label(name) for name in _SERVER]
    query = (
        sa.select(*columns, *_JOINED, *_NETWORK)
        .select_from(Server)
        .join(Project, col(Server.project_id) == col(Project.id))
        .join(Organization, col(Server.organization_id) == col(Organization.id))
        .join(Image, col(Server.image_id) == col(Image.id), isouter=True)
        .join(ResourceRequest, col(Server.request_id) == col(ResourceRequest.id))
        .join(_district, col(Organization.district_id) == _district.id, isouter=True)
        .join(_administrator, col(_district.administered_by_id) == _administrator.id, isouter=True)
        .join(_release, col(Server.retire_request_id) == _release.id, isouter=True)
        .join(Zone, col(Server.zone_id) == col(Zone.id), isouter=True)
        .join(Backend, col(Server.backend_id) == col(Backend.id), isouter=True)
        .join(
            Network,
            sa.and_(col(Network.backend_id) == col(Server.backend_id), col(Network.ref) == col(Server.network_ref)),
            isouter=True,
        )
        .where(below(col(Organization.path), paths), col(Server.resource_no).is_not(None))
    )
    if not include_retired:
        query = query.where(col(Server.phase) != ServerPhase.RETIRED.value)
    keys: list[Any] = [
        sa.func.coalesce(_administrator.code, _district.code, col(Organization.code)),
        col(Organization.name),
        col(Project.name),
        col(Server.resource_no),
    ]
    return query.order_by(*(key.collate(collation) if collation else key for key in keys))

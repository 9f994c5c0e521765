"""Reading and writing servers and their history."""

import functools
import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.phases import LIVE_SERVERS, ServerPhase, require_server_move
from cloudmgr.models import (
    Backend,
    Flavor,
    Image,
    Organization,
    Project,
    ResourceRequest,
    Server,
    ServerVersion,
    Zone,
)
from cloudmgr.store import paging

ServerRow = tuple[Server, Project, Organization, Flavor | None, Image | None, Zone | None, Backend | None]


def _wide() -> Any:
    return (
        sa.select(Server, Project, Organization, Flavor, Image, Zone, Backend)
        .join(Project, col(Server.project_id) == col(Project.id))
        .join(Organization, col(Server.organization_id) == col(Organization.id))
        .join(Flavor, col(Server.flavor_id) == col(Flavor.id), isouter=True)
        .join(Image, col(Server.image_id) == col(Image.id), isouter=True)
        .join(Zone, col(Server.zone_id) == col(Zone.id), isouter=True)
        .join(Backend, col(Server.backend_id) == col(Backend.id), isouter=True)
    )


def get(session: Session, server_id: uuid.UUID, *, lock: bool = False) -> Server | None:
    """Return one server; `lock` holds its row until the end of the transaction (PostgreSQL)."""
    query = select(Server).where(Server.id == server_id)
    if lock:
        query = query.with_for_update()
    return session.exec(query.execution_options(populate_existing=lock)).first()


def wide(session: Session, server_id: uuid.UUID) -> ServerRow | None:
    """Return a server with everything its page names."""
    row = session.exec(_wide().where(Server.id == server_id)).first()
    return tuple(row) if row else None


def of_request(session: Session, request: ResourceRequest) -> list[ServerRow]:
    """Return the servers a request asked for, or asks to retire, by name."""
    condition = Server.retire_request_id == request.id if request.kind == "retire" else Server.request_id == request.id
    return [tuple(row) for row in session.exec(_wide().where(condition).order_by(col(Server.name))).all()]


def standing(session: Session, project_ids: Sequence[uuid.UUID]) -> list[ServerRow]:
    """Return the servers of some projects (at most a few hundred) that are approved at least, and not retired."""
    query = _wide().where(
        col(Server.project_id).in_(project_ids),
        col(Server.phase).in_([phase.value for phase in LIVE_SERVERS]),
        sa.not_(_UNBEGUN),
    )
    return [tuple(row) for row in session.exec(query.order_by(col(Server.id))).all()]


def plain_of_request(session: Session, request: ResourceRequest) -> list[Server]:
    """Return the bare servers of a request, by name."""
    condition = Server.retire_request_id == request.id if request.kind == "retire" else Server.request_id == request.id
    return list(session.exec(select(Server).where(condition).order_by(col(Server.name))))


def page(
    session: Session,
    *,
    paths: Sequence[str],
    phases: Sequence[str] = (),
    project_id: uuid.UUID | None = None,
    name: str | None = None,
    arch: str | None = None,
    include_retired: bool = False,
    ends_by: date | None = None,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[ServerRow], uuid.UUID | None]:
    """Return servers of the subtrees at `paths`, newest first, and where the next page begins."""
    query = _wide().where(paging.below(Organization.path, paths))
    if phases:
        query = query.where(col(Server.phase).in_(phases))
    elif not include_retired:
        query = query.where(Server.phase != ServerPhase.RETIRED.value)
    if project_id:
        query = query.where(Server.project_id == project_id)
    if name:
        query = query.where(col(Server.name).contains(name, autoescape=True))
    if arch:
        query = query.where(Server.arch == arch)
    if ends_by:
        query = query.where(col(Server.lease_end) <= ends_by)
    rows, following = paging.newest_first(session, query, Server.id, limit=limit, cursor=cursor)
    return [tuple(row) for row in rows], following


def remove_unbegun(session: Session, request_id: uuid.UUID) -> None:
    """Remove the rows of servers that were asked for and never begun; they have no history."""
    session.execute(
        sa.delete(Server)
        .where(col(Server.request_id) == request_id, _UNBEGUN)
        .execution_options(synchronize_session=False)
    )


def keep_after_all(session: Session, retire_request_id: uuid.UUID) -> None:
    """Let go of servers whose retire request has come to nothing."""
    session.execute(
        sa.update(Server)
        .where(col(Server.retire_request_id) == retire_request_id)
        .values(retire_request_id=None)
        .execution_options(synchronize_session=False)
    )


def backend_name(session: Session, backend_id: uuid.UUID) -> str:
    """Return a backend's name."""
    return session.get_one(Backend, backend_id).name


_UNBEGUN = sa.and_(col(Server.phase) == ServerPhase.REQUESTED.value, col(Server.resource_no).is_(None))
"""Asked for, and not approved: such a row goes with its request, so it may have no history that would hold it."""


@functools.cache
def _taken_names() -> sa.Select[str]:
    return sa.select(col(Server.name)).where(
        col(Server.project_id) == sa.bindparam("project_id", type_=sa.Uuid()),
        col(Server.name).in_(sa.bindparam("names", expanding=True)),
        col(Server.phase).in_([phase.value for phase in LIVE_SERVERS]),
    )


def taken_names(session: Session, project_id: uuid.UUID, names: Sequence[str]) -> list[str]:
    """Return which of `names` a live server of the project already has."""
    found = session.execute(_taken_names(), {"project_id": project_id, "names": list(names)})
    return list(found.scalars())


def ending_by(session: Session, *, paths: Sequence[str], day: Any, limit: int) -> list[ServerRow]:
    """Return live servers whose lease ends on or before a day, soonest first."""
    query = (
        _wide()
        .where(
            paging.below(Organization.path, paths),
            col(Server.lease_end).is_not(None),
            col(Server.lease_end) <= day,
            col(Server.phase).in_([ServerPhase.ACTIVE.value, ServerPhase.SUSPENDED.value, ServerPhase.FAILED.value]),
        )
        .order_by(col(Server.lease_end), col(Server.name))
        .limit(limit)
    )
    return [tuple(row) for row in session.exec(query).all()]


def move(session: Session, server: Server, phase: ServerPhase, *, actor: str, change: str) -> None:
    """Move a server to a phase the table allows and append the version the inventory will show.

    Raises:
        Conflict: the table has no such move.
    """
    require_server_move(ServerPhase(server.phase), phase)
    server.phase = phase.value
    keep(session, server, actor=actor, change=change)


def keep(session: Session, server: Server, *, actor: str, change: str) -> None:
    """Write a changed server and append one row to its history (server_versions)."""
    server.updated_at = clock.now()
    session.add(server)
    session.flush()
    session.add(ServerVersion(server_id=server.id, actor=actor, change=change, snapshot=snapshot(session, server)))
    session.flush()


def snapshot(session: Session, server: Server) -> dict[str, Any]:
    """Return what the inventory shows of a server at this moment, with the names of what it refers to."""
    row = wide(session, server.id)
    if row is None:
        return {}
    organization = row[2]
    district = session.get(Organization, organization.district_id) if organization.district_id else None
    requests = {
        request.id: request.number
        for request in session.exec(
            select(ResourceRequest).where(col(ResourceRequest.id).in_([server.request_id, server.retire_request_id]))
        )
    }
    release_no = requests.get(server.retire_request_id) if server.retire_request_id else None
    return snapshot_of(row, district, request_no=requests.get(server.request_id), release_no=release_no)


def snapshot_of(
    row: ServerRow, district: Organization | None, *, request_no: str | None, release_no: str | None = None
) -> dict[str, Any]:
    """Return what the inventory shows of a server whose surroundings are at hand."""
    server, project, organization, flavor, image, zone, backend = row
    plain = server.model_dump(
        mode="json", exclude={"ssh_keys", "variables", "tried_zones", "failure", "updated_at", "reservation_id"}
    )
    return plain | {
        "request_no": request_no,
        "release_no": release_no,
        "flavor": flavor.name if flavor else None,
        "image": image.name if image else None,
        "os_name": image.os_name if image else server.stated.get("os_name"),
        "os_version": image.os_version if image else server.stated.get("os_version"),
        "os_is_xinchuang": image.os_is_xinchuang if image else None,
        "zone": zone.name if zone else None,
        "zone_title": zone.title if zone else None,
        "backend": backend.name if backend else server.stated.get("platform"),
        "backend_vendor": backend.vendor if backend else None,
        "datacenter": backend.datacenter if backend else server.stated.get("datacenter"),
        "organization_code": organization.code,
        "organization_name": organization.name,
        "organization_path": organization.path,
        "uscc": organization.uscc,
        "district_code": district.code if district else None,
        "district_name": district.name if district else None,
        "project_name": project.name,
        "system_code": project.system_code,
        "project_no": project.project_no,
        "mlps_level": project.mlps_level,
        "mlps_record_no": project.mlps_record_no,
        "is_classified": project.is_classified,
        "ops_vendor": project.ops_vendor,
    }


def first_version_at(session: Session) -> datetime | None:
    """Return the moment of the first record any server has, None when there is none."""
    return session.exec(select(ServerVersion.at).order_by(col(ServerVersion.id)).limit(1)).first()

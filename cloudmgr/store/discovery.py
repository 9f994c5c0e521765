"""SQL about what backends were seen to hold: servers in batches, images, addresses, and each look.

Observations are no business state: writing the same one twice changes nothing, and an older look never overwrites what a
newer one saw. Nothing here removes a server that is no longer listed; `mark_missing` says since when.
"""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.drift import Held, Seen, baseline_of
from cloudmgr.domain.findings import ServerSource
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, ObservedAddress, ObservedImage, ObservedServer, Organization, Server, SyncRun
from cloudmgr.store import paging
from cloudmgr.store.db import is_sqlite

BATCH = 500
"""Servers of one transaction."""
_SERVERS = ObservedServer.__table__  # type: ignore[attr-defined]
_ADDRESSES = ObservedAddress.__table__  # type: ignore[attr-defined]
_OURS = Server.__table__  # type: ignore[attr-defined]
_GOING = (ServerPhase.RETIRING.value, ServerPhase.RETIRED.value)

Known = dict[str, tuple[uuid.UUID, str, uuid.UUID | None]]
"""By reference: the row's id, the digest of what was seen, and the server of ours that it is."""


def known_servers(session: Session, backend_id: uuid.UUID) -> Known:
    """Return what is known of a backend's servers, small enough to be held for tens of thousands."""
    rows = session.connection().execute(
        sa.select(_SERVERS.c.ref, _SERVERS.c.id, _SERVERS.c.digest, _SERVERS.c.server_id).where(
            _SERVERS.c.backend_id == backend_id
        )
    )
    return {row.ref: (row.id, row.digest, row.server_id) for row in rows}


def note_servers(
    session: Session, backend_id: uuid.UUID, batch: Sequence[Mapping[str, Any]], known: Known, looked_at: datetime
) -> int:
    """Write one batch of seen servers, and what they are of ours; return how many were new or different.

    Only those are written in full; of the others one statement says that they were seen.
    """
    ours = _ours(session, backend_id, batch)
    new: list[dict[str, Any]] = []
    linked: list[dict[str, Any]] = []
    changed: list[dict[str, Any]] = []
    same: list[uuid.UUID] = []
    for seen in batch:
        ref = seen["ref"]
        values = {**seen, "server_id": ours.get(ref)}
        digest = _digest(values)
        stamps = {"digest": digest, "last_seen_at": looked_at, "changed_at": looked_at}
        found = known.get(ref)
        if found is None:
            row = {**values, **stamps, "id": new_id(), "backend_id": backend_id, "first_seen_at": looked_at}
            new.append(row | {"created_at": clock.now(), "missing_since": None, "baseline": _baseline(values)})
            known[ref] = (uuid.UUID(str(row["id"])), digest, values["server_id"])
            continue
        id_, old_digest, old_server = found
        known[ref] = (id_, digest, values["server_id"])
        if digest == old_digest:
            same.append(id_)
        elif values["server_id"] is not None and values["server_id"] != old_server:
            linked.append({**values, **stamps, "b_id": id_, "baseline": _baseline(values)})
        else:
            changed.append({**values, **stamps, "b_id": id_})
    _insert(session, _SERVERS, new)
    for rows in (linked, changed):
        _rewrite(session, rows, looked_at)
    if same:
        session.execute(
            sa.update(_SERVERS)
            .where(_SERVERS.c.id.in_(same), _SERVERS.c.last_seen_at < looked_at)
            .values(last_seen_at=looked_at, missing_since=None)
        )
    return len(new) + len(linked) + len(changed)


def _ours(session: Session, backend_id: uuid.UUID, batch: Sequence[Mapping[str, Any]]) -> dict[str, uuid.UUID]:
    """Return which references are servers of ours: by token, else an imported one by its reference."""
    tokens = {seen["token"] for seen in batch if seen["token"] is not None}
    existing = set(session.exec(select(Server.id).where(col(Server.id).in_(tokens)))) if tokens else set()
    found = {seen["ref"]: seen["token"] for seen in batch if seen["token"] in existing}
    left = [seen["ref"] for seen in batch if seen["ref"] not in found]
    imported = session.exec(
        select(Server.native_ref, Server.id).where(
            Server.backend_id == backend_id,
            Server.source == ServerSource.IMPORTED.value,
            col(Server.native_ref).in_(left),
        )
    )
    return found | {ref: id_ for ref, id_ in imported if ref is not None}


def _baseline(values: Mapping[str, Any]) -> dict[str, Any] | None:
    return baseline_of(values) if values["server_id"] is not None else None


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, default=str, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _insert(session: Session, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one that another look has inserted meanwhile is left to it."""
    if not rows:
        return
    dialect = sqlite if is_sqlite(session) else postgresql
    session.connection().execute(dialect.insert(table).on_conflict_do_nothing(), list(rows))


def _rewrite(session: Session, rows: Sequence[Mapping[str, Any]], looked_at: datetime) -> None:
    if not rows:
        return
    names = [name for name in rows[0] if name != "b_id"]
    statement = (
        sa.update(_SERVERS)
        .where(_SERVERS.c.id == sa.bindparam("b_id"), _SERVERS.c.last_seen_at <= looked_at)
        .values({name: sa.bindparam(name) for name in names} | {"missing_since": None})
    )
    session.connection().execute(statement, list(rows))


def seen(session: Session, backend_id: uuid.UUID, ref: str) -> ObservedServer | None:
    """Return what was last seen of one server at a backend."""
    return session.exec(
        select(ObservedServer).where(ObservedServer.backend_id == backend_id, ObservedServer.ref == ref)
    ).first()


def lost_of(session: Session, backend_id: uuid.UUID, looked_at: datetime) -> tuple[int, int]:
    """Return (servers that were there before a complete look, how many of them it did not show); our own ends left out."""
    is_lost = sa.case((_SERVERS.c.last_seen_at < looked_at, 1), else_=0)
    row = session.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(is_lost), 0))
        .select_from(_SERVERS.outerjoin(Server.__table__, _SERVERS.c.server_id == col(Server.id)))  # type: ignore[attr-defined]
        .where(
            _SERVERS.c.backend_id == backend_id,
            _SERVERS.c.missing_since.is_(None),
            _SERVERS.c.first_seen_at < looked_at,
            sa.or_(col(Server.phase).is_(None), col(Server.phase).not_in(_GOING)),
        )
    ).one()
    return int(row[0]), int(row[1])


def mark_missing(
    session: Session, backend_id: uuid.UUID, looked_at: datetime, refs: Sequence[str] | None = None
) -> int:
    """Say of what a believed look did not show (or of `refs`, which it said are gone) since when; return how many."""
    missing = 0
    pieces: Iterable[Sequence[str] | None] = (
        [None] if refs is None else [refs[start : start + BATCH] for start in range(0, len(refs), BATCH)]
    )
    for piece in pieces:
        statement = sa.update(_SERVERS).where(
            _SERVERS.c.backend_id == backend_id,
            _SERVERS.c.missing_since.is_(None),
            _SERVERS.c.last_seen_at < looked_at if piece is None else _SERVERS.c.ref.in_(piece),
        )
        missing += int(session.execute(statement.values(missing_since=looked_at)).rowcount)  # type: ignore[attr-defined]
    return missing


def touch(session: Session, backend_id: uuid.UUID, looked_at: datetime, *, everything: bool) -> None:
    """Say of servers of ours that they were seen; with `everything`, first of all rows that no change was told of.

    Rows are taken in the order of their ids, and one that somebody is just writing is left to the next look (PostgreSQL):
    nobody waits for this, and it waits for nobody.
    """
    seen = sa.and_(_SERVERS.c.backend_id == backend_id, _SERVERS.c.missing_since.is_(None))
    if everything:
        _stamp(session, _SERVERS, sa.and_(seen, _SERVERS.c.last_seen_at < looked_at), looked_at)
    listed = sa.select(_SERVERS.c.server_id).where(
        seen, _SERVERS.c.server_id.is_not(None), _SERVERS.c.last_seen_at >= looked_at
    )
    older = sa.or_(_OURS.c.last_seen_at.is_(None), _OURS.c.last_seen_at < looked_at)
    _stamp(session, _OURS, sa.and_(_OURS.c.id.in_(listed), older), looked_at)


def _stamp(session: Session, table: sa.Table, rows: sa.ColumnElement[bool], looked_at: datetime) -> None:
    free = sa.select(table.c.id).where(rows).order_by(table.c.id).with_for_update(skip_locked=True, key_share=True)
    session.execute(
        sa.update(table)
        .where(table.c.id.in_(free))
        .values(last_seen_at=looked_at)
        .execution_options(synchronize_session=False)
    )


def to_follow(session: Session, backend_id: uuid.UUID, looked_at: datetime, limit: int) -> list[tuple[Any, Any]]:
    """Return servers that stand and whose state or host is not what was seen last, with what was seen."""
    observed, server = ObservedServer, Server
    is_gone = sa.and_(
        col(observed.missing_since).is_not(None),
        col(observed.ref) == col(server.native_ref),
        col(server.state) != "unknown",
    )
    is_other = sa.and_(
        col(observed.missing_since).is_(None),
        sa.or_(
            col(server.state) != col(observed.power),
            sa.and_(col(observed.host).is_not(None), col(server.host).is_distinct_from(col(observed.host))),
        ),
    )
    rows = session.exec(
        select(server, observed)
        .join(observed, col(observed.server_id) == col(server.id))
        .where(
            col(observed.backend_id) == backend_id,
            col(server.phase).in_([ServerPhase.ACTIVE.value, ServerPhase.SUSPENDED.value, ServerPhase.FAILED.value]),
            col(server.built_at).is_not(None),
            sa.or_(col(server.last_seen_at).is_(None), col(server.last_seen_at) <= looked_at),
            sa.or_(is_gone, is_other),
        )
        .order_by(col(server.id))
        .limit(limit)
        .with_for_update(of=server)
    )
    return [(row[0], row[1]) for row in rows]


def pairs(
    session: Session, backend_id: uuid.UUID, refs: Sequence[str] | None = None
) -> Iterator[tuple[Seen | None, Held | None]]:
    """Yield every server seen at a backend with the one of ours it is, then those of ours that were never seen there.

    Read in batches, in flat memory. `refs` narrows it to these references.
    """
    query = (
        sa.select(*_SEEN, *_HELD)
        .select_from(_SERVERS.outerjoin(_OURS, _SERVERS.c.server_id == _OURS.c.id))
        .where(_SERVERS.c.backend_id == backend_id)
        .order_by(_SERVERS.c.id)
    )
    wanted = [None] if refs is None else [refs[start : start + BATCH] for start in range(0, len(refs), BATCH)]
    for piece in wanted:
        narrowed = query if piece is None else query.where(_SERVERS.c.ref.in_(piece))
        for partition in session.execute(narrowed.execution_options(yield_per=BATCH)).partitions(BATCH):
            for row in partition:
                yield _seen(row), _held(row[len(_SEEN) :]) if row[len(_SEEN)] is not None else None
    if refs is None:
        seen_there = sa.exists().where(_SERVERS.c.server_id == _OURS.c.id, _SERVERS.c.backend_id == backend_id)
        unseen = sa.select(*_HELD).where(
            _OURS.c.backend_id == backend_id,
            _OURS.c.native_ref.is_not(None),
            _OURS.c.phase != ServerPhase.RETIRED.value,
            ~seen_there,
        )
        for row in session.execute(unseen):
            yield None, _held(row)


_SEEN = tuple(
    _SERVERS.c[name]
    for name in (
        "ref",
        "name",
        "power",
        "vcpus",
        "memory_mib",
        "image",
        "networks",
        "ipv4",
        "ipv6",
        "first_seen_at",
        "missing_since",
        "baseline",
    )
)
_HELD = tuple(
    _OURS.c[name]
    for name in (
        "id",
        "name",
        "phase",
        "source",
        "vcpus",
        "memory_mib",
        "ipv4",
        "ipv6",
        "intended_power",
        "intended_since",
        "built_at",
        "updated_at",
        "released_at",
        "resizing_since",
        "resized_at",
    )
)


def _seen(row: Sequence[Any]) -> Seen:
    ref, name, power, vcpus, memory_mib, image, networks, ipv4, ipv6, first_seen_at, missing, baseline = row[:12]
    return Seen(
        ref=ref,
        name=name,
        power=power,
        vcpus=vcpus,
        memory_mib=memory_mib,
        image=image,
        networks=tuple(networks) if networks is not None else None,
        addresses=frozenset([*ipv4, *ipv6]),
        first_seen_at=first_seen_at,
        is_missing=missing is not None,
        baseline=baseline or {},
    )


def _held(row: Sequence[Any]) -> Held:
    id_, name, phase, source, vcpus, memory_mib, ipv4, ipv6, power, since, built, updated, released = row[:-2]
    return Held(
        id=id_,
        name=name,
        phase=ServerPhase(phase),
        source=ServerSource(source),
        vcpus=vcpus,
        memory_mib=memory_mib,
        addresses=frozenset([*ipv4, *ipv6]),
        intended_power=power,
        intended_since=since,
        built_at=built,
        updated_at=updated,
        released_at=released,
        resizing_since=row[-2],
        resized_at=row[-1],
    )


def held(session: Session, server_id: uuid.UUID) -> Held | None:
    """Return a server of ours as drift is judged on it."""
    row = session.execute(sa.select(*_HELD).where(_OURS.c.id == server_id)).first()
    return _held(row) if row is not None else None


def note_images(
    session: Session, backend_id: uuid.UUID, images: Sequence[Mapping[str, Any]], looked_at: datetime
) -> None:
    """Make the templates of a backend exactly these, those without an architecture too."""
    known = {row.ref: row for row in session.exec(select(ObservedImage).where(ObservedImage.backend_id == backend_id))}
    for image in images:
        row = known.pop(image["ref"], None) or ObservedImage(
            backend_id=backend_id, ref=image["ref"], name=image["name"], last_seen_at=looked_at
        )
        row.name, row.arch, row.digest = image["name"][:300], image["arch"], image["digest"]
        row.min_disk_gib, row.last_seen_at = image["min_disk_gib"], looked_at
        session.add(row)
    for gone in known.values():
        session.delete(gone)
    session.flush()


def images(session: Session, backend_id: uuid.UUID) -> list[ObservedImage]:
    """Return the templates a backend lists, by name."""
    query = select(ObservedImage).where(ObservedImage.backend_id == backend_id).order_by(col(ObservedImage.name))
    return list(session.exec(query))


def note_addresses(
    session: Session, backend_id: uuid.UUID, network: str, seen: Sequence[Mapping[str, Any]], looked_at: datetime
) -> None:
    """Write one batch of addresses in use on a network."""
    keys: dict[str, Mapping[str, Any]] = {}
    for entry in sorted(seen, key=_strangers_last(session, backend_id, seen)):
        keys[entry["key"]] = entry  # of two that use one address, the stranger is the one to know of
    where = (_ADDRESSES.c.backend_id == backend_id, _ADDRESSES.c.network_ref == network)
    known = {
        row.key: row
        for row in session.connection().execute(sa.select(_ADDRESSES).where(*where, _ADDRESSES.c.key.in_(list(keys))))
    }
    fields = ("server_ref", "mac", "owner")
    new = [
        {**entry, "id": new_id(), "created_at": clock.now(), "backend_id": backend_id, "network_ref": network}
        | {"last_seen_at": looked_at}
        for key, entry in keys.items()
        if key not in known
    ]
    _insert(session, _ADDRESSES, new)
    for key, row in known.items():
        if any(getattr(row, name) != keys[key][name] for name in fields):
            session.execute(
                sa.update(_ADDRESSES)
                .where(_ADDRESSES.c.id == row.id)
                .values({name: keys[key][name] for name in fields})
            )
    if known:
        session.execute(
            sa.update(_ADDRESSES)
            .where(_ADDRESSES.c.id.in_([row.id for row in known.values()]), _ADDRESSES.c.last_seen_at < looked_at)
            .values(last_seen_at=looked_at)
        )


def _strangers_last(
    session: Session, backend_id: uuid.UUID, seen: Sequence[Mapping[str, Any]]
) -> Callable[[Mapping[str, Any]], bool]:
    refs = [entry["server_ref"] for entry in seen if entry["server_ref"] is not None]
    ours = set(
        session.execute(
            sa.select(_SERVERS.c.ref).where(
                _SERVERS.c.backend_id == backend_id, _SERVERS.c.ref.in_(refs), _SERVERS.c.server_id.is_not(None)
            )
        ).scalars()
    )
    return lambda entry: entry["server_ref"] not in ours


def forget_addresses(session: Session, backend_id: uuid.UUID, networks: Sequence[str], looked_at: datetime) -> None:
    """Remove addresses of completely read networks that were not among those in use."""
    session.execute(
        sa.delete(_ADDRESSES).where(
            _ADDRESSES.c.backend_id == backend_id,
            _ADDRESSES.c.network_ref.in_(networks),
            _ADDRESSES.c.last_seen_at < looked_at,
        )
    )


def last_runs(session: Session, backend_id: uuid.UUID, limit: int) -> list[SyncRun]:
    """Return the latest looks at a backend's servers, the newest first."""
    query = select(SyncRun).where(SyncRun.backend_id == backend_id).order_by(col(SyncRun.started_at).desc())
    return list(session.exec(query.limit(limit)))


def run_page(
    session: Session, backend_id: uuid.UUID, *, limit: int, cursor: uuid.UUID | None
) -> tuple[list[SyncRun], uuid.UUID | None]:
    """Return a page of looks at a backend's servers, the newest first."""
    rows, following = paging.newest_first(
        session, select(SyncRun).where(SyncRun.backend_id == backend_id), col(SyncRun.id), limit=limit, cursor=cursor
    )
    return list(rows), following


def page(
    session: Session,
    *,
    managed: bool | None = None,
    backend_ids: Sequence[uuid.UUID] | None = None,
    paths: Sequence[str] | None = None,
    name: str | None = None,
    with_missing: bool = False,
    limit: int,
    cursor: uuid.UUID | None,
) -> tuple[list[tuple[ObservedServer, Backend]], uuid.UUID | None]:
    """Return a page of seen servers, the latest found first; `paths` narrows them to backends owned in these subtrees."""
    query = sa.select(ObservedServer, Backend).join(Backend, col(ObservedServer.backend_id) == col(Backend.id))
    query = _narrowed(query, managed, backend_ids, paths, with_missing=with_missing)
    if name:
        query = query.where(col(ObservedServer.name).contains(name, autoescape=True))
    rows, following = paging.newest_first(session, query, col(ObservedServer.id), limit=limit, cursor=cursor)
    return [(row[0], row[1]) for row in rows], following


def unmanaged_rows(
    session: Session, *, backend_ids: Sequence[uuid.UUID] | None = None, paths: Sequence[str] | None = None
) -> Iterator[tuple[ObservedServer, Backend]]:
    """Yield every server that is there and not ours, in flat memory, by backend and name; for the inventory."""
    query = sa.select(ObservedServer, Backend).join(Backend, col(ObservedServer.backend_id) == col(Backend.id))
    query = _narrowed(query, False, backend_ids, paths, with_missing=False)
    ordered = query.order_by(col(Backend.name), col(ObservedServer.name), col(ObservedServer.id))
    for partition in session.execute(ordered.execution_options(yield_per=BATCH)).partitions(BATCH):
        for row in partition:
            yield row[0], row[1]
        for row in partition:
            session.expunge(row[0])


def _narrowed(
    query: Any,
    managed: bool | None,
    backend_ids: Sequence[uuid.UUID] | None,
    paths: Sequence[str] | None,
    *,
    with_missing: bool,
) -> Any:
    if managed is not None:
        query = query.where(
            col(ObservedServer.server_id).is_not(None) if managed else col(ObservedServer.server_id).is_(None)
        )
    if backend_ids is not None:
        query = query.where(col(ObservedServer.backend_id).in_(backend_ids))
    if not with_missing:
        query = query.where(col(ObservedServer.missing_since).is_(None))
    if paths is not None:
        owned = sa.select(col(Organization.id)).where(paging.below(Organization.path, paths))
        query = query.where(col(Backend.owner_organization_id).in_(owned))
    return query

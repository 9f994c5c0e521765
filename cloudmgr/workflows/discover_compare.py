"""What a believed look means: the differences of every server, the findings they open, and those that are over.

Reads and writes the database, calls nobody. Decisions of people are never touched: an ignored finding stays ignored while
the backend shows the same, and is opened anew when it shows something else.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock, drift
from cloudmgr.domain.drift import Difference
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.findings import FindingKind, FindingState
from cloudmgr.domain.labels import FINDING_FIELDS, SERVER_PHASES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.openings import PublicIpPhase
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import (
    Address,
    Backend,
    Network,
    ObservedAddress,
    Organization,
    PublicIp,
    Server,
    Subnet,
    Volume,
)
from cloudmgr.services import audit
from cloudmgr.store import discovery, findings
from cloudmgr.workflows.facts import SYSTEM

ALARMS = frozenset({FindingKind.UNAUTHORISED, FindingKind.REVIVED})
FRESH_RESOURCE = timedelta(minutes=15)
"""While a server is being built or removed there, what was made a moment ago may belong to it."""
_MOST_ALARMS = 100
"""Alarms of one look that get an audit record each; of more, the number is recorded."""
_SENTENCES: Mapping[FindingKind, str] = {
    FindingKind.UNMANAGED: N_("{name} stands at {backend} and is not in the ledger."),
    FindingKind.UNAUTHORISED: N_("{name} appeared at {backend} without a request."),
    FindingKind.REVIVED: N_("{name} runs at {backend}; here it is: {phase}."),
    FindingKind.ORPHAN: N_("{name} is in the ledger and no longer at {backend}."),
    FindingKind.LEFTOVER: N_("{name} is left over at {backend}; nothing of ours uses it."),
    FindingKind.DRIFT: N_("{name}: {field} is {observed} at {backend} and {held} here."),
    FindingKind.ADDRESS_CONFLICT: N_("{address} of {name} is used by somebody else at {backend}: {other}."),
}


def compare(session: Session, backend: Backend, look: Mapping[str, Any], looked_at: datetime) -> dict[str, int]:
    """Bring the findings of a backend to what a believed look showed; return how many were opened and closed.

    `look["refs"]` narrows it to these references and `look["gone"]`; without it everything is compared, and what is not
    a difference any more is resolved.
    """
    refs = None if look["refs"] is None else [*look["refs"], *look["gone"]]
    known = findings.open_at(session, backend.id)
    found = {each.key: each for each in _servers(session, backend, looked_at, refs)}
    if refs is None:
        if look["leftovers"] is not None:
            found |= {each.key: each for each in _leftovers(session, backend, look["leftovers"], known, looked_at)}
        found |= {each.key: each for each in _conflicts(session, backend)}
    over = [
        row.id
        for key, row in known.items()
        if key not in found and _is_judged(row, refs, has_leftovers=look["leftovers"] is not None)
    ]
    fresh, still = _sorted_out(session, backend, known, found, looked_at)
    findings.touch(session, still, looked_at)
    findings.close(session, over, clock.now(), FindingState.RESOLVED)
    findings.insert(session, backend.id, [(each, _message(backend, each).as_json()) for each in fresh], looked_at)
    _alarm(session, backend, [each for each in fresh if each.kind in ALARMS])
    return {"opened": len(fresh), "closed": len(over)}


def _is_judged(row: findings.Open, refs: Sequence[str] | None, *, has_leftovers: bool) -> bool:
    if row.state == FindingState.RESTORING:
        return False  # its workflow says how it ends
    if refs is not None:
        return row.ref in refs and row.kind not in (FindingKind.LEFTOVER, FindingKind.ADDRESS_CONFLICT)
    if row.kind == FindingKind.LEFTOVER and row.server_id is None:
        return has_leftovers
    return True


def _sorted_out(
    session: Session,
    backend: Backend,
    known: Mapping[tuple[str, str, str], findings.Open],
    found: Mapping[tuple[str, str, str], Difference],
    looked_at: datetime,
) -> tuple[list[Difference], list[uuid.UUID]]:
    """Return the differences to open, and the findings that are still there; what they show is brought up to date."""
    fresh, still = [], []
    for key, difference in found.items():
        row = known.get(key)
        if row is None:
            fresh.append(difference)
            continue
        observed = dict(difference.observed) if difference.observed is not None else None
        is_drift = row.kind == FindingKind.DRIFT
        if is_drift and row.state == FindingState.IGNORED and row.observed != observed:
            findings.close(session, [row.id], looked_at, FindingState.RESOLVED)
            fresh.append(difference)
            continue
        still.append(row.id)
        held = dict(difference.held) if difference.held is not None else None
        if (row.observed, row.held) != (observed, held) and row.state != FindingState.RESTORING:
            findings.show(session, row.id, difference, _message(backend, difference).as_json())
    return fresh, still


def _servers(
    session: Session, backend: Backend, looked_at: datetime, refs: Sequence[str] | None
) -> Iterator[Difference]:
    missing: dict[uuid.UUID, Difference] = {}
    present: set[uuid.UUID] = set()
    for seen, held in discovery.pairs(session, backend.id, refs):
        if held is not None and seen is not None and not seen.is_missing:
            present.add(held.id)
        for each in drift.differences(held, seen, looked_at=looked_at, known_since=backend.servers_known_since):
            if each.kind is FindingKind.ORPHAN and each.server_id is not None:
                missing[each.server_id] = each
            else:
                yield each
    yield from (each for server_id, each in missing.items() if server_id not in present)


def _leftovers(
    session: Session,
    backend: Backend,
    resources: Sequence[Mapping[str, Any]],
    known: Mapping[tuple[str, str, str], findings.Open],
    looked_at: datetime,
) -> Iterator[Difference]:
    """Yield disks, ports, addresses and snapshots that no server uses, without what is ours or is being made."""
    ours = {
        str(id_)
        for query in (
            select(Volume.id).where(Volume.backend_id == backend.id, Volume.phase != VolumePhase.DELETED.value),
            select(PublicIp.id).where(
                PublicIp.backend_id == backend.id, PublicIp.phase != PublicIpPhase.RELEASED.value
            ),
            select(Server.id).where(
                Server.backend_id == backend.id, col(Server.phase).in_([phase.value for phase in drift.MOVING])
            ),
        )
        for id_ in session.exec(query)
    }
    is_busy = (
        session.exec(
            select(Server.id)
            .where(Server.backend_id == backend.id, col(Server.phase).in_([phase.value for phase in drift.MOVING]))
            .limit(1)
        ).first()
        is not None
    )
    for each in resources:
        ref = f"{each['kind']}:{each['ref']}"[:300]
        made = datetime.fromisoformat(each["created_at"]) if each["created_at"] else None
        is_old = not is_busy or (made is not None and made < looked_at - FRESH_RESOURCE)
        if each["token"] not in ours and (is_old or (FindingKind.LEFTOVER.value, ref, "") in known):
            facts = {name: each[name] for name in ("kind", "size_gib", "token", "created_at")}
            yield Difference(FindingKind.LEFTOVER, ref, name=each["name"] or each["ref"], observed=facts)


def _conflicts(session: Session, backend: Backend) -> Iterator[Difference]:
    """Yield addresses of ours that the backend says another server uses, on the network they were taken from."""
    taken = session.exec(
        select(Address.address, Server, ObservedAddress)
        .join(Subnet, col(Address.subnet_id) == col(Subnet.id))
        .join(Network, col(Subnet.network_id) == col(Network.id))
        .join(Server, col(Address.server_id) == col(Server.id))
        .join(
            ObservedAddress,
            (col(ObservedAddress.backend_id) == col(Network.backend_id))
            & (col(ObservedAddress.network_ref) == col(Network.ref))
            & (col(ObservedAddress.key) == col(Address.key)),
        )
        .where(
            Network.backend_id == backend.id,
            col(Server.native_ref).is_not(None),
            sa.or_(
                col(ObservedAddress.server_ref) != col(Server.native_ref),
                sa.and_(col(ObservedAddress.server_ref).is_(None), col(ObservedAddress.owner) != ""),
            ),
        )
    )
    for address, server, seen in taken:
        yield Difference(
            FindingKind.ADDRESS_CONFLICT,
            server.native_ref or "",
            address[:32],
            server.name,
            server.id,
            held={"address": address},
            observed={"address": address, "server": seen.server_ref, "mac": seen.mac, "owner": seen.owner},
        )


def _message(backend: Backend, found: Difference) -> Message:
    params: dict[str, Any] = {"name": found.name, "backend": backend.title or backend.name}
    held, observed = found.held or {}, found.observed or {}
    if found.kind is FindingKind.DRIFT:
        params |= {
            "field": word(FINDING_FIELDS, found.field),
            "held": _told(held.get("value")),
            "observed": _told(observed.get("value")),
        }
    elif found.kind is FindingKind.REVIVED:
        params["phase"] = word(SERVER_PHASES, held.get("phase", ""))
    elif found.kind is FindingKind.ADDRESS_CONFLICT:
        params |= {"address": held.get("address", ""), "other": observed.get("owner") or observed.get("server") or "-"}
    return Message(_SENTENCES[found.kind], params)


def _told(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _alarm(session: Session, backend: Backend, alarms: Sequence[Difference]) -> None:
    """Put every alarm on record: a server made past us, or one that runs and must not (cloud MLPS)."""
    path = _path_of(session, backend)
    for each in alarms[:_MOST_ALARMS]:
        organization_path = path
        if each.server_id is not None:
            server = session.get_one(Server, each.server_id)
            organization_path = session.get_one(Organization, server.organization_id).path
        audit.record(
            session,
            SYSTEM,
            Event.FINDING_ALARM,
            object_type="server" if each.server_id else "backend",
            object_id=each.server_id or backend.id,
            object_name=each.name,
            organization_path=organization_path,
            outcome=Outcome.FAILURE,
            reason=each.kind.value,
            backend=backend.name,
            ref=each.ref,
        )
    if len(alarms) > _MOST_ALARMS:
        audit.record(
            session,
            SYSTEM,
            Event.FINDING_ALARM,
            object_type="backend",
            object_id=backend.id,
            object_name=backend.name,
            organization_path=path,
            outcome=Outcome.FAILURE,
            reason="many",
            alarms=len(alarms),
        )


def _path_of(session: Session, backend: Backend) -> str | None:
    if backend.owner_organization_id is None:
        return None
    return session.get_one(Organization, backend.owner_organization_id).path

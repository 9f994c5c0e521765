"""What does not agree, for the inbox and for a server's page."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from cloudmgr.domain.findings import DECISIONS, FindingKind, FindingState
from cloudmgr.services.findings import FindingRow
from web import formats
from web.rendering import Words

_UNDECIDED = (FindingState.OPEN, FindingState.IGNORED)


@dataclass(frozen=True, slots=True)
class FindingLine:
    """One finding. `can_decide`: it waits for somebody, and something fits it; `refused`: why a decision just was."""

    id: uuid.UUID
    kind: str
    state: str
    name: str
    backend: str
    server_id: uuid.UUID | None
    organization: str
    field: str
    held: str
    observed: str
    message: str
    facts: str
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    decided_by: str
    reason: str
    can_decide: bool
    refused: str
    is_marked: bool
    import_address: str


def line(words: Words, row: FindingRow, refused: str = "", *, is_marked: bool = False) -> FindingLine:
    """Arrange one finding."""
    finding, backend, server, organization = row
    is_drift = finding.kind == FindingKind.DRIFT
    return FindingLine(
        id=finding.id,
        kind=finding.kind,
        state=finding.state,
        name=(server.name if server else finding.name) or finding.ref,
        backend=backend.title or backend.name,
        server_id=server.id if server else None,
        organization=organization.name if organization else "",
        field=finding.field,
        held=_told(words, finding.field, finding.held) if is_drift else "",
        observed=_told(words, finding.field, finding.observed) if is_drift else "",
        message=words.told(finding.message),
        facts="" if is_drift else _facts(words, finding.observed or {}),
        first_seen_at=finding.first_seen_at,
        last_seen_at=finding.last_seen_at,
        closed_at=finding.closed_at,
        decided_by=finding.decided_by or "",
        reason=finding.reason,
        can_decide=finding.closed_at is None
        and finding.state in _UNDECIDED
        and bool(DECISIONS[FindingKind(finding.kind)]),
        refused=refused,
        is_marked=is_marked or bool(refused),
        import_address=_import_address(row),
    )


def _import_address(row: FindingRow) -> str:
    """Return where a server that is not ours can be taken into the ledger; empty for what is settled or something else."""
    finding, backend, _, _ = row
    if finding.kind not in (FindingKind.UNMANAGED, FindingKind.UNAUTHORISED) or finding.closed_at is not None:
        return ""
    return "/imports/one?" + urlencode({"backend": backend.name, "ref": finding.ref, "name": finding.name})


def _told(words: Words, field: str, said: Mapping[str, Any] | None) -> str:
    """Return one side of a drift, with its unit."""
    value = (said or {}).get("value")
    if field == "power":
        return words.label("server_state", value)
    if field == "memory_mib" and isinstance(value, int):
        return formats.amount(value, field)
    if isinstance(value, list):
        return words.joined([str(each) for each in value]) or "-"
    return str(words.known(value))


def _facts(words: Words, seen: Mapping[str, Any]) -> str:
    """Return what was seen of a server or a piece that is not ours, in one line."""
    parts = []
    if isinstance(seen.get("vcpus"), int) and isinstance(seen.get("memory_mib"), int):
        parts.append(f"{seen['vcpus']}C{formats.number(seen['memory_mib'] / 1024)}G")
    if seen.get("power"):
        parts.append(words.label("server_state", seen["power"]))
    if seen.get("kind"):
        parts.append(words.label("resource_kind", seen["kind"]))
    if isinstance(seen.get("size_gib"), int):
        parts.append(formats.amount(seen["size_gib"], "disk_gib"))
    parts += [str(each) for each in seen.get("addresses") or ()]
    parts += [str(seen[name]) for name in ("mac", "owner") if seen.get(name)]
    return " · ".join(parts)

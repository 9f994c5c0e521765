"""What became of a sheet of requests, or would, as its page shows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloudmgr.services.sheet_requests import MOST_TOLD, SheetReport
from web import formats
from web.presenters.imports import CellLine
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class AskedLine:
    """One request made of lines of the sheet; no address after a trial."""

    address: str
    number: str
    project: str
    organization: str
    network_zone: str
    rows: str
    servers: int
    amounts: str


@dataclass(frozen=True, slots=True)
class Report:
    """The whole."""

    is_dry_run: bool
    is_good: bool
    rows: int
    servers: int
    error_count: int
    errors: list[CellLine] = field(default_factory=list)
    requests: list[AskedLine] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)


def report(words: Words, found: SheetReport) -> Report:
    """Arrange a report."""
    return Report(
        is_dry_run=found.dry_run,
        is_good=found.is_good,
        rows=found.rows,
        servers=sum(each.servers for each in found.requests),
        error_count=len(found.errors),
        errors=cells(words, [error.as_json() for error in found.errors[:MOST_TOLD]]),
        requests=[
            AskedLine(
                address="" if found.dry_run else f"/requests/{each.id}",
                number=each.number,
                project=each.project.name,
                organization=each.organization.name,
                network_zone=each.network_zone,
                rows=_ranges(each.rows),
                servers=each.servers,
                amounts="; ".join(
                    f"{words.key_label(key)} {formats.amount(value, key)}"
                    for key, value in each.amounts.items()
                    if value
                ),
            )
            for each in found.requests
        ],
        refusals=[
            f"{refusal['project']} ({_ranges(refusal['rows'])}): {words.told(refusal['message'])}"
            for refusal in found.refusals
        ],
    )


def cells(words: Words, errors: Sequence[Mapping[str, Any]]) -> list[CellLine]:
    """Arrange the cells that cannot be taken."""
    return [
        CellLine(each["row"], each["header"], each["value"], words.told(each["message"]), words.told(each["remedy"]))
        for each in errors
    ]


def _ranges(rows: Sequence[int]) -> str:
    """Return row numbers, those in a row as a range: 2-5, 8."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and parts[-1][-1] == row - 1:
            parts[-1].append(row)
        else:
            parts.append([row])
    return ", ".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)

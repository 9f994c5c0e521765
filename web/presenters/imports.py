"""What became of a sheet of servers, or would; and a server that a cloud shows and nobody owns."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, ObservedServer
from cloudmgr.services.imports import MOST_TOLD, ImportReport
from web import formats
from web.rendering import Words

_UNFIT = re.compile(r"[^a-z0-9-]+")
_LABEL_LENGTH = 63


@dataclass(frozen=True, slots=True)
class CellLine:
    """One cell that cannot be taken: its line and column as the sheet spells it, why, and what to do."""

    row: int
    header: str
    value: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class ServerLine:
    """One server that is, or would be, in the ledger."""

    row: int
    address: str
    name: str
    resource_no: str
    project: str
    backend: str


@dataclass(frozen=True, slots=True)
class RequestLine:
    """What one information system gets; `passed`: limits that an opening balance stands above."""

    address: str
    number: str
    project: str
    organization: str
    servers: int
    amounts: str
    passed: list[str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An information system whose quota has no room."""

    project: str
    rows: str
    message: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a sheet, or would. `is_good`: every line was taken, or would be."""

    is_dry_run: bool
    is_good: bool
    rows: int
    taken: int
    known: int
    error_count: int
    errors: list[CellLine] = field(default_factory=list)
    servers: list[ServerLine] = field(default_factory=list)
    requests: list[RequestLine] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Seen:
    """A server that a cloud shows. `label`: a name for it that the ledger takes."""

    name: str
    label: str
    ref: str
    backend: str
    power: str
    size: str
    arch: str
    addresses: str
    last_seen_at: datetime


def report(words: Words, made: ImportReport) -> Report:
    """Arrange what became of a sheet; of a dry run nothing can be opened."""
    return Report(
        is_dry_run=made.dry_run,
        is_good=made.would_be_taken,
        rows=made.rows,
        taken=len(made.servers),
        known=len(made.known),
        error_count=len(made.errors),
        errors=[_cell(words, error.as_json()) for error in made.errors[:MOST_TOLD]],
        servers=[
            ServerLine(
                row=each.row,
                address="" if made.dry_run else f"/servers/{each.id}",
                name=each.name,
                resource_no="" if made.dry_run else each.resource_no,
                project=each.project,
                backend=each.backend or "",
            )
            for each in made.servers[:MOST_TOLD]
        ],
        requests=[
            RequestLine(
                address="" if made.dry_run else f"/requests/{each.id}",
                number="" if made.dry_run else each.number,
                project=each.project,
                organization=each.organization,
                servers=each.servers,
                amounts=_amounts(words, each.amounts),
                passed=[_passed(words, line) for line in each.passed],
            )
            for each in made.requests
        ],
        refusals=[
            Refusal(
                project=f"{each['organization']} · {each['project']}",
                rows=", ".join(str(row) for row in each["rows"][:20]),
                message=words.told(each["message"]),
            )
            for each in made.refusals
        ],
    )


def refused(words: Words, errors: Sequence[Mapping[str, Any]], rows: int) -> Report:
    """Arrange a sheet of which nothing was taken, because of these cells."""
    return Report(
        is_dry_run=False,
        is_good=False,
        rows=rows,
        taken=0,
        known=0,
        error_count=len(errors),
        errors=[_cell(words, error) for error in errors],
    )


def seen(words: Words, row: ObservedServer, backend: Backend) -> Seen:
    """Arrange a server that a cloud shows."""
    sized = isinstance(row.vcpus, int) and isinstance(row.memory_mib, int)
    return Seen(
        name=row.name,
        label=_UNFIT.sub("-", row.name.lower()).strip("-")[:_LABEL_LENGTH].strip("-"),
        ref=row.ref,
        backend=backend.title or backend.name,
        power=words.label("server_state", row.power),
        size=f"{row.vcpus}C{formats.number(row.memory_mib / 1024)}G" if sized and row.memory_mib else "",
        arch=words.label("architecture", row.arch),
        addresses=words.joined([*row.ipv4, *row.ipv6]),
        last_seen_at=row.last_seen_at,
    )


def _cell(words: Words, error: Mapping[str, Any]) -> CellLine:
    return CellLine(
        row=error["row"],
        header=str(error["header"]) or str(error["column"]),
        value=str(error["value"]),
        message=words.told(error["message"]),
        remedy=words.told(error["remedy"]),
    )


def _passed(words: Words, line: Mapping[str, Any]) -> str:
    """Return a limit that an opening balance stands above."""
    key = str(line["key"])
    return words.translate(
        N_("{name}: {key} {taken} of {limit}"),
        name=line["name"],
        key=words.key_label(key),
        taken=formats.amount(line["used"] + line["reserved"] + line["asked"], key),
        limit=formats.amount(line["limit"], key),
    )


def _amounts(words: Words, amounts: Mapping[str, int]) -> str:
    return words.joined(
        [f"{words.key_label(key)} {formats.amount(amount, key)}" for key, amount in amounts.items() if amount]
    )

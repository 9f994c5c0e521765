"""What is recorded here against what the clouds really have, by token. Reads only: it mends nothing.

After a restore the record is older than the clouds. What was built since is there and not here; what was retired since is
here and not there; what was under way is finished by its workflow, which finds things by their tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Allocation, Backend, Server
from cloudmgr.settings import Settings
from cloudmgr.workflows import engine as engines
from cloudmgr.workflows.runtime import open_provider
from providers.base import ServerObservation
from providers.errors import ProviderError

_MOVING = frozenset(
    {ServerPhase.REQUESTED, ServerPhase.PLACED, ServerPhase.CREATING, ServerPhase.CONFIGURING, ServerPhase.RETIRING}
)
"""Phases in which a workflow is on its way to making record and cloud equal."""
_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One server that record and cloud disagree on."""

    backend: str
    name: str
    token: str
    phase: str
    detail: Message


@dataclass(frozen=True, slots=True)
class Pending:
    """A workflow that goes on when work is resumed."""

    id: str
    workflow: str
    status: str


@dataclass(slots=True)
class Report:
    """The comparison. `equal` servers agree; `moving` ones are on their way; `foreign` are not ours."""

    equal: int = 0
    moving: int = 0
    foreign: int = 0
    missing: list[Finding] = field(default_factory=list)
    """Here and not there."""
    unknown: list[Finding] = field(default_factory=list)
    """There, made by this installation, and not here."""
    unheld: list[Finding] = field(default_factory=list)
    """There and here, without the allocation that counts it; or an allocation without a server that stands."""
    unreachable: dict[str, Message] = field(default_factory=dict)
    pending: list[Pending] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether record and clouds agree; work that goes on is no disagreement."""
        return not (self.missing or self.unknown or self.unheld or self.unreachable)

    def counts(self) -> dict[str, int]:
        """Return how many of each, for the audit log."""
        lists = ("missing", "unknown", "unheld", "unreachable", "pending")
        numbers = {name: getattr(self, name) for name in ("equal", "moving", "foreign")}
        return numbers | {name: len(getattr(self, name)) for name in lists}


def compare(session: Session, settings: Settings, *, without: Sequence[str] = ()) -> Report:
    """Compare every server and allocation with its cloud; `without` names clouds that are left out."""
    report = Report(pending=pending(session))
    backends = {backend.id: backend.name for backend in session.exec(select(Backend))}
    held = set(session.exec(select(Allocation.server_id).where(col(Allocation.released_at).is_(None))))
    servers = list(session.exec(select(Server).order_by(Server.name, col(Server.id))))
    names = [section["name"] for section in settings.backends]
    used = {backends[server.backend_id] for server in servers if server.backend_id and server.id in held}
    for name in [*names, *sorted(used - set(names))]:
        if name not in without:
            ours = [server for server in servers if server.backend_id and backends[server.backend_id] == name]
            _compare_one(settings, name, ours, {str(server.id): server for server in servers}, report)
    _compare_held(backends, held, servers, report)
    return report


def pending(session: Session) -> list[Pending]:
    """Return the workflows that have not ended, oldest first."""
    table = engines.status_table(session.get_bind())  # type: ignore[arg-type]
    if table is None:
        return []
    rows = session.connection().execute(
        sa.text(
            f"SELECT workflow_uuid, name, status FROM {table} WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED') "  # noqa: S608 - a constant
            "ORDER BY created_at LIMIT :most"
        ),
        {"most": _LISTED},
    )
    return [Pending(*row) for row in rows]


def _compare_one(
    settings: Settings, name: str, ours: list[Server], everybody: dict[str, Server], report: Report
) -> None:
    try:
        there = _list(settings, name)
    except ProviderError as error:
        report.unreachable[name] = error.message
        return
    by_token = {str(seen.token): seen for seen in there if seen.token is not None}
    report.foreign += len(there) - len(by_token)
    for server in ours:
        seen = by_token.pop(str(server.id), None)
        _judge(name, server, seen, report)
    for token, seen in by_token.items():
        _judge_extra(name, seen, everybody.get(token), report)


def _list(settings: Settings, name: str) -> list[ServerObservation]:
    provider = open_provider(settings, name)
    try:
        return list(provider.list_servers())
    finally:
        provider.close()


def _judge(backend: str, server: Server, seen: ServerObservation | None, report: Report) -> None:
    phase = ServerPhase(server.phase)
    if phase in _MOVING:
        report.moving += 1
    elif phase == ServerPhase.RETIRED:
        if seen is not None:
            report.unknown.append(_finding(backend, server, N_("It is retired here and still stands there.")))
    elif seen is not None:
        report.equal += 1
    elif phase != ServerPhase.FAILED or server.built_at is not None:
        report.missing.append(_finding(backend, server, N_("It stands here and is gone there.")))


def _judge_extra(backend: str, seen: ServerObservation, server: Server | None, report: Report) -> None:
    if server is None:
        where = Message(
            N_("There is no record of it here: {ref}, {address}."),
            {"ref": seen.ref, "address": ", ".join([*seen.ipv4, *seen.ipv6]) or "-"},
        )
        report.unknown.append(Finding(backend, seen.name, str(seen.token), "-", where))
    elif ServerPhase(server.phase) in _MOVING:
        report.moving += 1  # begun there after the backup; its workflow finds it by its token
    else:
        report.unknown.append(
            _finding(backend, server, N_("It is recorded elsewhere, or as failed, and stands there."))
        )


def _compare_held(backends: dict[Any, str], held: set[Any], servers: list[Server], report: Report) -> None:
    """Every server that stands holds capacity, and nothing else does."""
    for server in servers:
        stands = server.phase in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED, ServerPhase.CONFIGURING)
        name = backends.get(server.backend_id, "-")
        if stands and server.id not in held:
            report.unheld.append(_finding(name, server, N_("It stands, and no capacity is held for it.")))
        elif server.phase == ServerPhase.RETIRED and server.id in held:
            report.unheld.append(_finding(name, server, N_("It is retired, and capacity is still held for it.")))


def _finding(backend: str, server: Server, template: str) -> Finding:
    return Finding(backend, server.name, str(server.id), server.phase, Message(template))

"""The register of exports: who took which ledger out, when, with which filters, how many rows, and the bytes' digest.

An export is recorded before its first byte leaves and settled after its last. Both are audited. What was begun and not
settled within `DEADLINE` is told as broken: its process died.
"""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Hidden, NotFound, UnsupportedFormat
from cloudmgr.domain.events import Event, Outcome
from cloudmgr.domain.messages import N_
from cloudmgr.models import Export
from cloudmgr.services import audit
from cloudmgr.services.inputs import Input, formed
from cloudmgr.store import exports

DEADLINE = timedelta(minutes=30)
"""A stream that takes longer is cut off: a reader that stands still must not hold a snapshot of the database for ever."""
_GRACE = timedelta(minutes=1)

Sha256 = Annotated[
    str, formed(r"^[0-9a-fA-F]{64}$", N_("Give a SHA-256 digest: 64 hexadecimal digits."), to_lower=True)
]


class CreateExport(Input):
    """An export to be made in the background and fetched when ready."""

    ledger: Literal["inventory"]
    format: Annotated[str, StringConstraints(max_length=16)]
    filters: dict[str, Any] = Field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """What has left so far: rows, bytes and their SHA-256. One per stream."""

    rows: int = 0
    size_bytes: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def add(self, chunk: bytes, rows: int) -> None:
        """Count a chunk that is about to be sent."""
        self.rows += rows
        self.size_bytes += len(chunk)
        self._digest.update(chunk)

    @property
    def sha256(self) -> str:
        """Digest of every byte so far, in hexadecimal."""
        return str(self._digest.hexdigest())


def begin(
    session: Session,
    actor: Actor,
    *,
    ledger: str,
    format: str,  # noqa: A002 - the register's own word
    view: str,
    encoding: str,
    filters: Mapping[str, Any],
    organization_path: str,
    reveal_reason: str = "",
) -> Export:
    """Record an export as running and audit it, in the transaction at hand. The caller has authorised it."""
    export = Export(
        ledger=ledger,
        format=format,
        view=view,
        encoding=encoding,
        filters=dict(filters),
        reveal_reason=reveal_reason,
        actor_id=actor.user_id,
        actor=actor.username,
        organization_path=organization_path,
    )
    exports.add(session, export)
    asked = {"format": format, "view": view, "filters": dict(filters)}
    _audit(session, actor, Event.INVENTORY_EXPORT, export, stage="begun", **asked)
    if reveal_reason:
        _audit(session, actor, Event.INVENTORY_REVEAL, export, why=reveal_reason, **asked)
    return export


def finish(session: Session, actor: Actor, export_id: uuid.UUID, tally: Tally, *, is_whole: bool) -> Export:
    """Settle an export: done with its count and digest, or broken with what had left by then. Twice is once."""
    export = exports.get(session, export_id, lock=True)
    if export is None:
        raise NotFound(N_("There is no such export."))
    if export.state != "running":
        return export
    export.state = "done" if is_whole else "broken"
    export.rows, export.size_bytes = tally.rows, tally.size_bytes
    export.sha256 = tally.sha256 if is_whole else None
    export.finished_at = clock.now()
    exports.add(session, export)
    _audit(
        session,
        actor,
        Event.INVENTORY_EXPORT,
        export,
        outcome=Outcome.SUCCESS if is_whole else Outcome.FAILURE,
        reason="" if is_whole else "broken",
        stage="finished",
        rows=export.rows,
        size_bytes=export.size_bytes,
        sha256=export.sha256,
    )
    return export


def list_exports(
    session: Session, actor: Actor, *, sha256: str | None = None, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[Export], uuid.UUID | None]:
    """Return a page of exports, newest first: one's own, and those of the subtrees whose records one may read.

    `sha256` (64 hexadecimal digits) finds the export a file came from.
    """
    access.require(actor, Action.AUDIT_READ_OWN)
    rows, following = exports.page(
        session,
        paths=[*actor.scope(Action.EXPORTS_READ), *actor.scope(Action.AUDIT_READ)],
        own_id=actor.user_id,
        sha256=sha256.lower() if sha256 else None,
        limit=limit,
        cursor=cursor,
    )
    return rows, following


def get_export(session: Session, actor: Actor, export_id: uuid.UUID) -> Export:
    """Return one export.

    Raises:
        NotFound: there is none, or it is not the actor's to know of.
    """
    access.require(actor, Action.AUDIT_READ_OWN)
    export = exports.get(session, export_id)
    if export is None:
        raise NotFound(N_("There is no such export."))
    is_own = actor.user_id is not None and export.actor_id == actor.user_id
    if not is_own and not any(actor.may(each, export.organization_path) for each in _READING):
        raise Hidden(N_("There is no such export."), detail=f"{actor.username} may not read export {export_id}")
    return export


_READING = (Action.EXPORTS_READ, Action.AUDIT_READ)
"""Either lets one read the register of a subtree: an export is a record like any other."""


def state_of(export: Export) -> str:
    """Return running, done or broken; one that still runs after its deadline died with its process."""
    if export.state == "running" and clock.now() - export.created_at > DEADLINE + _GRACE:
        return "broken"
    return export.state


def create_export(session: Session, actor: Actor, command: CreateExport) -> Export:
    """Refuse an export to be made in the background: what there is today streams at once.

    Raises:
        UnsupportedFormat: always, in this release; the message says which address gives what was asked.
    """
    access.require(actor, Action.INVENTORY_EXPORT)
    del session
    if command.format in ("csv", "json", "jsonl"):
        raise UnsupportedFormat(
            N_("The inventory as {format} needs no waiting: fetch it from /api/v1/inventory?format={format}."),
            field="format",
            format=command.format,
        )
    raise UnsupportedFormat(
        N_("The format {format} is not offered by this release; use csv, json or jsonl."),
        field="format",
        format=command.format,
    )


def _audit(session: Session, actor: Actor, event: Event, export: Export, **more: Any) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="export",
        object_id=export.id,
        object_name=export.ledger,
        organization_path=export.organization_path,
        **more,
    )

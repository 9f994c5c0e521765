"""Exporting the inventory of the present: who may take out which lines and columns, and what is recorded of it.

`begin` decides and records in the caller's transaction; `chunks` then reads on a session of its own, which the caller
closes; `exports.finish` settles. No answer is ever held in memory as a whole.
"""

import itertools
import re
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access, clock
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import AsOfUnavailable, InvalidInput, NotFound, UnsupportedFormat
from cloudmgr.domain.inventory_columns import PERSONAL, VIEWS, Column
from cloudmgr.domain.messages import N_
from cloudmgr.models import Organization
from cloudmgr.services import exports, inventory_formats
from cloudmgr.services.inputs import Id, Input, Moment, Text
from cloudmgr.services.inventory_formats import MEDIA_TYPES, Chunk, CsvWriter, JsonlWriter, JsonWriter, Line, Writer
from cloudmgr.services.inventory_rows import Sight, unmanaged_values, values
from cloudmgr.store import discovery, inventory, organizations, servers

NOT_COLLECTED: tuple[str, ...] = ()
"""What may be asked for by `include` and is not gathered by this release: told beside the answer, never as an empty fact."""
_INCLUDES = ("retired", "unmanaged")
_PIECE = 500
_UNSAFE_IN_NAMES = re.compile(r'[\x00-\x1f\\/:*?"<>|\s]+')
_NOT_ASCII = re.compile(r"[^A-Za-z0-9._-]+")


class InventoryExport(Input):
    """Which lines and columns, in which form."""

    format: Annotated[Text, StringConstraints(max_length=16)] = "json"
    view: Literal["audit", "short", "public"] = "audit"
    encoding: Literal["utf-8-sig", "gb18030"] | None = None
    """Of csv; with a byte order mark by default. JSON is UTF-8 whatever is said here (RFC 8259)."""
    include: Annotated[Text, StringConstraints(max_length=100)] = ""
    """`retired`, `unmanaged`, separated by commas."""
    organization: Id | None = None
    """Only the subtree of this organization."""
    as_of: Moment | None = None
    reveal: Literal["personal"] | None = None
    reason: Annotated[Text, StringConstraints(max_length=500)] = ""
    lang: Literal["zh_CN", "zh", "en"] | None = Field(default=None, examples=["en"])
    """Language of headers and words; by default the reader's."""


@dataclass(frozen=True, slots=True)
class InventoryJob:
    """An export that was authorised and recorded, ready to be written."""

    export_id: uuid.UUID
    actor: Actor
    as_of: datetime
    format: str
    view: str
    encoding: str
    columns: tuple[Column, ...]
    paths: tuple[str, ...]
    includes: tuple[str, ...]
    sight: Sight
    filename: str
    ascii_filename: str

    @property
    def media_type(self) -> str:
        """Media type of the file, with its character set where the format leaves it open."""
        charset = "gb18030" if self.encoding == "gb18030" else "utf-8"
        return f"{MEDIA_TYPES[self.format]}; charset={charset}" if self.format == "csv" else MEDIA_TYPES[self.format]

    @property
    def not_collected(self) -> tuple[str, ...]:
        """What was asked for and is not gathered."""
        return tuple(name for name in self.includes if name in NOT_COLLECTED)


def begin(session: Session, actor: Actor, command: InventoryExport, *, language: str) -> InventoryJob:
    """Decide what the actor may take out, record the export as running, and return what is needed to write it.

    Personal data stay masked, whoever asks, unless revealed with a reason by those who may; that is audited by itself.
    Hosts show only to those who may see capacity or the register of exports.

    Raises:
        Forbidden, NotFound: no right to export, to reveal, or to see the organization.
        UnsupportedFormat, AsOfUnavailable, InvalidInput: the form asked for is not offered.
    """
    access.require(actor, Action.INVENTORY_EXPORT)
    organization = _organization(session, actor, command.organization)
    _check(session, actor, command)
    paths = (organization.path,) if organization else tuple(actor.scope(Action.INVENTORY_EXPORT))
    about = organization or _at(session, paths, actor)
    chosen = {"en": "en", "zh": "zh_CN", "zh_CN": "zh_CN"}.get(command.lang or language, "zh_CN")
    encoding = (command.encoding or "utf-8-sig") if command.format == "csv" else "utf-8"
    includes = _includes(command.include)
    export = exports.begin(
        session,
        actor,
        ledger="inventory",
        format=command.format,
        view=command.view,
        encoding=encoding,
        filters=command.model_dump(mode="json", include={"organization", "reveal"}, exclude_none=True)
        | {"include": list(includes), "lang": chosen},
        organization_path=about.path if about else actor.organization_path,
        reveal_reason=command.reason,
    )
    filename, ascii_filename = _names(about, export.created_at, command.format, chosen)
    return InventoryJob(
        export_id=export.id,
        actor=actor,
        as_of=export.created_at,
        format=command.format,
        view=command.view,
        encoding=encoding,
        columns=VIEWS[command.view],
        paths=paths,
        includes=includes,
        sight=_sight(session, actor, command, chosen),
        filename=filename,
        ascii_filename=ascii_filename,
    )


def chunks(session: Session, job: InventoryJob) -> Generator[Chunk, None, None]:
    """Yield the file of an export that was begun. Reads one moment; the session must serve nothing else meanwhile."""
    inventory.hold_moment(session)
    with closing(inventory.pieces(session, paths=job.paths, include_retired="retired" in job.includes)) as found:
        lines: Iterator[list[Line]] = ([values(row, job.sight) for row in piece] for piece in found)
        yield from inventory_formats.chunks(_writer(job), itertools.chain(lines, _unmanaged(session, job)))


def _unmanaged(session: Session, job: InventoryJob) -> Iterator[list[Line]]:
    """Yield what stands at clouds and nobody owns, in pieces, after all that somebody does: by cloud and name.

    Who sees the whole city sees all of it; who sees a subtree, what stands at clouds that are owned there.
    """
    if "unmanaged" not in job.includes:
        return
    root = organizations.root(session)
    sees_all = any((root.path if root else "/").startswith(path) for path in job.paths)
    found = discovery.unmanaged_rows(session, paths=None if sees_all else job.paths)
    while piece := [unmanaged_values(seen, backend, job.sight) for seen, backend in itertools.islice(found, _PIECE)]:
        yield piece


def _writer(job: InventoryJob) -> Writer:
    if job.format == "csv":
        return CsvWriter(job.columns, encoding=job.encoding, language=job.sight.language)
    if job.format == "jsonl":
        return JsonlWriter(job.columns)
    about: dict[str, Any] = {"as_of": job.as_of, "view": job.view, "export": str(job.export_id)}
    return JsonWriter(job.columns, about | {"not_collected": list(job.not_collected)})


def _organization(session: Session, actor: Actor, organization_id: uuid.UUID | None) -> Organization | None:
    if organization_id is None:
        return None
    organization = organizations.get(session, organization_id)
    if organization is None:
        raise NotFound(N_("There is no such organization."))
    access.require(actor, Action.INVENTORY_EXPORT, organization.path, see=Action.ORGANIZATION_READ)
    return organization


def _check(session: Session, actor: Actor, command: InventoryExport) -> None:
    if command.format not in MEDIA_TYPES:
        raise UnsupportedFormat(
            N_("The format {format} is not offered by this release; use csv, json or jsonl."),
            field="format",
            format=command.format,
        )
    if command.as_of is not None:
        raise _as_of_unavailable(session, command.as_of)
    if command.reveal is None:
        if command.reason:
            raise InvalidInput(N_("A reason is asked for with reveal=personal only."), field="reason")
        return
    access.require(actor, Action.PERSONAL_REVEAL)
    if not command.reason:
        raise InvalidInput(N_("Say why personal data must be shown; the reason is recorded."), field="reason")
    if not PERSONAL.intersection(column.key for column in VIEWS[command.view]):
        raise InvalidInput(
            N_("The view {view} holds no personal data; nothing to reveal."), field="reveal", view=command.view
        )


def _as_of_unavailable(session: Session, as_of: datetime) -> AsOfUnavailable:
    asked = as_of if as_of.tzinfo else as_of.replace(tzinfo=clock.SHANGHAI)
    first = servers.first_version_at(session)
    if first is None or asked < first:
        return AsOfUnavailable(
            N_("There is no record of {asked}; the first is of {first}."),
            field="as_of",
            asked=_told(asked),
            first=_told(first) if first else "-",
        )
    return AsOfUnavailable(
        N_("This release exports the present only. Leave as_of out; the history since {first} is kept."),
        field="as_of",
        first=_told(first),
    )


def _told(moment: datetime) -> str:
    return moment.astimezone(clock.SHANGHAI).isoformat(timespec="seconds")


def _includes(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in _INCLUDES]
    if unknown:
        raise InvalidInput(N_("Give one or more of: {known}."), field="include", known=", ".join(_INCLUDES))
    return tuple(name for name in _INCLUDES if name in names)


def _sight(session: Session, actor: Actor, command: InventoryExport, language: str) -> Sight:
    municipal = inventory.municipal(session)
    root = organizations.root(session)
    host_paths = (*actor.scope(Action.HOST_READ), *actor.scope(Action.EXPORTS_READ))
    return Sight(
        language=language,
        host_paths=host_paths,
        sees_all_hosts=(root.path if root else "/").startswith(host_paths),
        personal_paths=tuple(actor.scope(Action.PERSONAL_REVEAL)) if command.reveal else (),
        municipal=(municipal.code, municipal.name) if municipal else None,
    )


def _at(session: Session, paths: tuple[str, ...], actor: Actor) -> Organization | None:
    """Return the organization an export is about: the one subtree it covers, the root for all, else the actor's own."""
    if paths == ("/",):
        return organizations.root(session)
    if len(paths) == 1:
        return organizations.get(session, uuid.UUID(paths[0].rstrip("/").rpartition("/")[2]))
    return organizations.get(session, actor.organization_id) if actor.organization_id else None


def _names(about: Organization | None, at: datetime, extension: str, language: str) -> tuple[str, str]:
    """Return the file's name in the reader's language and in ASCII, with the moment in Asia/Shanghai."""
    stamp = at.astimezone(clock.SHANGHAI).strftime("%Y%m%d_%H%M")
    title = {"zh_CN": "资源台账", "en": "inventory"}[language]
    place = (about.name_en if language == "en" and about.name_en else about.name) if about else ""
    code = _NOT_ASCII.sub("-", about.code) if about else ""
    full = "_".join(filter(None, (title, _UNSAFE_IN_NAMES.sub("_", place)[:80], stamp)))
    return f"{full}.{extension}", "_".join(filter(None, ("inventory", code, stamp))) + f".{extension}"

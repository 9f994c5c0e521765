"""What people added to a request, and the request as the form that is stamped: for pages."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cloudmgr.domain.approval import Mode
from cloudmgr.models import RequestFeedback
from cloudmgr.services.remarks import AttachmentRow, CommentRow
from cloudmgr.services.request_changes import DiffLine, diff
from cloudmgr.services.request_view import RequestView
from cloudmgr.services.stage_seats import SeatView
from web.presenters.words import seat
from web.rendering import Words


@dataclass(frozen=True, slots=True)
class CommentLine:
    """One comment."""

    text: str
    author: str
    at: datetime
    internal: bool


@dataclass(frozen=True, slots=True)
class FileLine:
    """One attached file."""

    name: str
    size: str
    author: str
    at: datetime
    address: str


@dataclass(frozen=True, slots=True)
class DiffRow:
    """One value that would change."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ChangeBox:
    """A change that waits for the requester."""

    id: uuid.UUID
    comment: str
    lines: list[DiffRow]
    is_mine: bool
    """The reader proposed it."""


@dataclass(frozen=True, slots=True)
class Opinion:
    """One stage as the form has it: what was said, by whom, when; blank lines for the stamp where nothing was."""

    title: str
    decision: str
    comment: str
    who: str
    at: datetime | None
    policy: str


@dataclass(frozen=True, slots=True)
class Room:
    """Everything people added to a request."""

    comments: list[CommentLine]
    files: list[FileLine]
    feedback: RequestFeedback | None
    change: ChangeBox | None


def comment_line(row: CommentRow) -> CommentLine:
    """Arrange one comment."""
    comment, author = row
    return CommentLine(comment.text, author.display_name, comment.created_at, comment.is_internal)


def file_line(row: AttachmentRow) -> FileLine:
    """Arrange one file."""
    file, author = row
    return FileLine(
        file.name,
        f"{max(1, file.size_bytes // 1024)} KiB",
        author.display_name,
        file.created_at,
        f"/requests/{file.request_id}/attachments/{file.id}",
    )


def diff_rows(words: Words, before: Mapping[str, Any], after: Mapping[str, Any]) -> list[DiffRow]:
    """Arrange what differs between two bodies, in the reader's words."""
    return [_diff_row(words, line) for line in diff(before, after)]


def _diff_row(words: Words, line: DiffLine) -> DiffRow:
    return DiffRow(words.field(line.field), _told(words, line.before), _told(words, line.after))


def _told(words: Words, value: Any) -> str:
    if isinstance(value, bool):
        return words.label("yes_no", str(value).lower())
    return "-" if value in (None, "", []) else str(value)


def opinions(words: Words, view: RequestView, seats: Mapping[uuid.UUID, Sequence[SeatView]]) -> list[Opinion]:
    """Arrange the stages as boxes for opinions and stamps: one for each decision, and one for each that is still wanted."""
    found = []
    for stage in view.stages:
        shown, title = seats.get(stage.id, ()), words.translate(stage.name)
        found += [
            Opinion(
                title,
                words.label("stage_state", each.decision.decision),
                each.decision.comment,
                seat(words, each),
                each.decision.created_at,
                each.decision.policy_version,
            )
            for each in shown
            if each.decision
        ]
        own = {each.seat.id for each in shown if each.seat.stands_for_id is None}
        left = [each for each in shown if each.decision is None and each.seat.id in own]
        if stage.mode == Mode.ALL:
            found += [
                Opinion(_signed(title, [seat(words, each)]), "", "", "", None, stage.policy_version) for each in left
            ]
        elif left or not shown:
            who = [seat(words, each) for each in left]
            found.append(Opinion(_signed(title, who), "", "", "", None, stage.policy_version))
    return found


def _signed(title: str, who: Sequence[str]) -> str:
    return f"{title} · {' / '.join(who)}" if who else title

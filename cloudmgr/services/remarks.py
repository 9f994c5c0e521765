"""What people add to requests: comments, internal notes, attachments, feedback. Everything asks for sight of the request first."""

import hashlib
import uuid
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import attachments as files
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.notices import NoticeEvent
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.models import (
    ApprovalStage,
    Attachment,
    Organization,
    RequestComment,
    RequestFeedback,
    ResourceRequest,
    User,
)
from cloudmgr.services import approval_stages, audit, request_notices
from cloudmgr.services import requests as request_services
from cloudmgr.services.inputs import Input, Text
from cloudmgr.services.notices import notify
from cloudmgr.store import remarks, requests

CommentRow = remarks.CommentRow
AttachmentRow = remarks.AttachmentRow
MAX_COMMENTS = 500
_DELIVERED = frozenset({RequestPhase.FULFILLED, RequestPhase.PARTLY_FULFILLED})


class WriteComment(Input):
    """A remark; an internal one is for those who decide, and the requester never sees it."""

    text: Annotated[Text, StringConstraints(min_length=1, max_length=2000)]
    internal: bool = False


class GiveFeedback(Input):
    """How the delivery was: 1 (bad) to 5 (good)."""

    score: Annotated[int, Field(ge=1, le=5)]
    comment: Annotated[Text, StringConstraints(max_length=1000)] = ""


@dataclass(frozen=True, slots=True)
class Download:
    """A file to hand out: as an attachment, never to be shown by a browser."""

    name: str
    media_type: str
    content: bytes


def comment(session: Session, actor: Actor, request_id: uuid.UUID, command: WriteComment) -> CommentRow:
    """Write a comment, or an internal note.

    Raises:
        Forbidden: the actor neither makes nor decides requests here, or is the requester and wants an internal note.
        Conflict: there are too many.
    """
    request, organization = request_services.visible(session, actor, request_id, lock=True)
    author = _writer(session, actor, request, organization)
    if command.internal and not sees_internal(session, actor, request, organization):
        raise Forbidden(N_("Internal notes are written and read by those who decide on the request."))
    if remarks.count_comments(session, request.id) >= MAX_COMMENTS:
        raise Conflict(N_("A request has {count} comments at most."), count=MAX_COMMENTS)
    row = RequestComment(request_id=request.id, author_id=author.id, text=command.text, is_internal=command.internal)
    requests.add(session, row)
    if not command.internal and request.requester_id != author.id:
        notify(
            session,
            NoticeEvent.REQUEST_COMMENTED,
            Message(
                N_("{person} commented on {number}: {text}"),
                {"person": author.display_name, "number": request.number or "", "text": command.text[:200]},
            ),
            to=[request.requester_id],
            about=request_notices.about(request),
            organization_path=organization.path,
            dedupe=str(row.id),
        )
    _audit(session, actor, Event.REQUEST_COMMENT, request, organization, internal=command.internal)
    return row, author


def list_comments(session: Session, actor: Actor, request_id: uuid.UUID) -> list[CommentRow]:
    """Return the comments on a request, oldest first; internal notes to those who decide only."""
    request, organization = request_services.visible(session, actor, request_id)
    return remarks.comments(session, request.id, with_internal=sees_internal(session, actor, request, organization))


def sees_internal(session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> bool:
    """Whether an actor reads and writes internal notes: whoever may decide there, but never the requester."""
    if request.requester_id == actor.user_id:
        return False
    stage: ApprovalStage | None = requests.open_stage(session, request.id)
    return actor.may(Action.REQUEST_DECIDE, organization.path) or (
        stage is not None and bool(approval_stages.seats_for(session, actor, request, stage))
    )


def attach(session: Session, actor: Actor, request_id: uuid.UUID, name: str, content: bytes) -> AttachmentRow:
    """Attach a file: kinds, size and number are limited, and what it is its bytes say.

    Raises:
        InvalidInput: empty, too large, of a kind not taken, or named as another kind.
        Conflict: there are too many. Forbidden: the actor neither makes nor decides requests here.
    """
    request, organization = request_services.visible(session, actor, request_id, lock=True)
    author = _writer(session, actor, request, organization)
    if not content:
        raise InvalidInput(N_("The file is empty."), field="file")
    if len(content) > files.MAX_BYTES:
        raise InvalidInput(N_("A file has {limit} KiB at most."), field="file", limit=files.MAX_BYTES // 1024)
    media_type, safe = files.sniff(content), files.safe_name(name)
    if media_type is None:
        raise InvalidInput(
            N_(
                "Files of this kind are not taken. Attach PDF, OFD, DOCX or XLSX without macros, PNG, JPEG, or plain text."
            ),
            field="file",
        )
    if not files.matches(safe, media_type):
        raise InvalidInput(
            N_("The name {name} does not fit what the file is ({kind})."), field="file", name=safe, kind=media_type
        )
    count, total = remarks.attached(session, request.id)
    if count >= files.MAX_FILES or total + len(content) > files.MAX_TOTAL_BYTES:
        raise Conflict(
            N_("A request has {count} files and {limit} MiB of them at most; remove one first."),
            count=files.MAX_FILES,
            limit=files.MAX_TOTAL_BYTES // 2**20,
        )
    digest = hashlib.sha256(content).hexdigest()
    remarks.keep(session, digest, content)
    row = Attachment(
        request_id=request.id,
        author_id=author.id,
        name=safe,
        media_type=media_type,
        size_bytes=len(content),
        sha256=digest,
    )
    requests.add(session, row)
    _audit(session, actor, Event.REQUEST_ATTACH, request, organization, file=safe, sha256=digest)
    return row, author


def list_attachments(session: Session, actor: Actor, request_id: uuid.UUID) -> list[AttachmentRow]:
    """Return the attachments of a request, oldest first."""
    request, _ = request_services.visible(session, actor, request_id)
    return remarks.attachments(session, request.id)


def download(session: Session, actor: Actor, request_id: uuid.UUID, attachment_id: uuid.UUID) -> Download:
    """Return a file of a request.

    Raises:
        NotFound: there is none for this actor.
    """
    row, _, _ = _attachment(session, actor, request_id, attachment_id)
    return Download(row.name, row.media_type, remarks.content(session, row.sha256))


def detach(session: Session, actor: Actor, request_id: uuid.UUID, attachment_id: uuid.UUID) -> None:
    """Remove a file one attached oneself, while the request is not decided yet.

    Raises:
        NotFound: there is none. Forbidden: somebody else attached it. Conflict: it was decided upon with the request.
    """
    row, request, organization = _attachment(session, actor, request_id, attachment_id)
    if row.author_id != actor.user_id:
        raise Forbidden(N_("Only the person who attached a file can remove it."))
    if RequestPhase(request.phase) not in (RequestPhase.DRAFT, RequestPhase.RETURNED):
        raise Conflict(
            N_("Files belong to what was submitted: they can be removed from drafts and returned requests only.")
        )
    remarks.remove(session, row)
    _audit(session, actor, Event.REQUEST_DETACH, request, organization, file=row.name, sha256=row.sha256)


def give_feedback(session: Session, actor: Actor, request_id: uuid.UUID, command: GiveFeedback) -> RequestFeedback:
    """Say once how a delivery was.

    Raises:
        Forbidden: somebody else made the request. Conflict: nothing was delivered yet, or it was said already.
    """
    request, organization = request_services.visible(session, actor, request_id, lock=True)
    if request.requester_id != actor.user_id:
        raise Forbidden(N_("Feedback is given by the person who made the request."))
    require(actor, Action.REQUEST_MAKE, organization.path, see=Action.REQUEST_READ)
    if RequestPhase(request.phase) not in _DELIVERED:
        raise Conflict(N_("Feedback is given when something was delivered."))
    if remarks.feedback(session, request.id) is not None:
        raise Conflict(N_("Feedback was given already."))
    row = RequestFeedback(
        request_id=request.id, author_id=request.requester_id, score=command.score, comment=command.comment
    )
    requests.add(session, row)
    _audit(session, actor, Event.REQUEST_FEEDBACK, request, organization, score=command.score)
    return row


def read_feedback(session: Session, actor: Actor, request_id: uuid.UUID) -> RequestFeedback | None:
    """Return the feedback on a request, None where none was given."""
    request, _ = request_services.visible(session, actor, request_id)
    return remarks.feedback(session, request.id)


def count_attachments(session: Session, request: ResourceRequest) -> int:
    """Return how many files a request has, for policies that want one."""
    return remarks.attached(session, request.id)[0]


def _attachment(
    session: Session, actor: Actor, request_id: uuid.UUID, attachment_id: uuid.UUID
) -> tuple[Attachment, ResourceRequest, Organization]:
    request, organization = request_services.visible(session, actor, request_id)
    row = session.get(Attachment, attachment_id)
    if row is None or row.request_id != request.id:
        raise NotFound(N_("There is no such file."))
    return row, request, organization


def _writer(session: Session, actor: Actor, request: ResourceRequest, organization: Organization) -> User:
    if actor.user_id is None:
        raise Forbidden(N_("A remark is made by a person with an account."))
    may = actor.may(Action.REQUEST_MAKE, organization.path) or request.requester_id == actor.user_id
    if not may and not sees_internal(session, actor, request, organization):
        raise Forbidden(N_("Remarks on a request are made by those who make requests there and those who decide."))
    return session.get_one(User, actor.user_id)


def _audit(
    session: Session,
    actor: Actor,
    event: Event,
    request: ResourceRequest,
    organization: Organization,
    **detail: str | int | bool,
) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="request",
        object_id=request.id,
        object_name=request.number or "",
        organization_path=organization.path,
        **detail,  # type: ignore[arg-type]
    )

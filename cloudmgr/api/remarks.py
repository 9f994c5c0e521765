"""What is said of requests: comments, attachments, feedback."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response, status
from pydantic import Field

from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.errors import unsupported
from cloudmgr.http.files import one_file, saved_file
from cloudmgr.http.routes import api_router, rule
from cloudmgr.models import RequestFeedback
from cloudmgr.services import remarks
from cloudmgr.services.remarks import AttachmentRow, CommentRow, GiveFeedback, WriteComment

router = api_router("/requests/{request_id}", "requests")


class CommentShape(Shape):
    """One comment; `internal` ones are shown to those who decide only."""

    id: UUID
    text: str
    internal: bool
    author: str = Field(examples=["frq-wangfang"])
    author_name: str = Field(examples=["王芳"])
    created_at: At


class AttachmentShape(Shape):
    """One attached file."""

    id: UUID
    name: str = Field(examples=["立项批复.pdf"])
    media_type: str = Field(examples=["application/pdf"])
    size_bytes: int
    sha256: str
    author: str
    created_at: At


class FeedbackShape(Shape):
    """How the delivery was."""

    score: int = Field(examples=[5])
    comment: str
    created_at: At


class Comments(Shape):
    """Oldest first; a request has 500 at most."""

    items: list[CommentShape]


class Attachments(Shape):
    """Oldest first; a request has 20 at most."""

    items: list[AttachmentShape]


@router.get("/comments", response_model=Comments, openapi_extra=rule(Action.REQUEST_READ, object_type="request"))
def list_comments(request_id: UUID, actor: ActorDep, session: SessionDep) -> Comments:
    """List the comments on a request; internal notes are shown to those who decide, never to the requester."""
    return Comments(items=[_comment(row) for row in remarks.list_comments(session, actor, request_id)])


@router.post(
    "/comments",
    status_code=status.HTTP_201_CREATED,
    response_model=CommentShape,
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_COMMENT, object_type="request"),
)
def write_comment(request_id: UUID, command: WriteComment, actor: ActorDep, session: SessionDep) -> CommentShape:
    """Comment on a request, or write an internal note."""
    return _comment(remarks.comment(session, actor, request_id, command))


def _comment(row: CommentRow) -> CommentShape:
    comment, author = row
    return CommentShape(
        id=comment.id,
        text=comment.text,
        internal=comment.is_internal,
        author=author.username,
        author_name=author.display_name,
        created_at=comment.created_at,
    )


class Upload(Shape):
    """A file that was sent."""

    name: str
    content: bytes


async def _upload(http: Request) -> Upload:
    """Read the part called `file`. The form was read already, for the page's token in it, and is kept."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise unsupported("multipart/form-data")
    form = await http.form(max_fields=5)
    try:
        file = one_file(form)
        return Upload(name=file.filename or "", content=await file.read())
    finally:
        await form.close()


_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.get("/attachments", response_model=Attachments, openapi_extra=rule(Action.REQUEST_READ, object_type="request"))
def list_attachments(request_id: UUID, actor: ActorDep, session: SessionDep) -> Attachments:
    """List the files attached to a request."""
    return Attachments(items=[_attachment(row) for row in remarks.list_attachments(session, actor, request_id)])


@router.post(
    "/attachments",
    status_code=status.HTTP_201_CREATED,
    response_model=AttachmentShape,
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_ATTACH, object_type="request") | _FORM,
)
def attach_file(
    request_id: UUID, actor: ActorDep, session: SessionDep, upload: Annotated[Upload, Depends(_upload)]
) -> AttachmentShape:
    """Attach a file: PDF, OFD, DOCX or XLSX without macros, PNG, JPEG or plain text, of 900 KiB at most."""
    return _attachment(remarks.attach(session, actor, request_id, upload.name, upload.content))


def _attachment(row: AttachmentRow) -> AttachmentShape:
    attachment, author = row
    return AttachmentShape(
        id=attachment.id,
        name=attachment.name,
        media_type=attachment.media_type,
        size_bytes=attachment.size_bytes,
        sha256=attachment.sha256,
        author=author.username,
        created_at=attachment.created_at,
    )


@router.get(
    "/attachments/{attachment_id}",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
    openapi_extra=rule(Action.REQUEST_READ, object_type="request"),
)
def download_file(request_id: UUID, attachment_id: UUID, actor: ActorDep, session: SessionDep) -> Response:
    """Download an attached file; no browser shows it in place."""
    file = remarks.download(session, actor, request_id, attachment_id)
    return saved_file(file.name, file.media_type, file.content)


@router.delete(
    "/attachments/{attachment_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule(Action.REQUEST_READ, event=Event.REQUEST_DETACH, object_type="request"),
)
def remove_file(request_id: UUID, attachment_id: UUID, actor: ActorDep, session: SessionDep) -> None:
    """Remove a file you attached to a draft or a returned request."""
    remarks.detach(session, actor, request_id, attachment_id)


@router.get("/feedback", response_model=FeedbackShape, openapi_extra=rule(Action.REQUEST_READ, object_type="request"))
def read_feedback(request_id: UUID, actor: ActorDep, session: SessionDep) -> RequestFeedback:
    """Tell what the requester said of the delivery; 404 while nothing was said."""
    found = remarks.read_feedback(session, actor, request_id)
    if found is None:
        raise NotFound(N_("No feedback was given yet."))
    return found


@router.post(
    "/feedback",
    status_code=status.HTTP_201_CREATED,
    response_model=FeedbackShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_FEEDBACK, object_type="request"),
)
def give_feedback(request_id: UUID, command: GiveFeedback, actor: ActorDep, session: SessionDep) -> RequestFeedback:
    """Say once how the delivery of your own request was: 1 (bad) to 5 (good)."""
    return remarks.give_feedback(session, actor, request_id, command)

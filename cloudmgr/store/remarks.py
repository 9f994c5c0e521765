"""Reading and writing comments, attachments and feedback of requests."""

import uuid

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.models import Attachment, AttachmentContent, RequestComment, RequestFeedback, User
from cloudmgr.store.db import is_sqlite

CommentRow = tuple[RequestComment, User]
AttachmentRow = tuple[Attachment, User]


def comments(session: Session, request_id: uuid.UUID, *, with_internal: bool) -> list[CommentRow]:
    """Return the comments on a request, oldest first."""
    query = (
        sa.select(RequestComment, User)
        .join(User, col(User.id) == col(RequestComment.author_id))
        .where(col(RequestComment.request_id) == request_id)
        .order_by(col(RequestComment.id))
    )
    if not with_internal:
        query = query.where(col(RequestComment.is_internal).is_(False))
    return [(row[0], row[1]) for row in session.execute(query).all()]


def count_comments(session: Session, request_id: uuid.UUID) -> int:
    """Return how many comments a request has, internal notes included."""
    query = sa.select(sa.func.count()).where(col(RequestComment.request_id) == request_id)
    return int(session.execute(query).scalar_one())


def attachments(session: Session, request_id: uuid.UUID) -> list[AttachmentRow]:
    """Return the attachments of a request, oldest first."""
    query = (
        sa.select(Attachment, User)
        .join(User, col(User.id) == col(Attachment.author_id))
        .where(col(Attachment.request_id) == request_id)
        .order_by(col(Attachment.id))
    )
    return [(row[0], row[1]) for row in session.execute(query).all()]


def attached(session: Session, request_id: uuid.UUID) -> tuple[int, int]:
    """Return how many attachments a request has and how many bytes they are."""
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(Attachment.size_bytes), 0)).where(
        col(Attachment.request_id) == request_id
    )
    count, size = session.execute(query).one()
    return int(count), int(size)


def keep(session: Session, sha256: str, content: bytes) -> None:
    """Keep the bytes of a file; the same bytes twice are once."""
    insert = sqlite.insert(AttachmentContent) if is_sqlite(session) else postgresql.insert(AttachmentContent)
    session.execute(insert.values(sha256=sha256, content=content).on_conflict_do_nothing(index_elements=["sha256"]))


def content(session: Session, sha256: str) -> bytes:
    """Return the bytes of a file."""
    return session.get_one(AttachmentContent, sha256).content


def remove(session: Session, attachment: Attachment) -> None:
    """Remove an attachment, and its bytes where no other has them."""
    sha256 = attachment.sha256
    session.delete(attachment)
    session.flush()
    if session.exec(select(Attachment.id).where(Attachment.sha256 == sha256).limit(1)).first() is None:
        session.execute(
            sa.delete(AttachmentContent)
            .where(col(AttachmentContent.sha256) == sha256)
            .execution_options(synchronize_session=False)
        )


def feedback(session: Session, request_id: uuid.UUID) -> RequestFeedback | None:
    """Return what the requester said of the delivery."""
    return session.exec(select(RequestFeedback).where(RequestFeedback.request_id == request_id)).first()

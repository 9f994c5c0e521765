"""What people add to a request: comments, internal notes, attachments, and the requester's opinion afterwards."""

import uuid

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.models.base import Row, Table


class RequestComment(Row, table=True):
    """A remark on a request; an internal one is for those who decide, never for the requester."""

    __tablename__ = "request_comments"

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    author_id: uuid.UUID = Field(foreign_key="users.id")
    text: str = Field(max_length=2000)
    is_internal: bool = False


class AttachmentContent(Table, table=True):
    """The bytes of attachments, each once, by SHA-256. In the database: every process can serve them, one backup has all,
    and they come and go with the transaction.
    """

    __tablename__ = "attachment_contents"

    sha256: str = Field(primary_key=True, max_length=64)
    content: bytes = Field(sa_column=sa.Column(sa.LargeBinary, nullable=False))


class Attachment(Row, table=True):
    """A file that belongs to a request."""

    __tablename__ = "attachments"

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", index=True)
    author_id: uuid.UUID = Field(foreign_key="users.id")
    name: str = Field(max_length=200)
    media_type: str = Field(max_length=100)
    size_bytes: int
    sha256: str = Field(foreign_key="attachment_contents.sha256", max_length=64, index=True)


class RequestFeedback(Row, table=True):
    """What the requester says of a delivery: once a request."""

    __tablename__ = "request_feedback"
    __table_args__ = (sa.CheckConstraint("score BETWEEN 1 AND 5", name="score_range"),)

    request_id: uuid.UUID = Field(foreign_key="resource_requests.id", unique=True)
    author_id: uuid.UUID = Field(foreign_key="users.id")
    score: int
    comment: str = Field(default="", max_length=1000)

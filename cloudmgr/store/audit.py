"""Writing audit events."""

from sqlmodel import Session

from cloudmgr.models import AuditEvent


def add(session: Session, event: AuditEvent) -> None:
    """Append one event to the transaction at hand."""
    session.add(event)

"""Acting in somebody's name when they are not there: with their grants as they are now, and nothing more."""

from sqlmodel import Session

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.models import ResourceRequest, User
from cloudmgr.store import organizations, users


def applicant(session: Session, request: ResourceRequest) -> Actor:
    """Return the person who made a request, as who they are now; who was locked or has left may do nothing."""
    person = session.get_one(User, request.requester_id)
    place = organizations.get(session, person.organization_id)
    is_gone = person.disabled or (person.expires_at is not None and person.expires_at <= clock.now())
    return Actor(
        person.id,
        person.username,
        person.display_name,
        person.organization_id,
        place.path if place else "/",
        () if is_gone else users.grants_now(session, person.id, clock.now()),
        language=person.language,
    )

"""Urging a decision (催办)."""

from uuid import UUID

from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import deadlines

router = api_router("", "requests")


class UrgedShape(Shape):
    """Those who may decide are told. `next_at`: it can be urged again then."""

    request: UUID
    next_at: At


@router.post(
    "/requests/{request_id}/urge",
    response_model=UrgedShape,
    openapi_extra=rule(Action.REQUEST_MAKE, event=Event.REQUEST_URGE, object_type="request"),
)
def urge_request(request_id: UUID, actor: ActorDep, session: SessionDep) -> UrgedShape:
    """Tell those who may decide on your request that you wait; once a working day, else 409 with `next_at`."""
    return UrgedShape(request=request_id, next_at=deadlines.urge(session, actor, request_id))

"""Change freezes: announce, list, lift."""

from datetime import datetime
from uuid import UUID

from fastapi import Response, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, OrganizationName, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import change_freezes
from cloudmgr.services.change_freezes import FreezeView, MakeFreeze

router = api_router("", "change freezes")


class FreezeShape(Shape):
    """A freeze of an organization and everything below it. `in_force`: it holds now."""

    id: UUID
    organization: OrganizationName
    starts_at: At
    ends_at: At
    reason: str = Field(examples=["国庆重保"])
    in_force: bool
    made_by: str
    lifted_at: datetime | None
    lifted_by: str


@router.get(
    "/change-freezes",
    response_model=ItemPage[FreezeShape],
    openapi_extra=rule(Action.ORGANIZATION_READ, object_type="change_freeze"),
)
def list_freezes(actor: ActorDep, session: SessionDep, page: PageDep) -> ItemPage[FreezeShape]:
    """List the freezes that concern your organizations, past ones too, newest first."""
    views, following = change_freezes.list_freezes(session, actor, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[_shape(view) for view in views], next_cursor=encode_cursor(following))


@router.post(
    "/change-freezes",
    status_code=status.HTTP_201_CREATED,
    response_model=FreezeShape,
    openapi_extra=rule(Action.FREEZE_WRITE, event=Event.CHANGE_FREEZE_MAKE, object_type="change_freeze"),
)
def make_freeze(command: MakeFreeze, actor: ActorDep, session: SessionDep) -> FreezeShape:
    """Announce a freeze: changes and retirements that are approved wait for its end, emergency orders pass."""
    return _shape(change_freezes.make_freeze(session, actor, command))


@router.delete(
    "/change-freezes/{freeze_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    openapi_extra=rule(Action.FREEZE_WRITE, event=Event.CHANGE_FREEZE_LIFT, object_type="change_freeze"),
)
def lift_freeze(freeze_id: UUID, actor: ActorDep, session: SessionDep) -> Response:
    """Lift a freeze before its end; what waits for it begins within a minute. It stays in the list."""
    change_freezes.lift_freeze(session, actor, freeze_id)
    return Response(status_code=status.HTTP_204_NO_CONTENT)


def _shape(view: FreezeView) -> FreezeShape:
    freeze = view.freeze
    return FreezeShape(
        id=freeze.id,
        organization=OrganizationName.model_validate(view.organization),
        starts_at=freeze.starts_at,
        ends_at=freeze.ends_at,
        reason=freeze.reason,
        in_force=view.is_in_force,
        made_by=freeze.made_by,
        lifted_at=freeze.lifted_at,
        lifted_by=freeze.lifted_by,
    )

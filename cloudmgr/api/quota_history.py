"""What happened to a quota account: its entries, with who decided and why."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.http.deps import ActorDep, SeqPageDep, SessionDep, encode_seq
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import quota_history

router = api_router("/quotas", "quotas")


class HistoryShape(Shape):
    """One entry. `limit` and `previous` of `limit_set` (and the guarantee of `guarantee_set`); null is no limit."""

    seq: int
    at: At
    key: str = Field(examples=["vcpus"])
    movement: str = Field(
        examples=["reserve"],
        description="limit_set, guarantee_set, open, reserve, adopt, post, place, unplace, resize, void, release, move, merge",
    )
    used: int = Field(examples=[0], description="By how much what is in use changed.")
    reserved: int = Field(examples=[8], description="By how much what is held for requests changed.")
    limit: int | None
    previous: int | None
    reason: str = Field(
        examples=["SQ20261122-0001"], description="Of a decision its reason, else the request's number."
    )
    basis_no: str | None
    actor: str
    request: UUID | None = Field(default=None, description="The request whose server or volume it is.")
    number: str | None = Field(default=None, examples=["SQ20261122-0001"])
    thing: str | None = Field(default=None, examples=["430102-mzj-zhsq-prd-app01"])


@router.get(
    "/{account}/history",
    response_model=ItemPage[HistoryShape],
    openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"),
)
def read_history(
    account: UUID,
    actor: ActorDep,
    session: SessionDep,
    page: SeqPageDep,
    key: Annotated[str | None, Query(max_length=640, description="One key, such as `vcpus`.")] = None,
    decisions_only: Annotated[bool, Query(description="Only what somebody decided: limits and guarantees.")] = False,
) -> ItemPage[HistoryShape]:
    """List what changed an account of one's own, the newest first. 403 for accounts that only stand above it."""
    found = quota_history.read_history(
        session, actor, account, limit=page.limit, before=page.cursor, key=key, decisions_only=decisions_only
    )
    items = []
    for line in found.lines:
        cause = found.causes.get(line.part_id) if line.part_id else None
        named = {"request": cause.request_id, "number": cause.number, "thing": cause.name} if cause else {}
        items.append(HistoryShape.model_validate(line).model_copy(update=named))
    return ItemPage(items=items, next_cursor=encode_seq(found.following))

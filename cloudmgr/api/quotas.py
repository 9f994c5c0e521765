"""Quotas: one's own chain, the tree as a table, and limits."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import Field

from cloudmgr.api.quota_shapes import QuotaShape, quota_shape
from cloudmgr.api.shapes import Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import OnceRoute, api_router, rule
from cloudmgr.services import quotas
from cloudmgr.services.quotas import SetLimits, WhatIf

router = api_router("/quotas", "quotas", OnceRoute)


class QuotaTableShape(Shape):
    """The tree as a table, parents before children."""

    items: list[QuotaShape]
    next_cursor: str | None = None


@router.get("", response_model=QuotaTableShape, openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"))
def read_tree(
    actor: ActorDep,
    session: SessionDep,
    root: Annotated[UUID | None, Query(description="Account to begin at; yours where left out.")] = None,
    depth: Annotated[int | None, Query(ge=0, le=32, description="Levels below it; all where left out.")] = None,
) -> QuotaTableShape:
    """Show the quota tree as a table."""
    return QuotaTableShape(items=[quota_shape(view) for view in quotas.get_tree(session, actor, root, depth)])


class FindingShape(Shape):
    """One account that would be over for one key: `amount` against `limit`; `before` is by how much it is over already."""

    account: UUID
    name: str = Field(examples=["长沙市"])
    depth: int
    key: str = Field(examples=["vcpus"])
    consequence: str = Field(
        examples=["promised_above"], description="use_above, children_above, promised_above or room_missing"
    )
    limit: int
    amount: int
    over: int
    before: int


class WhatIfShape(Shape):
    """What setting limits would bring about, the topmost account first; no items: nobody would be over."""

    items: list[FindingShape]


@router.post(
    "/what-if",
    response_model=WhatIfShape,
    openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account", transaction="read", remembers=False),
)
def try_limits(command: WhatIf, actor: ActorDep, session: SessionDep) -> WhatIfShape:
    """Tell who would be over, and at which level, if limits were set. Changes nothing."""
    found = quotas.what_if(session, actor, command)
    return WhatIfShape(
        items=[
            FindingShape(
                account=each.account_id,
                name=each.name,
                depth=each.depth,
                key=each.key,
                consequence=each.consequence.value,
                limit=each.limit,
                amount=each.amount,
                over=each.over,
                before=each.before,
            )
            for each in found
        ]
    )


@router.get("/{account}", response_model=QuotaShape, openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"))
def read_quota(account: UUID, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Show one account of your subtrees or of the chain above them."""
    return quota_shape(quotas.get_usage(session, actor, account))


@router.put(
    "/{account}",
    response_model=QuotaShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_SET, object_type="quota_account"),
)
def replace_limits(account: UUID, command: SetLimits, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Set every limit of an account; each that exists must be named (422 `limit_omitted`), null takes one away."""
    return quota_shape(quotas.set_limits(session, actor, account, command, replace=True))


@router.patch(
    "/{account}",
    response_model=QuotaShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_SET, object_type="quota_account"),
)
def merge_limits(account: UUID, command: SetLimits, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Set the limits named and leave the others."""
    return quota_shape(quotas.set_limits(session, actor, account, command, replace=False))

"""Quotas: one's own chain, the tree as a table, and limits."""

from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import Field

from cloudmgr.api.shapes import Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import quotas
from cloudmgr.services.quotas import AccountView, SetLimits

router = api_router("/quotas", "quotas")

_KEYS = ["vcpus", "vcpus{arch=aarch64}"]
Amounts = Annotated[dict[str, int], Field(examples=[dict(zip(_KEYS, (96, 64), strict=True))])]
Limits = Annotated[dict[str, int | None], Field(examples=[dict(zip(_KEYS, (480, None), strict=True))])]


class AncestorShape(Shape):
    """An account above."""

    account: UUID
    name: str = Field(examples=["长沙市"])


class QuotaShape(Shape):
    """One account. By key: `available` is what its own limit still lets in (null: no limit here), `room` what can really
    still be granted, bound by every account above as well; `children_limits` adds up the limits right below, which may
    be more than the own limit (over-allocation). `may_set` says whether you may change its limits.
    """

    account: UUID
    parent: UUID | None
    code: str = Field(examples=["430102"])
    name: str = Field(examples=["芙蓉区"])
    kind: str = Field(examples=["organization"], description="organization or project")
    owner: UUID = Field(description="Id of the organization or project.")
    depth: int
    ancestors: list[AncestorShape]
    limits: Limits
    used: Amounts
    reserved: Amounts
    available: Limits
    room: Limits
    overhang: Amounts
    children_limits: Amounts
    may_set: bool
    is_closed: bool = Field(default=False, description="It takes no charges any more.")


class QuotaTableShape(Shape):
    """The tree as a table, parents before children."""

    items: list[QuotaShape]
    next_cursor: str | None = None


def _shape(view: AccountView) -> QuotaShape:
    usage = view.usage
    return QuotaShape(
        account=usage.account_id,
        parent=usage.parent_id,
        code=usage.code,
        name=usage.name,
        kind=view.kind,
        owner=view.owner_id,
        depth=usage.depth,
        ancestors=[AncestorShape(account=account, name=name) for account, name in usage.ancestors],
        limits=dict(usage.limits),
        used=dict(usage.used),
        reserved=dict(usage.reserved),
        available=dict(usage.available),
        room=dict(usage.room),
        overhang=dict(usage.overhang),
        children_limits=dict(usage.children_limit_sum),
        may_set=view.may_set,
        is_closed=usage.is_closed,
    )


@router.get("", response_model=QuotaTableShape, openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"))
def read_tree(
    actor: ActorDep,
    session: SessionDep,
    root: Annotated[UUID | None, Query(description="Account to begin at; yours where left out.")] = None,
    depth: Annotated[int | None, Query(ge=0, le=32, description="Levels below it; all where left out.")] = None,
) -> QuotaTableShape:
    """Show the quota tree as a table."""
    return QuotaTableShape(items=[_shape(view) for view in quotas.get_tree(session, actor, root, depth)])


@router.get("/{account}", response_model=QuotaShape, openapi_extra=rule(Action.QUOTA_READ, object_type="quota_account"))
def read_quota(account: UUID, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Show one account of your subtrees or of the chain above them."""
    return _shape(quotas.get_usage(session, actor, account))


@router.put(
    "/{account}",
    response_model=QuotaShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_SET, object_type="quota_account"),
)
def replace_limits(account: UUID, command: SetLimits, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Set every limit of an account; each that exists must be named (422 `limit_omitted`), null takes one away."""
    return _shape(quotas.set_limits(session, actor, account, command, replace=True))


@router.patch(
    "/{account}",
    response_model=QuotaShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_SET, object_type="quota_account"),
)
def merge_limits(account: UUID, command: SetLimits, actor: ActorDep, session: SessionDep) -> QuotaShape:
    """Set the limits named and leave the others."""
    return _shape(quotas.set_limits(session, actor, account, command, replace=False))

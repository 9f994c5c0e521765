"""Rearranging quota: transfers, moves and merges of accounts, closing."""

from uuid import UUID

from fastapi import Response, status
from pydantic import Field

from cloudmgr.api.shapes import Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import OnceRoute, api_router, rule
from cloudmgr.services import quota_moves
from cloudmgr.services.quota_moves import CloseAccount, MergeAccounts, MoveAccount, Rearranged, TransferQuota

router = api_router("/quotas", "quotas", OnceRoute)


class ChangedLimitsShape(Shape):
    """The limits of one account, before and after; null is no limit there."""

    account: UUID
    name: str = Field(examples=["芙蓉区"])
    before: dict[str, int | None]
    after: dict[str, int | None]


class RearrangedShape(Shape):
    """What a movement changed. `servers`: standing servers whose organization or place in the tree is another now."""

    accounts: list[ChangedLimitsShape]
    servers: int


def _shape(done: Rearranged) -> RearrangedShape:
    return RearrangedShape(
        accounts=[
            ChangedLimitsShape(
                account=each.account_id,
                name=each.name,
                before={str(change.key): change.before for change in each.changes},
                after={str(change.key): change.after for change in each.changes},
            )
            for each in done.accounts
        ],
        servers=done.servers,
    )


@router.post(
    "/transfers",
    status_code=status.HTTP_201_CREATED,
    response_model=RearrangedShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_TRANSFER, object_type="quota_account"),
)
def transfer_quota(command: TransferQuota, actor: ActorDep, session: SessionDep) -> RearrangedShape:
    """Move limits from one account to another for good.

    The accounts between each of them and the nearest above both follow. 409 `limit_in_use` where less is free than goes.
    """
    return _shape(quota_moves.transfer(session, actor, command))


@router.post(
    "/moves",
    status_code=status.HTTP_201_CREATED,
    response_model=RearrangedShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_MOVE, object_type="quota_account"),
)
def move_account(command: MoveAccount, actor: ActorDep, session: SessionDep) -> RearrangedShape:
    """Put an organization or an information system, with its account and all below, under another organization.

    409 `quota_exceeded` names every key and level above the new place that lacks room; nothing is moved then.
    """
    return _shape(quota_moves.move(session, actor, command))


@router.post(
    "/merges",
    status_code=status.HTTP_201_CREATED,
    response_model=RearrangedShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_MERGE, object_type="quota_account"),
)
def merge_accounts(command: MergeAccounts, actor: ActorDep, session: SessionDep) -> RearrangedShape:
    """Make one organization part of another: what is below it, its clouds and its limits go over, its account closes."""
    return _shape(quota_moves.merge(session, actor, command))


@router.post(
    "/{account}/closure",
    response_model=RearrangedShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_CLOSE, object_type="quota_account"),
)
def close_account(account: UUID, command: CloseAccount, actor: ActorDep, session: SessionDep) -> RearrangedShape:
    """Close an account that holds nothing: its limits become zero, and it takes no charges any more."""
    return _shape(quota_moves.close(session, actor, account, command))


@router.post(
    "/{account}/reopening",
    status_code=status.HTTP_204_NO_CONTENT,
    response_class=Response,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_REOPEN, object_type="quota_account"),
)
def reopen_account(account: UUID, command: CloseAccount, actor: ActorDep, session: SessionDep) -> Response:
    """Open a closed account again; its limits stay zero until they are set."""
    quota_moves.reopen(session, actor, account, command)
    return Response(status_code=status.HTTP_204_NO_CONTENT)

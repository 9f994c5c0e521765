"""SQL about addresses that a backend reports as in use and that our own record does not explain."""

import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col

from cloudmgr.domain import addresses
from cloudmgr.models import Address, Backend, Network, ObservedAddress, Organization, Server, Subnet
from cloudmgr.store.paging import below, oldest_first

ReportedRow = tuple[ObservedAddress, Address | None, Server | None]
SeenRow = tuple[ObservedAddress, Backend, Network | None, Address | None, Server | None]


def page(
    session: Session, subnet: Subnet, network: Network, *, limit: int, after: uuid.UUID | None
) -> tuple[list[ReportedRow], uuid.UUID | None]:
    """Return a page of what a backend reports in a subnet and our servers do not have; the gateway is not told.

    With each comes what our record holds of the address, and the server that it gives it to.
    """
    statement = (
        sa.select(ObservedAddress, Address, Server)
        .join(
            Address,
            sa.and_(col(Address.subnet_id) == subnet.id, col(Address.key) == col(ObservedAddress.key)),
            isouter=True,
        )
        .join(Server, col(Address.server_id) == col(Server.id), isouter=True)
        .where(
            col(ObservedAddress.backend_id) == network.backend_id,
            col(ObservedAddress.network_ref) == network.ref,
            _is_within(subnet),
            sa.not_(_is_explained()),
        )
    )
    if subnet.gateway is not None:
        statement = statement.where(col(ObservedAddress.key) != addresses.key_of(subnet.gateway))
    rows, following = oldest_first(session, statement, col(ObservedAddress.id), limit=limit, cursor=after)
    return [(row[0], row[1], row[2]) for row in rows], following


def seen(
    session: Session,
    *,
    explained: bool | None = None,
    backend_ids: Sequence[uuid.UUID] | None = None,
    paths: Sequence[str] | None = None,
    subnet: tuple[Subnet, Network] | None = None,
    limit: int,
    after: uuid.UUID | None,
) -> tuple[list[SeenRow], uuid.UUID | None]:
    """Return a page of every address that backends report, in the order in which they were first seen.

    With each comes the network as we have it, what our record holds of the address there, and the server that it gives it
    to. `paths` narrows to backends owned in these subtrees. A gateway of ours is explained.
    """
    held = sa.join(Address, Subnet, col(Address.subnet_id) == col(Subnet.id))
    statement = (
        sa.select(ObservedAddress, Backend, Network, Address, Server)
        .join(Backend, col(ObservedAddress.backend_id) == col(Backend.id))
        .join(
            Network,
            sa.and_(
                col(Network.backend_id) == col(ObservedAddress.backend_id),
                col(Network.ref) == col(ObservedAddress.network_ref),
            ),
            isouter=True,
        )
        .join(
            held,
            sa.and_(col(Subnet.network_id) == col(Network.id), col(Address.key) == col(ObservedAddress.key)),
            isouter=True,
        )
        .join(Server, col(Address.server_id) == col(Server.id), isouter=True)
    )
    if explained is not None:
        is_known = sa.or_(_is_explained(), _is_gateway())
        statement = statement.where(is_known if explained else sa.not_(is_known))
    if backend_ids is not None:
        statement = statement.where(col(ObservedAddress.backend_id).in_(backend_ids))
    if paths is not None:
        statement = statement.join(Organization, col(Backend.owner_organization_id) == col(Organization.id)).where(
            below(col(Organization.path), paths)
        )
    if subnet is not None:
        statement = statement.where(col(Network.id) == subnet[1].id, _is_within(subnet[0]))
    rows, following = oldest_first(session, statement, col(ObservedAddress.id), limit=limit, cursor=after)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in rows], following


def _is_within(subnet: Subnet) -> Any:
    """Whether the address lies in a subnet."""
    range_ = addresses.parse_subnet(subnet.cidr)
    first, last = (addresses.key_of(str(end)) for end in (range_[0], range_[-1]))
    return col(ObservedAddress.key).between(first, last)


def _is_explained() -> Any:
    """Whether the server that has the address in our record is the one that shows it; true or false, never unknown."""
    reported = col(ObservedAddress.server_ref)
    return sa.and_(
        col(Address.server_id).is_not(None),
        sa.or_(
            sa.and_(reported.is_not(None), reported.is_not_distinct_from(col(Server.native_ref))),
            sa.and_(reported.is_(None), col(ObservedAddress.owner) == ""),
        ),
    )


def _is_gateway() -> Any:
    """Whether the address is the gateway of a subnet of its network."""
    own = sa.orm.aliased(Subnet)
    return (
        sa.exists()
        .where(col(own.network_id) == col(Network.id), col(own.gateway) == col(ObservedAddress.address))
        .correlate(Network, ObservedAddress)
    )

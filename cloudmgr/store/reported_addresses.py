"""SQL about addresses that a backend reports as in use and that our own record does not explain."""

import uuid

import sqlalchemy as sa
from sqlmodel import Session, col

from cloudmgr.domain import addresses
from cloudmgr.models import Address, Network, ObservedAddress, Server, Subnet
from cloudmgr.store.paging import oldest_first

ReportedRow = tuple[ObservedAddress, Address | None, Server | None]


def page(
    session: Session, subnet: Subnet, network: Network, *, limit: int, after: uuid.UUID | None
) -> tuple[list[ReportedRow], uuid.UUID | None]:
    """Return a page of what a backend reports in a subnet and our servers do not have; the gateway is not told.

    With each comes what our record holds of the address, and the server that it gives it to.
    """
    range_ = addresses.parse_subnet(subnet.cidr)
    first, last = (addresses.key_of(str(end)) for end in (range_[0], range_[-1]))
    reported = col(ObservedAddress.server_ref)
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
            col(ObservedAddress.key).between(first, last),
            sa.or_(
                col(Address.server_id).is_(None),
                sa.and_(reported.is_not(None), reported.is_distinct_from(col(Server.native_ref))),
                sa.and_(reported.is_(None), col(ObservedAddress.owner) != ""),
            ),
        )
    )
    if subnet.gateway is not None:
        statement = statement.where(col(ObservedAddress.key) != addresses.key_of(subnet.gateway))
    rows, following = oldest_first(session, statement, col(ObservedAddress.id), limit=limit, cursor=after)
    return [(row[0], row[1], row[2]) for row in rows], following

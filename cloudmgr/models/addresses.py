"""IPAM: subnets, ranges that are handed out or kept back, and addresses in use. An address is one row, or free."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field

from cloudmgr.models.base import Row, json_field, one_of


class Subnet(Row, table=True):
    """A range of addresses of one family in a network zone. Subnets of one network zone never overlap.

    `generation` is raised by whoever takes or gives back an address, which makes them wait for each other.
    """

    __tablename__ = "subnets"
    __table_args__ = (
        sa.CheckConstraint("family IN (4, 6)", name="family_known"),
        sa.UniqueConstraint("network_zone", "cidr"),
    )

    network_zone: str = Field(foreign_key="network_zones.name", max_length=64, index=True)
    network_id: uuid.UUID | None = Field(default=None, foreign_key="networks.id", index=True)
    """The backend's network it is on; None: kept for the ledger only, nothing is built there."""
    name: str = Field(default="", max_length=100)
    family: int
    cidr: str = Field(max_length=45)
    gateway: str | None = Field(default=None, max_length=45)
    dns: list[str] = json_field(list)
    vlan: int | None = None
    is_managed: bool = True
    """True: we choose addresses. False: the backend does (DHCP), and we only note them."""
    is_enabled: bool = True
    generation: int = 0
    hint: str | None = Field(default=None, max_length=32)
    """Key of the address handed out last: the next search begins behind it, so that one just given back rests."""


class AddressRange(Row, table=True):
    """Part of a subnet: `pool` is handed out automatically (without one the whole subnet is), `excluded` never is.

    Keys are addresses as 32 hexadecimal digits, which sort as the addresses do; both ends belong to the range.
    """

    __tablename__ = "address_ranges"
    __table_args__ = (
        one_of("kind", ("pool", "excluded")),
        sa.CheckConstraint("first_key <= last_key", name="ends_in_order"),
    )

    subnet_id: uuid.UUID = Field(foreign_key="subnets.id", index=True)
    kind: str = Field(max_length=16)
    first: str = Field(max_length=45)
    last: str = Field(max_length=45)
    first_key: str = Field(max_length=32)
    last_key: str = Field(max_length=32)
    reason: str = Field(default="", max_length=200)


class Address(Row, table=True):
    """An address that is taken: by a server (allocated), or kept for something (reserved). Given back, the row goes."""

    __tablename__ = "addresses"
    __table_args__ = (
        one_of("state", ("allocated", "reserved")),
        sa.UniqueConstraint("subnet_id", "key"),
        sa.CheckConstraint("state <> 'allocated' OR server_id IS NOT NULL", name="allocated_to_a_server"),
    )

    subnet_id: uuid.UUID = Field(foreign_key="subnets.id", index=True)
    address: str = Field(max_length=45)
    key: str = Field(max_length=32)
    state: str = Field(max_length=16)
    server_id: uuid.UUID | None = Field(default=None, foreign_key="servers.id", index=True)
    organization_id: uuid.UUID | None = Field(default=None, foreign_key="organizations.id", index=True)
    purpose: str = Field(default="", max_length=200)
    taken_by: str = Field(default="", max_length=100)
    taken_at: datetime

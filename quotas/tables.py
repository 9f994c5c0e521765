"""Tables of the ledger and the constraints that stand behind it: no queries.

Balances are what admission reads; entries are what happened, and never change. A balance is always the sum of its
entries and the recount of its parts; `quotas.prover` proves it.
"""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from cloudmgr.domain import clock
from quotas.keys import VALUE_MAX_LENGTH

APPEND_ONLY = ("quota_entries",)
"""Tables whose rows refuse UPDATE and DELETE by trigger."""

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}  # a name is fixed when its table is declared, and these tables are declared first

KEY_MAX_LENGTH = 640
_Sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _amount(default: int = 0) -> int:
    amount: int = Field(default=default, sa_type=sa.BigInteger, nullable=False)
    return amount


def _dimension() -> str | None:
    value: str | None = Field(default=None, max_length=VALUE_MAX_LENGTH)
    return value


class _Dimensions(SQLModel):
    """One column a dimension (`quotas.keys.DIMENSIONS`), so that matching is plain SQL on every database."""

    arch: str | None = _dimension()
    backend: str | None = _dimension()
    cpu_family: str | None = _dimension()
    environment: str | None = _dimension()
    is_xinchuang: str | None = _dimension()
    network_zone: str | None = _dimension()
    tier: str | None = _dimension()


class AccountRow(SQLModel, table=True):
    """Node of the quota tree. Every movement in a tree first locks its root's row: that is the tree's lock.

    A root's `generation` becomes another whenever something changes that charges depend on (accounts, limits, loans).
    """

    __tablename__ = "quota_accounts"
    __table_args__ = (sa.CheckConstraint("(parent_id IS NULL) = (root_id = id)", name="root_has_no_parent"),)

    id: uuid.UUID = Field(primary_key=True)
    parent_id: uuid.UUID | None = Field(default=None, foreign_key="quota_accounts.id", index=True)
    root_id: uuid.UUID = Field(foreign_key="quota_accounts.id")
    code: str = Field(max_length=128)
    name: str = Field(max_length=200)
    generation: int = _amount()
    created_at: datetime = Field(default_factory=clock.now, nullable=False)
    closed_at: datetime | None = None
    """Since when it takes no charges any more; nothing is held there then, nor below."""


class BalanceRow(_Dimensions, table=True):
    """What one account holds of one key. A plain key's row is made by the first charge, a narrowed key's by its limit.

    `overhang` is how far use stood above the limit when the limit was lowered. It can only shrink, so
    `used + reserved <= limit_amount + overhang` refuses every growth past a limit and still lets a limit be lowered.
    """

    __tablename__ = "quota_balances"
    __table_args__ = (
        sa.CheckConstraint("used >= 0", name="used_not_negative"),
        sa.CheckConstraint("reserved >= 0", name="reserved_not_negative"),
        sa.CheckConstraint("limit_amount >= 0", name="limit_not_negative"),
        sa.CheckConstraint("used + reserved <= limit_amount + overhang", name="within_limit"),
        sa.CheckConstraint(
            "overhang = 0 OR (overhang > 0 AND limit_amount IS NOT NULL AND used + reserved = limit_amount + overhang)",
            name="overhang_only_shrinks",
        ),
        sa.CheckConstraint("guaranteed >= 0 AND set_aside >= 0 AND borrowed >= 0", name="shares_not_negative"),
    )

    account_id: uuid.UUID = Field(primary_key=True, foreign_key="quota_accounts.id")
    key: str = Field(primary_key=True, max_length=KEY_MAX_LENGTH)
    resource: str = Field(max_length=VALUE_MAX_LENGTH)
    limit_amount: int | None = Field(default=None, sa_type=sa.BigInteger)
    used: int = _amount()
    reserved: int = _amount()
    overhang: int = _amount()
    guaranteed: int = _amount()
    """How much of this key the siblings keep free for the account; see `quotas.guarantees`."""
    set_aside: int = _amount()
    """Sum over the accounts right below of what of their guarantee they have not taken yet."""
    borrowed: int = _amount()
    """How much of the limit is on loan and goes back; see `quotas.loans`."""


class LimitRow(SQLModel, table=True):
    """One decision on a limit, and on whose word; in force until `valid_until` or the next decision on the same key."""

    __tablename__ = "quota_limits"
    __table_args__ = (sa.Index("ix_quota_limits_account_key", "account_id", "key", "valid_from"),)

    id: uuid.UUID = Field(primary_key=True)
    account_id: uuid.UUID = Field(foreign_key="quota_accounts.id")
    key: str = Field(max_length=KEY_MAX_LENGTH)
    amount: int | None = Field(default=None, sa_type=sa.BigInteger)
    previous_amount: int | None = Field(default=None, sa_type=sa.BigInteger)
    valid_from: datetime
    valid_until: datetime | None = None
    reason: str = Field(max_length=2000)
    basis_no: str | None = Field(default=None, max_length=128)
    actor: str = Field(max_length=200)
    movement_id: uuid.UUID
    created_at: datetime


class ReservationRow(SQLModel, table=True):
    """Quota held for one request. `kind` leaves room for loans and transfers, `hold_until` for holds that end by policy."""

    __tablename__ = "quota_reservations"
    __table_args__ = (sa.Index("ix_quota_reservations_account_state", "account_id", "state"),)

    id: uuid.UUID = Field(primary_key=True)
    account_id: uuid.UUID = Field(foreign_key="quota_accounts.id")
    kind: str = Field(default="request", max_length=32)
    state: str = Field(max_length=16)
    reason: str = Field(default="", max_length=2000)
    fingerprint: str = Field(max_length=64)
    """SHA-256 over account and parts as asked: tells a repetition from another request under the same id."""
    hold_until: datetime | None = None
    created_at: datetime


class PartRow(_Dimensions, table=True):
    """One server's share of a reservation. Dimension columns hold what was submitted plus what placement fixed."""

    __tablename__ = "quota_parts"
    __table_args__ = (sa.CheckConstraint("state IN ('pending', 'posted', 'voided', 'released')", name="state_known"),)

    reservation_id: uuid.UUID = Field(primary_key=True, foreign_key="quota_reservations.id")
    part_id: uuid.UUID = Field(primary_key=True, index=True)
    account_id: uuid.UUID = Field(foreign_key="quota_accounts.id", index=True)
    state: str = Field(max_length=16)
    placed: str = Field(default="", max_length=64)
    """Names of the dimensions that placement fixed, comma separated."""
    top_account_id: uuid.UUID | None = None
    """Where the counting ends: accounts above count it only under keys narrowed by backend or tier. None: at the root."""
    created_at: datetime
    changed_at: datetime


class PartAmountRow(SQLModel, table=True):
    """How much of one resource a part asked for, and how much of that it still holds."""

    __tablename__ = "quota_part_amounts"
    __table_args__ = (
        sa.ForeignKeyConstraint(["reservation_id", "part_id"], ["quota_parts.reservation_id", "quota_parts.part_id"]),
        sa.CheckConstraint("remaining >= 0 AND remaining <= amount", name="remaining_within_amount"),
    )

    reservation_id: uuid.UUID = Field(primary_key=True)
    part_id: uuid.UUID = Field(primary_key=True)
    resource: str = Field(primary_key=True, max_length=VALUE_MAX_LENGTH)
    amount: int = _amount()
    remaining: int = _amount()


class EntryRow(SQLModel, table=True):
    """One change of one balance; nothing rewrites it. Decisions on limits are numbered in the order they took effect.

    Charges that run at the same time may be numbered in another order than they were made in.

    No foreign keys: an entry must be writable fast under the tree's lock, and the prover finds an orphan.
    """

    __tablename__ = "quota_entries"
    __table_args__ = (
        sa.Index("ix_quota_entries_account_seq", "account_id", "seq"),
        sa.Index("ix_quota_entries_part", "reservation_id", "part_id"),
        {"sqlite_autoincrement": True},
    )

    seq: int | None = Field(default=None, sa_column=sa.Column(_Sequence, primary_key=True, autoincrement=True))
    account_id: uuid.UUID
    key: str = Field(max_length=KEY_MAX_LENGTH)
    reservation_id: uuid.UUID | None = None
    part_id: uuid.UUID | None = None
    movement: str = Field(max_length=16)
    movement_id: uuid.UUID
    """Shared by all entries of one call; a release's own id, where it was given one."""
    used_delta: int = _amount()
    reserved_delta: int = _amount()
    limit_amount: int | None = Field(default=None, sa_type=sa.BigInteger)
    """The limit from here on, on entries of movement `limit_set`; the guarantee, on those of `guarantee_set`."""
    at: datetime

"""Tables of what ends by itself or is watched: timed limits, loans, targets, warnings. No queries."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlmodel import Field, SQLModel

from quotas.keys import VALUE_MAX_LENGTH
from quotas.tables import KEY_MAX_LENGTH


class TermRow(SQLModel, table=True):
    """A limit that holds from one moment until another. `before` and `amount` are kept so that the end undoes only this.

    waiting → in_force → ended; or superseded by a decision on the same key, or cancelled before it began.
    """

    __tablename__ = "quota_terms"
    __table_args__ = (
        sa.CheckConstraint("state IN ('waiting', 'in_force', 'ended', 'superseded', 'cancelled')", name="state_known"),
        sa.CheckConstraint("valid_until IS NULL OR valid_until > valid_from", name="ends_after_it_begins"),
        sa.Index("ix_quota_terms_account_state", "account_id", "state"),
        sa.Index("ix_quota_terms_state", "state"),
    )

    id: uuid.UUID = Field(primary_key=True)
    account_id: uuid.UUID = Field(foreign_key="quota_accounts.id")
    key: str = Field(max_length=KEY_MAX_LENGTH)
    amount: int | None = Field(default=None, sa_type=sa.BigInteger)
    before: int | None = Field(default=None, sa_type=sa.BigInteger)
    """The limit that it replaced when it began."""
    valid_from: datetime
    valid_until: datetime | None = None
    state: str = Field(max_length=16)
    reason: str = Field(max_length=2000)
    basis_no: str | None = Field(default=None, max_length=128)
    actor: str = Field(max_length=200)
    created_at: datetime
    changed_at: datetime


class LoanRow(SQLModel, table=True):
    """Quota that one account lends another until a moment; both sides sign, and different people do.

    offered → active → returned, with overdue between where something was still in use on the day; or declined, cancelled,
    expired before it began.
    """

    __tablename__ = "quota_loans"
    __table_args__ = (
        sa.CheckConstraint(
            "state IN ('offered', 'active', 'overdue', 'returned', 'declined', 'cancelled', 'expired')",
            name="state_known",
        ),
        sa.CheckConstraint("lender_id <> borrower_id", name="two_accounts"),
        sa.CheckConstraint("offered_side IN ('lender', 'borrower')", name="offered_side_known"),
        sa.CheckConstraint("lender_signed_by IS NULL OR lender_signed_by <> borrower_signed_by", name="two_people"),
        sa.Index("ix_quota_loans_state", "state", "until"),
    )

    id: uuid.UUID = Field(primary_key=True)
    lender_id: uuid.UUID = Field(foreign_key="quota_accounts.id", index=True)
    borrower_id: uuid.UUID = Field(foreign_key="quota_accounts.id", index=True)
    state: str = Field(max_length=16)
    until: datetime
    extensions: int = 0
    """How often policy has moved its end because it was still in use."""
    offered_side: str = Field(max_length=16)
    lender_signed_by: str | None = Field(default=None, max_length=200)
    borrower_signed_by: str | None = Field(default=None, max_length=200)
    reason: str = Field(max_length=2000)
    basis_no: str | None = Field(default=None, max_length=128)
    note: str = Field(default="", max_length=2000)
    """What the other side said with its answer."""
    created_at: datetime
    began_at: datetime | None = None
    ended_at: datetime | None = None


class LoanAmountRow(SQLModel, table=True):
    """How much of one key is lent. What is neither outstanding nor owed is back with the lender.

    `outstanding` is in the borrower's limit; `owed` has left it but is still in use there, so the lender has not got it yet.
    """

    __tablename__ = "quota_loan_amounts"
    __table_args__ = (
        sa.CheckConstraint("amount > 0", name="amount_positive"),
        sa.CheckConstraint("outstanding >= 0 AND owed >= 0 AND outstanding + owed <= amount", name="within_amount"),
    )

    loan_id: uuid.UUID = Field(primary_key=True, foreign_key="quota_loans.id")
    key: str = Field(primary_key=True, max_length=KEY_MAX_LENGTH)
    amount: int = Field(sa_type=sa.BigInteger, nullable=False)
    outstanding: int = Field(default=0, sa_type=sa.BigInteger, nullable=False)
    owed: int = Field(default=0, sa_type=sa.BigInteger, nullable=False)


class LoanLevelRow(SQLModel, table=True):
    """An account whose limits a loan moved: what went there and back is the same accounts, wherever they stand by then."""

    __tablename__ = "quota_loan_levels"
    __table_args__ = (sa.CheckConstraint("side IN ('lender', 'borrower')", name="side_known"),)

    loan_id: uuid.UUID = Field(primary_key=True, foreign_key="quota_loans.id")
    account_id: uuid.UUID = Field(primary_key=True, foreign_key="quota_accounts.id", index=True)
    key: str = Field(primary_key=True, max_length=KEY_MAX_LENGTH)
    side: str = Field(max_length=16)


class TargetRow(SQLModel, table=True):
    """A share that an account is to reach, such as 信创 of all vCPUs; it refuses nothing."""

    __tablename__ = "quota_targets"
    __table_args__ = (sa.CheckConstraint("pct >= 0 AND pct <= 100", name="pct_is_a_share"),)

    account_id: uuid.UUID = Field(primary_key=True, foreign_key="quota_accounts.id")
    name: str = Field(primary_key=True, max_length=VALUE_MAX_LENGTH)
    base: str = Field(primary_key=True, max_length=VALUE_MAX_LENGTH)
    """The resource whose amounts are compared."""
    pct: int
    reason: str = Field(max_length=2000)
    basis_no: str | None = Field(default=None, max_length=128)
    actor: str = Field(max_length=200)
    set_at: datetime


class WarningRow(SQLModel, table=True):
    """One crossing of a threshold: from `at` until `cleared_at`. Whoever tells people reads these rows, each once."""

    __tablename__ = "quota_warnings"
    __table_args__ = (
        sa.Index(
            "uq_quota_warnings_standing",
            "account_id",
            "key",
            "threshold_pct",
            unique=True,
            sqlite_where=sa.text("cleared_at IS NULL"),
            postgresql_where=sa.text("cleared_at IS NULL"),
        ),
    )

    id: uuid.UUID = Field(primary_key=True)
    account_id: uuid.UUID = Field(foreign_key="quota_accounts.id")
    key: str = Field(max_length=KEY_MAX_LENGTH)
    threshold_pct: int
    limit_amount: int = Field(sa_type=sa.BigInteger, nullable=False)
    taken: int = Field(sa_type=sa.BigInteger, nullable=False)
    """Used and reserved at the crossing."""
    at: datetime
    cleared_at: datetime | None = None

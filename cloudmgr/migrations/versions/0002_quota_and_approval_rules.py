"""Quota that moves, ends and is lent; approval by rules; changes of servers that stand; notices.

What stands keeps its meaning: a stage of the district keeps its one seat, a decision keeps the stage it was taken from,
nothing is guaranteed, borrowed, frozen or closed. A released revision is never edited: a correction is the next revision.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_EVENTS = """
session.login
session.logout
session.expire
access.deny
user.password
user.create
user.update
user.lock
user.unlock
role.grant
role.revoke
organization.create
organization.update
project.create
project.update
ssh_key.add
ssh_key.remove
flavor.write
image.write
backend.write
backend.check
backend.sync
backend.away
backend.back
finding.alarm
finding.decide
finding.restore
zone.write
network.write
address.write
ports.write
public_ip.assign
public_ip.release
quota.set
quota.transfer
quota.move
quota.merge
quota.close
quota.reopen
quota.term
quota.guarantee
quota.target
quota.loan
quota.verify
quota.alarm
quota.repair
audit.verify
notice.change
notice.replay
request.save
request.submit
request.withdraw
request.approve
request.return
request.reject
request.change
request.confirm
request.decline
request.comment
request.attach
request.detach
request.feedback
deputy.name
deputy.end
policy.load
request.retry
request.fulfil
request.urge
request.escalate
emergency.begin
emergency.approve
emergency.reject
emergency.overdue
change_freeze.make
change_freeze.lift
vm.place
vm.create
vm.activate
vm.fail
vm.start
vm.stop
vm.reboot
vm.resize
vm.renew
vm.freeze
vm.unfreeze
vm.retire
vm.delete
volume.create
volume.attach
volume.detach
volume.delete
snapshot.create
snapshot.revert
snapshot.delete
certificate.issue
certificate.check
playbook.start
playbook.finish
inventory.export
inventory.import
inventory.open
inventory.enter
inventory.change
inventory.confirm
inventory.retire
inventory.reveal
export.read
system.start
system.stop
system.init
system.apply
system.backup
system.restore
system.retention
"""


def upgrade() -> None:
    make_tables()
    widen_approvals()
    widen_quotas()
    widen_requests()
    widen_servers()
    with altered("audit_events", {"event_known": f"event IN ({', '.join(repr(e) for e in _EVENTS.split())})"}):
        pass


def make_tables() -> None:
    op.create_table(
        "approval_policies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("loaded_by", sa.String(length=100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_policies")),
        sa.UniqueConstraint("version", name=op.f("uq_approval_policies_version")),
    )
    with op.batch_alter_table("approval_policies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approval_policies_valid_from"), ["valid_from"], unique=False)

    op.create_table(
        "attachment_contents",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_attachment_contents")),
    )
    op.create_table(
        "happenings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(length=48), nullable=False),
        sa.Column("object_type", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("object_name", sa.String(length=200), nullable=False),
        sa.Column("link", sa.String(length=300), nullable=False),
        sa.Column("organization_path", sa.String(length=2000), nullable=False),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("recipients", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("dedupe", sa.String(length=200), nullable=False),
        sa.Column("spread_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_happenings")),
        sa.UniqueConstraint("event", "dedupe", name=op.f("uq_happenings_event_dedupe")),
    )
    with op.batch_alter_table("happenings", schema=None) as batch_op:
        batch_op.create_index(
            "ix_happenings_unspread",
            ["id"],
            unique=False,
            sqlite_where=sa.text("spread_at IS NULL"),
            postgresql_where=sa.text("spread_at IS NULL"),
        )

    op.create_table(
        "quota_verifications",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("period", sa.String(length=32), nullable=True),
        sa.Column("asked_by", sa.String(length=200), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("duration_ms", sa.Integer(), nullable=True),
        sa.Column("accounts", sa.Integer(), nullable=True),
        sa.Column("entries", sa.BigInteger(), nullable=True),
        sa.Column("things", sa.Integer(), nullable=True),
        sa.Column("mismatches", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("mismatch_count", sa.Integer(), nullable=True),
        sa.CheckConstraint(
            "(state = 'done') = (finished_at IS NOT NULL)", name=op.f("ck_quota_verifications_done_with_time")
        ),
        sa.CheckConstraint("state IN ('waiting', 'done')", name=op.f("ck_quota_verifications_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_verifications")),
        sa.UniqueConstraint("period", name=op.f("uq_quota_verifications_period")),
    )
    with op.batch_alter_table("quota_verifications", schema=None) as batch_op:
        batch_op.create_index("ix_quota_verifications_finished_at", ["finished_at"], unique=False)

    op.create_table(
        "quota_loans",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("lender_id", sa.Uuid(), nullable=False),
        sa.Column("borrower_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("extensions", sa.Integer(), nullable=False),
        sa.Column("offered_side", sa.String(length=16), nullable=False),
        sa.Column("lender_signed_by", sa.String(length=200), nullable=True),
        sa.Column("borrower_signed_by", sa.String(length=200), nullable=True),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("basis_no", sa.String(length=128), nullable=True),
        sa.Column("note", sa.String(length=2000), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("offered_side IN ('lender', 'borrower')", name=op.f("ck_quota_loans_offered_side_known")),
        sa.CheckConstraint(
            "state IN ('offered', 'active', 'overdue', 'returned', 'declined', 'cancelled', 'expired')",
            name=op.f("ck_quota_loans_state_known"),
        ),
        sa.CheckConstraint("lender_id <> borrower_id", name=op.f("ck_quota_loans_two_accounts")),
        sa.CheckConstraint(
            "lender_signed_by IS NULL OR lender_signed_by <> borrower_signed_by", name=op.f("ck_quota_loans_two_people")
        ),
        sa.ForeignKeyConstraint(["borrower_id"], ["quota_accounts.id"], name=op.f("fk_quota_loans_borrower_id")),
        sa.ForeignKeyConstraint(["lender_id"], ["quota_accounts.id"], name=op.f("fk_quota_loans_lender_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_loans")),
    )
    with op.batch_alter_table("quota_loans", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quota_loans_borrower_id"), ["borrower_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_quota_loans_lender_id"), ["lender_id"], unique=False)
        batch_op.create_index("ix_quota_loans_state", ["state", "until"], unique=False)

    op.create_table(
        "quota_targets",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("base", sa.String(length=64), nullable=False),
        sa.Column("pct", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("basis_no", sa.String(length=128), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("set_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("pct >= 0 AND pct <= 100", name=op.f("ck_quota_targets_pct_is_a_share")),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_targets_account_id")),
        sa.PrimaryKeyConstraint("account_id", "name", "base", name=op.f("pk_quota_targets")),
    )
    op.create_table(
        "quota_terms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("before", sa.BigInteger(), nullable=True),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("basis_no", sa.String(length=128), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('waiting', 'in_force', 'ended', 'superseded', 'cancelled')",
            name=op.f("ck_quota_terms_state_known"),
        ),
        sa.CheckConstraint(
            "valid_until IS NULL OR valid_until > valid_from", name=op.f("ck_quota_terms_ends_after_it_begins")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_terms_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_terms")),
    )
    with op.batch_alter_table("quota_terms", schema=None) as batch_op:
        batch_op.create_index("ix_quota_terms_account_state", ["account_id", "state"], unique=False)
        batch_op.create_index("ix_quota_terms_state", ["state"], unique=False)

    op.create_table(
        "quota_warnings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("threshold_pct", sa.Integer(), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_warnings_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_warnings")),
    )
    with op.batch_alter_table("quota_warnings", schema=None) as batch_op:
        batch_op.create_index(
            "uq_quota_warnings_standing",
            ["account_id", "key", "threshold_pct"],
            unique=True,
            sqlite_where=sa.text("cleared_at IS NULL"),
            postgresql_where=sa.text("cleared_at IS NULL"),
        )

    op.create_table(
        "change_freezes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("made_by", sa.String(length=100), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lifted_by", sa.String(length=100), nullable=False),
        sa.CheckConstraint("ends_at > starts_at", name=op.f("ck_change_freezes_begins_before_it_ends")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_change_freezes_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_freezes")),
    )
    with op.batch_alter_table("change_freezes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_change_freezes_ends_at"), ["ends_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_change_freezes_organization_id"), ["organization_id"], unique=False)

    op.create_table(
        "quota_loan_amounts",
        sa.Column("loan_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("outstanding", sa.BigInteger(), nullable=False),
        sa.Column("owed", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_quota_loan_amounts_amount_positive")),
        sa.CheckConstraint(
            "outstanding >= 0 AND owed >= 0 AND outstanding + owed <= amount",
            name=op.f("ck_quota_loan_amounts_within_amount"),
        ),
        sa.ForeignKeyConstraint(["loan_id"], ["quota_loans.id"], name=op.f("fk_quota_loan_amounts_loan_id")),
        sa.PrimaryKeyConstraint("loan_id", "key", name=op.f("pk_quota_loan_amounts")),
    )
    op.create_table(
        "quota_loan_levels",
        sa.Column("loan_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("side", sa.String(length=16), nullable=False),
        sa.CheckConstraint("side IN ('lender', 'borrower')", name=op.f("ck_quota_loan_levels_side_known")),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_loan_levels_account_id")),
        sa.ForeignKeyConstraint(["loan_id"], ["quota_loans.id"], name=op.f("fk_quota_loan_levels_loan_id")),
        sa.PrimaryKeyConstraint("loan_id", "account_id", "key", name=op.f("pk_quota_loan_levels")),
    )
    with op.batch_alter_table("quota_loan_levels", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quota_loan_levels_account_id"), ["account_id"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("happening_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("replayed_after", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("give_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.CheckConstraint("channel IN ('email', 'webhook')", name=op.f("ck_deliveries_channel_known")),
        sa.CheckConstraint("state IN ('waiting', 'sent', 'failed')", name=op.f("ck_deliveries_state_known")),
        sa.ForeignKeyConstraint(
            ["happening_id"], ["happenings.id"], name=op.f("fk_deliveries_happening_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_deliveries_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "happening_id", "channel", "target", name=op.f("uq_deliveries_happening_id_channel_target")
        ),
    )
    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_index(
            "ix_deliveries_due",
            ["next_at"],
            unique=False,
            sqlite_where=sa.text("state = 'waiting'"),
            postgresql_where=sa.text("state = 'waiting'"),
        )

    op.create_table(
        "deputies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("absent_id", sa.Uuid(), nullable=False),
        sa.Column("deputy_id", sa.Uuid(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("named_by", sa.String(length=100), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("absent_id <> deputy_id", name=op.f("ck_deputies_another_person")),
        sa.CheckConstraint("valid_until >= valid_from", name=op.f("ck_deputies_dates_in_order")),
        sa.ForeignKeyConstraint(["absent_id"], ["users.id"], name=op.f("fk_deputies_absent_id")),
        sa.ForeignKeyConstraint(["deputy_id"], ["users.id"], name=op.f("fk_deputies_deputy_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deputies")),
    )
    with op.batch_alter_table("deputies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deputies_absent_id"), ["absent_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_deputies_deputy_id"), ["deputy_id"], unique=False)

    op.create_table(
        "notice_addresses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notice_addresses_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_addresses")),
        sa.UniqueConstraint("user_id", name=op.f("uq_notice_addresses_user_id")),
    )
    op.create_table(
        "notice_preferences",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.String(length=48), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("is_wanted", sa.Boolean(), nullable=False),
        sa.CheckConstraint("channel IN ('inbox', 'email')", name=op.f("ck_notice_preferences_channel_known")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notice_preferences_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notice_preferences")),
        sa.UniqueConstraint("user_id", "event", "channel", name=op.f("uq_notice_preferences_user_id_event_channel")),
    )
    op.create_table(
        "notices",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("happening_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("read_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["happening_id"], ["happenings.id"], name=op.f("fk_notices_happening_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_notices_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notices")),
        sa.UniqueConstraint("happening_id", "user_id", name=op.f("uq_notices_happening_id_user_id")),
    )
    with op.batch_alter_table("notices", schema=None) as batch_op:
        batch_op.create_index(
            "ix_notices_unread",
            ["user_id"],
            unique=False,
            sqlite_where=sa.text("read_at IS NULL"),
            postgresql_where=sa.text("read_at IS NULL"),
        )
        batch_op.create_index(batch_op.f("ix_notices_user_id"), ["user_id"], unique=False)

    op.create_table(
        "attachments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("media_type", sa.String(length=100), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_attachments_author_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_attachments_request_id")),
        sa.ForeignKeyConstraint(["sha256"], ["attachment_contents.sha256"], name=op.f("fk_attachments_sha256")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attachments")),
    )
    with op.batch_alter_table("attachments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_attachments_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_attachments_sha256"), ["sha256"], unique=False)

    op.create_table(
        "delivery_attempts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_sent", sa.Boolean(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery_attempts")),
        sa.UniqueConstraint("delivery_id", "number", name=op.f("uq_delivery_attempts_delivery_id_number")),
    )
    op.create_table(
        "emergency_orders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("amounts", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("approve_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("flagged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("proposal_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("state IN ('open', 'approved', 'rejected')", name=op.f("ck_emergency_orders_state_known")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_emergency_orders_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["proposal_id"], ["resource_requests.id"], name=op.f("fk_emergency_orders_proposal_id")
        ),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_emergency_orders_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_emergency_orders")),
        sa.UniqueConstraint("request_id", name=op.f("uq_emergency_orders_request_id")),
    )
    with op.batch_alter_table("emergency_orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_emergency_orders_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index("ix_emergency_orders_state", ["state", "approve_by"], unique=False)

    op.create_table(
        "held_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("freeze_id", sa.Uuid(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["freeze_id"], ["change_freezes.id"], name=op.f("fk_held_requests_freeze_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_held_requests_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_held_requests")),
        sa.UniqueConstraint("request_id", "attempt", name=op.f("uq_held_requests_request_id_attempt")),
    )
    with op.batch_alter_table("held_requests", schema=None) as batch_op:
        batch_op.create_index(
            "ix_held_requests_waiting",
            ["request_id"],
            unique=False,
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        )

    op.create_table(
        "quota_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("before", sa.BigInteger(), nullable=True),
        sa.Column("wanted", sa.BigInteger(), nullable=False),
        sa.Column("granted", sa.BigInteger(), nullable=True),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("wanted >= 0", name=op.f("ck_quota_changes_wanted_not_negative")),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_changes_account_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_quota_changes_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_changes")),
        sa.UniqueConstraint("request_id", "key", name=op.f("uq_quota_changes_request_id_key")),
    )
    with op.batch_alter_table("quota_changes", schema=None) as batch_op:
        batch_op.create_index("ix_quota_changes_account_granted", ["account_id", "granted_at"], unique=False)

    op.create_table(
        "request_comments",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("text", sa.String(length=2000), nullable=False),
        sa.Column("is_internal", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_request_comments_author_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_request_comments_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_comments")),
    )
    with op.batch_alter_table("request_comments", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_request_comments_request_id"), ["request_id"], unique=False)

    op.create_table(
        "request_feedback",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("author_id", sa.Uuid(), nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("comment", sa.String(length=1000), nullable=False),
        sa.CheckConstraint("score BETWEEN 1 AND 5", name=op.f("ck_request_feedback_score_range")),
        sa.ForeignKeyConstraint(["author_id"], ["users.id"], name=op.f("fk_request_feedback_author_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_request_feedback_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_feedback")),
        sa.UniqueConstraint("request_id", name=op.f("uq_request_feedback_request_id")),
    )
    op.create_table(
        "approval_seats",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("stands_for_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(role IS NULL) <> (person_id IS NULL)", name=op.f("ck_approval_seats_role_or_person")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_approval_seats_organization_id")
        ),
        sa.ForeignKeyConstraint(["person_id"], ["users.id"], name=op.f("fk_approval_seats_person_id")),
        sa.ForeignKeyConstraint(["stage_id"], ["approval_stages.id"], name=op.f("fk_approval_seats_stage_id")),
        sa.ForeignKeyConstraint(["stands_for_id"], ["approval_seats.id"], name=op.f("fk_approval_seats_stands_for_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_seats")),
        sa.UniqueConstraint("stage_id", "position", name=op.f("uq_approval_seats_stage_id_position")),
    )
    with op.batch_alter_table("approval_seats", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approval_seats_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_approval_seats_person_id"), ["person_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_approval_seats_role"), ["role"], unique=False)

    op.create_table(
        "lease_reminders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("lease_end", sa.Date(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_lease_reminders_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease_reminders")),
        sa.UniqueConstraint("server_id", "lease_end", "days", name=op.f("uq_lease_reminders_server_id_lease_end_days")),
    )
    with op.batch_alter_table("lease_reminders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_lease_reminders_server_id"), ["server_id"], unique=False)

    op.create_table(
        "server_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reservation_id", sa.Uuid(), nullable=True),
        sa.Column("wanted", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("before", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("failure", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "kind IN ('resize', 'renew', 'freeze', 'unfreeze')", name=op.f("ck_server_changes_kind_known")
        ),
        sa.CheckConstraint("state IN ('asked', 'doing', 'done', 'failed')", name=op.f("ck_server_changes_state_known")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_server_changes_request_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_server_changes_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server_changes")),
    )
    with op.batch_alter_table("server_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_server_changes_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_server_changes_server_id"), ["server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_server_changes_state"), ["state"], unique=False)
        batch_op.create_index(
            "uq_server_changes_lease",
            ["server_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('asked', 'doing') AND request_id IS NULL"),
            postgresql_where=sa.text("state IN ('asked', 'doing') AND request_id IS NULL"),
        )
        batch_op.create_index(
            "uq_server_changes_open",
            ["server_id"],
            unique=True,
            sqlite_where=sa.text("state IN ('asked', 'doing') AND request_id IS NOT NULL"),
            postgresql_where=sa.text("state IN ('asked', 'doing') AND request_id IS NOT NULL"),
        )

    op.create_table(
        "stage_marks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.CheckConstraint(
            "kind IN ('reminder', 'overdue', 'escalation', 'timeout', 'urge')", name=op.f("ck_stage_marks_kind_known")
        ),
        sa.ForeignKeyConstraint(["stage_id"], ["approval_stages.id"], name=op.f("fk_stage_marks_stage_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stage_marks")),
        sa.UniqueConstraint("stage_id", "kind", "key", name=op.f("uq_stage_marks_stage_id_kind_key")),
    )
    op.create_table(
        "request_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column("seat_id", sa.Uuid(), nullable=False),
        sa.Column("proposer_id", sa.Uuid(), nullable=False),
        sa.Column("on_behalf_of_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("comment", sa.String(length=500), nullable=False),
        sa.Column("before", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("after", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("answer", sa.String(length=500), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('proposed', 'confirmed', 'declined', 'dropped')", name=op.f("ck_request_changes_state_known")
        ),
        sa.ForeignKeyConstraint(["on_behalf_of_id"], ["users.id"], name=op.f("fk_request_changes_on_behalf_of_id")),
        sa.ForeignKeyConstraint(["proposer_id"], ["users.id"], name=op.f("fk_request_changes_proposer_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_request_changes_request_id")),
        sa.ForeignKeyConstraint(["seat_id"], ["approval_seats.id"], name=op.f("fk_request_changes_seat_id")),
        sa.ForeignKeyConstraint(["stage_id"], ["approval_stages.id"], name=op.f("fk_request_changes_stage_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_changes")),
    )
    with op.batch_alter_table("request_changes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_request_changes_request_id"), ["request_id"], unique=False)
        batch_op.create_index(
            "uq_request_changes_one_proposed",
            ["request_id"],
            unique=True,
            sqlite_where=sa.text("state = 'proposed'"),
            postgresql_where=sa.text("state = 'proposed'"),
        )


def widen_approvals() -> None:
    """Give every stage a level and its one seat, and every decision the seat it was taken from."""
    add_columns(
        "approval_stages",
        sa.Column("level", sa.String(length=16), nullable=True),
        sa.Column("mode", sa.String(length=8), nullable=True),
        sa.Column("sla_working_days", sa.Integer(), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("escalate_after_working_days", sa.Integer(), nullable=True),
        sa.Column("escalated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("on_timeout", sa.String(length=16), nullable=True),
    )
    op.execute("UPDATE approval_stages SET level = 'district', mode = 'any', on_timeout = 'none'")
    checks = {
        "level_known": "level IN ('unit', 'district', 'city', 'technical', 'parent', 'person')",
        "mode_known": "mode IN ('any', 'all')",
        "on_timeout_known": "on_timeout IN ('none', 'escalate', 'return')",
        "state_known": "state IN ('waiting', 'open', 'approve', 'reject', 'return', 'change', 'cancelled')",
    }
    with altered("approval_stages", checks) as batch_op:
        for name, length in (("level", 16), ("mode", 8), ("on_timeout", 16)):
            batch_op.alter_column(name, existing_type=sa.String(length=length), nullable=False)
        batch_op.alter_column("role", existing_type=sa.String(length=32), nullable=True)
        batch_op.create_index("ix_approval_stages_state_due_at", ["state", "due_at"], unique=False)

    op.execute(
        "INSERT INTO approval_seats (id, created_at, stage_id, position, role, organization_id) "
        "SELECT id, created_at, id, 1, role, organization_id FROM approval_stages"
    )
    add_columns(
        "approvals",
        sa.Column("submission", sa.Integer(), nullable=True),
        sa.Column("seat_id", sa.Uuid(), nullable=True),
        sa.Column("on_behalf_of_id", sa.Uuid(), nullable=True),
        sa.Column("policy_version", sa.String(length=64), nullable=True),
    )
    op.execute(
        "UPDATE approvals SET seat_id = stage_id, "
        "submission = (SELECT submission FROM approval_stages WHERE approval_stages.id = approvals.stage_id), "
        "policy_version = (SELECT policy_version FROM approval_stages WHERE approval_stages.id = approvals.stage_id)"
    )
    checks = {
        "decision_known": "decision IN ('approve', 'reject', 'return', 'change')",
        "not_for_the_requester": (
            "on_behalf_of_id IS NULL OR (on_behalf_of_id <> requester_id AND on_behalf_of_id <> decider_id)"
        ),
    }
    with altered("approvals", checks) as batch_op:
        batch_op.alter_column("submission", existing_type=sa.Integer(), nullable=False)
        batch_op.alter_column("seat_id", existing_type=sa.Uuid(), nullable=False)
        batch_op.alter_column("policy_version", existing_type=sa.String(length=64), nullable=False)
        batch_op.drop_constraint(batch_op.f("uq_approvals_stage_id_decider_id"), type_="unique")
        batch_op.create_unique_constraint(
            batch_op.f("uq_approvals_request_id_submission_decider_id"), ["request_id", "submission", "decider_id"]
        )
        batch_op.create_unique_constraint(
            batch_op.f("uq_approvals_request_id_submission_on_behalf_of_id"),
            ["request_id", "submission", "on_behalf_of_id"],
        )
        batch_op.create_unique_constraint(batch_op.f("uq_approvals_seat_id"), ["seat_id"])
        batch_op.create_foreign_key(batch_op.f("fk_approvals_on_behalf_of_id"), "users", ["on_behalf_of_id"], ["id"])
        batch_op.create_foreign_key(batch_op.f("fk_approvals_seat_id"), "approval_seats", ["seat_id"], ["id"])
        batch_op.create_index(batch_op.f("ix_approvals_stage_id"), ["stage_id"], unique=False)


def widen_quotas() -> None:
    """Accounts that can be closed; limits that can be guaranteed and borrowed: nothing is, yet."""
    with altered("quota_accounts") as batch_op:
        batch_op.add_column(sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    shares = ("guaranteed", "set_aside", "borrowed")
    add_columns("quota_balances", *(sa.Column(name, sa.BigInteger(), nullable=True) for name in shares))
    op.execute("UPDATE quota_balances SET guaranteed = 0, set_aside = 0, borrowed = 0")
    checks = {"shares_not_negative": "guaranteed >= 0 AND set_aside >= 0 AND borrowed >= 0"}
    with altered("quota_balances", checks) as batch_op:
        for name in shares:
            batch_op.alter_column(name, existing_type=sa.BigInteger(), nullable=False)


def widen_requests() -> None:
    """Requests about a quota account need no project; one may wait for another; the kinds are more."""
    add_columns(
        "resource_requests",
        sa.Column("account_id", sa.Uuid(), nullable=True),
        sa.Column("after_id", sa.Uuid(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("is_emergency", sa.Boolean(), nullable=True),
    )
    op.execute("UPDATE resource_requests SET revision = 0, is_emergency = FALSE")
    checks = {
        "kind_known": (
            "kind IN ('create', 'retire', 'resize', 'renew', 'freeze', 'unfreeze', 'import', 'volume', 'snapshot', "
            "'ports', 'public_ip', 'quota_change')"
        ),
        "about_something": (
            "CASE WHEN kind = 'quota_change' THEN account_id IS NOT NULL ELSE project_id IS NOT NULL END"
        ),
    }
    with altered("resource_requests", checks) as batch_op:
        batch_op.alter_column("revision", existing_type=sa.Integer(), nullable=False)
        batch_op.alter_column("is_emergency", existing_type=sa.Boolean(), nullable=False)
        batch_op.alter_column("project_id", existing_type=sa.Uuid(), nullable=True)
        batch_op.create_foreign_key(
            batch_op.f("fk_resource_requests_account_id"), "quota_accounts", ["account_id"], ["id"]
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_resource_requests_after_id"), "resource_requests", ["after_id"], ["id"]
        )
        batch_op.create_index(batch_op.f("ix_resource_requests_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_resource_requests_after_id"), ["after_id"], unique=False)


def widen_servers() -> None:
    """Servers can be frozen and resized: none is, yet."""
    with altered("servers", {"frozen_by_known": "frozen_by IN ('request', 'lease')"}) as batch_op:
        batch_op.add_column(sa.Column("frozen_by", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("resizing_since", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("resized_at", sa.DateTime(timezone=True), nullable=True))


def add_columns(table: str, *columns: sa.Column[Any]) -> None:
    """Add columns that may be empty for now: what must not is filled first, then said so."""
    for column in columns:
        op.add_column(table, column)


@contextmanager
def altered(table: str, checks: Mapping[str, str] | None = None) -> Iterator[BatchOperations]:
    """Alter a table and give it these CHECK constraints, in place of those of the same names.

    PostgreSQL alters in place; SQLite makes the table anew, so that both end with what the models say, word by word.
    """
    is_sqlite = op.get_context().dialect.name == "sqlite"
    standing = {found["name"] for found in sa.inspect(op.get_bind()).get_check_constraints(table)}
    autoincrement = {"sqlite_autoincrement": True} if table == "audit_events" else {}  # lost in the copy, else
    with op.batch_alter_table(
        table, recreate="always" if is_sqlite else "never", table_kwargs=autoincrement
    ) as batch_op:
        yield batch_op
        for each, text in (checks or {}).items():
            name = batch_op.f(f"ck_{table}_{each}")
            if name in standing:
                batch_op.drop_constraint(name, type_="check")
            batch_op.create_check_constraint(name, sa.text(text))

"""initial.

A released revision is never edited: a correction is the next revision.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("roles", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("organization_path", sa.String(length=2000), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.Uuid(), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("object_type", sa.String(length=32), nullable=False),
        sa.Column("object_id", sa.String(length=64), nullable=False),
        sa.Column("object_name", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("detail", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.CheckConstraint(
            "event IN ('session.login', 'session.logout', 'session.expire', 'access.deny', 'user.password', 'user.create', 'user.update', 'user.lock', 'user.unlock', 'role.grant', 'role.revoke', 'organization.create', 'organization.update', 'project.create', 'project.update', 'ssh_key.add', 'ssh_key.remove', 'flavor.write', 'image.write', 'backend.write', 'backend.check', 'backend.sync', 'backend.away', 'backend.back', 'finding.alarm', 'finding.decide', 'finding.restore', 'zone.write', 'network.write', 'address.write', 'ports.write', 'public_ip.assign', 'public_ip.release', 'quota.set', 'quota.verify', 'audit.verify', 'request.save', 'request.submit', 'request.withdraw', 'request.approve', 'request.return', 'request.reject', 'request.retry', 'request.fulfil', 'vm.place', 'vm.create', 'vm.activate', 'vm.fail', 'vm.start', 'vm.stop', 'vm.reboot', 'vm.retire', 'vm.delete', 'volume.create', 'volume.attach', 'volume.detach', 'volume.delete', 'snapshot.create', 'snapshot.revert', 'snapshot.delete', 'certificate.issue', 'certificate.check', 'playbook.start', 'playbook.finish', 'inventory.export', 'inventory.import', 'inventory.open', 'inventory.enter', 'inventory.change', 'inventory.confirm', 'inventory.retire', 'inventory.reveal', 'export.read', 'system.start', 'system.stop', 'system.init', 'system.apply', 'system.backup', 'system.restore', 'system.retention')",
            name=op.f("ck_audit_events_event_known"),
        ),
        sa.CheckConstraint("outcome IN ('success', 'denied', 'failure')", name=op.f("ck_audit_events_outcome_known")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_events")),
        sa.UniqueConstraint("id", name=op.f("uq_audit_events_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_events_actor_id"), ["actor_id"], unique=False)
        batch_op.create_index("ix_audit_events_at", ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_event"), ["event"], unique=False)
        batch_op.create_index("ix_audit_events_object", ["object_type", "object_id"], unique=False)

    op.create_table(
        "exports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ledger", sa.String(length=32), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("view", sa.String(length=16), nullable=False),
        sa.Column("encoding", sa.String(length=16), nullable=False),
        sa.Column("filters", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("reveal_reason", sa.String(length=500), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("organization_path", sa.String(length=2000), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=True),
        sa.Column("size_bytes", sa.Integer(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('running', 'done', 'broken')", name=op.f("ck_exports_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_exports")),
    )
    with op.batch_alter_table("exports", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exports_sha256"), ["sha256"], unique=False)

    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
    )
    op.create_table(
        "flavors",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("system_disk_gib", sa.Integer(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "vcpus > 0 AND memory_mib > 0 AND system_disk_gib > 0", name=op.f("ck_flavors_sizes_positive")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_flavors")),
        sa.UniqueConstraint("name", name=op.f("uq_flavors_name")),
    )
    op.create_table(
        "images",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("os_name", sa.String(length=100), nullable=False),
        sa.Column("os_version", sa.String(length=100), nullable=False),
        sa.Column("os_is_xinchuang", sa.Boolean(), nullable=False),
        sa.Column("login_user", sa.String(length=32), nullable=False),
        sa.Column("min_disk_gib", sa.Integer(), nullable=False),
        sa.Column("hardening", sa.String(length=200), nullable=True),
        sa.Column("playbook", sa.String(length=64), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint("name", name=op.f("uq_images_name")),
    )
    op.create_table(
        "login_sources",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("failed_logins", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_sources")),
        sa.UniqueConstraint("source", name=op.f("uq_login_sources_source")),
    )
    op.create_table(
        "network_zones",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("name_en", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("description", sa.String(length=500), nullable=False),
        sa.Column("allows_public_cloud", sa.Boolean(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_network_zones")),
        sa.UniqueConstraint("code", name=op.f("uq_network_zones_code")),
        sa.UniqueConstraint("name", name=op.f("uq_network_zones_name")),
    )
    op.create_table(
        "number_sequences",
        sa.Column("prefix", sa.String(length=64), nullable=False),
        sa.Column("day", sa.String(length=8), nullable=False),
        sa.Column("last", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("prefix", "day", name=op.f("pk_number_sequences")),
    )
    op.create_table(
        "quota_accounts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("root_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(parent_id IS NULL) = (root_id = id)", name=op.f("ck_quota_accounts_root_has_no_parent")),
        sa.ForeignKeyConstraint(["parent_id"], ["quota_accounts.id"], name=op.f("fk_quota_accounts_parent_id")),
        sa.ForeignKeyConstraint(["root_id"], ["quota_accounts.id"], name=op.f("fk_quota_accounts_root_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_accounts")),
    )
    with op.batch_alter_table("quota_accounts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quota_accounts_parent_id"), ["parent_id"], unique=False)

    op.create_table(
        "quota_entries",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("reservation_id", sa.Uuid(), nullable=True),
        sa.Column("part_id", sa.Uuid(), nullable=True),
        sa.Column("movement", sa.String(length=16), nullable=False),
        sa.Column("movement_id", sa.Uuid(), nullable=False),
        sa.Column("used_delta", sa.BigInteger(), nullable=False),
        sa.Column("reserved_delta", sa.BigInteger(), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_quota_entries")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("quota_entries", schema=None) as batch_op:
        batch_op.create_index("ix_quota_entries_account_seq", ["account_id", "seq"], unique=False)
        batch_op.create_index("ix_quota_entries_part", ["reservation_id", "part_id"], unique=False)

    op.create_table(
        "workers",
        sa.Column("executor_id", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("is_draining", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("executor_id", name=op.f("pk_workers")),
    )
    op.create_table(
        "organizations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("name_en", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("parent_id", sa.Uuid(), nullable=True),
        sa.Column("path", sa.String(length=2000), nullable=False),
        sa.Column("district_id", sa.Uuid(), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("uscc", sa.String(length=18), nullable=True),
        sa.Column("administered_by_id", sa.Uuid(), nullable=True),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('city', 'municipal', 'district', 'county', 'county-level city', 'state-level new area', 'national zone', 'park', 'FTZ', 'zone', 'department')",
            name=op.f("ck_organizations_kind_known"),
        ),
        sa.CheckConstraint("path LIKE '/%/'", name=op.f("ck_organizations_path_shape")),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_organizations_account_id")),
        sa.ForeignKeyConstraint(
            ["administered_by_id"], ["organizations.id"], name=op.f("fk_organizations_administered_by_id")
        ),
        sa.ForeignKeyConstraint(["district_id"], ["organizations.id"], name=op.f("fk_organizations_district_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["organizations.id"], name=op.f("fk_organizations_parent_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organizations")),
        sa.UniqueConstraint("account_id", name=op.f("uq_organizations_account_id")),
        sa.UniqueConstraint("code", name=op.f("uq_organizations_code")),
    )
    with op.batch_alter_table("organizations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_organizations_parent_id"), ["parent_id"], unique=False)
        batch_op.create_index("ix_organizations_path", ["path"], unique=False)

    op.create_table(
        "quota_balances",
        sa.Column("arch", sa.String(length=64), nullable=True),
        sa.Column("backend", sa.String(length=64), nullable=True),
        sa.Column("cpu_family", sa.String(length=64), nullable=True),
        sa.Column("environment", sa.String(length=64), nullable=True),
        sa.Column("is_xinchuang", sa.String(length=64), nullable=True),
        sa.Column("network_zone", sa.String(length=64), nullable=True),
        sa.Column("tier", sa.String(length=64), nullable=True),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=True),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.Column("overhang", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("limit_amount >= 0", name=op.f("ck_quota_balances_limit_not_negative")),
        sa.CheckConstraint(
            "overhang = 0 OR (overhang > 0 AND limit_amount IS NOT NULL AND used + reserved = limit_amount + overhang)",
            name=op.f("ck_quota_balances_overhang_only_shrinks"),
        ),
        sa.CheckConstraint("reserved >= 0", name=op.f("ck_quota_balances_reserved_not_negative")),
        sa.CheckConstraint("used + reserved <= limit_amount + overhang", name=op.f("ck_quota_balances_within_limit")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_quota_balances_used_not_negative")),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_balances_account_id")),
        sa.PrimaryKeyConstraint("account_id", "key", name=op.f("pk_quota_balances")),
    )
    op.create_table(
        "quota_limits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=640), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("previous_amount", sa.BigInteger(), nullable=True),
        sa.Column("valid_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("basis_no", sa.String(length=128), nullable=True),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("movement_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_limits_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_limits")),
    )
    with op.batch_alter_table("quota_limits", schema=None) as batch_op:
        batch_op.create_index("ix_quota_limits_account_key", ["account_id", "key", "valid_from"], unique=False)

    op.create_table(
        "quota_reservations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=2000), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("hold_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_reservations_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quota_reservations")),
    )
    with op.batch_alter_table("quota_reservations", schema=None) as batch_op:
        batch_op.create_index("ix_quota_reservations_account_state", ["account_id", "state"], unique=False)

    op.create_table(
        "backends",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("tier", sa.String(length=16), nullable=False),
        sa.Column("datacenter", sa.String(length=100), nullable=False),
        sa.Column("vendor", sa.String(length=200), nullable=True),
        sa.Column("owner_organization_id", sa.Uuid(), nullable=True),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("is_configured", sa.Boolean(), nullable=False),
        sa.Column("health", sa.String(length=16), nullable=False),
        sa.Column("health_message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("version", sa.String(length=200), nullable=True),
        sa.Column("capabilities", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("rehearses", sa.Boolean(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts_city_quota", sa.Boolean(), nullable=False),
        sa.Column("expected_offline_hours", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("servers_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("servers_known_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("servers_message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("sync_cursor", sa.String(length=500), nullable=True),
        sa.Column("cloud_quota", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.CheckConstraint("health IN ('unknown', 'ok', 'degraded', 'down')", name=op.f("ck_backends_health_known")),
        sa.CheckConstraint("tier IN ('city', 'district', 'edge', 'public')", name=op.f("ck_backends_tier_known")),
        sa.ForeignKeyConstraint(
            ["owner_organization_id"], ["organizations.id"], name=op.f("fk_backends_owner_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backends")),
        sa.UniqueConstraint("name", name=op.f("uq_backends_name")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("system_code", sa.String(length=64), nullable=True),
        sa.Column("mlps_level", sa.String(length=16), nullable=False),
        sa.Column("mlps_record_no", sa.String(length=64), nullable=True),
        sa.Column("project_no", sa.String(length=128), nullable=True),
        sa.Column("is_classified", sa.Boolean(), nullable=False),
        sa.Column("owner_name", sa.String(length=64), nullable=False),
        sa.Column("owner_phone", sa.String(length=32), nullable=False),
        sa.Column("ops_vendor", sa.String(length=200), nullable=True),
        sa.Column("network_zone", sa.String(), nullable=True),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.CheckConstraint(
            "mlps_level IN ('一级', '二级', '三级', '四级', '五级', '未定级')",
            name=op.f("ck_projects_mlps_level_known"),
        ),
        sa.CheckConstraint("stage IN ('planning', 'trial', 'live', 'closing')", name=op.f("ck_projects_stage_known")),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_projects_account_id")),
        sa.ForeignKeyConstraint(["network_zone"], ["network_zones.name"], name=op.f("fk_projects_network_zone")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_projects_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("account_id", name=op.f("uq_projects_account_id")),
        sa.UniqueConstraint("organization_id", "name", name=op.f("uq_projects_organization_id_name")),
    )
    with op.batch_alter_table("projects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_projects_organization_id"), ["organization_id"], unique=False)

    op.create_table(
        "quota_parts",
        sa.Column("arch", sa.String(length=64), nullable=True),
        sa.Column("backend", sa.String(length=64), nullable=True),
        sa.Column("cpu_family", sa.String(length=64), nullable=True),
        sa.Column("environment", sa.String(length=64), nullable=True),
        sa.Column("is_xinchuang", sa.String(length=64), nullable=True),
        sa.Column("network_zone", sa.String(length=64), nullable=True),
        sa.Column("tier", sa.String(length=64), nullable=True),
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("part_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("placed", sa.String(length=64), nullable=False),
        sa.Column("top_account_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state IN ('pending', 'posted', 'voided', 'released')", name=op.f("ck_quota_parts_state_known")
        ),
        sa.ForeignKeyConstraint(["account_id"], ["quota_accounts.id"], name=op.f("fk_quota_parts_account_id")),
        sa.ForeignKeyConstraint(
            ["reservation_id"], ["quota_reservations.id"], name=op.f("fk_quota_parts_reservation_id")
        ),
        sa.PrimaryKeyConstraint("reservation_id", "part_id", name=op.f("pk_quota_parts")),
    )
    with op.batch_alter_table("quota_parts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quota_parts_account_id"), ["account_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_quota_parts_part_id"), ["part_id"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("username_key", sa.String(length=64), nullable=False),
        sa.Column("display_name", sa.String(length=100), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("phone", sa.String(length=32), nullable=False),
        sa.Column("password_hash", sa.String(length=256), nullable=False),
        sa.Column("password_set_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("must_change_password", sa.Boolean(), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_logins", sa.Integer(), nullable=False),
        sa.Column("locked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_login_source", sa.String(length=64), nullable=True),
        sa.Column("language", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_users_organization_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("username_key", name=op.f("uq_users_username_key")),
    )
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_users_organization_id"), ["organization_id"], unique=False)

    op.create_table(
        "backend_shares",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_backend_shares_backend_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_backend_shares_organization_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backend_shares")),
        sa.UniqueConstraint("backend_id", "organization_id", name=op.f("uq_backend_shares_backend_id_organization_id")),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("route", sa.String(length=300), nullable=False),
        sa.Column("body_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_idempotency_keys_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_keys")),
        sa.UniqueConstraint("user_id", "key", name=op.f("uq_idempotency_keys_user_id_key")),
    )
    op.create_table(
        "image_variants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("arch", sa.String(length=16), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("ref", sa.String(length=300), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=True),
        sa.CheckConstraint(
            "arch IN ('aarch64', 'x86_64', 'loongarch64', 'mips64el', 'sw_64')",
            name=op.f("ck_image_variants_arch_known"),
        ),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_image_variants_backend_id")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_image_variants_image_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_image_variants")),
        sa.UniqueConstraint("image_id", "arch", "backend_id", name=op.f("uq_image_variants_image_id_arch_backend_id")),
    )
    with op.batch_alter_table("image_variants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_image_variants_backend_id"), ["backend_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_image_variants_image_id"), ["image_id"], unique=False)

    op.create_table(
        "networks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("ref", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("network_zone", sa.String(length=64), nullable=False),
        sa.Column("cidr_v4", sa.String(length=32), nullable=True),
        sa.Column("cidr_v6", sa.String(length=64), nullable=True),
        sa.Column("gateway_v4", sa.String(length=32), nullable=True),
        sa.Column("zone_refs", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("is_external", sa.Boolean(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_networks_backend_id")),
        sa.ForeignKeyConstraint(["network_zone"], ["network_zones.name"], name=op.f("fk_networks_network_zone")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_networks")),
        sa.UniqueConstraint("backend_id", "ref", name=op.f("uq_networks_backend_id_ref")),
    )
    with op.batch_alter_table("networks", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_networks_backend_id"), ["backend_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_networks_network_zone"), ["network_zone"], unique=False)

    op.create_table(
        "observed_addresses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("network_ref", sa.String(length=200), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("server_ref", sa.String(length=300), nullable=True),
        sa.Column("mac", sa.String(length=32), nullable=True),
        sa.Column("owner", sa.String(length=200), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_observed_addresses_backend_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observed_addresses")),
        sa.UniqueConstraint(
            "backend_id", "network_ref", "key", name=op.f("uq_observed_addresses_backend_id_network_ref_key")
        ),
    )
    with op.batch_alter_table("observed_addresses", schema=None) as batch_op:
        batch_op.create_index("ix_observed_addresses_key", ["key"], unique=False)

    op.create_table(
        "observed_images",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("ref", sa.String(length=300), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("arch", sa.String(length=16), nullable=True),
        sa.Column("min_disk_gib", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=128), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_observed_images_backend_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observed_images")),
        sa.UniqueConstraint("backend_id", "ref", name=op.f("uq_observed_images_backend_id_ref")),
    )
    op.create_table(
        "project_credentials",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("public_key", sa.String(length=4096), nullable=False),
        sa.Column("sealed_private_key", sa.String(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_project_credentials_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_credentials")),
        sa.UniqueConstraint("project_id", name=op.f("uq_project_credentials_project_id")),
    )
    op.create_table(
        "project_ssh_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("public_key", sa.String(length=4096), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("created_by_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["created_by_id"], ["users.id"], name=op.f("fk_project_ssh_keys_created_by_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_project_ssh_keys_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project_ssh_keys")),
        sa.UniqueConstraint("project_id", "fingerprint", name=op.f("uq_project_ssh_keys_project_id_fingerprint")),
    )
    with op.batch_alter_table("project_ssh_keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_project_ssh_keys_project_id"), ["project_id"], unique=False)

    op.create_table(
        "quota_part_amounts",
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("part_id", sa.Uuid(), nullable=False),
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "remaining >= 0 AND remaining <= amount", name=op.f("ck_quota_part_amounts_remaining_within_amount")
        ),
        sa.ForeignKeyConstraint(
            ["reservation_id", "part_id"],
            ["quota_parts.reservation_id", "quota_parts.part_id"],
            name=op.f("fk_quota_part_amounts_reservation_id_part_id"),
        ),
        sa.PrimaryKeyConstraint("reservation_id", "part_id", "resource", name=op.f("pk_quota_part_amounts")),
    )
    op.create_table(
        "resource_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("number", sa.String(length=32), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("requester_id", sa.Uuid(), nullable=False),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=2000), nullable=False),
        sa.Column("env", sa.String(length=8), nullable=False),
        sa.Column("network_zone", sa.String(length=64), nullable=True),
        sa.Column("lease_end", sa.Date(), nullable=True),
        sa.Column("lease_long_term", sa.Boolean(), nullable=False),
        sa.Column("lease_reason", sa.String(length=500), nullable=False),
        sa.Column("owner_name", sa.String(length=64), nullable=False),
        sa.Column("owner_phone", sa.String(length=32), nullable=False),
        sa.Column("ssh_keys", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("body", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("refusal", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("env IN ('prd', 'tst', 'dev', 'dr')", name=op.f("ck_resource_requests_env_known")),
        sa.CheckConstraint(
            "kind IN ('create', 'retire', 'import', 'volume', 'snapshot', 'ports', 'public_ip')",
            name=op.f("ck_resource_requests_kind_known"),
        ),
        sa.CheckConstraint(
            "number IS NOT NULL OR phase IN ('draft', 'withdrawn')",
            name=op.f("ck_resource_requests_number_once_submitted"),
        ),
        sa.CheckConstraint(
            "phase IN ('draft', 'submitted', 'in_review', 'approved', 'fulfilling', 'fulfilled', 'partly_fulfilled', 'returned', 'rejected', 'withdrawn', 'failed')",
            name=op.f("ck_resource_requests_phase_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_resource_requests_organization_id")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_resource_requests_project_id")),
        sa.ForeignKeyConstraint(["requester_id"], ["users.id"], name=op.f("fk_resource_requests_requester_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resource_requests")),
        sa.UniqueConstraint("id", "requester_id", name=op.f("uq_resource_requests_id_requester_id")),
        sa.UniqueConstraint("number", name=op.f("uq_resource_requests_number")),
    )
    with op.batch_alter_table("resource_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_resource_requests_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_resource_requests_phase"), ["phase"], unique=False)
        batch_op.create_index(batch_op.f("ix_resource_requests_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_resource_requests_requester_id"), ["requester_id"], unique=False)

    op.create_table(
        "role_grants",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("granted_by", sa.String(length=100), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(length=100), nullable=True),
        sa.CheckConstraint(
            "role IN ('requester', 'unit_reviewer', 'district_admin', 'quota_admin', 'city_approver', 'technical_approver', 'system_admin', 'security_admin', 'audit_admin', 'external_auditor')",
            name=op.f("ck_role_grants_role_known"),
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_role_grants_organization_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_role_grants_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_grants")),
    )
    with op.batch_alter_table("role_grants", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_role_grants_user_id"), ["user_id"], unique=False)
        batch_op.create_index(
            "uq_role_grants_one_exclusive_role",
            ["user_id"],
            unique=True,
            sqlite_where=sa.text("role IN ('audit_admin', 'security_admin', 'system_admin') AND revoked_at IS NULL"),
            postgresql_where=sa.text(
                "role IN ('audit_admin', 'security_admin', 'system_admin') AND revoked_at IS NULL"
            ),
        )
        batch_op.create_index(
            "uq_role_grants_standing",
            ["user_id", "role", "organization_id"],
            unique=True,
            sqlite_where=sa.text("revoked_at IS NULL"),
            postgresql_where=sa.text("revoked_at IS NULL"),
        )

    op.create_table(
        "sync_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("servers", sa.Integer(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("kind IN ('full', 'incremental')", name=op.f("ck_sync_runs_kind_known")),
        sa.CheckConstraint("outcome IN ('ok', 'failed', 'suspect')", name=op.f("ck_sync_runs_outcome_known")),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_sync_runs_backend_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
    )
    with op.batch_alter_table("sync_runs", schema=None) as batch_op:
        batch_op.create_index("ix_sync_runs_backend_started", ["backend_id", "started_at"], unique=False)

    op.create_table(
        "user_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("csrf_token", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.CheckConstraint("kind IN ('console', 'token')", name=op.f("ck_user_sessions_kind_known")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_sessions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_sessions")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_user_sessions_token_hash")),
    )
    with op.batch_alter_table("user_sessions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_user_sessions_user_id"), ["user_id"], unique=False)

    op.create_table(
        "zones",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("ref", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("arch", sa.String(length=16), nullable=False),
        sa.Column("cpu_family", sa.String(length=16), nullable=False),
        sa.Column("cpu_model", sa.String(length=100), nullable=False),
        sa.Column("cpu_raw", sa.String(length=500), nullable=False),
        sa.Column("is_xinchuang", sa.Boolean(), nullable=False),
        sa.Column("hosts", sa.Integer(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("is_available", sa.Boolean(), nullable=False),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "arch IN ('aarch64', 'x86_64', 'loongarch64', 'mips64el', 'sw_64')", name=op.f("ck_zones_arch_known")
        ),
        sa.CheckConstraint(
            "cpu_family IN ('kunpeng', 'phytium', 'hygon', 'zhaoxin', 'loongson', 'sunway', 'intel', 'amd', 'unknown')",
            name=op.f("ck_zones_cpu_family_known"),
        ),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_zones_backend_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zones")),
        sa.UniqueConstraint("backend_id", "name", name=op.f("uq_zones_backend_id_name")),
        sa.UniqueConstraint("backend_id", "ref", name=op.f("uq_zones_backend_id_ref")),
    )
    with op.batch_alter_table("zones", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_zones_backend_id"), ["backend_id"], unique=False)

    op.create_table(
        "approval_stages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("submission", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("policy_version", sa.String(length=64), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('waiting', 'open', 'approve', 'reject', 'return', 'cancelled')",
            name=op.f("ck_approval_stages_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_approval_stages_organization_id")
        ),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_approval_stages_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval_stages")),
        sa.UniqueConstraint(
            "request_id", "submission", "position", name=op.f("uq_approval_stages_request_id_submission_position")
        ),
    )
    with op.batch_alter_table("approval_stages", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approval_stages_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_approval_stages_request_id"), ["request_id"], unique=False)

    op.create_table(
        "playbook_runs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("playbook", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("variables", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("rehearsed", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("started_by", sa.String(length=100), nullable=False),
        sa.Column("cancel_asked", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'timed_out')",
            name=op.f("ck_playbook_runs_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_playbook_runs_organization_id")
        ),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_playbook_runs_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_playbook_runs")),
    )
    with op.batch_alter_table("playbook_runs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_playbook_runs_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_playbook_runs_request_id"), ["request_id"], unique=False)

    op.create_table(
        "request_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("data", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("dedupe", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_request_events_request_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_events")),
        sa.UniqueConstraint("request_id", "dedupe", name=op.f("uq_request_events_request_id_dedupe")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("request_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_request_events_request_id"), ["request_id"], unique=False)

    op.create_table(
        "servers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resource_no", sa.String(length=64), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("retire_request_id", sa.Uuid(), nullable=True),
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("arch", sa.String(length=16), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("flavor_id", sa.Uuid(), nullable=True),
        sa.Column("image_id", sa.Uuid(), nullable=True),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("system_disk_gib", sa.Integer(), nullable=False),
        sa.Column("data_disk_gib", sa.Integer(), nullable=False),
        sa.Column("network_zone", sa.String(length=64), nullable=False),
        sa.Column("env", sa.String(length=8), nullable=False),
        sa.Column("purpose_kind", sa.String(length=8), nullable=False),
        sa.Column("spread", sa.String(length=8), nullable=False),
        sa.Column("wanted_backend_id", sa.Uuid(), nullable=True),
        sa.Column("playbook", sa.String(length=64), nullable=False),
        sa.Column("variables", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("ssh_keys", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("owner_name", sa.String(length=64), nullable=False),
        sa.Column("owner_phone", sa.String(length=32), nullable=False),
        sa.Column("lease_start", sa.Date(), nullable=True),
        sa.Column("lease_end", sa.Date(), nullable=True),
        sa.Column("lease_long_term", sa.Boolean(), nullable=False),
        sa.Column("zone_id", sa.Uuid(), nullable=True),
        sa.Column("backend_id", sa.Uuid(), nullable=True),
        sa.Column("image_ref", sa.String(length=300), nullable=True),
        sa.Column("image_digest", sa.String(length=128), nullable=True),
        sa.Column("network_ref", sa.String(length=200), nullable=True),
        sa.Column("wanted_addresses", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("native_ref", sa.String(length=300), nullable=True),
        sa.Column("host", sa.String(length=200), nullable=True),
        sa.Column("cpu_family", sa.String(length=16), nullable=False),
        sa.Column("cpu_model", sa.String(length=100), nullable=False),
        sa.Column("is_xinchuang", sa.Boolean(), nullable=True),
        sa.Column("ipv4", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("ipv6", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("guest", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("rehearsed", sa.Boolean(), nullable=False),
        sa.Column("tried_zones", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("failed_step", sa.String(length=32), nullable=True),
        sa.Column("failure", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("action_attempt", sa.Integer(), nullable=False),
        sa.Column("built_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("intended_power", sa.String(length=16), nullable=True),
        sa.Column("intended_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resource_type", sa.String(length=16), nullable=False),
        sa.Column("counts_quota", sa.Boolean(), nullable=False),
        sa.Column("stated", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "arch IN ('aarch64', 'x86_64', 'loongarch64', 'mips64el', 'sw_64')", name=op.f("ck_servers_arch_known")
        ),
        sa.CheckConstraint(
            "cpu_family IN ('kunpeng', 'phytium', 'hygon', 'zhaoxin', 'loongson', 'sunway', 'intel', 'amd', 'unknown')",
            name=op.f("ck_servers_cpu_family_known"),
        ),
        sa.CheckConstraint("env IN ('prd', 'tst', 'dev', 'dr')", name=op.f("ck_servers_env_known")),
        sa.CheckConstraint(
            "phase IN ('requested', 'placed', 'creating', 'configuring', 'active', 'suspended', 'retiring', 'retired', 'failed')",
            name=op.f("ck_servers_phase_known"),
        ),
        sa.CheckConstraint(
            "purpose_kind IN ('app', 'db', 'mid', 'web', 'fs', 'other')", name=op.f("ck_servers_purpose_kind_known")
        ),
        sa.CheckConstraint("resource_type IN ('vm', 'baremetal')", name=op.f("ck_servers_resource_type_known")),
        sa.CheckConstraint(
            "source <> 'built' OR (flavor_id IS NOT NULL AND image_id IS NOT NULL)",
            name=op.f("ck_servers_built_from_something"),
        ),
        sa.CheckConstraint("source IN ('built', 'imported', 'manual')", name=op.f("ck_servers_source_known")),
        sa.CheckConstraint("spread IN ('host', 'zone', 'none')", name=op.f("ck_servers_spread_known")),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_servers_backend_id")),
        sa.ForeignKeyConstraint(["flavor_id"], ["flavors.id"], name=op.f("fk_servers_flavor_id")),
        sa.ForeignKeyConstraint(["image_id"], ["images.id"], name=op.f("fk_servers_image_id")),
        sa.ForeignKeyConstraint(["network_zone"], ["network_zones.name"], name=op.f("fk_servers_network_zone")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_servers_organization_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_servers_project_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_servers_request_id")),
        sa.ForeignKeyConstraint(
            ["retire_request_id"], ["resource_requests.id"], name=op.f("fk_servers_retire_request_id")
        ),
        sa.ForeignKeyConstraint(["wanted_backend_id"], ["backends.id"], name=op.f("fk_servers_wanted_backend_id")),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name=op.f("fk_servers_zone_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_servers")),
        sa.UniqueConstraint("resource_no", name=op.f("uq_servers_resource_no")),
    )
    with op.batch_alter_table("servers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_servers_backend_id"), ["backend_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_phase"), ["phase"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_retire_request_id"), ["retire_request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_servers_zone_id"), ["zone_id"], unique=False)
        batch_op.create_index(
            "uq_servers_live_name",
            ["project_id", "name"],
            unique=True,
            sqlite_where=sa.text("phase <> 'retired'"),
            postgresql_where=sa.text("phase <> 'retired'"),
        )

    op.create_table(
        "subnets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("network_zone", sa.String(length=64), nullable=False),
        sa.Column("network_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("family", sa.Integer(), nullable=False),
        sa.Column("cidr", sa.String(length=45), nullable=False),
        sa.Column("gateway", sa.String(length=45), nullable=True),
        sa.Column("dns", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("vlan", sa.Integer(), nullable=True),
        sa.Column("is_managed", sa.Boolean(), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("hint", sa.String(length=32), nullable=True),
        sa.CheckConstraint("family IN (4, 6)", name=op.f("ck_subnets_family_known")),
        sa.ForeignKeyConstraint(["network_id"], ["networks.id"], name=op.f("fk_subnets_network_id")),
        sa.ForeignKeyConstraint(["network_zone"], ["network_zones.name"], name=op.f("fk_subnets_network_zone")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subnets")),
        sa.UniqueConstraint("network_zone", "cidr", name=op.f("uq_subnets_network_zone_cidr")),
    )
    with op.batch_alter_table("subnets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_subnets_network_id"), ["network_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_subnets_network_zone"), ["network_zone"], unique=False)

    op.create_table(
        "zone_inventories",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("zone_id", sa.Uuid(), nullable=False),
        sa.Column("resource", sa.String(length=32), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("reserved", sa.Integer(), nullable=False),
        sa.Column("ratio_pct", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.CheckConstraint("ratio_pct > 0", name=op.f("ck_zone_inventories_ratio_positive")),
        sa.CheckConstraint(
            "total >= 0 AND reserved >= 0 AND used >= 0", name=op.f("ck_zone_inventories_amounts_not_negative")
        ),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name=op.f("fk_zone_inventories_zone_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zone_inventories")),
        sa.UniqueConstraint("zone_id", "resource", name=op.f("uq_zone_inventories_zone_id_resource")),
    )
    with op.batch_alter_table("zone_inventories", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_zone_inventories_zone_id"), ["zone_id"], unique=False)

    op.create_table(
        "zone_network_zones",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("zone_id", sa.Uuid(), nullable=False),
        sa.Column("network_zone", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["network_zone"], ["network_zones.name"], name=op.f("fk_zone_network_zones_network_zone")
        ),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name=op.f("fk_zone_network_zones_zone_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_zone_network_zones")),
        sa.UniqueConstraint("zone_id", "network_zone", name=op.f("uq_zone_network_zones_zone_id_network_zone")),
    )
    with op.batch_alter_table("zone_network_zones", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_zone_network_zones_zone_id"), ["zone_id"], unique=False)

    op.create_table(
        "address_ranges",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("subnet_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("first", sa.String(length=45), nullable=False),
        sa.Column("last", sa.String(length=45), nullable=False),
        sa.Column("first_key", sa.String(length=32), nullable=False),
        sa.Column("last_key", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=False),
        sa.CheckConstraint("kind IN ('pool', 'excluded')", name=op.f("ck_address_ranges_kind_known")),
        sa.CheckConstraint("first_key <= last_key", name=op.f("ck_address_ranges_ends_in_order")),
        sa.ForeignKeyConstraint(["subnet_id"], ["subnets.id"], name=op.f("fk_address_ranges_subnet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_address_ranges")),
    )
    with op.batch_alter_table("address_ranges", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_address_ranges_subnet_id"), ["subnet_id"], unique=False)

    op.create_table(
        "addresses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("subnet_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.String(length=45), nullable=False),
        sa.Column("key", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("organization_id", sa.Uuid(), nullable=True),
        sa.Column("purpose", sa.String(length=200), nullable=False),
        sa.Column("taken_by", sa.String(length=100), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "state <> 'allocated' OR server_id IS NOT NULL", name=op.f("ck_addresses_allocated_to_a_server")
        ),
        sa.CheckConstraint("state IN ('allocated', 'reserved')", name=op.f("ck_addresses_state_known")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_addresses_organization_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_addresses_server_id")),
        sa.ForeignKeyConstraint(["subnet_id"], ["subnets.id"], name=op.f("fk_addresses_subnet_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_addresses")),
        sa.UniqueConstraint("subnet_id", "key", name=op.f("uq_addresses_subnet_id_key")),
    )
    with op.batch_alter_table("addresses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_addresses_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_addresses_server_id"), ["server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_addresses_subnet_id"), ["subnet_id"], unique=False)

    op.create_table(
        "allocations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("zone_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("amounts", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_allocations_server_id")),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name=op.f("fk_allocations_zone_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocations")),
    )
    with op.batch_alter_table("allocations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_allocations_server_id"), ["server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_allocations_zone_id"), ["zone_id"], unique=False)
        batch_op.create_index(
            "uq_allocations_open_server",
            ["server_id"],
            unique=True,
            sqlite_where=sa.text("released_at IS NULL"),
            postgresql_where=sa.text("released_at IS NULL"),
        )

    op.create_table(
        "approvals",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("requester_id", sa.Uuid(), nullable=False),
        sa.Column("stage_id", sa.Uuid(), nullable=False),
        sa.Column("decider_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("comment", sa.String(length=500), nullable=False),
        sa.CheckConstraint("decision IN ('approve', 'reject', 'return')", name=op.f("ck_approvals_decision_known")),
        sa.CheckConstraint("decider_id <> requester_id", name=op.f("ck_approvals_not_own_request")),
        sa.ForeignKeyConstraint(["decider_id"], ["users.id"], name=op.f("fk_approvals_decider_id")),
        sa.ForeignKeyConstraint(
            ["request_id", "requester_id"],
            ["resource_requests.id", "resource_requests.requester_id"],
            name=op.f("fk_approvals_request_id_requester_id"),
        ),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_approvals_request_id")),
        sa.ForeignKeyConstraint(["stage_id"], ["approval_stages.id"], name=op.f("fk_approvals_stage_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approvals")),
        sa.UniqueConstraint("stage_id", "decider_id", name=op.f("uq_approvals_stage_id_decider_id")),
    )
    with op.batch_alter_table("approvals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_approvals_request_id"), ["request_id"], unique=False)

    op.create_table(
        "deletion_certificates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("number", sa.String(length=32), nullable=True),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("backend_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("evidence", sa.String(length=16), nullable=False),
        sa.Column("server", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("reason", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("checks", sa.Integer(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unanswered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("evidence IN ('asked', 'none')", name=op.f("ck_deletion_certificates_evidence_known")),
        sa.CheckConstraint(
            "state IN ('open', 'incomplete', 'complete')", name=op.f("ck_deletion_certificates_state_known")
        ),
        sa.CheckConstraint(
            "(number IS NULL) = (issued_at IS NULL)", name=op.f("ck_deletion_certificates_numbered_when_issued")
        ),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_deletion_certificates_backend_id")),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_deletion_certificates_organization_id")
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["resource_requests.id"], name=op.f("fk_deletion_certificates_request_id")
        ),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_deletion_certificates_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deletion_certificates")),
        sa.UniqueConstraint("number", name=op.f("uq_deletion_certificates_number")),
        sa.UniqueConstraint("server_id", name=op.f("uq_deletion_certificates_server_id")),
    )
    with op.batch_alter_table("deletion_certificates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_deletion_certificates_due_at"), ["due_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_deletion_certificates_organization_id"), ["organization_id"], unique=False)

    op.create_table(
        "findings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("ref", sa.String(length=300), nullable=False),
        sa.Column("field", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("held", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("observed", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(length=100), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.CheckConstraint(
            "kind IN ('unmanaged', 'unauthorised', 'revived', 'orphan', 'leftover', 'drift', 'address_conflict')",
            name=op.f("ck_findings_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('open', 'restoring', 'accepted', 'restored', 'ignored', 'resolved')",
            name=op.f("ck_findings_state_known"),
        ),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_findings_backend_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_findings_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
    )
    with op.batch_alter_table("findings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_findings_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_findings_server_id"), ["server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_findings_state"), ["state"], unique=False)
        batch_op.create_index(
            "uq_findings_open",
            ["backend_id", "kind", "ref", "field"],
            unique=True,
            sqlite_where=sa.text("closed_at IS NULL"),
            postgresql_where=sa.text("closed_at IS NULL"),
        )

    op.create_table(
        "observed_servers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=False),
        sa.Column("ref", sa.String(length=300), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("native_uuid", sa.String(length=64), nullable=True),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("power", sa.String(length=16), nullable=False),
        sa.Column("native_state", sa.String(length=200), nullable=False),
        sa.Column("arch", sa.String(length=16), nullable=True),
        sa.Column("vcpus", sa.Integer(), nullable=True),
        sa.Column("memory_mib", sa.Integer(), nullable=True),
        sa.Column("system_disk_gib", sa.Integer(), nullable=True),
        sa.Column("data_disk_gib", sa.Integer(), nullable=True),
        sa.Column("zone_ref", sa.String(length=200), nullable=True),
        sa.Column("host", sa.String(length=200), nullable=True),
        sa.Column("image", sa.String(length=300), nullable=True),
        sa.Column("networks", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("ipv4", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("ipv6", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("missing_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("baseline", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_observed_servers_backend_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_observed_servers_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_observed_servers")),
        sa.UniqueConstraint("backend_id", "ref", name=op.f("uq_observed_servers_backend_id_ref")),
    )
    with op.batch_alter_table("observed_servers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_observed_servers_native_uuid"), ["native_uuid"], unique=False)
        batch_op.create_index(batch_op.f("ix_observed_servers_server_id"), ["server_id"], unique=False)

    op.create_table(
        "playbook_events",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("role", sa.String(length=100), nullable=False),
        sa.Column("task", sa.String(length=300), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["playbook_runs.id"], name=op.f("fk_playbook_events_run_id")),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_playbook_events")),
    )
    op.create_table(
        "playbook_run_servers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("ok", sa.Integer(), nullable=False),
        sa.Column("reason", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["playbook_runs.id"], name=op.f("fk_playbook_run_servers_run_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_playbook_run_servers_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_playbook_run_servers")),
        sa.UniqueConstraint("run_id", "server_id", name=op.f("uq_playbook_run_servers_run_id_server_id")),
    )
    with op.batch_alter_table("playbook_run_servers", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_playbook_run_servers_run_id"), ["run_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_playbook_run_servers_server_id"), ["server_id"], unique=False)

    op.create_table(
        "port_openings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.String(length=45), nullable=False),
        sa.Column("protocol", sa.String(length=8), nullable=False),
        sa.Column("port_from", sa.Integer(), nullable=True),
        sa.Column("port_to", sa.Integer(), nullable=True),
        sa.Column("purpose", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("valid_until", sa.Date(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("message", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("applied_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("protocol IN ('tcp', 'udp', 'icmp')", name=op.f("ck_port_openings_protocol_known")),
        sa.CheckConstraint(
            "state IN ('requested', 'active', 'recorded', 'closing', 'closed', 'expired', 'failed')",
            name=op.f("ck_port_openings_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["organization_id"], ["organizations.id"], name=op.f("fk_port_openings_organization_id")
        ),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_port_openings_request_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_port_openings_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_port_openings")),
    )
    with op.batch_alter_table("port_openings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_port_openings_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_port_openings_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_port_openings_server_id"), ["server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_port_openings_state"), ["state"], unique=False)

    op.create_table(
        "public_ips",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("backend_id", sa.Uuid(), nullable=True),
        sa.Column("address", sa.String(length=45), nullable=True),
        sa.Column("native_ref", sa.String(length=300), nullable=True),
        sa.Column("bandwidth_mbps", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("failure", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "phase IN ('requested', 'active', 'releasing', 'released', 'failed')",
            name=op.f("ck_public_ips_phase_known"),
        ),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_public_ips_backend_id")),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_public_ips_organization_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_public_ips_project_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_public_ips_request_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_public_ips_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_public_ips")),
    )
    with op.batch_alter_table("public_ips", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_public_ips_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_public_ips_phase"), ["phase"], unique=False)
        batch_op.create_index(batch_op.f("ix_public_ips_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_public_ips_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_public_ips_server_id"), ["server_id"], unique=False)

    op.create_table(
        "server_versions",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=100), nullable=False),
        sa.Column("change", sa.String(length=64), nullable=False),
        sa.Column("snapshot", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_server_versions_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_server_versions")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("server_versions", schema=None) as batch_op:
        batch_op.create_index("ix_server_versions_server_at", ["server_id", "at"], unique=False)

    op.create_table(
        "snapshots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("delete_request_id", sa.Uuid(), nullable=True),
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("native_ref", sa.String(length=300), nullable=True),
        sa.Column("failure", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reverted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "phase IN ('requested', 'creating', 'available', 'reverting', 'deleting', 'deleted', 'failed')",
            name=op.f("ck_snapshots_phase_known"),
        ),
        sa.ForeignKeyConstraint(
            ["delete_request_id"], ["resource_requests.id"], name=op.f("fk_snapshots_delete_request_id")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_snapshots_organization_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_snapshots_project_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_snapshots_request_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_snapshots_server_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshots")),
    )
    with op.batch_alter_table("snapshots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_snapshots_delete_request_id"), ["delete_request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_snapshots_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_snapshots_phase"), ["phase"], unique=False)
        batch_op.create_index(batch_op.f("ix_snapshots_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_snapshots_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_snapshots_server_id"), ["server_id"], unique=False)

    op.create_table(
        "volumes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("change_request_id", sa.Uuid(), nullable=True),
        sa.Column("delete_request_id", sa.Uuid(), nullable=True),
        sa.Column("reservation_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("organization_id", sa.Uuid(), nullable=False),
        sa.Column("server_id", sa.Uuid(), nullable=True),
        sa.Column("backend_id", sa.Uuid(), nullable=True),
        sa.Column("zone_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("size_gib", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("native_ref", sa.String(length=300), nullable=True),
        sa.Column("failure", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "phase IN ('requested', 'creating', 'available', 'attaching', 'attached', 'detaching', 'deleting', 'deleted', 'failed')",
            name=op.f("ck_volumes_phase_known"),
        ),
        sa.CheckConstraint("size_gib > 0", name=op.f("ck_volumes_size_positive")),
        sa.ForeignKeyConstraint(["backend_id"], ["backends.id"], name=op.f("fk_volumes_backend_id")),
        sa.ForeignKeyConstraint(
            ["change_request_id"], ["resource_requests.id"], name=op.f("fk_volumes_change_request_id")
        ),
        sa.ForeignKeyConstraint(
            ["delete_request_id"], ["resource_requests.id"], name=op.f("fk_volumes_delete_request_id")
        ),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"], name=op.f("fk_volumes_organization_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_volumes_project_id")),
        sa.ForeignKeyConstraint(["request_id"], ["resource_requests.id"], name=op.f("fk_volumes_request_id")),
        sa.ForeignKeyConstraint(["server_id"], ["servers.id"], name=op.f("fk_volumes_server_id")),
        sa.ForeignKeyConstraint(["zone_id"], ["zones.id"], name=op.f("fk_volumes_zone_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volumes")),
    )
    with op.batch_alter_table("volumes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_volumes_backend_id"), ["backend_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_change_request_id"), ["change_request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_delete_request_id"), ["delete_request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_organization_id"), ["organization_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_phase"), ["phase"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_request_id"), ["request_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_server_id"), ["server_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_volumes_zone_id"), ["zone_id"], unique=False)

    op.create_table(
        "certificate_items",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("certificate_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ref", sa.String(length=300), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("size_gib", sa.Integer(), nullable=True),
        sa.Column("token", sa.Uuid(), nullable=True),
        sa.Column("attached_to", sa.String(length=300), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "kind IN ('server', 'disk', 'volume', 'snapshot', 'nic', 'address', 'port_rules', 'seed', 'other', 'dns')",
            name=op.f("ck_certificate_items_kind_known"),
        ),
        sa.CheckConstraint(
            "state IN ('there', 'gone', 'unknown', 'kept')", name=op.f("ck_certificate_items_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["certificate_id"], ["deletion_certificates.id"], name=op.f("fk_certificate_items_certificate_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_certificate_items")),
        sa.UniqueConstraint("certificate_id", "kind", "ref", name=op.f("uq_certificate_items_certificate_id_kind_ref")),
    )
    with op.batch_alter_table("certificate_items", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_certificate_items_certificate_id"), ["certificate_id"], unique=False)

"""Settings: one TOML file and the environment, validated once, frozen, passed on; there is no module-level instance.

Sources, later wins: `cloudmgr.toml` in the data directory, then `CLOUDMGR_SECTION__KEY` in the environment. An unknown key
is refused by name. Every setting has a heading in docs/operating.md (a guard test holds them together).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from cloudmgr.domain.notices import NoticeEvent


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Database(Section):
    url: str | None = None
    """SQLAlchemy URL; none means `cloudmgr.db` in the data directory."""
    pool_size: int = Field(default=10, ge=2, le=100)
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """SQLite only: FULL survives power loss; NORMAL may lose the last commits then (not on a kill)."""


class Web(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded-* headers are believed."""
    threads: int = Field(default=16, ge=2, le=200)
    changes: int = Field(default=4, ge=1, le=200)
    max_waiting: int = Field(default=256, ge=1)
    """Requests admitted at once; one more is answered 503 with Retry-After."""
    body_limit_bytes: int = Field(default=1024 * 1024, ge=1024)
    event_streams: int = Field(default=200, ge=1)
    title: str = "统一云管平台"


class WorkerSection(Section):
    listen: str | None = None
    """host:port of a worker's own /metrics, /readyz; none in the embedded process."""
    request_concurrency: int = Field(default=16, ge=1, le=200)
    server_concurrency: int = Field(default=16, ge=1, le=200)
    poll_s: float = Field(default=1.0, ge=0.05, le=60)
    boot_timeout_s: float = Field(default=900, ge=1)
    boot_poll_s: float = Field(default=2.0, ge=0.05)
    health_interval_s: float = Field(default=30, ge=1)
    health_timeout_s: float = Field(default=60, ge=0.1)
    """A backend that has not said by then how it is counts as not answering."""
    full_sync_interval_s: float = Field(default=600, ge=0)
    """How often a backend's servers are read completely; 0: only when somebody asks."""
    incremental_sync_interval_s: float = Field(default=60, ge=0)
    """How often changes are asked of a backend that can tell them; 0: never."""
    sync_timeout_s: float = Field(default=300, ge=0.1)
    """Longest reading of one backend's servers."""
    deadlines_interval_s: float = Field(default=60, ge=1, le=3600)
    """How often is looked for reminders, overdue stages and change freezes that have ended."""
    retire_recheck_s: float = Field(default=60, ge=0.05)
    """How soon a retirement that waits is taken up again; twice as late each time, an hour at most."""
    quota_turn_s: float = Field(default=60, ge=0.05, le=86400)
    """How often is looked for limits that begin or end, loans that are due, holds that lasted too long, and crossings."""
    prover_interval_s: float = Field(default=300, ge=0)
    """How often the quota ledger is recounted; 0: only when somebody asks."""
    playbook_timeout_s: float = Field(default=3600, ge=10)
    ansible_command_prefix: tuple[str, ...] = ()
    """Put before ansible-playbook, e.g. to enter a network namespace."""
    ansible_forks: int = Field(default=4, ge=1, le=100)
    executor_id: str | None = None
    """Unique per replica; by default made anew at each start on PostgreSQL and `embedded` on SQLite."""


class Security(Section):
    key_file: Path | None = None
    """Key that seals secrets at rest; none means `secret.key` in the data directory, made at init."""
    session_idle_minutes: int = Field(default=30, ge=1, le=480)
    session_absolute_hours: int = Field(default=8, ge=1, le=24)
    token_hours: int = Field(default=12, ge=1, le=24 * 90)
    lock_after_failures: int = Field(default=5, ge=3, le=10)
    lock_minutes: int = Field(default=30, ge=1, le=1440)
    source_lock_after_failures: int = Field(default=30, ge=5, le=1000)
    password_min_length: int = Field(default=8, ge=8, le=64)
    admin_password_min_length: int = Field(default=12, ge=8, le=64)
    password_max_days: int = Field(default=90, ge=1, le=3650)
    rate_limits: bool = True
    """Locks after failed logins; off only in the demo."""


class Policy(Section):
    lease_max_days: int = Field(default=3 * 366, ge=1)
    lease_reminder_days: tuple[int, ...] = (60, 30, 7)
    lease_grace_days: int = Field(default=30, ge=0, le=3660)
    """So many days after it was frozen at its lease's end a server is retired; 0: never by itself."""
    project_no_required: bool = False
    """New servers are refused to a project without a project number (立项文号)."""
    funding_source_required: bool = False
    """A request for new servers must say who pays."""
    attachments_required: int = Field(default=0, ge=0, le=20)
    """A request for new servers is submitted with at least so many attachments."""
    event_retention_days: int = Field(default=400, ge=190)
    playbook_event_retention_days: int = Field(default=200, ge=1)
    workflow_retention_days: int = Field(default=30, ge=1)
    sync_retention_days: int = Field(default=30, ge=1)
    """Looks at backends, and foreign servers that are gone, are kept so long."""
    idempotency_hours: int = Field(default=24, ge=1, le=24)
    audit_retention_days: int = Field(default=400, ge=190)
    """Audit events are kept at least this long; nothing here deletes them."""
    prefer_xinchuang: bool = True
    approval_file: Path | None = None
    """The approval policy; loaded at the start of a worker where its version is not loaded yet."""
    quota_change_auto_pct: int = Field(default=10, ge=0, le=1000)
    """A quota request that raises no limit by more than this is granted by rule; 0: every one is decided on."""
    quota_change_auto_days: int = Field(default=30, ge=0, le=3650)
    """A second raise of the same account within so many days is always decided on; 0: that does not matter."""
    quota_overallocation_max_pct: int = Field(default=0, ge=0, le=10_000)
    """At most so much of a limit, in percent, may be allotted to the accounts right below it; 0: any amount."""
    quota_hold_days: int = Field(default=60, ge=0, le=3650)
    """A request on which nobody decides for so many days is returned, and what it held is free again; 0: never."""
    quota_warning_pct: tuple[int, ...] = (80, 90, 100)
    """Thresholds of use, in percent of a limit, whose crossing is told once."""
    loan_overdue: Literal["block_growth", "extend"] = "block_growth"
    """What happens with a loan that is still in use on its day."""
    loan_extend_days: int = Field(default=30, ge=1, le=366)
    loan_max_extensions: int = Field(default=1, ge=0, le=12)
    """With `extend`: so often; then growth is blocked."""
    holidays_file: Path | None = None
    """Days off and exchanged working days; a year in it stands instead of the packaged one."""
    working_hours: tuple[str, ...] = ("09:00-12:00", "13:30-17:30")
    reminder_working_days: tuple[int, ...] = (1, 0)
    """So many working days before a stage is due, those who decide are reminded; 0: on the morning of the day itself."""
    timeout_working_days: int = Field(default=10, ge=1, le=250)
    """So many working days after a stage was due, what the approval policy says of its timeout is done."""
    emergency_allowance: Mapping[str, int] = Field(
        default_factory=lambda: {"servers": 16, "vcpus": 64, "memory_mib": 262144}
    )
    """What a district's emergency orders may take before they are approved, by quota key."""
    emergency_days: int = Field(default=3, ge=1, le=60)
    """Within so many working days an emergency order must be approved."""
    change_freeze_kinds: tuple[str, ...] = (
        "retire",
        "resize",
        "volume",
        "snapshot",
        "ports",
        "public_ip",
        "freeze",
        "unfreeze",
    )
    """Kinds of request that wait while a change freeze holds."""


class Mail(Section):
    """Without `host` nobody is told by e-mail."""

    host: str | None = None
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: Path | None = None
    """Certificates to believe instead of the system's."""
    sender: str = "cloudmgr@localhost"
    user: str | None = None
    password_file: Path | None = None
    timeout_s: float = Field(default=20, ge=0.1, le=120)


class Notices(Section):
    console_url: str = ""
    """Put before the links in e-mail and webhooks, e.g. https://cloud.example.gov.cn"""
    spread_interval_s: float = Field(default=2, ge=0.05, le=60)
    """How often is looked for what to tell, and for deliveries that are due."""
    first_retry_s: float = Field(default=30, ge=0.05)
    most_retry_s: float = Field(default=3600, ge=0.05)
    """Between two tries at most; each wait is twice the one before."""
    give_up_hours: float = Field(default=24, gt=0, le=24 * 14)
    retention_days: int = Field(default=400, ge=1)


class Webhook(Section):
    """One receiver of signed messages."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    url: str = Field(pattern=r"^https?://[^\s@]+$", max_length=2000)
    secret_file: Path
    """At least 32 bytes; the key of the signature."""
    events: tuple[NoticeEvent, ...] = ()
    """Which happenings it is told; none: all."""
    networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks that are not public and to which its name may resolve all the same."""
    ca_file: Path | None = None
    timeout_s: float = Field(default=15, ge=0.1, le=120)


class Log(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    format: Literal["json", "text"] = "json"


class Settings(BaseSettings):
    """Everything a process is told. `backends` stays uninterpreted here: the worker validates it by the driver's model."""

    model_config = SettingsConfigDict(
        env_prefix="CLOUDMGR_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    data_dir: Path = Path("cloudmgr-data")
    database: Database = Database()
    web: Web = Web()
    worker: WorkerSection = WorkerSection()
    security: Security = Security()
    policy: Policy = Policy()
    log: Log = Log()
    mail: Mail = Mail()
    notices: Notices = Notices()
    webhooks: tuple[Webhook, ...] = ()
    backends: tuple[Mapping[str, Any], ...] = ()
    playbooks_dirs: tuple[Path, ...] = ()
    """Further folders with catalog/*.yml beside the built-in playbooks."""
    demo: bool = False

    @property
    def database_url(self) -> str:
        """The database's URL, with the default filled in."""
        return self.database.url or f"sqlite:///{self.data_dir.absolute() / 'cloudmgr.db'}"

    @property
    def key_file(self) -> Path:
        """Where the sealing key lies."""
        return self.security.key_file or self.data_dir / "secret.key"

    @property
    def is_sqlite(self) -> bool:
        """Whether this installation is the embedded kind."""
        return self.database_url.startswith("sqlite")


def load_settings(data_dir: Path, **overrides: Any) -> Settings:
    """Read `data_dir/cloudmgr.toml` (if there) and the environment; `overrides` win over both.

    Raises:
        pydantic.ValidationError: a key is unknown or malformed; the message names it.
    """
    toml = data_dir / "cloudmgr.toml"

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=toml)

    return FromFile(data_dir=data_dir, **overrides)

"""`cloudmgr init`: an empty installation, its key, its root, its three administrators."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session, select

import cloudmgr.seed
from cloudmgr.adapters import crypto, migrate
from cloudmgr.cli_support import SETTINGS_FILE, CommandFailed, local_actor, place_of, show_json
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import OrganizationKind
from cloudmgr.models import Organization, User
from cloudmgr.seed.settings_file import SETTINGS_TEMPLATE
from cloudmgr.services import audit, organizations, roles, users
from cloudmgr.services.apply import PROVISIONAL_ROOT, apply_document, read_document
from cloudmgr.services.organizations import CreateOrganization
from cloudmgr.services.roles import GrantRole
from cloudmgr.services.users import CreateUser
from cloudmgr.store.db import begin_immediate, make_engine, new_session

app = typer.Typer(add_completion=False, rich_markup_mode=None)

STANDARD = Path(cloudmgr.seed.__file__).parent / "standard.json"
_ADMINISTRATORS: Mapping[Role, tuple[str, str]] = {
    Role.SYSTEM_ADMIN: ("sysadmin", "系统管理员"),
    Role.SECURITY_ADMIN: ("secadmin", "安全管理员"),
    Role.AUDIT_ADMIN: ("auditadmin", "审计管理员"),
}


@app.command(epilog="Example: cloudmgr init --data-dir /var/lib/cloudmgr --root-code CS --root-name 长沙市")
def init(
    ctx: typer.Context,
    root_code: Annotated[
        str, typer.Option(help="Code of the topmost organization; left out, the first `apply` gives it one.")
    ] = PROVISIONAL_ROOT,
    root_name: Annotated[str, typer.Option(help="Name of the topmost organization.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the accounts as JSON.")] = False,
) -> None:
    """Make an empty installation: settings file, key, database, root organization, and three administrators.

    Each administrator gets a random password that is shown once, here, and must be changed at the first login.
    """
    place = place_of(ctx)
    settings = place.settings()
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    migrate.upgrade(settings)
    key_id = crypto.make_key_file(settings.key_file)
    engine = make_engine(settings.database_url, pool_size=2)
    try:
        with new_session(engine) as session:
            begin_immediate(session)
            if session.exec(select(User.id)).first() or session.exec(select(Organization.id)).first():
                raise CommandFailed(
                    N_("{data_dir} holds an installation already; init makes new ones only."),
                    data_dir=str(settings.data_dir),
                )
            accounts = _populate(session, local_actor(), root_code, root_name or root_code, key_id)
            session.commit()
    finally:
        engine.dispose()
    settings_file = settings.data_dir / SETTINGS_FILE
    if not settings_file.exists():
        settings_file.write_text(SETTINGS_TEMPLATE, encoding="utf-8")
        settings_file.chmod(0o600)
    if as_json:
        show_json([{"username": name, "password": password, "roles": [role]} for role, name, password in accounts])
        return
    place.say(N_("A new installation stands in {data_dir}."), data_dir=str(settings.data_dir))
    place.say(N_("These passwords are shown once and must be changed at the first login:"))
    for role, name, password in accounts:
        typer.echo(f"  {name:<12}{password}  ({role})")
    place.say(
        N_("Keep {key_file} safe and apart: without it no sealed secret and no backup can be opened."),
        key_file=str(settings.key_file),
    )
    place.say(
        N_(
            "Next: write [[backends]] into {settings_file}, load your organizations with `cloudmgr apply FILE`, start `cloudmgr serve`."
        ),
        settings_file=str(settings_file),
    )


def _populate(
    session: Session, actor: Actor, root_code: str, root_name: str, key_id: str
) -> list[tuple[str, str, str]]:
    apply_document(session, actor, read_document(STANDARD), source="cloudmgr init")
    command = CreateOrganization(code=root_code, name=root_name, kind=OrganizationKind.CITY)
    top = organizations.create_organization(session, actor, command).organization
    accounts = []
    for role, (username, display_name) in _ADMINISTRATORS.items():
        made = users.create_user(
            session, actor, CreateUser(username=username, display_name=display_name, organization=top.id)
        )
        roles.grant_role(session, actor, made.user.id, GrantRole(role=role, organization=top.id))
        accounts.append((role.value, username, made.one_time_password or ""))
    audit.record(session, actor, Event.SYSTEM_INIT, object_type="system", root=root_code, key_id=key_id)
    return accounts

"""What tests of several parts share: a database with its schema and triggers, people, and clients that act for them.

Plain functions, no fixtures: `make_database(url)` → engine, `make_settings(url)`, `make_tree(session)`, `add_user(...)`,
`make_app(url)`, `client_for(app, user)`.
"""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlmodel import Session, SQLModel, select

import quotas
from cloudmgr import models
from cloudmgr.adapters import crypto
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.phases import OrganizationKind
from cloudmgr.models import Organization, RoleGrant, User, UserSession
from cloudmgr.services.sessions import actor_for_session
from cloudmgr.services.usernames import username_key
from cloudmgr.settings import Settings
from cloudmgr.store import triggers
from cloudmgr.store.db import make_engine, new_session

PASSWORD = "Correct-Horse-7"
_hashes: dict[str, str] = {}


def make_settings(url: str, **sections: Any) -> Settings:
    """Settings for one test database; sections as dicts: `make_settings(url, security={"token_hours": 1})`."""
    database = {"url": url, "synchronous": "NORMAL", **sections.pop("database", {})}
    data_dir = Path(sa.make_url(url).database or ".").parent if url.startswith("sqlite") else Path()
    return Settings(data_dir=data_dir, database=database, **sections)


def make_database(url: str) -> sa.Engine:
    """Create every table and trigger in an empty database; the caller disposes of the engine."""
    engine = make_engine(url, synchronous="NORMAL")
    SQLModel.metadata.create_all(engine)
    with engine.begin() as connection:
        triggers.install(connection, models.APPEND_ONLY)
    return engine


def add_organization(
    session: Session,
    code: str,
    name: str = "",
    *,
    parent: Organization | None = None,
    kind: OrganizationKind | None = None,
) -> Organization:
    """Add an organization with its quota account."""
    kind = kind or (OrganizationKind.CITY if parent is None else OrganizationKind.DISTRICT)
    made = new_id()
    account = quotas.create_account(
        session, account_id=new_id(), parent_id=parent.account_id if parent else None, code=code, name=name or code
    )
    district = made if kind == OrganizationKind.DISTRICT else (parent.district_id if parent else None)
    organization = Organization(
        id=made,
        code=code,
        name=name or code,
        kind=kind.value,
        parent_id=parent.id if parent else None,
        path=f"{parent.path if parent else '/'}{made}/",
        district_id=None,
        account_id=account.account_id,
    )
    session.add(organization)
    session.flush()
    organization.district_id = district
    session.flush()
    return organization


@dataclass(frozen=True)
class Tree:
    """长沙市 above two districts, a bureau in the first."""

    city: Organization
    furong: Organization
    yuelu: Organization
    bureau: Organization


def make_tree(session: Session) -> Tree:
    """Add a small city. Commits nothing."""
    city = add_organization(session, "CS", "长沙市")
    furong = add_organization(session, "430102", "芙蓉区", parent=city)
    yuelu = add_organization(session, "430104", "岳麓区", parent=city)
    bureau = add_organization(session, "430102-mzj", "芙蓉区民政局", parent=furong, kind=OrganizationKind.DEPARTMENT)
    return Tree(city, furong, yuelu, bureau)


def add_user(
    session: Session,
    username: str,
    organization: Organization,
    roles: Iterable[Role | tuple[Role, Organization]] = (),
    *,
    password: str = PASSWORD,
    **fields: Any,
) -> User:
    """Add a person with roles, each on the person's own organization unless a pair says where."""
    if password not in _hashes:
        _hashes[password] = crypto.hash_password(password)
    user = User(
        username=username,
        username_key=username_key(username),
        display_name=fields.pop("display_name", username),
        organization_id=organization.id,
        password_hash=_hashes[password],
        password_set_at=clock.now(),
        **fields,
    )
    session.add(user)
    session.flush()
    for entry in roles:
        role, place = entry if isinstance(entry, tuple) else (entry, organization)
        session.add(RoleGrant(user_id=user.id, role=role.value, organization_id=place.id, granted_by="test"))
    session.flush()
    return user


def actor_of(session: Session, user: User, settings: Settings | None = None) -> Actor:
    """The actor that `user` is, by a fresh token."""
    settings = settings or make_settings(str(session.get_bind().engine.url))
    return actor_for_session(session, settings, open_token(session, user), "192.0.2.1", "test-request")


def open_token(session: Session, user: User, *, kind: str = "token") -> str:
    """A token (or cookie secret) of `user`, without a login."""
    secret = crypto.new_token()
    session.add(
        UserSession(
            user_id=user.id,
            kind=kind,
            token_hash=crypto.digest(secret),
            csrf_token=crypto.new_token() if kind == "console" else "",
            expires_at=clock.now() + timedelta(hours=8),
            last_seen_at=clock.now(),
            source="192.0.2.1",
        )
    )
    session.flush()
    return secret


def make_app(url: str, **sections: Any) -> FastAPI:
    """The application on a database that `make_database` prepared; its engine is `app.state.engine`."""
    from cloudmgr.main import create_app  # noqa: PLC0415 - tests of lower layers need no HTTP

    return create_app(make_settings(url, **sections))


def client_for(app: FastAPI, user: User | None = None, **headers: str) -> TestClient:
    """A client that acts for `user` by a bearer token; None acts for nobody. Faults of ours come back as 500."""
    client = TestClient(app, raise_server_exceptions=False, headers=headers)
    if user is not None:
        with new_session(app.state.engine) as session:
            client.headers["Authorization"] = f"Bearer {open_token(session, user)}"
            session.commit()
    return client


def audit_events(session: Session, **equal: Any) -> list[models.AuditEvent]:
    """Audit records with these column values, oldest first."""
    query = select(models.AuditEvent).order_by(models.AuditEvent.seq)
    for name, value in equal.items():
        query = query.where(getattr(models.AuditEvent, name) == value)
    return list(session.exec(query).all())


def unknown_id() -> uuid.UUID:
    """An id that nothing has."""
    return new_id()

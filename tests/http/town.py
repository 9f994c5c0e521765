"""A city with a person for every role, and clients that act for them."""

from types import TracebackType
from typing import Any, Self

from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from sqlmodel import Session, select

from cloudmgr.domain.access import Role
from cloudmgr.models import AuditEvent, Organization, User
from cloudmgr.store.db import new_session
from tests.support import PASSWORD, Tree, add_user, audit_events, client_for, make_app, make_database, make_tree

NAMES: dict[str, Role] = {role.value.replace("_", "-"): role for role in Role}
"""Login of the person who holds each role on the whole city, `requester` and the like on 芙蓉区民政局."""

_LOCAL_ROLES = {Role.REQUESTER, Role.UNIT_REVIEWER}


def build(url: str) -> "Town":
    """Fill an empty database with the city."""
    engine = make_database(url)
    with new_session(engine) as session:
        tree = make_tree(session)
        for name, role in NAMES.items():
            place = tree.bureau if role in _LOCAL_ROLES else tree.furong if role == Role.DISTRICT_ADMIN else tree.city
            add_user(session, name, place, [role])
        add_user(session, "ylq-admin", tree.yuelu, [Role.DISTRICT_ADMIN])
        add_user(session, "nobody", tree.bureau)
        session.commit()
    engine.dispose()
    return Town(url)


class Town:
    """The city behind an application."""

    def __init__(self, url: str, **sections: Any) -> None:
        self.url = url
        self.app: FastAPI = make_app(url, **sections)
        with self.session() as session:
            places = {row.code: row for row in session.exec(select(Organization)).all()}
        self.tree = Tree(places["CS"], places["430102"], places["430104"], places["430102-mzj"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.app.state.engine.dispose()

    def again(self, **sections: Any) -> "Town":
        """Another process on the same database, with other settings."""
        return Town(self.url, **sections)

    def session(self) -> Session:
        return new_session(self.app.state.engine)

    def checkpoint(self) -> None:
        """Bring SQLite's write-ahead log into the file."""
        with self.session() as session:
            session.connection().exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def user(self, name: str) -> User:
        with self.session() as session:
            return session.exec(select(User).where(User.username == name)).one()

    def client(self, name: str | None = None, **headers: str) -> TestClient:
        return client_for(self.app, self.user(name) if name else None, **headers)

    def login(self, name: str, password: str = PASSWORD, **headers: str) -> Response:
        return self.client().post("/api/v1/sessions", json={"username": name, "password": password}, headers=headers)

    def events(self, **equal: Any) -> list[AuditEvent]:
        with self.session() as session:
            return audit_events(session, **equal)

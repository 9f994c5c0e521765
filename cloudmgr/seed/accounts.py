"""Who can log in to the demonstration, with random passwords that stand in one file only its owner may read."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlmodel import Session

from cloudmgr.adapters import crypto
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.models import Organization, User
from cloudmgr.services import roles, users
from cloudmgr.services.passwords import one_time_password
from cloudmgr.services.roles import GrantRole
from cloudmgr.services.usernames import username_key
from cloudmgr.services.users import CreateUser
from cloudmgr.store import organizations
from cloudmgr.store import users as user_store

AUDITOR_DAYS = 90
"""External auditors are let in until a day; the demonstration's for this long."""


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """One account as `demo-accounts.json` has it."""

    username: str
    password: str
    roles: Sequence[str]
    organization: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the entry of the file."""
        return {
            "username": self.username,
            "password": self.password,
            "roles": list(self.roles),
            "organization": dict(self.organization),
        }


@dataclass(frozen=True, slots=True)
class _Person:
    username: str
    display_name: str
    organization: str
    roles: tuple[Role, ...]
    phone: str = ""


def _district(prefix: str, code: str, names: Sequence[str]) -> list[_Person]:
    return [
        _Person(f"{prefix}-req1", names[0], code, (Role.REQUESTER,), "13800000001"),
        _Person(f"{prefix}-req2", names[1], code, (Role.REQUESTER,), "13800000002"),
        _Person(f"{prefix}-review", names[2], code, (Role.UNIT_REVIEWER,), "13800000003"),
        _Person(f"{prefix}-admin", names[3], code, (Role.DISTRICT_ADMIN,), "13800000004"),
        _Person(f"{prefix}-both", names[4], code, (Role.REQUESTER, Role.DISTRICT_ADMIN), "13800000005"),
    ]


PEOPLE: Sequence[_Person] = (
    *_district("frq", "430102", ("王芳", "李娜", "张伟", "欧阳建国", "单雄信")),
    *_district("ylq", "430104", ("刘敏", "陈静", "司马𠮷", "周涛", "吴磊")),
    _Person("quota", "配额管理员", "CS", (Role.QUOTA_ADMIN,)),
    _Person("city", "市级审批人", "CS", (Role.CITY_APPROVER,)),
    _Person("tech", "技术审批人", "CS", (Role.TECHNICAL_APPROVER,)),
    _Person("sysadmin", "系统管理员", "CS", (Role.SYSTEM_ADMIN,)),
    _Person("secadmin", "安全管理员", "CS", (Role.SECURITY_ADMIN,)),
    _Person("auditadmin", "审计管理员", "CS", (Role.AUDIT_ADMIN,)),
    _Person("extaudit", "外部审计员", "CS", (Role.EXTERNAL_AUDITOR,)),
)
"""Invented people; usernames are short because they are typed often."""


def seed_accounts(session: Session, actor: Actor) -> list[DemoAccount]:
    """Make everybody of `PEOPLE`, or give those there already a new password; grant what they lack.

    No password change is forced, unlike everywhere else.
    """
    made = []
    for person in PEOPLE:
        place = organizations.by_code(session, person.organization)
        if place is None:
            raise LookupError(f"the sample city has no organization {person.organization}")
        user = user_store.by_key(session, username_key(person.username)) or _create(session, actor, person, place)
        password = one_time_password()
        user.password_hash, user.password_set_at = crypto.hash_password(password), clock.now()
        user.must_change_password = False
        session.add(user)
        session.flush()
        for role in person.roles:
            _grant(session, actor, user, role, place)
        where = {"code": place.code, "name": place.name}
        made.append(DemoAccount(person.username, password, [role.value for role in person.roles], where))
    return made


def write_accounts(path: Path, accounts: Sequence[DemoAccount]) -> None:
    """Write the file in one move, readable by its owner only."""
    beside = path.with_suffix(".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump([account.as_json() for account in accounts], file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    beside.chmod(0o600)
    beside.replace(path)


def read_accounts(path: Path) -> list[DemoAccount] | None:
    """Return what the file holds; None when it is missing or damaged, and passwords must be made anew."""
    try:
        return [DemoAccount(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return None


def _create(session: Session, actor: Actor, person: _Person, place: Organization) -> User:
    command = CreateUser(
        username=person.username,
        display_name=person.display_name,
        organization=place.id,
        phone=person.phone,
        expires_at=_end_of(person),
    )
    return users.create_user(session, actor, command).user


def _grant(session: Session, actor: Actor, user: User, role: Role, place: Organization) -> None:
    if user_store.standing_grant(session, user.id, role, place.id) is None:
        end = clock.now() + timedelta(days=AUDITOR_DAYS) if role is Role.EXTERNAL_AUDITOR else None
        roles.grant_role(session, actor, user.id, GrantRole(role=role, organization=place.id, valid_until=end))


def _end_of(person: _Person) -> Any:
    return clock.now() + timedelta(days=AUDITOR_DAYS) if Role.EXTERNAL_AUDITOR in person.roles else None

"""Who may do what: deny by default, by subtree, and nothing beside the contract's table."""

import uuid

import pytest

from cloudmgr.domain.access import EXCLUSIVE_ROLES, ROLE_ACTIONS, Action, Actor, Grant, Role, require
from cloudmgr.domain.errors import Forbidden, Hidden

ROOT, FURONG, BUREAU, YUELU = "/cs/", "/cs/fr/", "/cs/fr/mzj/", "/cs/yl/"


def actor(*grants: tuple[Role, str], username: str = "wang", known: bool = True) -> Actor:
    held = tuple(Grant(role, uuid.uuid4(), path) for role, path in grants)
    return Actor(uuid.uuid4() if known else None, username, "王", uuid.uuid4(), BUREAU, held)


MAKE = {Role.REQUESTER}
DECIDE = {Role.UNIT_REVIEWER, Role.DISTRICT_ADMIN, Role.CITY_APPROVER, Role.TECHNICAL_APPROVER}


@pytest.mark.parametrize(
    ("action", "roles"),
    [
        (Action.CATALOGUE_READ, set(Role)),
        (Action.CATALOGUE_WRITE, {Role.SYSTEM_ADMIN}),
        (Action.REQUEST_MAKE, MAKE),
        (Action.REQUEST_DECIDE, DECIDE),
        (Action.REQUEST_READ, set(Role) - {Role.SECURITY_ADMIN}),
        (Action.SERVER_READ, set(Role) - {Role.SECURITY_ADMIN}),
        (Action.SERVER_POWER, {Role.DISTRICT_ADMIN, Role.SYSTEM_ADMIN}),
        (Action.PLAYBOOK_RUN, {Role.DISTRICT_ADMIN, Role.SYSTEM_ADMIN}),
        (Action.QUOTA_READ, set(Role) - {Role.SECURITY_ADMIN}),
        (Action.QUOTA_SPLIT, {Role.DISTRICT_ADMIN}),
        (Action.QUOTA_WRITE, {Role.QUOTA_ADMIN}),
        (Action.USER_WRITE, {Role.SYSTEM_ADMIN}),
        (Action.ROLE_WRITE, {Role.SECURITY_ADMIN}),
        (Action.PERSONAL_REVEAL, {Role.AUDIT_ADMIN}),
        (Action.EXPORTS_READ, {Role.AUDIT_ADMIN, Role.EXTERNAL_AUDITOR}),
        (Action.AUDIT_READ, {Role.UNIT_REVIEWER, Role.DISTRICT_ADMIN, Role.AUDIT_ADMIN, Role.EXTERNAL_AUDITOR}),
        (Action.AUDIT_READ_OWN, set(Role)),
    ],
)
def test_an_action_is_for_the_roles_of_the_contract(action: Action, roles: set[Role]) -> None:
    assert {role for role in Role if action in ROLE_ACTIONS[role]} == roles


def test_who_administers_roles_can_neither_ask_nor_decide_nor_spend() -> None:
    for role in EXCLUSIVE_ROLES:
        assert not ROLE_ACTIONS[role] & {Action.REQUEST_MAKE, Action.REQUEST_DECIDE, Action.QUOTA_WRITE}


def test_personal_data_is_masked_for_auditors() -> None:
    for role in (Role.AUDIT_ADMIN, Role.EXTERNAL_AUDITOR, Role.SECURITY_ADMIN, Role.QUOTA_ADMIN):
        assert Action.PERSONAL_READ not in ROLE_ACTIONS[role]


def test_without_a_grant_nothing_is_allowed() -> None:
    nobody = actor()
    assert [action for action in Action if nobody.may(action)] == []
    assert [action for action in Action if nobody.scope(action)] == []


def test_a_grant_holds_on_its_subtree_and_nowhere_else() -> None:
    district = actor((Role.DISTRICT_ADMIN, FURONG))
    for path, allowed in ((FURONG, True), (BUREAU, True), (ROOT, False), (YUELU, False), ("/cs/frx/", False)):
        assert district.may(Action.REQUEST_DECIDE, path) is allowed


def test_the_scope_names_the_widest_subtrees_only() -> None:
    many = actor((Role.REQUESTER, BUREAU), (Role.REQUESTER, FURONG), (Role.REQUESTER, YUELU), (Role.QUOTA_ADMIN, ROOT))
    assert many.scope(Action.REQUEST_MAKE) == [FURONG, YUELU]
    assert many.scope(Action.QUOTA_READ) == [ROOT]


def test_what_one_may_not_see_does_not_exist_and_what_one_sees_is_forbidden() -> None:
    requester = actor((Role.REQUESTER, BUREAU))
    require(requester, Action.REQUEST_MAKE, BUREAU)
    with pytest.raises(Forbidden):
        require(requester, Action.SERVER_POWER, BUREAU, see=Action.SERVER_READ)
    with pytest.raises(Hidden) as refused:
        require(requester, Action.SERVER_POWER, YUELU, see=Action.SERVER_READ)
    assert refused.value.code == "not_found"
    assert "wang" not in str(refused.value)
    assert "wang" in refused.value.detail


def test_the_local_administrator_may_everything_and_nobody_else_by_that_name() -> None:
    assert all(actor(username="local:root", known=False).may(action, ROOT) for action in Action)
    assert not any(actor(username="local:root").may(action, ROOT) for action in Action)
    assert not any(actor(username="locally", known=False).may(action, ROOT) for action in Action)


def test_roles_are_named_once_each() -> None:
    assert actor((Role.REQUESTER, BUREAU), (Role.REQUESTER, FURONG), (Role.DISTRICT_ADMIN, FURONG)).roles == [
        "district_admin",
        "requester",
    ]

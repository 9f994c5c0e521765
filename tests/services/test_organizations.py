"""Organizations: the tree, its accounts, and who may see or change what."""

import uuid

import pytest
from sqlmodel import Session, select

import quotas
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.phases import OrganizationKind
from cloudmgr.models import AuditEvent
from cloudmgr.services.organizations import (
    MAX_DEPTH,
    CreateOrganization,
    OrganizationFilter,
    UpdateOrganization,
    create_organization,
    get_organization,
    list_organizations,
    update_organization,
)
from cloudmgr.services.uscc import check_uscc
from tests.services.people import City, organization, person, project


def test_an_organization_knows_its_path_district_and_account(session: Session) -> None:
    city = City(session)
    assert city.bureau.path == f"/{city.root.id}/{city.furong.id}/{city.bureau.id}/"
    assert city.bureau.district_id == city.furong.id
    assert city.furong.district_id == city.furong.id
    assert city.root.district_id is None
    above = quotas.ancestors_of(session, city.bureau.account_id)
    assert [each.account_id for each in above] == [city.root.account_id, city.furong.account_id]


def test_every_creation_is_audited_where_the_organization_stands(session: Session) -> None:
    city = City(session)
    events = session.exec(select(AuditEvent).where(AuditEvent.event == "organization.create")).all()
    assert [event.detail["code"] for event in events] == ["CS", "430102", "430104", "430102-01"]
    assert events[-1].organization_path == city.bureau.path


def test_a_code_is_used_once_and_the_transaction_goes_on(session: Session, local: Actor) -> None:
    city = City(session)
    with pytest.raises(Conflict):
        create_organization(session, local, CreateOrganization(code="430102", name="又一个", parent=city.root.id))
    assert organization(session, "430105", city.root).code == "430105"


def test_there_is_one_root(session: Session, local: Actor) -> None:
    City(session)
    with pytest.raises(Conflict):
        create_organization(session, local, CreateOrganization(code="XX", name="第二个根"))


def test_only_the_command_line_makes_a_root(session: Session) -> None:
    city = City(session)
    admin = person(Role.SYSTEM_ADMIN, city.root)
    with pytest.raises(InvalidInput) as refusal:
        create_organization(session, admin, CreateOrganization(code="X", name="X"))
    assert refusal.value.field == "parent"


def test_the_tree_has_a_greatest_depth(session: Session) -> None:
    at = organization(session, "L1", kind=OrganizationKind.CITY)
    for level in range(2, MAX_DEPTH + 1):
        at = organization(session, f"L{level}", at)
    project(session, at)  # the quota tree still has room for it
    with pytest.raises(InvalidInput):
        organization(session, "TOO-DEEP", at)


def test_a_reader_sees_the_own_subtree_and_nothing_beside_it(session: Session) -> None:
    city = City(session)
    reader = person(Role.REQUESTER, city.furong)
    rows, following = list_organizations(session, reader, OrganizationFilter())
    assert [row.organization.code for row in rows] == ["430102", "430102-01"]
    assert following is None
    with pytest.raises(NotFound):
        get_organization(session, reader, city.yuelu.id)
    with pytest.raises(NotFound):
        get_organization(session, reader, uuid.uuid4())


def test_pages_follow_each_other_without_gap_or_overlap(session: Session, local: Actor) -> None:
    city = City(session)
    for number in range(7):
        organization(session, f"D{number}", city.yuelu)
    seen, cursor = [], None
    while True:
        rows, cursor = list_organizations(
            session, local, OrganizationFilter(parent=city.yuelu.id), limit=3, cursor=cursor
        )
        seen += [row.organization.code for row in rows]
        if cursor is None:
            break
    assert seen == [f"D{number}" for number in range(7)]


def test_only_a_system_admin_of_the_subtree_writes(session: Session) -> None:
    city = City(session)
    command = CreateOrganization(code="430102-02", name="新部门", parent=city.furong.id)
    for role in set(Role) - {Role.SYSTEM_ADMIN}:
        with pytest.raises(Forbidden):
            create_organization(session, person(role, city.root), command)
    with pytest.raises((Forbidden, InvalidInput)):
        create_organization(session, person(Role.SYSTEM_ADMIN, city.yuelu), command)
    made = create_organization(session, person(Role.SYSTEM_ADMIN, city.root), command)
    assert made.parent is not None
    assert made.parent.code == "430102"


def test_a_new_name_is_the_accounts_too_and_the_same_again_is_no_event(session: Session, local: Actor) -> None:
    city = City(session)
    for _ in range(2):
        update_organization(session, local, city.bureau.id, UpdateOrganization(name="芙蓉区民政局"))
    assert quotas.get_account(session, city.bureau.account_id).name == "芙蓉区民政局"
    events = session.exec(select(AuditEvent).where(AuditEvent.event == "organization.update")).all()
    assert [event.detail["after"] for event in events] == [{"name": "芙蓉区民政局"}]


def test_administration_by_another_is_recorded_and_never_by_itself(session: Session, local: Actor) -> None:
    city = City(session)
    view = update_organization(session, local, city.yuelu.id, UpdateOrganization(administered_by=city.furong.id))
    assert view.administered_by is not None
    assert view.administered_by.code == "430102"
    with pytest.raises(InvalidInput):
        update_organization(session, local, city.yuelu.id, UpdateOrganization(administered_by=city.yuelu.id))


def test_what_still_has_something_below_it_is_not_closed(session: Session, local: Actor) -> None:
    city = City(session)
    with pytest.raises(Conflict):
        update_organization(session, local, city.furong.id, UpdateOrganization(is_active=False))
    update_organization(session, local, city.bureau.id, UpdateOrganization(is_active=False))
    update_organization(session, local, city.furong.id, UpdateOrganization(is_active=False))
    with pytest.raises(Conflict):
        organization(session, "430102-09", city.furong)


@pytest.mark.parametrize("code", ["91350100M000100Y43", " 91350100m000100y43 "])
def test_a_right_uscc_is_kept_in_capitals(code: str) -> None:
    assert check_uscc(code) == "91350100M000100Y43"


@pytest.mark.parametrize("code", ["91350100M000100Y44", "9135", "91350100M000100Y4I", "91350100M000100O43"])
def test_a_wrong_uscc_is_refused_at_its_field(code: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        check_uscc(code)
    assert refusal.value.field == "uscc"


def test_search_treats_wildcards_as_text(session: Session, local: Actor) -> None:
    City(session)
    rows, _ = list_organizations(session, local, OrganizationFilter(q="%"))
    assert rows == []

"""Projects: the register of information systems, and their public keys."""

from dataclasses import replace

import pytest
from sqlmodel import Session, select

import quotas
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.phases import MlpsLevel
from cloudmgr.models import AuditEvent
from cloudmgr.services.project_keys import AddSshKey, add_ssh_key, ensure_ssh_key, list_ssh_keys, remove_ssh_key
from cloudmgr.services.projects import (
    CreateProject,
    ProjectFilter,
    SetStage,
    UpdateProject,
    create_project,
    get_project,
    list_projects,
    set_stage,
    update_project,
)
from cloudmgr.services.users import CreateUser, create_user
from tests.services.people import City, network_zone, person, project

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl wangfang@frq"


def test_a_project_has_an_account_below_its_organizations(session: Session) -> None:
    city = City(session)
    made = project(session, city.bureau, "智慧社区综合服务平台")
    above = quotas.ancestors_of(session, made.account_id)
    assert [each.account_id for each in above][-1] == city.bureau.account_id
    assert quotas.get_account(session, made.account_id).code == "430102-01/智慧社区综合服务平台"


@pytest.mark.parametrize("level", list(MlpsLevel))
def test_every_level_can_be_registered_so_that_requests_can_refuse_it(
    session: Session, local: Actor, level: MlpsLevel
) -> None:
    city = City(session)
    command = CreateProject(organization=city.bureau.id, name="系统", mlps_level=level, is_classified=True)
    assert create_project(session, local, command).project.mlps_level == level.value


def test_an_unknown_network_zone_is_refused_with_the_known_ones(session: Session, local: Actor) -> None:
    city = City(session)
    network_zone(session, "政务外网区", "WW")
    command = CreateProject(
        organization=city.bureau.id, name="系统", mlps_level=MlpsLevel.LEVEL_2, network_zone="政务内网区"
    )
    with pytest.raises(InvalidInput, match="政务外网区") as refusal:
        create_project(session, local, command)
    assert refusal.value.field == "network_zone"


def test_a_name_is_used_once_in_an_organization_and_again_in_another(session: Session) -> None:
    city = City(session)
    project(session, city.bureau, "平台")
    with pytest.raises(Conflict):
        project(session, city.bureau, "平台")
    assert project(session, city.yuelu, "平台").name == "平台"


def test_a_new_name_is_the_accounts_too(session: Session, local: Actor) -> None:
    city = City(session)
    made = project(session, city.bureau)
    update_project(session, local, made.id, UpdateProject(name="新平台", system_code="XPT"))
    account = quotas.get_account(session, made.account_id)
    assert (account.name, account.code) == ("新平台", "430102-01/XPT")


def test_phones_are_masked_for_who_may_not_read_personal_data(session: Session, local: Actor) -> None:
    city = City(session)
    made = project(session, city.bureau)
    update_project(session, local, made.id, UpdateProject(owner_name="王芳", owner_phone="13800000000"))
    assert get_project(session, person(Role.REQUESTER, city.furong), made.id).owner_phone == "13800000000"
    assert get_project(session, person(Role.EXTERNAL_AUDITOR, city.root), made.id).owner_phone == "138****0000"
    both = person(Role.EXTERNAL_AUDITOR, city.root, (Role.REQUESTER, city.yuelu))
    assert get_project(session, both, made.id).owner_phone == "138****0000"


def test_audit_keeps_no_phone_number(session: Session, local: Actor) -> None:
    city = City(session)
    made = project(session, city.bureau)
    update_project(session, local, made.id, UpdateProject(owner_phone="13800000000", stage="trial"))
    event = session.exec(select(AuditEvent).where(AuditEvent.event == "project.update")).one()
    assert "13800000000" not in str(event.detail)
    assert event.detail["after"] == {"stage": "trial"}
    assert event.detail["personal"] == ["owner_phone"]


def test_another_districts_project_does_not_exist(session: Session) -> None:
    city = City(session)
    made = project(session, city.bureau)
    stranger = person(Role.DISTRICT_ADMIN, city.yuelu)
    with pytest.raises(NotFound):
        get_project(session, stranger, made.id)
    assert list_projects(session, stranger, ProjectFilter()) == ([], None)
    with pytest.raises(NotFound):
        update_project(session, stranger, made.id, UpdateProject(name="我的"))


def test_only_a_system_admin_registers(session: Session) -> None:
    city = City(session)
    command = CreateProject(organization=city.bureau.id, name="系统", mlps_level=MlpsLevel.LEVEL_2)
    for role in set(Role) - {Role.SYSTEM_ADMIN}:
        with pytest.raises(Forbidden):
            create_project(session, person(role, city.root), command)
    assert create_project(session, person(Role.SYSTEM_ADMIN, city.root), command).project.name == "系统"


def test_a_requester_keeps_the_keys_of_the_own_projects(session: Session, local: Actor) -> None:
    city = City(session)
    made = project(session, city.bureau)
    command = CreateUser(username="wangfang", display_name="王芳", organization=city.furong.id)
    user_id = create_user(session, local, command).user.id
    requester = replace(person(Role.REQUESTER, city.furong), user_id=user_id)
    key = add_ssh_key(session, requester, made.id, AddSshKey(public_key=f"  {KEY}\n"))
    assert key.name == "wangfang@frq"
    assert key.fingerprint.startswith("SHA256:")
    with pytest.raises(Conflict):
        add_ssh_key(session, requester, made.id, AddSshKey(public_key=KEY, name="again"))
    ensure_ssh_key(session, requester, made.id, AddSshKey(public_key=KEY))
    assert len(list_ssh_keys(session, requester, made.id)) == 1
    with pytest.raises(Forbidden):
        remove_ssh_key(session, person(Role.QUOTA_ADMIN, city.root), made.id, key.id)
    with pytest.raises(NotFound):
        remove_ssh_key(session, person(Role.REQUESTER, city.yuelu), made.id, key.id)
    remove_ssh_key(session, requester, made.id, key.id)
    with pytest.raises(NotFound):
        remove_ssh_key(session, requester, made.id, key.id)
    told = session.exec(select(AuditEvent.event).where(AuditEvent.object_type == "ssh_key").order_by(AuditEvent.seq))
    assert list(told) == ["ssh_key.add", "ssh_key.remove"]


def test_a_system_of_level_two_goes_live_only_when_it_is_filed(session: Session, local: Actor) -> None:
    city = City(session)
    made = project(session, city.bureau)
    update_project(session, local, made.id, UpdateProject(mlps_level=MlpsLevel.LEVEL_2))
    with pytest.raises(InvalidInput, match="filing number"):
        set_stage(session, local, made.id, SetStage(stage="live"))
    update_project(session, local, made.id, UpdateProject(mlps_record_no="43010002026-00001"))
    assert set_stage(session, local, made.id, SetStage(stage="live", reason="验收通过")).project.stage == "live"
    with pytest.raises(InvalidInput, match="filing number"):
        update_project(session, local, made.id, UpdateProject(mlps_record_no=None))


def test_a_system_of_level_one_goes_live_without_a_filing(session: Session, local: Actor) -> None:
    made = project(session, City(session).bureau)
    update_project(session, local, made.id, UpdateProject(mlps_level=MlpsLevel.LEVEL_1))
    assert set_stage(session, local, made.id, SetStage(stage="live")).project.stage == "live"

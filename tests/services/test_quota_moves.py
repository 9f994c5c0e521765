"""Rearranging quota as use cases: who may, what of the owner follows, what is recorded. The ledger has tests of its own."""

from dataclasses import replace

import pytest
from sqlmodel import Session, select

import quotas as ledger
from cloudmgr.domain.access import Actor, Grant, Role
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from cloudmgr.models import AuditEvent, Backend, Organization, Project, Server, ServerVersion
from cloudmgr.services import policy, quota_moves, quotas, requests
from cloudmgr.services.organizations import CreateOrganization, create_organization
from cloudmgr.services.quota_moves import CloseAccount, MergeAccounts, MoveAccount, TransferQuota
from cloudmgr.services.quotas import SetLimits
from cloudmgr.settings import Policy, Settings
from quotas import OverAllotted
from tests.services.people import City, person, project
from tests.stocked import Desk, stand

WHY = {"reason": "年中调剂", "basis_no": "长数〔2026〕18号"}


def set_limit(session: Session, local: Actor, account, **amounts):
    quotas.set_limits(session, local, account, SetLimits(limits=amounts, reason="年度核定"), replace=False)


def limit(session: Session, account, key="vcpus"):
    return ledger.account_usage(session, account).limits.get(key)


def moved(account, parent):
    return MoveAccount(account=account, parent=parent, **WHY)


def events(session: Session, event: str):
    return session.exec(select(AuditEvent).where(AuditEvent.event == event).order_by(AuditEvent.id)).all()


@pytest.fixture
def city(session: Session, local: Actor) -> City:
    made = City(session)
    set_limit(session, local, made.root.account_id, vcpus=8000)
    for place in (made.furong, made.yuelu, made.bureau):
        set_limit(session, local, place.account_id, vcpus=100)
    return made


def test_a_transfer_is_recorded_at_both_ends_with_its_document(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    command = TransferQuota.model_validate_json(
        f'{{"from":"{city.bureau.account_id}","to":"{city.yuelu.account_id}","amounts":{{"vcpus":30}},'
        '"reason":"年中调剂","basis_no":"长数〔2026〕18号"}'
    )
    done = quota_moves.transfer(session, admin, command)
    assert [each.name for each in done.accounts] == ["单位430102", "单位430102-01", "单位430104"]
    assert [limit(session, each.account_id) for each in (city.furong, city.bureau, city.yuelu)] == [70, 70, 130]
    found = events(session, "quota.transfer")
    assert [(each.organization_path, each.detail["role"], each.detail["basis_no"]) for each in found] == [
        (city.bureau.path, "giver", WHY["basis_no"]),
        (city.yuelu.path, "taker", WHY["basis_no"]),
    ]
    assert found[0].detail["accounts"][0]["after"] == {"vcpus": 70}


def test_a_district_transfers_below_itself_and_nowhere_else(session: Session, local: Actor, city: City) -> None:
    admin = person(Role.DISTRICT_ADMIN, city.furong)
    other = project(session, city.furong, "门户")
    set_limit(session, local, other.account_id, vcpus=10)

    def give(giver, taker):
        quota_moves.transfer(session, admin, TransferQuota(giver=giver, taker=taker, amounts={"vcpus": 1}, **WHY))

    give(city.bureau.account_id, other.account_id)
    assert limit(session, other.account_id) == 11
    below = project(session, city.yuelu, "网格")
    for taker in (city.yuelu.account_id, below.account_id):
        with pytest.raises(NotFound):
            give(city.bureau.account_id, taker)
    with pytest.raises(Forbidden):
        quota_moves.transfer(
            session,
            person(Role.DISTRICT_ADMIN, city.furong, (Role.REQUESTER, city.root)),
            TransferQuota(giver=city.bureau.account_id, taker=city.yuelu.account_id, amounts={"vcpus": 1}, **WHY),
        )


def test_policy_bounds_what_every_level_comes_to_allot(session: Session, local: Actor, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    set_limit(session, local, project(session, city.furong, "门户").account_id, vcpus=15)
    set_limit(session, local, project(session, city.bureau, "网格").account_id, vcpus=150)
    policy.attach(session, Settings(policy=Policy(quota_overallocation_max_pct=120)))
    command = TransferQuota(giver=city.bureau.account_id, taker=city.yuelu.account_id, amounts={"vcpus": 60}, **WHY)
    with pytest.raises(OverAllotted) as refused, session.begin_nested():
        quota_moves.transfer(session, admin, command)
    assert {(each["name"], each["limit"], each["allotted"]) for each in refused.value.errors} == {
        ("单位430102", 40, 55),
        ("单位430102-01", 40, 150),
    }
    set_limit(session, local, city.yuelu.account_id, vcpus=20)
    with pytest.raises(OverAllotted) as refused:
        quota_moves.merge(
            session, admin, MergeAccounts(source=city.bureau.account_id, target=city.yuelu.account_id, **WHY)
        )
    assert [(each["limit"], each["allotted"]) for each in refused.value.errors] == [(120, 150)]


def test_what_allots_no_more_than_before_is_transferred(session: Session, local: Actor, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    set_limit(session, local, city.root.account_id, vcpus=100)
    policy.attach(session, Settings(policy=Policy(quota_overallocation_max_pct=100)))
    command = TransferQuota(giver=city.bureau.account_id, taker=city.yuelu.account_id, amounts={"vcpus": 10}, **WHY)
    quota_moves.transfer(session, admin, command)
    assert [limit(session, each.account_id) for each in (city.furong, city.bureau, city.yuelu)] == [90, 90, 110]


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.QUOTA_ADMIN, Role.DISTRICT_ADMIN, Role.SECURITY_ADMIN}))
def test_other_roles_rearrange_nothing(session: Session, city: City, role: Role) -> None:
    actor = person(role, city.root)
    account, other = city.bureau.account_id, city.yuelu.account_id
    for attempt in (
        lambda: quota_moves.transfer(
            session, actor, TransferQuota(giver=account, taker=other, amounts={"vcpus": 1}, **WHY)
        ),
        lambda: quota_moves.move(session, actor, moved(account, other)),
        lambda: quota_moves.merge(session, actor, MergeAccounts(source=account, target=other, **WHY)),
        lambda: quota_moves.close(session, actor, account, CloseAccount(**WHY)),
        lambda: quota_moves.reopen(session, actor, account, CloseAccount(**WHY)),
    ):
        with pytest.raises(Forbidden):
            attempt()


def test_a_moved_organization_takes_its_subtree_and_district_along(session: Session, city: City) -> None:
    below = create_organization(
        session,
        Actor(None, "local:t", "t", None, "/"),
        CreateOrganization(code="X1", name="科室", parent=city.bureau.id),
    ).organization
    admin = person(Role.QUOTA_ADMIN, city.root)
    quota_moves.move(session, admin, moved(city.bureau.account_id, city.yuelu.account_id))
    for each in (city.bureau, below):
        session.refresh(each)
        assert each.district_id == city.yuelu.id
        assert each.path.startswith(city.yuelu.path)
    assert below.path == f"{city.bureau.path}{below.id}/"
    assert city.bureau.parent_id == city.yuelu.id
    assert ledger.get_account(session, city.bureau.account_id).parent_id == city.yuelu.account_id
    assert not quotas.get_tree(session, person(Role.REQUESTER, city.furong))[1:]
    found = events(session, "quota.move")[0]
    assert found.detail["before"] != found.detail["after"] == city.bureau.path


def test_a_district_moves_within_itself_only(session: Session, city: City) -> None:
    admin = person(Role.DISTRICT_ADMIN, city.furong)
    system = project(session, city.furong, "门户")
    quota_moves.move(session, admin, moved(system.account_id, city.bureau.account_id))
    assert session.get_one(Project, system.id).organization_id == city.bureau.id
    both = person(Role.DISTRICT_ADMIN, city.furong, (Role.REQUESTER, city.root))
    with pytest.raises(Forbidden):
        quota_moves.move(session, both, moved(city.bureau.account_id, city.yuelu.account_id))
    with pytest.raises(Forbidden):
        quota_moves.move(session, admin, moved(city.furong.account_id, city.bureau.account_id))


def test_a_project_of_the_same_name_at_the_new_place_refuses_the_move(session: Session, city: City) -> None:
    system = project(session, city.furong, "门户")
    project(session, city.yuelu, "门户")
    admin = person(Role.QUOTA_ADMIN, city.root)
    with pytest.raises(Conflict):
        quota_moves.move(session, admin, moved(system.account_id, city.yuelu.account_id))
    with pytest.raises(InvalidInput):
        quota_moves.move(session, admin, moved(city.bureau.account_id, system.account_id))
    with pytest.raises(NotFound):
        quota_moves.move(session, admin, moved(new_id(), city.yuelu.account_id))


def test_merged_organizations_are_one_with_projects_limits_and_clouds(session: Session, city: City) -> None:
    system = project(session, city.furong, "门户")
    cloud = Backend(
        name="fr",
        title="fr",
        provider="simulated",
        tier="district",
        datacenter="x",
        owner_organization_id=city.furong.id,
    )
    session.add(cloud)
    session.flush()
    admin = person(Role.QUOTA_ADMIN, city.root)
    command = MergeAccounts(source=city.furong.account_id, target=city.yuelu.account_id, **WHY)
    quota_moves.merge(session, admin, command)
    session.expire_all()
    assert limit(session, city.yuelu.account_id) == 200
    assert session.get_one(Project, system.id).organization_id == city.yuelu.id
    assert session.get_one(Organization, city.bureau.id).parent_id == city.yuelu.id
    assert session.get_one(Backend, cloud.id).owner_organization_id == city.yuelu.id
    assert not session.get_one(Organization, city.furong.id).is_active
    assert ledger.account_usage(session, city.furong.account_id).is_closed
    assert [each.detail["role"] for each in events(session, "quota.merge")] == ["source", "target"]
    with pytest.raises(InvalidInput):
        quota_moves.merge(session, admin, MergeAccounts(source=system.account_id, target=city.yuelu.account_id, **WHY))


def test_the_account_of_a_merged_organization_is_not_opened_again(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    quota_moves.merge(session, admin, MergeAccounts(source=city.bureau.account_id, target=city.yuelu.account_id, **WHY))
    with pytest.raises(Conflict, match="inactive"):
        quota_moves.reopen(session, admin, city.bureau.account_id, CloseAccount(**WHY))
    assert ledger.account_usage(session, city.bureau.account_id).is_closed


def test_closing_and_opening_again_are_recorded_once(session: Session, city: City) -> None:
    admin = person(Role.DISTRICT_ADMIN, city.furong)
    system = project(session, city.furong, "门户")
    for _ in range(2):
        quota_moves.close(session, admin, system.account_id, CloseAccount(**WHY))
    assert quotas.get_usage(session, admin, system.account_id).usage.is_closed
    for _ in range(2):
        quota_moves.reopen(session, admin, system.account_id, CloseAccount(**WHY))
    assert len(events(session, "quota.close")) == len(events(session, "quota.reopen")) == 1
    with pytest.raises(Forbidden):
        quota_moves.close(session, admin, city.furong.account_id, CloseAccount(**WHY))


def test_servers_go_with_their_project_and_the_inventory_remembers_where_they_were(desk: Desk) -> None:
    session, world = desk.session, desk.world
    request = requests.submit_new(session, desk.actor("requester"), world.command(name="srv"))
    server = session.exec(select(Server).where(Server.request_id == request.id)).one()
    stand(session, server.id)
    local = Actor(None, "local:t", "t", None, "/")
    done = quota_moves.move(session, local, moved(world.project.account_id, world.yuelu.account_id))
    assert done.servers == 1
    session.expire_all()
    assert session.get_one(Server, server.id).organization_id == world.yuelu.id
    last = session.exec(
        select(ServerVersion).where(ServerVersion.server_id == server.id).order_by(ServerVersion.id.desc())
    ).first()
    assert (last.change, last.snapshot["organization_code"]) == ("moved", world.yuelu.code)
    assert desk.used(world.furong.account_id) == (0, 0)
    assert desk.used(world.yuelu.account_id) == (1, 0)
    assert ledger.verify(session).ok


def test_a_request_under_review_is_withdrawn_after_its_project_has_moved(desk: Desk) -> None:
    session, world = desk.session, desk.world
    everywhere = Grant(Role.REQUESTER, world.root.id, world.root.path)
    asker = replace(desk.actor("requester"), grants=(everywhere,))
    request = requests.submit_new(session, asker, world.command(name="srv"))
    server = session.exec(select(Server).where(Server.request_id == request.id)).one()
    local = Actor(None, "local:t", "t", None, "/")
    assert quota_moves.move(session, local, moved(world.project.account_id, world.yuelu.account_id)).servers == 0
    assert session.exec(select(ServerVersion).where(ServerVersion.server_id == server.id)).all() == []
    session.expire_all()
    requests.withdraw(session, asker, request.id)
    assert desk.used(world.root.account_id) == (0, 0)
    assert ledger.verify(session).ok

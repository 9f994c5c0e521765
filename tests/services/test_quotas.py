"""Quotas as use cases: who sees which accounts and who sets whose limits. The ledger has tests of its own."""

import pytest
from sqlmodel import Session, select

import quotas as ledger
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound
from cloudmgr.domain.ids import new_id
from cloudmgr.models import AuditEvent
from cloudmgr.services import policy, quota_proofs, quotas
from cloudmgr.services.quotas import SetLimits, WhatIf
from cloudmgr.settings import Policy, Settings
from tests.services.people import City, person, project


def limits(**amounts: int | None) -> SetLimits:
    return SetLimits(limits=amounts, reason="年度核定")


@pytest.fixture
def city(session: Session, local: Actor) -> City:
    made = City(session)
    quotas.set_limits(session, local, made.root.account_id, limits(vcpus=8000, servers=4000), replace=False)
    return made


def test_one_reads_the_own_subtree_and_the_chain_above(session: Session, city: City) -> None:
    reader = person(Role.REQUESTER, city.furong)
    for place in (city.root, city.furong, city.bureau):
        assert quotas.get_usage(session, reader, place.account_id).owner_id == place.id
    for hidden in (city.yuelu.account_id, new_id()):
        with pytest.raises(NotFound):
            quotas.get_usage(session, reader, hidden)


def test_the_tree_shows_what_leads_to_the_own_and_nothing_beside_it(session: Session, city: City) -> None:
    reader = person(Role.REQUESTER, city.bureau)
    whole = quotas.get_tree(session, reader, city.root.account_id)
    assert [view.usage.code for view in whole] == ["CS", "430102", "430102-01"]
    own = quotas.get_tree(session, reader)
    assert [view.usage.code for view in own] == ["430102-01"]
    admin = person(Role.QUOTA_ADMIN, city.root)
    assert [view.usage.code for view in quotas.get_tree(session, admin, depth=1)] == ["CS", "430102", "430104"]
    with pytest.raises(InvalidInput):
        quotas.get_tree(session, admin, depth=-1)


def test_over_allocation_of_children_is_visible(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    for place in (city.furong, city.yuelu):
        quotas.set_limits(session, admin, place.account_id, limits(vcpus=6000), replace=False)
    top = quotas.get_tree(session, admin, depth=0)[0]
    assert (top.usage.limits["vcpus"], top.usage.children_limit_sum["vcpus"]) == (8000, 12000)


@pytest.mark.parametrize(
    "key",
    [
        "vcpu",
        "vcpus{tier=ctiy}",
        "vcpus{environment=prod}",
        "vcpus{backend=nowhere}",
        "public_ips{network_zone=内网区}",
    ],
)
def test_a_limit_that_would_never_bind_is_refused(session: Session, city: City, key: str) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    with pytest.raises(InvalidInput) as refused:
        quotas.set_limits(session, admin, city.furong.account_id, limits(**{key: 5}), replace=False)
    assert refused.value.field == f"limits.{key}"
    assert not quotas.set_limits(
        session, admin, city.furong.account_id, limits(**{key: None}), replace=False
    ).usage.limits.get(key)


def test_a_district_splits_below_itself_and_never_its_own(session: Session, city: City) -> None:
    admin = person(Role.DISTRICT_ADMIN, city.furong)
    own_project = project(session, city.furong, "区政府门户网站")
    for account in (city.bureau.account_id, own_project.account_id):
        view = quotas.set_limits(session, admin, account, limits(vcpus=64), replace=False)
        assert view.usage.limits["vcpus"] == 64
        assert view.may_set
    for account in (city.furong.account_id, city.root.account_id):
        assert not quotas.get_usage(session, admin, account).may_set
        with pytest.raises(Forbidden):
            quotas.set_limits(session, admin, account, limits(vcpus=9999), replace=False)
    with pytest.raises(NotFound):
        quotas.set_limits(session, admin, city.yuelu.account_id, limits(vcpus=1), replace=False)


@pytest.mark.parametrize("role", sorted(set(Role) - {Role.QUOTA_ADMIN, Role.DISTRICT_ADMIN, Role.SECURITY_ADMIN}))
def test_other_roles_set_nothing(session: Session, city: City, role: Role) -> None:
    with pytest.raises(Forbidden):
        quotas.set_limits(session, person(role, city.root), city.bureau.account_id, limits(vcpus=1), replace=False)


def test_a_district_admin_of_one_place_gains_nothing_where_only_reading(session: Session, city: City) -> None:
    mixed = person(Role.DISTRICT_ADMIN, city.furong, (Role.REQUESTER, city.yuelu))
    with pytest.raises(Forbidden):
        quotas.set_limits(session, mixed, city.yuelu.account_id, limits(vcpus=1), replace=False)


def test_every_change_is_audited_with_before_and_after_and_no_change_is_not(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    for _ in range(2):
        quotas.set_limits(session, admin, city.furong.account_id, limits(vcpus=480), replace=False)
    events = session.exec(select(AuditEvent).where(AuditEvent.actor == admin.username)).all()
    assert [(e.event, e.detail["before"], e.detail["after"]) for e in events] == [
        ("quota.set", {"vcpus": None}, {"vcpus": 480})
    ]
    assert events[0].organization_path == city.furong.path


def test_replacing_must_name_every_limit(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    with pytest.raises(ledger.LimitOmitted) as refusal:
        quotas.set_limits(session, admin, city.root.account_id, limits(vcpus=1), replace=True)
    assert [each["key"] for each in refusal.value.errors] == ["servers"]


def test_what_may_not_be_set_is_not_called_harmless(session: Session, local: Actor, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    quotas.set_limits(session, admin, city.furong.account_id, limits(vcpus=200), replace=False)
    ledger.set_guarantees(session, account_id=city.furong.account_id, guarantees={"vcpus": 100}, reason="保障")
    ledger.close_account(session, account_id=city.yuelu.account_id, reason="撤销", actor="x")
    policy.attach(session, Settings(policy=Policy(quota_overallocation_max_pct=110)))
    for place, wanted, refusal in (
        (city.furong, {"vcpus": 50}, ledger.GuaranteeRefused),
        (city.root, {"vcpus": None}, ledger.RootLimitRequired),
        (city.yuelu, {"vcpus": 10}, Conflict),
        (city.furong, {"vcpus": 8801}, ledger.OverAllotted),
    ):
        for attempt in (
            lambda place=place, wanted=wanted: quotas.what_if(
                session, admin, WhatIf(account=place.account_id, limits=wanted)
            ),
            lambda place=place, wanted=wanted: quotas.set_limits(
                session, local, place.account_id, limits(**wanted), replace=False
            ),
        ):
            with pytest.raises(refusal), session.begin_nested():
                attempt()
    found = quotas.what_if(session, admin, WhatIf(account=city.furong.account_id, limits={"vcpus": 8800}))
    assert "promised_above" in {each.consequence.value for each in found}


def test_verifying_is_recorded(session: Session, local: Actor, city: City) -> None:
    found = quota_proofs.verify_now(session, local)
    assert found.mismatch_count == 0
    assert (found.accounts or 0) >= 4
    event = session.exec(select(AuditEvent).where(AuditEvent.event == "quota.verify")).one()
    assert event.detail["mismatches"] == 0

"""Quota in time as use cases: who may lend, sign and guarantee; rounds that do everything once; what is told."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import Session, select

import quotas as ledger
from cloudmgr import i18n
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.errors import Conflict, Forbidden, NotFound
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import Message
from cloudmgr.models import AuditEvent, Happening
from cloudmgr.services import policy, quota_loans, quota_shares, quota_turns, quotas
from cloudmgr.services.quota_loans import DecideLoan, OfferLoan
from cloudmgr.services.quota_shares import SetGuarantees, SetTarget
from cloudmgr.services.quotas import SetLimits
from cloudmgr.settings import Policy, Settings
from quotas import GuaranteeRefused, OverAllotted, Part
from tests.services.people import City, person

DAY = timedelta(days=1)


def limits(**amounts: int | None) -> SetLimits:
    return SetLimits(limits=amounts, reason="年度核定")


def round_of(session: Session) -> int:
    """Do what a worker's round does, until nothing is due."""
    done = 0
    while quota_turns.is_anything_due(session):
        for deed in (
            quota_turns.turn_terms,
            quota_turns.settle_loans,
            quota_turns.end_holds,
            quota_turns.note_crossings,
        ):
            done += deed(session, 50)
    return done


def told(session: Session) -> Counter[str]:
    return Counter(session.exec(select(Happening.event)).all())


def take(session: Session, place: Any, cores: int) -> tuple[Any, Any]:
    reservation, part = new_id(), Part(new_id(), {"vcpus": cores}, {"arch": "aarch64"})
    ledger.reserve(session, reservation_id=reservation, account_id=place.account_id, parts=[part])
    ledger.post(session, reservation_id=reservation, part_id=part.part_id)
    return reservation, part.part_id


def sentences(session: Session, event: str) -> list[str]:
    """Return what was told of an event, in both languages."""
    found = session.exec(select(Happening.message).where(Happening.event == event)).all()
    return [Message.from_json(each).render(i18n.translator(language)) for each in found for language in ("en", "zh_CN")]


@pytest.fixture
def with_policy(session: Session) -> Callable[..., None]:
    return lambda **values: policy.attach(session, Settings(policy=Policy(**values))) and None


@pytest.fixture
def city(session: Session, local: Actor) -> City:
    made = City(session)
    for place, amount in ((made.root, 300), (made.furong, 100), (made.yuelu, 50)):
        quotas.set_limits(session, local, place.account_id, limits(vcpus=amount), replace=False)
    return made


@pytest.fixture
def lender(city: City) -> Actor:
    return named("wang", Role.DISTRICT_ADMIN, city.furong)


@pytest.fixture
def borrower(city: City) -> Actor:
    return named("li", Role.DISTRICT_ADMIN, city.yuelu)


def named(name: str, role: Role, place: Any) -> Actor:
    made = person(role, place)
    return Actor(made.user_id, name, name, made.organization_id, made.organization_path, made.grants)


def offer(session: Session, actor: Actor, city: City, amount: int = 20) -> quota_loans.LoanView:
    wanted = OfferLoan(
        lender=city.furong.account_id,
        borrower=city.yuelu.account_id,
        amounts={"vcpus": amount},
        until=clock.today() + 30 * DAY,
        reason="迎检期间借用",
    )
    return quota_loans.offer(session, actor, wanted)


def loans_told(session: Session) -> dict[str, float]:
    """Return what is not zero of the loans' gauges, their names shortened."""
    gauges = quota_loans.gauges(session)
    assert 'cloudmgr_quota_loans{state="declined"}' in gauges
    return {re.sub(r'\w+="([^"]*)"', r"\1", name).removeprefix("cloudmgr_quota_"): n for name, n in gauges.items() if n}


def test_what_is_lent_is_told_in_the_units_of_people(
    session: Session, city: City, local: Actor, lender: Actor, borrower: Actor
) -> None:
    for place, memory_mib in ((city.root, 131_072), (city.furong, 65_536), (city.yuelu, 65_536)):
        quotas.set_limits(session, local, place.account_id, limits(memory_mib=memory_mib), replace=False)
    with clock.stepped(clock.now()) as step:
        wanted = OfferLoan(
            lender=city.furong.account_id,
            borrower=city.yuelu.account_id,
            amounts={"vcpus": 20, "memory_mib": 40_960},
            until=clock.today() + 30 * DAY,
            reason="迎检期间借用",
        )
        made = quota_loans.offer(session, lender, wanted)
        quota_loans.decide(session, borrower, made.loan.loan_id, DecideLoan(decision="accept"))
        part = Part(new_id(), {"vcpus": 2, "memory_mib": 67_584}, {"arch": "aarch64"})
        ledger.reserve(session, reservation_id=new_id(), account_id=city.yuelu.account_id, parts=[part])
        step(31 * DAY)
        round_of(session)
    for event in ("loan.offered", "loan.signed"):
        english, chinese = sentences(session, event)
        assert "40 GiB of memory; 20 vCPU" in english
        assert "内存（GiB） 40；vCPU 20" in chinese
    english, chinese = sentences(session, "loan.overdue")
    assert "; 2 GiB of memory is still in use there" in english
    assert "内存（GiB） 2仍在使用" in chinese


def test_two_districts_sign_and_the_quota_comes_back_by_itself(
    session: Session, city: City, lender: Actor, borrower: Actor
) -> None:
    with clock.stepped(clock.now()) as step:
        made = offer(session, lender, city)
        assert (made.may_accept, made.may_cancel) == (False, True)
        signed = quota_loans.decide(session, borrower, made.loan.loan_id, DecideLoan(decision="accept"))
        assert (signed.loan.state, signed.days_left) == ("active", 30)
        assert quotas.get_usage(session, borrower, city.yuelu.account_id).usage.borrowed == {"vcpus": 20}
        assert loans_told(session) == {"loans{active}": 1, "loan_amount{active,vcpus}": 20}
        assert round_of(session) == 0
        step(31 * DAY)
        assert round_of(session) == 1
        assert round_of(session) == 0
        (back,) = quota_loans.list_loans(session, lender)
    assert back.loan.state == "returned"
    assert told(session)["loan.offered"] == told(session)["loan.signed"] == told(session)["loan.returned"] == 1
    stages = [row.detail["stage"] for row in session.exec(select(AuditEvent).where(AuditEvent.event == "quota.loan"))]
    assert Counter(stages) == {"offered": 2, "accept": 2, "returned": 2}
    assert ledger.verify(session).ok


def test_both_sides_are_reminded_once_a_week_before_a_loan_ends(
    session: Session, city: City, lender: Actor, borrower: Actor
) -> None:
    with clock.stepped(clock.now()) as step:
        loan = offer(session, lender, city).loan.loan_id
        quota_loans.decide(session, borrower, loan, DecideLoan(decision="accept"))
        step(22 * DAY)
        assert round_of(session) == 0
        step(2 * DAY)
        assert (round_of(session), round_of(session)) == (1, 0)
        notice = session.exec(select(Happening).where(Happening.event == "loan.ending")).one()
    places = {place for _, place in notice.recipients["roles"]}
    assert places == {str(city.furong.id), str(city.yuelu.id)}


def test_only_the_other_sides_administrator_and_another_person_signs(
    session: Session, city: City, lender: Actor, borrower: Actor
) -> None:
    with pytest.raises(NotFound):
        offer(session, person(Role.REQUESTER, city.furong), city)
    loan = offer(session, lender, city).loan.loan_id
    with pytest.raises(Forbidden):
        quota_loans.decide(session, lender, loan, DecideLoan(decision="accept"))
    both = named("wang", Role.QUOTA_ADMIN, city.root)
    with pytest.raises(Forbidden):
        quota_loans.decide(session, both, loan, DecideLoan(decision="accept"))
    stranger = person(Role.REQUESTER, city.bureau)
    with pytest.raises(Forbidden):
        quota_loans.decide(session, stranger, loan, DecideLoan(decision="decline"))
    quota_loans.decide(session, borrower, loan, DecideLoan(decision="decline", comment="不需要"))
    with pytest.raises(Conflict):
        quota_loans.decide(session, borrower, loan, DecideLoan(decision="accept"))


def test_who_is_above_neither_side_sees_no_loan(session: Session, city: City, lender: Actor) -> None:
    loan = offer(session, lender, city).loan.loan_id
    elsewhere = Actor(new_id(), "x", "x", None, "/nowhere/", ())
    with pytest.raises((NotFound, Forbidden)):
        quota_loans.get(session, elsewhere, loan)


def test_what_is_in_use_on_the_day_is_overdue_or_extended_as_policy_says(
    session: Session, city: City, lender: Actor, borrower: Actor, with_policy: Callable[..., None]
) -> None:
    with_policy(loan_overdue="extend", loan_extend_days=10, quota_warning_pct=())
    with clock.stepped(clock.now()) as step:
        loan = offer(session, lender, city).loan.loan_id
        quota_loans.decide(session, borrower, loan, DecideLoan(decision="accept"))
        held = take(session, city.yuelu, 60)
        step(31 * DAY)
        assert round_of(session) == 1
        assert (ledger.get_loan(session, loan).state, ledger.get_loan(session, loan).extensions) == ("active", 1)
        step(11 * DAY)
        assert round_of(session) == 1
        assert ledger.get_loan(session, loan).amounts["vcpus"].owed == 10
        ledger.release(session, reservation_id=held[0], part_id=held[1])
        assert round_of(session) == 1
        assert ledger.get_loan(session, loan).state == "returned"
    assert told(session)["loan.overdue"] == 2


def test_a_limit_for_a_time_is_shown_before_it_begins_and_ends_by_itself(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    with clock.stepped(clock.now()) as step:
        command = SetLimits(
            limits={"vcpus": 180},
            valid_from=clock.today() + 2 * DAY,
            valid_until=clock.today() + 4 * DAY,
            reason="演练",
        )
        view = quotas.set_limits(session, admin, city.furong.account_id, command, replace=False)
        assert view.usage.limits["vcpus"] == 100
        (coming,) = quotas.get_usage(session, admin, city.furong.account_id).terms
        assert (coming.amount, coming.state) == (180, "waiting")
        seen = []
        for _ in range(7):
            round_of(session)
            seen.append(quotas.get_usage(session, admin, city.furong.account_id).usage.limits["vcpus"])
            step(DAY)
    assert seen == [100, 100, 180, 180, 180, 100, 100]
    with pytest.raises(Forbidden):
        quotas.set_limits(
            session, named("x", Role.DISTRICT_ADMIN, city.furong), city.furong.account_id, command, replace=False
        )


def test_guarantees_and_targets_are_set_by_who_sets_limits(session: Session, city: City) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    own = named("wang", Role.DISTRICT_ADMIN, city.furong)
    command = SetGuarantees(guarantees={"vcpus": 40}, reason="保障")
    with pytest.raises(Forbidden):
        quota_shares.set_guarantees(session, own, city.furong.account_id, command)
    quota_shares.set_guarantees(session, admin, city.furong.account_id, command)
    assert quotas.get_usage(session, admin, city.root.account_id).usage.set_aside == {"vcpus": 40}
    with pytest.raises(GuaranteeRefused):
        quotas.set_limits(session, admin, city.furong.account_id, limits(vcpus=30), replace=False)
    take(session, city.furong, 30)
    target = SetTarget(name="aarch64_share_pct", pct=80, reason="信创指标")
    (reached,) = quota_shares.set_target(session, admin, city.root.account_id, target)
    assert (reached.actual_pct, reached.part, reached.whole, reached.is_met) == (100, 30, 30, True)


def test_over_allotment_is_limited_by_policy(session: Session, city: City, with_policy: Callable[..., None]) -> None:
    admin = person(Role.QUOTA_ADMIN, city.root)
    with_policy(quota_overallocation_max_pct=150)
    quotas.set_limits(session, admin, city.furong.account_id, limits(vcpus=400), replace=False)
    with pytest.raises(OverAllotted) as refused:
        quotas.set_limits(session, admin, city.yuelu.account_id, limits(vcpus=51), replace=False)
    assert [(each["limit"], each["allotted"]) for each in refused.value.errors] == [(300, 451)]


def test_a_loan_allots_no_more_than_policy_allows(
    session: Session, city: City, lender: Actor, borrower: Actor, local: Actor, with_policy: Callable[..., None]
) -> None:
    quotas.set_limits(session, local, city.bureau.account_id, limits(vcpus=100), replace=False)
    made = offer(session, lender, city)
    with_policy(quota_overallocation_max_pct=110)
    with pytest.raises(OverAllotted) as refused:
        quota_loans.decide(session, borrower, made.loan.loan_id, DecideLoan(decision="accept"))
    assert [(each["limit"], each["allotted"]) for each in refused.value.errors] == [(80, 100)]


def test_each_crossing_is_told_once_and_again_after_it_fell(session: Session, city: City) -> None:
    reader = person(Role.QUOTA_ADMIN, city.root)
    take(session, city.yuelu, 39)
    assert round_of(session) == 0
    held = take(session, city.yuelu, 6)
    assert (round_of(session), round_of(session)) == (2, 0)
    view = quotas.get_usage(session, reader, city.yuelu.account_id)
    assert [(each.key, each.threshold_pct) for each in view.warnings] == [("vcpus", 90), ("vcpus", 80)]
    assert told(session)["quota.warning"] == 1
    ledger.release(session, reservation_id=held[0], part_id=held[1])
    round_of(session)
    assert not quotas.get_usage(session, reader, city.yuelu.account_id).warnings
    take(session, city.yuelu, 6)
    round_of(session)
    assert told(session)["quota.warning"] == 2

"""What would fit instead: another architecture, project, size, number or day; cheapest first, and only what truly fits."""

from datetime import date, timedelta
from typing import Any

from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.models import Server
from cloudmgr.services import plans, requests
from cloudmgr.services.quota_offers import Offer
from tests.stocked import Desk, stand


def limit(desk: Desk, account_id: Any, limits: dict[str, int | None]) -> None:
    quotas.set_limits(desk.session, account_id=account_id, limits=limits, replace=False, reason="测试", actor="test")


def offers(desk: Desk, who: str = "requester", **changes: Any) -> list[Offer]:
    return plans.plan(desk.session, desk.actor(who), desk.world.command(**changes)).offers


def kinds(found: list[Offer]) -> list[str]:
    return [offer.kind for offer in found]


def test_a_request_that_fits_is_offered_nothing(desk: Desk) -> None:
    assert offers(desk, count=2) == []


def test_fewer_and_smaller_ones_and_a_project_with_room(desk: Desk) -> None:
    limit(desk, desk.world.project.account_id, {"vcpus": 20, "servers": 20})
    found = offers(desk, count=3, flavor="8C32G")
    assert kinds(found)[0] == "project", "nothing is given up there"
    by_kind = {offer.kind: offer for offer in found}
    assert by_kind["count"].change == {"counts": {"srv": 2}}
    assert by_kind["count"].given_up_pct == 34
    assert by_kind["flavor"].change == {"flavor": "2C4G"}
    assert by_kind["flavor"].given_up_pct == 75
    assert [offer.given_up_pct for offer in found] == sorted(offer.given_up_pct for offer in found)


def test_what_is_offered_would_be_granted(desk: Desk) -> None:
    limit(desk, desk.world.project.account_id, {"vcpus": 20, "servers": 20})
    found = {offer.kind: offer for offer in offers(desk, count=3, flavor="8C32G")}
    requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(count=2, flavor="8C32G"))
    assert found["count"].change == {"counts": {"srv": 2}}
    assert quotas.verify(desk.session).ok


def test_another_architecture_where_only_one_is_limited(desk: Desk) -> None:
    limit(desk, desk.world.furong.account_id, {"vcpus{arch=aarch64}": 1})
    found = offers(desk, count=2)
    assert found[0].kind in ("arch", "project")
    arch = next(offer for offer in found if offer.kind == "arch")
    assert (arch.change, arch.given_up_pct) == ({"arch": "x86_64"}, 0)


def test_an_architecture_without_an_image_is_not_offered(desk: Desk) -> None:
    limit(desk, desk.world.furong.account_id, {"vcpus{arch=aarch64}": 1})
    assert "arch" not in kinds(offers(desk, count=2, image="arm-only"))


def test_after_leases_that_end(desk: Desk) -> None:
    request = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(count=4, name="old"))
    standing = desk.session.exec(select(Server).where(Server.request_id == request.id).order_by(Server.name)).all()
    today = clock.today()
    for days, server in enumerate(standing):
        stand(desk.session, server.id).lease_end = today + timedelta(days=10 + days)
    desk.session.flush()
    limit(desk, desk.world.furong.account_id, {"servers": 5})
    found = offers(desk, count=3)
    later = next(offer for offer in found if offer.kind == "later")
    assert later.change == {"after_leases_of": ["old01", "old02"]}
    assert later.available_on is not None
    assert later.available_on >= today + timedelta(days=11)
    assert later.available_on < date(today.year + 2, 1, 1)


def test_no_day_after_the_lease_asked_for_is_offered(desk: Desk) -> None:
    requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(count=4, name="old"))
    today = clock.today()
    for server in desk.session.exec(select(Server)).all():
        stand(desk.session, server.id).lease_end = today + timedelta(days=60)
    desk.session.flush()
    limit(desk, desk.world.furong.account_id, {"servers": 5})
    assert "later" not in kinds(offers(desk, count=3, lease_end=today + timedelta(days=30)))
    assert "later" in kinds(offers(desk, count=3, lease_end=today + timedelta(days=365)))


def test_a_lease_that_ends_with_the_loan_is_offered(desk: Desk) -> None:
    day, world = clock.today() + timedelta(days=30), desk.world
    limit(desk, world.furong.account_id, {"servers": 1})
    limit(desk, world.yuelu.account_id, {"servers": 9})
    sides = {"lender": world.yuelu.account_id, "borrower": world.furong.account_id}
    loan = quotas.offer_loan(
        desk.session,
        **sides,
        amounts={"servers": 4},
        until=clock.end_of_day(day),
        side="lender",
        signer="a",
        reason="借",
    )
    quotas.accept_loan(desk.session, loan.loan_id, signer="b")
    lasting = world.command(count=3, lease_end=day + timedelta(days=300))
    found = plans.plan(desk.session, desk.actor("requester"), lasting)
    assert [each["code"] for each in found.refusals] == ["loan_ends_first"]
    (offer,) = found.offers
    assert (offer.kind, offer.change["lease_end"]) == ("lease", day.isoformat())
    assert offers(desk, count=3, lease_end=day) == []


def test_what_would_never_fit_is_not_promised_for_later(desk: Desk) -> None:
    limit(desk, desk.world.furong.account_id, {"servers": 2})
    assert "later" not in kinds(offers(desk, count=3))


def test_nobody_is_offered_what_is_not_theirs(desk: Desk) -> None:
    limit(desk, desk.world.project.account_id, {"servers": 1})
    found = offers(desk, count=2)
    projects = {offer.change["project"] for offer in found if offer.kind == "project"}
    assert str(desk.world.other_project.id) not in projects, "another district's project"

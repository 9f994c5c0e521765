"""Time's round over quota through kills: whatever it is killed at, every limit turns and every loan goes back once. On both databases."""

import signal
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import Session, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.models import AuditEvent, Happening, ResourceRequest
from cloudmgr.services import policy
from cloudmgr.services import quotas as quota_services
from cloudmgr.services.quota_loans import DecideLoan, OfferLoan, decide, offer
from cloudmgr.services.quotas import SetLimits
from cloudmgr.settings import load_settings
from cloudmgr.workflows import quota_turns
from quotas import Part
from quotas.timed_tables import WarningRow
from tests import world
from tests.workflows.follow import read
from tests.workflows.proofs import Case

STEPS = ("turn_terms", "settle_loans", "end_holds", "note_crossings")
POINTS = tuple(f"{step}:{where}" for step in STEPS for where in ("inside", "after", "inside"))
"""In what a step does first, behind it, and in its next batch, which at the last finds nothing more to do."""
DAY = timedelta(days=1)


def prepare(case: Case) -> dict[str, uuid.UUID]:
    """Seventy days ago limits for a time, loans and requests were made; today all of them are due. Enqueue the round."""
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    settings = load_settings(case.data_dir, **case.settings)
    made: dict[str, uuid.UUID] = {"furong": city.furong.account_id, "yuelu": city.yuelu.account_id}
    with clock.stepped(clock.now() - 70 * DAY) as advance:
        with city.session() as session:
            policy.attach(session, settings)
            admin = city.actor("quota")
            neighbour = city.actor("stranger")
            for account in made.values():
                limits = SetLimits(limits={"vcpus": 100}, reason="核定")
                quota_services.set_limits(session, admin, account, limits, replace=False)
            today = clock.today()
            for account, key, first, last in (
                (made["furong"], "memory_mib", 5, 60),  # begins and ends
                (made["furong"], "disk_gib", 5, 400),  # begins
            ):
                span = {"valid_from": today + first * DAY, "valid_until": today + last * DAY}
                command = SetLimits(limits={key: 4_000_000}, reason="演练", **span)
                quota_services.set_limits(session, admin, account, command, replace=False)
            for name, amount, until, signed in (
                ("returned", 20, 30, True),
                ("owed", 30, 40, True),
                ("expired", 10, 35, False),
            ):
                wanted = OfferLoan(
                    lender=made["furong"],
                    borrower=made["yuelu"],
                    amounts={"vcpus": amount},
                    until=today + until * DAY,
                    reason=name,
                )
                loan = offer(session, admin, wanted).loan.loan_id
                if signed:
                    decide(session, neighbour, loan, DecideLoan(decision="accept"))
                made[name] = loan
            taken = Part(new_id(), {"vcpus": 110}, {"arch": "aarch64"})
            held = new_id()
            quotas.reserve(session, reservation_id=held, account_id=made["yuelu"], parts=[taken])
            quotas.post(session, reservation_id=held, part_id=taken.part_id)
            session.commit()
        for name in ("stalled", "forgotten"):
            made[name] = city.submit(name=name)
        advance(30 * DAY)
        made["recent"] = city.submit(name="recent")
    with city.session() as session:
        policy.attach(session, settings)
        assert quota_turns.schedule(session, 60)
        session.commit()
    engine.dispose()
    return made


def look(session: Session, made: dict[str, uuid.UUID]) -> dict[str, Any]:
    audited = session.exec(select(AuditEvent).where(AuditEvent.actor == "system")).all()
    told = Counter(row.event for row in session.exec(select(Happening)) if row.event.startswith(("loan.", "quota.")))
    furong, yuelu = (quotas.account_usage(session, made[name]) for name in ("furong", "yuelu"))
    return {
        "limits": (furong.limits.get("memory_mib"), furong.limits.get("disk_gib")),
        "vcpus": (furong.limits["vcpus"], yuelu.limits["vcpus"]),
        "terms": [term.state for term in quotas.terms_of(session, [made["furong"]])],
        "loans": {name: quotas.get_loan(session, made[name]).state for name in ("returned", "owed", "expired")},
        "phases": {
            name: session.get_one(ResourceRequest, made[name]).phase for name in ("stalled", "forgotten", "recent")
        },
        "crossed": len({(each.account_id, each.key) for each in session.exec(select(WarningRow))}),
        "warned": told["quota.warning"],
        "audited": Counter((row.event, row.detail.get("stage")) for row in audited if row.event.startswith("quota.")),
        "returned": sum(row.event == "request.return" for row in audited),
        "told": {event: count for event, count in told.items() if event != "quota.warning"},
        "mismatches": quotas.verify(session).mismatches,
    }


def test_killed_at_every_step_time_does_each_deed_once(case: Callable[..., Case]) -> None:
    one = case(count=1)
    one.settings["policy"] = {"quota_hold_days": 60, "quota_warning_pct": [80]}
    one.finish()
    made = prepare(one)
    for point in POINTS:
        died = one.run(kill_at=point, timeout_s=180)
        assert died["died_by"] == signal.SIGKILL, (point, died, one.log())
    done = one.run(timeout_s=300)
    assert done["status"] == 0, (done, one.log())
    found = read(one, lambda session: look(session, made))
    assert found["limits"] == (world.DISTRICT_LIMITS["memory_mib"], 4_000_000), "one has ended again, one is in force"
    assert found["terms"] == ["in_force"]
    assert found["loans"] == {"returned": "returned", "owed": "overdue", "expired": "expired"}
    assert found["vcpus"] == (90, 100), "ten of thirty are in use at the borrower still, and follow as they free"
    assert found["audited"] == {
        ("quota.term", "began"): 2,
        ("quota.term", "ended"): 1,
        ("quota.loan", "returned"): 2,
        ("quota.loan", "overdue"): 2,
        ("quota.loan", "expired"): 2,
    }, "of a loan, at both accounts"
    assert found["phases"] == {"stalled": "returned", "forgotten": "returned", "recent": "in_review"}
    assert found["returned"] == 2
    assert found["told"] == {
        "loan.offered": 3,
        "loan.signed": 2,
        "loan.returned": 1,
        "loan.declined": 1,
        "loan.overdue": 1,
        "quota.hold_ended": 2,
    }
    assert found["crossed"] == found["warned"] > 0
    assert found["mismatches"] == []


def test_the_proof_names_every_step_there_is(case: Callable[..., Case]) -> None:
    assert tuple(name for name, _ in quota_turns._DEEDS) == STEPS

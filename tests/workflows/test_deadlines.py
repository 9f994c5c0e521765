"""The clock's round through kills: whatever it is killed at, every deed is done once and none is lost. On both databases."""

import signal
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id
from cloudmgr.models import (
    ApprovalSeat,
    ApprovalStage,
    ChangeFreeze,
    Deputy,
    EmergencyOrder,
    Happening,
    HeldRequest,
    RequestEvent,
    ResourceRequest,
    Server,
    StageMark,
)
from cloudmgr.services import approval_policy, policy
from cloudmgr.services.working_calendar import calendar_for
from cloudmgr.settings import Policy, load_settings
from cloudmgr.workflows import deadlines
from tests import world
from tests.services.people import LOCAL
from tests.workflows.follow import read
from tests.workflows.proofs import Case

POINTS = (
    "remind:inside",
    "mark_overdue:inside",
    "escalate_due:inside",
    "escalate_due:after",
    "time_out:inside",
    "flag_emergencies:inside",
    "release_held:inside",
    "release_held:after",
    "tell_deputies:inside",
    "tell_deputies:after",
)
POLICY = """
version = "test/kills"
title = "测试"
valid_from = 2026-01-01
[[rules]]
name = "全部"
stages = [{ by = [{ level = "district" }], sla_working_days = 2 }]
"""


def held(case: Case) -> None:
    """Let the case's approved request meet a change freeze."""
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    with city.session() as session:
        session.add(_freeze(city))
        session.commit()
    engine.dispose()
    done = case.zygote.run(
        data_dir=str(case.data_dir), settings=case.settings, request=None, until_idle=True, timeout_s=180
    )
    assert done["status"] == 0, case.log()
    assert case.phase() == "approved"
    assert case.built()["kp"] == []


def _freeze(city: world.World) -> ChangeFreeze:
    now = clock.now()
    return ChangeFreeze(
        id=new_id(),
        organization_id=city.root.id,
        starts_at=now - timedelta(hours=1),
        ends_at=now + timedelta(days=1),
        reason="重保",
        made_by="test",
    )


def make_late(case: Case) -> dict[str, Any]:
    """End the freeze, let one request of each sort be late, and have the round enqueued; return the requests."""
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    calendar, now = calendar_for(Policy()), clock.now()
    with city.session() as session:
        session.exec(select(ChangeFreeze)).one().lifted_at = now
        approval_policy.load(session, LOCAL, POLICY)
        session.commit()
    made = {
        "soon": city.submit(name="soon"),
        "late": city.submit(name="late"),
        "old": city.submit(name="old"),
        "urgent": city.submit(name="urgent", emergency=True, emergency_reason="抢险", playbook="collect_facts"),
    }
    with city.session() as session:
        for name, due_at, more in (
            ("soon", calendar.reminder_horizon(now, 1), {}),
            ("late", now - timedelta(days=5), {"escalate_after_working_days": 0}),
            ("old", now - timedelta(days=60), {"on_timeout": "return"}),
        ):
            stage = session.exec(select(ApprovalStage).where(ApprovalStage.request_id == made[name])).one()
            stage.opened_at, stage.due_at = now - timedelta(days=90), due_at
            for field, value in more.items():
                setattr(stage, field, value)
        today = clock.today()
        people = {"absent_id": city.people["admin"], "deputy_id": city.people["quota"], "named_by": "test"}
        session.add(Deputy(**people, valid_from=today, valid_until=today + timedelta(days=2)))
        order = session.exec(select(EmergencyOrder)).one()
        order.approve_by = now - timedelta(minutes=1)
        session.commit()
    with city.session() as session:
        policy.attach(session, load_settings(case.data_dir, **case.settings))
        assert deadlines.schedule(session, 60)
        session.commit()
    engine.dispose()
    return made


def test_killed_at_every_deed_it_does_each_once(case: Callable[..., Case]) -> None:
    one = case(count=1)
    one.settings["policy"] = {"change_freeze_kinds": ["create"], "reminder_working_days": [1]}
    held(one)
    made = make_late(one)
    for point in POINTS:
        died = one.run(kill_at=point, timeout_s=180)
        assert died["died_by"] == signal.SIGKILL, (point, died, one.log())
    done = one.run(timeout_s=300)
    assert done["status"] == 0, (done, one.log())
    assert one.phase() == "fulfilled", "what the freeze held has begun by itself"
    found = read(one, lambda session: look(session, made))
    assert found["marks"] == {
        ("soon", "reminder"): 1,
        ("late", "overdue"): 1,
        ("late", "escalation"): 1,
        ("old", "overdue"): 1,
        ("old", "timeout"): 1,
        ("urgent", "escalation"): 1,
    }
    assert found["told"] == {
        "request.due": 1,
        "request.overdue": 2,
        "request.escalated": 2,
        "request.returned": 1,
        "emergency.overdue": 1,
        "deputy.begins": 1,
    }
    assert found["phases"]["old"] == "returned"
    assert found["seats"] == {"late": 2, "urgent": 2}
    assert found["attempts"] == (2, 1), "the held request began once more, and once"
    assert found["released"] == [True]
    assert found["lines"] == {"late": 2, "urgent": 2}
    assert len(one.built()["kp"]) == 2, "the held one and the emergency order, each once"


def look(session: Session, made: dict[str, Any]) -> dict[str, Any]:
    names = {request_id: name for name, request_id in made.items()}
    stages = {stage.id: names.get(stage.request_id) for stage in session.exec(select(ApprovalStage))}
    seats = Counter(stages[seat.stage_id] for seat in session.exec(select(ApprovalSeat)))
    told = (
        "request.due",
        "request.overdue",
        "request.escalated",
        "request.returned",
        "emergency.overdue",
        "deputy.begins",
    )
    warnings = Counter(
        names.get(row.request_id) for row in session.exec(select(RequestEvent).where(RequestEvent.kind == "warning"))
    )
    held_request = session.exec(select(HeldRequest)).one()
    attempts = session.get_one(ResourceRequest, held_request.request_id).attempt
    servers = session.exec(select(Server).where(Server.request_id == held_request.request_id)).all()
    return {
        "marks": Counter((stages[mark.stage_id], mark.kind) for mark in session.exec(select(StageMark))),
        "told": Counter(row.event for row in session.exec(select(Happening)) if row.event in told),
        "phases": {name: session.get_one(ResourceRequest, id_).phase for name, id_ in made.items()},
        "seats": {name: seats[name] for name in ("late", "urgent")},
        "attempts": (attempts, len(servers)),
        "released": [held_request.released_at is not None],
        "lines": {name: warnings[name] for name in ("late", "urgent")},
    }

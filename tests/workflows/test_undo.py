"""Failure at each call: what was begun is undone, also when the undo is killed and runs twice; then a clean slate."""

import signal
from collections.abc import Callable

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain.messages import Message
from cloudmgr.models import Backend, RequestEvent, Server
from cloudmgr.store.db import new_session
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests import world
from tests.workflows.proofs import Case, check_slate

TWO = [world.simulated_backend("kp"), world.simulated_backend("kp2", tier="district")]


def told(case: Case) -> str:
    engine = case.engine
    with new_session(engine) as session:
        lines = [str(Message.from_json(event.message)) for event in session.exec(select(RequestEvent))]
    engine.dispose()
    return "\n".join(lines)


@pytest.mark.parametrize("kill_at", [None, "delete:inside", "delete:after", "unplace:inside", "unplace:after"])
def test_a_full_zone_hands_on_to_the_next(case: Callable[..., Case], kill_at: str | None) -> None:
    one = case(backends=TWO)
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="no_capacity", times=None))
    if kill_at:
        assert one.run(kill_at=kill_at)["died_by"] == signal.SIGKILL, one.log()
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    assert "Another pool is tried" in told(one)
    assert {name: len(tokens) for name, tokens in one.built().items()} == {"kp": 0, "kp2": 1}
    check_slate(one, standing=1)


@pytest.mark.parametrize("kill_at", [None, "delete:inside", "delete:after", "fail:inside", "fail:after"])
def test_a_refused_build_leaves_nothing_and_says_why(case: Callable[..., Case], kill_at: str | None) -> None:
    one = case()
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="auth"))
    if kill_at:
        assert one.run(kill_at=kill_at)["died_by"] == signal.SIGKILL, one.log()
    one.finish()
    assert one.phase() == "failed"
    check_slate(one, standing=0)
    engine = one.engine
    with new_session(engine) as session:
        server = session.exec(select(Server)).one()
        assert server.failed_step == "create"
        assert server.failure is not None
        assert server.failure["code"] == "backend_auth_failed"
    engine.dispose()


def test_a_half_built_server_of_a_cloud_that_then_refuses_is_removed(case: Callable[..., Case]) -> None:
    one = case()
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="half_created"))
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="auth"))
    one.finish()
    assert one.phase() == "failed", told(one)
    check_slate(one, standing=0)


def test_a_cloud_that_does_not_answer_is_waited_for(case: Callable[..., Case]) -> None:
    one = case()
    engine = one.engine
    with new_session(engine) as session:
        backend = session.exec(select(Backend)).one()
        backend.health = "down"
        session.add(backend)
        session.commit()
    engine.dispose()
    drill.inject(one.state_dir("kp"), Fault(call="check", kind="unavailable", times=10_000))
    one.settings["worker"] |= {"health_interval_s": 1}
    assert one.run(kill_at="place:after")["died_by"] == 9, one.log()
    assert "srv waits for a pool. kp-zone: its backend does not answer" in told(one)
    drill.clear_faults(one.state_dir("kp"))
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    check_slate(one, standing=1)


def test_a_throttled_cloud_is_asked_again(case: Callable[..., Case]) -> None:
    one = case()
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="throttled", times=2))
    one.finish()
    assert one.phase() == "fulfilled"
    check_slate(one, standing=1)


def test_a_server_that_vanishes_while_it_boots_fails_and_is_counted_no_more(case: Callable[..., Case]) -> None:
    one = case()
    drill.inject(one.state_dir("kp"), Fault(call="find_server", kind="gone"))
    one.finish()
    assert one.phase() == "failed", told(one)
    check_slate(one, standing=0)


def test_of_three_servers_two_stay_when_one_cannot_be_built(case: Callable[..., Case]) -> None:
    one = case(count=3)
    drill.inject(one.state_dir("kp"), Fault(call="create_server", kind="auth", match_name="srv02"))
    one.finish()
    assert one.phase() == "partly_fulfilled", told(one)
    check_slate(one, standing=2)


def test_without_any_room_the_request_fails_with_every_zones_reason(case: Callable[..., Case]) -> None:
    one = case(backends=[world.simulated_backend(vcpus=1)])
    one.finish()
    assert one.phase() == "failed"
    assert "No pool could take srv. kp-zone: it was tried and had no room" in told(one)
    check_slate(one, standing=0)


def test_quota_of_the_placement_is_asked_where_the_server_goes(case: Callable[..., Case]) -> None:
    one = case(backends=TWO)
    engine = one.engine
    with new_session(engine) as session:
        root = next(row for row in quotas.tree(session, root_id=None, depth=0))
        quotas.set_limits(
            session,
            account_id=root.account_id,
            limits={"servers{backend=kp}": 0},
            replace=False,
            reason="kp 停用",
            basis_no=None,
            actor="test",
        )
        session.commit()
    engine.dispose()
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    assert {name: len(tokens) for name, tokens in one.built().items()} == {"kp": 0, "kp2": 1}
    check_slate(one, standing=1)

"""A server that its cloud makes in steps is asked for again until it is whole, whoever is killed in between."""

import signal
from collections.abc import Callable

import pytest

from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.workflows.follow import read, server
from tests.workflows.proofs import Case, check_slate

STEPS = 3


def unfinished(case: Case, times: int | None = STEPS) -> Case:
    drill.inject(case.state_dir("kp"), Fault(call="create_server", kind="unfinished", times=times))
    return case


def creates(case: Case) -> list[str]:
    return [call.outcome for call in case.calls() if call.call == "create_server"]


def test_create_is_called_again_until_the_server_is_whole(case: Callable[..., Case]) -> None:
    one = unfinished(case())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    assert creates(one) == ["built"] + ["found"] * STEPS, "one call a step, and none when it is whole"
    check_slate(one, standing=1)


@pytest.mark.parametrize(
    ("kill_at", "occurrence"),
    [
        ("create:inside", 1),
        ("created:after", 1),
        ("await_running:inside", 1),
        ("create:inside", 2),
        ("create:after", 2),
        ("create:inside", 3),
        ("await_running:after", 3),
    ],
)
def test_a_kill_between_the_steps_builds_one_server(case: Callable[..., Case], kill_at: str, occurrence: int) -> None:
    one = unfinished(case())
    died = one.run(kill_at=kill_at, occurrence=occurrence)
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=1)


@pytest.mark.parametrize("kill_at", [None, "create:inside"])
def test_answers_lost_between_the_steps_change_nothing(case: Callable[..., Case], kill_at: str | None) -> None:
    one = case()
    for kind in ("half_created", "unfinished", "lost_answer", "unfinished"):
        drill.inject(one.state_dir("kp"), Fault(call="create_server", kind=kind))
    if kill_at:
        assert one.run(kill_at=kill_at, occurrence=3)["died_by"] == signal.SIGKILL, one.log()
    one.finish()
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=1)


def test_a_refusal_between_the_steps_leaves_nothing(case: Callable[..., Case]) -> None:
    one = case()
    for kind in ("unfinished", "auth"):
        drill.inject(one.state_dir("kp"), Fault(call="create_server", kind=kind))
    one.finish()
    assert one.phase() == "failed"
    failed = read(one, server)
    assert failed.failure is not None
    assert failed.failure["code"] == "backend_auth_failed"
    check_slate(one, standing=0)


def test_one_that_is_never_whole_is_given_up_and_removed(case: Callable[..., Case]) -> None:
    one = unfinished(case(), None)
    one.settings["worker"] |= {"boot_timeout_s": 2}
    one.finish()
    assert one.phase() == "failed"
    failed = read(one, server)
    assert failed.failure is not None
    assert failed.failure["code"] == "build_failed"
    check_slate(one, standing=0)

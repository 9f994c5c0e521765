"""Workers that die for good, and workers that are upgraded: what they had begun is finished by others."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.workflows.proofs import Case, Stage, Zygote, check_slate


@pytest.fixture
def second_zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


def test_a_worker_killed_for_good_is_finished_by_its_colleague(
    stages: Callable[..., Stage], second_zygote: Zygote, tmp_path: Path
) -> None:
    one = stages("postgresql", count=4).case(tmp_path / "case")
    one.settings["worker"] |= {"server_concurrency": 1, "poll_s": 0.2}
    slower = one.settings | {
        "worker": one.settings["worker"] | {"poll_s": 2.0}
    }  # so that it leaves the other some work
    colleague = Case(second_zygote, one.data_dir, one.url, slower, one.request, one.backends)
    answers: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: answers.update(survivor=colleague.run(timeout_s=180)))
    thread.start()
    answers["victim"] = one.run(kill_at="create:inside", timeout_s=180)
    thread.join()
    assert answers["victim"]["died_by"] == signal.SIGKILL, (answers, one.log())
    assert answers["survivor"]["status"] == 0, (answers, one.log())
    assert one.phase() == "fulfilled", one.log()
    check_slate(one, standing=4)


def test_a_worker_whose_lock_is_cut_stops_itself(stages: Callable[..., Stage], tmp_path: Path) -> None:
    one = stages("postgresql", count=1).case(tmp_path / "case")
    one.settings["worker"] |= {"executor_id": "cut-off"}
    died = one.run(cut_lock_at="place:after", timeout_s=180)
    assert died["status"] == 75, (died, one.log())
    one.settings["worker"] |= {"executor_id": "the-next"}
    one.finish()
    check_slate(one, standing=1)

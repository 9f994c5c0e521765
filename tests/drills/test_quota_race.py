"""The race for a city's quota in short: six times as much is asked for as there is, and every process is killed once."""

from pathlib import Path

import pytest

from tests.drills.quota_race import race

REQUESTS, ROOM, SEED = 60, 10, 20261123


@pytest.mark.parametrize(
    ("database", "serves", "workers"),
    [(None, 1, 0), ("pg_database", 2, 1)],
    ids=["sqlite", "postgresql"],
)
def test_exactly_the_limit_is_granted_though_every_process_is_killed(
    request: pytest.FixtureRequest, tmp_path: Path, database: str | None, serves: int, workers: int
) -> None:
    came_to = race(
        tmp_path / "city",
        request.getfixturevalue(database) if database else None,
        seed=SEED,
        requests=REQUESTS,
        room=ROOM,
        serves=serves,
        workers=workers,
        every_s=(0.5, 1.0),
        each_once=True,
    )
    assert came_to.wrong == []
    assert came_to.answers == {"201": ROOM, "409 quota_exceeded": REQUESTS - ROOM}
    assert came_to.kills.total() == serves + workers

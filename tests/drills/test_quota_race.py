"""One short seed of the quota race on each database; `python -m tests.drills.quota_race` runs the long ones."""

from pathlib import Path

import pytest

from tests.drills.quota_race import race

pytestmark = pytest.mark.xdist_group("admission")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_exactly_the_citys_limit_is_granted_while_processes_are_killed(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = None
    places = {"serves": 1, "workers": 0}
    if kind == "postgresql":
        url = request.getfixturevalue("pg_database")
        places = {"serves": 2, "workers": 1}
    outcome = race(tmp_path / "city", url, seed=7, requests=60, room=20, every_s=(4.0, 9.0), **places)
    assert outcome.wrong == []
    assert outcome.answers == {"201": 20, "409 quota_exceeded": 40}
    assert outcome.kills.total() > 0

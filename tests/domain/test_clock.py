"""The clock: UTC inside, Shanghai's day for people; and ids that sort by it."""

import uuid
from datetime import UTC, date, datetime, timedelta

from cloudmgr.domain import clock
from cloudmgr.domain.ids import new_id


def test_the_day_changes_at_midnight_in_shanghai() -> None:
    with clock.stepped(datetime(2026, 11, 22, 15, 59, 59, tzinfo=UTC)) as step:
        assert clock.today() == date(2026, 11, 22)
        step(timedelta(seconds=1))
        assert clock.today() == date(2026, 11, 23)
        assert clock.now().tzinfo is UTC


def test_the_end_of_a_day_is_its_last_second_in_shanghai() -> None:
    assert clock.end_of_day(date(2026, 12, 31)) == datetime(2026, 12, 31, 15, 59, 59, tzinfo=UTC)


def test_the_clock_runs_on_after_being_held_even_when_held_twice() -> None:
    with clock.stepped(datetime(2001, 1, 1, tzinfo=UTC)):
        with clock.stepped(datetime(2002, 1, 1, tzinfo=UTC)):
            assert clock.now().year == 2002
        assert clock.now().year == 2001
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)


def test_ids_are_version_7_distinct_and_ordered_by_time() -> None:
    made = [new_id() for _ in range(2000)]
    assert len(set(made)) == 2000
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert made == sorted(made), "within one millisecond too"
    stamps = [each.int >> 80 for each in made]
    assert abs(stamps[0] / 1000 - datetime.now(UTC).timestamp()) < 60

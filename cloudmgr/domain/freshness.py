"""How much the last word of a backend is worth now: pure, the one place that decides; API, console and placement ask it.

Nothing old is ever shown as well: an answer that is older than a few looks is stale, and a stale backend is not `ok`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from cloudmgr.domain.phases import Health

STALE_AFTER_LOOKS = 3
"""A word is stale when so many looks have passed without a newer one."""
STALE_AT_LEAST = timedelta(minutes=2)
"""Never stale before this: a worker that restarts misses a few looks."""
PATIENCE = 3
"""So many looks in a row may fail before the backend is left in peace for a while."""
REST_FIRST_S = 30.0
REST_MOST_S = 300.0
"""It is left in peace for 30 s, then twice as long each time, and never longer than this."""


class Freshness(StrEnum):
    """How old what is known is."""

    FRESH = "fresh"
    STALE = "stale"
    AWAY = "away"
    """Not reachable, and within the hours this site may be away: no alarm."""
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Standing:
    """What may be said of a backend now."""

    health: Health
    freshness: Freshness


def standing(
    health: Health | str,
    last_seen_at: datetime | None,
    *,
    now: datetime,
    period_s: float,
    expected_offline_hours: int = 0,
) -> Standing:
    """Return the health that may be shown and how fresh it is.

    `health` is what the last look wrote, `last_seen_at` when the backend last answered, `period_s` how often it is asked.
    A backend that was well and is stale now is `unknown`; one that is down stays down, `away` while that is expected.
    """
    told = Health(health)
    if last_seen_at is None:
        return Standing(Health.DOWN if told is Health.DOWN else Health.UNKNOWN, Freshness.NEVER)
    freshness = age_of(last_seen_at, now=now, period_s=period_s)
    if told is not Health.DOWN and freshness is Freshness.FRESH:
        return Standing(told, freshness)
    if now - last_seen_at <= timedelta(hours=expected_offline_hours):
        return Standing(told if told is Health.DOWN else Health.UNKNOWN, Freshness.AWAY)
    return Standing(told if told is Health.DOWN else Health.UNKNOWN, freshness)


def age_of(seen_at: datetime | None, *, now: datetime, period_s: float) -> Freshness:
    """Return whether something that is looked at every `period_s` seconds and was last seen then is still fresh."""
    if seen_at is None:
        return Freshness.NEVER
    allowed = max(timedelta(seconds=period_s * STALE_AFTER_LOOKS), STALE_AT_LEAST)
    return Freshness.FRESH if now - seen_at <= allowed else Freshness.STALE


def rest_s(failures: int) -> float | None:
    """Return how long a backend is left in peace after so many failures in a row; None: it is asked at its usual time."""
    if failures < PATIENCE:
        return None
    return float(min(REST_FIRST_S * 2 ** min(failures - PATIENCE, 30), REST_MOST_S))


def is_alarming(last_seen_at: datetime | None, *, now: datetime, expected_offline_hours: int) -> bool:
    """Whether a backend that does not answer should not be away: its hours are over, or it has none."""
    return last_seen_at is None or now - last_seen_at > timedelta(hours=expected_offline_hours)

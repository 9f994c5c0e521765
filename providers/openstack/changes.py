"""What changed since the last answer, by Nova's `changes-since`, which tells deleted servers too.

The cursor is the newest change the cloud itself told, less a minute: hosts' clocks differ a little, and what was told
twice does no harm. Nova forgets deleted servers when its operators archive them, so an old cursor means everything again.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from cloudmgr.domain import clock
from providers.base import Changes
from providers.openstack.connection import Cloud
from providers.openstack.observe import Observer, when

OVERLAP = timedelta(minutes=1)
OLDEST = timedelta(hours=12)
_GONE = {"DELETED", "SOFT_DELETED"}


def since(cloud: Cloud, observer: Observer, cursor: str | None) -> Changes:
    """Return the changes, or everything where the cursor is none, lost or old."""
    after = when(cursor) if cursor else None
    if after is None or clock.now() - after > OLDEST:
        rows = list(cloud.pages("compute", "/servers/detail", "servers"))
        return _answer(rows, observer, is_full=True, before=None)
    told = after.strftime("%Y-%m-%dT%H:%M:%SZ")
    rows = list(cloud.pages("compute", "/servers/detail", "servers", **{"changes-since": told}))
    return _answer(rows, observer, is_full=False, before=after)


def _answer(
    rows: Iterable[Mapping[str, Any]], observer: Observer, *, is_full: bool, before: datetime | None
) -> Changes:
    standing, gone, newest = [], [], before
    for row in rows:
        changed = when(row.get("updated"))
        if changed is not None:
            newest = max(newest, changed - OVERLAP) if newest else changed - OVERLAP
        if row.get("status") in _GONE:
            gone.append(row["id"])
        else:
            standing.append(observer.server(row))
    return Changes(tuple(standing), tuple(gone), newest.isoformat() if newest else "", is_full)

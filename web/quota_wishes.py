"""A request that its quota refuses: what to ask for, in words, and keeping the request until that is granted."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestKind
from cloudmgr.models import ResourceRequest
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import CreateRequest, QuotaChangeRequest
from cloudmgr.services.waiting_requests import OPEN_PHASES
from web import formats
from web.desk import Desk
from web.rendering import Words

_MOST, _PURPOSE = 50, 2000


@dataclass(frozen=True, slots=True)
class Wish:
    """The limits that would let a refused request through, and the form that asks for them."""

    lines: list[str]
    address: str


def wish(words: Words, change: Mapping[str, Any] | None) -> Wish | None:
    """Arrange the prefilled request for quota that a refusal carries; None where it carries none."""
    if not change or not change.get("limits"):
        return None
    query = "&".join(f"limits.{key}={amount}" for key, amount in change["limits"].items())
    return Wish(
        [f"{words.key_label(key)} → {formats.amount(amount, key)}" for key, amount in change["limits"].items()],
        f"/quotas/{change['account']}/ask?{query}",
    )


def under_way(desk: Desk) -> Sequence[tuple[str, str]]:
    """Return the requests for quota that a draft of the reader's could wait for."""
    rows, _ = requests.list_requests(
        desk.session,
        desk.actor,
        kind=RequestKind.QUOTA_CHANGE,
        phases=[phase.value for phase in OPEN_PHASES],
        limit=_MOST,
    )
    return [(str(row[0].id), f"{row[0].number} {row[0].purpose[:40]}") for row in rows]


def keep_waiting(desk: Desk, wanted: CreateRequest, after: str) -> ResourceRequest:
    """Keep a request until a quota change is granted: the one chosen, or one that is asked for now, in one transaction.

    Where nothing is missing by now, it is submitted.

    Raises:
        InvalidInput: `after` is no id. The refusals of `requests.save_waiting` and of asking for quota.
    """
    session, actor = desk.session, desk.actor
    if after:
        try:
            return requests.save_waiting(session, actor, wanted, uuid.UUID(after))
        except ValueError:
            raise InvalidInput(N_("There is no such quota change to wait for."), field="after") from None
    quota = requests.plan(session, actor, wanted).quota
    refusal = quota.refusal() if quota else None
    if refusal is None:
        return requests.submit_new(session, actor, wanted)
    purpose = desk.words.translate(N_("Quota for: {purpose}"), purpose=wanted.purpose)[:_PURPOSE]
    change = requests.submit_new(
        session, actor, QuotaChangeRequest.model_validate({**refusal.extra["next"], "purpose": purpose})
    )
    return requests.save_waiting(session, actor, wanted, change.id)

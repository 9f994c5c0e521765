"""Plans: what a request would cost and where its servers could go, before it is sent."""

from datetime import date
from typing import Any

from fastapi import Request
from pydantic import Field

from cloudmgr.api.requests import CommandBody
from cloudmgr.api.shapes import Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.services import plans
from cloudmgr.services.plans import Plan
from cloudmgr.services.request_kinds.base import EntryPlan

router = api_router("", "requests")


class OfferShape(Shape):
    """A way that would be granted now, or on a day. `change` is what to write into the request instead."""

    kind: str = Field(examples=["arch"], description="arch, project, later, count, flavor or lease")
    message: str
    change: dict[str, Any]
    given_up_pct: int = Field(description="How much of the vCPUs asked for it does without.")
    available_on: date | None


class PlanShape(Shape):
    """What a request would cost at every level and where its servers could go. `accepted` False tells why in `refusals`."""

    accepted: bool
    totals: dict[str, int]
    quota: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    warnings: list[str]
    refusals: list[dict[str, Any]]
    offers: list[OfferShape] = Field(description="What would fit instead where the quota refuses, cheapest first.")


@router.post(
    "/plans",
    response_model=PlanShape,
    openapi_extra=rule(Action.REQUEST_MAKE, object_type="request", transaction="read", remembers=False),
)
def make_plan(command: CommandBody, actor: ActorDep, session: SessionDep, http: Request) -> PlanShape:
    """Preview a request: quota cost at every level, candidate zones with reasons, refusals. Changes nothing."""
    return _plan_shape(plans.plan(session, actor, command), translator(language_of(http)))


def _plan_shape(plan: Plan, translate: Translator) -> PlanShape:
    levels = plan.quota.levels if plan.quota else ()
    return PlanShape(
        accepted=plan.would_be_accepted,
        totals=plan.totals,
        quota=[
            {
                "account": str(level.account_id),
                "name": level.name,
                "keys": [
                    {
                        "key": key.key,
                        "limit": key.limit,
                        "used": key.used,
                        "reserved": key.reserved,
                        "available": key.available,
                        "asked": key.asked,
                        "ok": key.ok,
                    }
                    for key in level.keys
                ],
            }
            for level in levels
        ],
        entries=[entry_shape(entry, translate, shows_capacity=plan.shows_capacity) for entry in plan.entries],
        warnings=[warning.render(translate) for warning in plan.warnings],
        refusals=[
            {key: value.render(translate) if isinstance(value, Message) else value for key, value in refusal.items()}
            for refusal in plan.refusals
        ],
        offers=[
            OfferShape(
                kind=offer.kind,
                message=offer.message.render(translate),
                change=dict(offer.change),
                given_up_pct=offer.given_up_pct,
                available_on=offer.available_on,
            )
            for offer in plan.offers
        ],
    )


def entry_shape(entry: EntryPlan, translate: Translator, *, shows_capacity: bool) -> dict[str, Any]:
    """Return one line of a request with how every zone answers."""
    return {
        "name": entry.name,
        "count": entry.count,
        "arch": entry.arch,
        "fits": entry.fits,
        "zones": [
            {
                "zone": verdict.zone.name,
                "title": verdict.zone.title,
                "backend": verdict.zone.backend,
                "arch": verdict.zone.arch,
                "cpu_family": verdict.zone.cpu_family,
                "is_xinchuang": verdict.zone.is_xinchuang,
                "candidate": verdict.is_candidate,
                "rank": verdict.rank,
                "reasons": [reason.render(translate) for reason in (verdict.against or verdict.notes)],
                "room": dict(verdict.zone.room) if shows_capacity else None,
            }
            for verdict in entry.verdicts
        ],
    }

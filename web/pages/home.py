"""Home: what needs the reader, what is left of the quota, what ends soon."""

from dataclasses import dataclass

from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestPhase
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import approvals, organizations, quotas, requests, servers
from web.desk import Desk, DeskDep
from web.pages.login import last_login
from web.presenters import requests as request_lines
from web.presenters import servers as server_lines
from web.presenters.quota import Bar, bars

router = page_router()

_MINE = (RequestPhase.RETURNED, RequestPhase.FAILED, RequestPhase.PARTLY_FULFILLED, RequestPhase.DRAFT)
_MOVING = (RequestPhase.IN_REVIEW, RequestPhase.APPROVED, RequestPhase.FULFILLING)
_SHOWN, _COUNTED = 10, 50
_KEYS = ("servers", "vcpus", "memory_mib", "disk_gib")


@dataclass(frozen=True, slots=True)
class Tile:
    """One number with where it leads."""

    name: str
    value: str
    address: str
    attention: bool = False


@router.get("/", openapi_extra=rule("person"))
def show_home(desk: DeskDep) -> Response:
    """Show the reader's own desk."""
    tiles: list[Tile] = []
    needs_me = _needs_me(desk, tiles)
    ending = _ending(desk, tiles)
    organization, quota = _quota(desk)
    return desk.page(
        "pages/home.html",
        organization=organization,
        tiles=tiles,
        needs_me=needs_me,
        quota=quota[1] if quota else ([] if desk.may(Action.QUOTA_READ) else None),
        quota_aside=quota[0] if quota else "",
        ending=ending,
        ending_days=max(servers.reminder_days(desk.session), default=0),
        may_request=desk.may(Action.REQUEST_MAKE),
        last_login=last_login(desk),
        hint="" if desk.actor.grants else desk.words.translate(
            N_("No role yet. Ask the security administrator for the roles your work needs.")
        ),
    )  # fmt: skip


def _needs_me(desk: Desk, tiles: list[Tile]) -> list[request_lines.RequestLine] | None:
    if not desk.may(Action.REQUEST_READ):
        return None
    translate = desk.words.translate
    lines = []
    waiting = approvals.list_decidable(desk.session, desk.actor)
    if waiting or desk.may(Action.REQUEST_DECIDE) or desk.may(Action.QUOTA_WRITE):
        lines += [
            request_lines.line((request, project, organization, person), address=f"/approvals/{request.id}")
            for request, _, project, organization, person in waiting
        ]
        tiles.append(
            Tile(translate(N_("Waiting for my decision")), str(len(waiting)), "/approvals", attention=bool(waiting))
        )
    if desk.may(Action.REQUEST_MAKE):
        own, _ = requests.list_requests(desk.session, desk.actor, phases=_MINE, mine=True, limit=_SHOWN)
        lines += [request_lines.line(row) for row in own]
        moving, more = requests.list_requests(desk.session, desk.actor, phases=_MOVING, mine=True, limit=_COUNTED)
        tiles.append(Tile(translate(N_("My requests under way")), _count(len(moving), more), "/requests?mine=1"))
    return lines[:_SHOWN]


def _ending(desk: Desk, tiles: list[Tile]) -> list[server_lines.EndingLine] | None:
    if not desk.may(Action.SERVER_READ):
        return None
    steps = servers.reminder_days(desk.session)
    reminders = servers.ending_soon(desk.session, desk.actor)
    lines = [line for each in reminders if (line := server_lines.ending(each, steps)) is not None]
    active, more = servers.list_servers(desk.session, desk.actor, phases=("active",), limit=200)
    translate = desk.words.translate
    tiles.append(Tile(translate(N_("Servers in service")), _count(len(active), more), "/servers?phase=active"))
    if steps:
        told = translate(N_("Leases ending within {days} days"), days=steps[0])
        tiles.append(Tile(told, str(len(lines)), f"/servers?ending_within={steps[0]}", attention=bool(lines)))
    return lines[:_SHOWN]


def _quota(desk: Desk) -> tuple[str, tuple[str, list[Bar]] | None]:
    """Return the reader's organization, and the nearest level upwards that has limits, with its bars."""
    place = desk.actor.organization_id
    if place is None or not desk.may(Action.ORGANIZATION_READ, desk.actor.organization_path):
        return "", None
    organization = organizations.get_organization(desk.session, desk.actor, place).organization
    if not desk.may(Action.QUOTA_READ, organization.path):
        return organization.name, None
    view = quotas.get_usage(desk.session, desk.actor, organization.account_id)
    chain = [account_id for account_id, _ in reversed(view.usage.ancestors)]
    while not any(view.usage.limits.get(key) is not None for key in _KEYS) and chain:
        view = quotas.get_usage(desk.session, desk.actor, chain.pop(0))
    shown = [
        bar
        for bar in bars(
            view.usage.limits, view.usage.used, view.usage.reserved, view.usage.guaranteed, only_limited=True
        )
        if bar.key in _KEYS
    ]
    return organization.name, (view.usage.name, shown) if shown else None


def _count(number: int, more: object) -> str:
    return f"{number}+" if more else str(number)

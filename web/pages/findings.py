"""The inbox of what does not agree with the ledger, and decisions on it, many at once."""

import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import DECISIONS, FindingDecision, FindingKind, FindingState
from cloudmgr.domain.messages import N_
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue, findings
from cloudmgr.services.findings import DecideFindings
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.lists import PAGE, cursor_of, every, filters_of, pages
from web.presenters import findings as lines

router = page_router()

_SHOWN = ("decision", "reason")


@router.get("/findings", openapi_extra=rule(Action.FINDING_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List what waits for somebody, or what the filters ask for."""
    return _Inbox(request, desk).page(Form(), 200)


@router.post(
    "/findings",
    openapi_extra=rule(Action.FINDING_DECIDE, event=Event.FINDING_DECIDE, object_type="finding", remembers=False),
)
def decide(request: Request, desk: DeskDep, sent: FormDep) -> Response:
    """Take one decision on every finding that was marked; what is refused is told beside it."""
    access.require(desk.actor, Action.FINDING_DECIDE)
    marked = [str(value) for value in sent.getlist("ids")]
    values = {name: texts(sent).get(name, "") for name in _SHOWN}
    inbox = _Inbox(request, desk, marked=frozenset(marked))
    desk.on_refusal(inbox.page, values, _SHOWN)
    if not marked:
        raise InvalidInput(N_("Mark at least one line first."))
    try:
        wanted = command(DecideFindings, {"ids": marked, **values})
    except ValidationError as error:
        return desk.invalid(inbox.page, values, error, _SHOWN)
    results = findings.decide(desk.session, desk.actor, wanted)
    refused = {each.id: desk.words.told(each.refusal.message) for each in results if each.refusal is not None}
    if not refused:
        return go("/findings", **inbox.filters, done="decided")
    told = desk.words.translate(
        N_("{done} decided, {refused} refused; the reasons stand beside the lines."),
        done=len(results) - len(refused),
        refused=len(refused),
    )
    return _Inbox(request, desk, refused=refused).page(Form(summary=[told]), 200)


class _Inbox:
    """The list with the form that decides on it."""

    def __init__(
        self,
        request: Request,
        desk: Desk,
        *,
        marked: frozenset[str] = frozenset(),
        refused: Mapping[uuid.UUID, str] | None = None,
    ) -> None:
        self.filters = filters_of(request, "kind", "state", "backend")
        kind, state = self.filters.get("kind"), self.filters.get("state")
        if kind not in {None, *FindingKind} or state not in {None, *FindingState}:
            raise InvalidInput(N_("There is no such state."), field="state")
        rows, following = findings.list_findings(
            desk.session,
            desk.actor,
            kinds=[FindingKind(kind)] if kind else (),
            states=[FindingState(state)] if state else (),
            backend=self.filters.get("backend"),
            limit=PAGE,
            cursor=cursor_of(request),
        )
        told = refused or {}
        label = desk.words.label
        self._desk = desk
        self._lines = [
            lines.line(desk.words, row, told.get(row[0].id, ""), is_marked=str(row[0].id) in marked) for row in rows
        ]
        fitting = {each for row in rows for each in DECISIONS[FindingKind(row[0].kind)]}
        self._shown: dict[str, Any] = {
            "kinds": _kinds(desk, kind),
            "states": [(each, label("finding_state", each)) for each in FindingState],
            "backends": _backends(desk),
            "decisions": [(each, label("finding_decision", each)) for each in FindingDecision if each in fitting],
            "may_decide": desk.may(Action.FINDING_DECIDE) and any(each.can_decide for each in self._lines),
            "may_import": desk.may(Action.INVENTORY_IMPORT),
            "filter_form": Form(self.filters),
            "kind": kind or "",
            "action": f"/findings?{urlencode(self.filters)}".rstrip("?"),
            **pages(request, self.filters, following),
        }

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page("pages/findings.html", status, lines=self._lines, form=form, **self._shown)


def _kinds(desk: Desk, current: str | None) -> list[tuple[str, str, int, bool]]:
    """Return a tab for each kind: address, words, how many wait, whether it is shown."""
    counts = Counter(findings.count_findings(desk.session, desk.actor))
    everything = desk.words.translate(N_("Everything"))
    tabs = [("/findings", everything, counts.total(), current is None)]
    for kind in FindingKind:
        words = desk.words.label("finding_kind", kind)
        tabs.append((f"/findings?kind={kind}", words, counts[kind], current == kind))
    return tabs


def _backends(desk: Desk) -> list[tuple[str, str]]:
    rows = every(lambda at: catalogue.list_backends(desk.session, desk.actor, limit=PAGE, cursor=at))
    return [(view.backend.name, view.backend.title or view.backend.name) for view in rows]

"""The approval policy for everybody to read, and the deputies of people who are away."""

import uuid

from pydantic import ValidationError
from starlette.responses import Response

from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import approval_policy, deputies
from cloudmgr.services.deputies import NameDeputy
from web.desk import Desk, DeskDep, FormDep, command, go, texts
from web.forms import Form
from web.presenters import policies

router = page_router()
_FIELDS = ("absent", "deputy", "valid_from", "valid_until", "reason")


@router.get("/approval-policy", openapi_extra=rule(Action.CATALOGUE_READ))
def show_policy(desk: DeskDep) -> Response:
    """Show the policy in force, rule by rule, and the versions that were loaded."""
    found = approval_policy.read_current(desk.session, desk.actor)
    return desk.page(
        "pages/approval_policy.html",
        policy=found.policy,
        expired=found.is_expired,
        rules=[policies.rule_line(desk.words, each) for each in found.policy.rules],
        versions=approval_policy.list_policies(desk.session, desk.actor),
    )


@router.get("/deputies", openapi_extra=rule("person"))
def show_deputies(desk: DeskDep) -> Response:
    """Show who decides for whom."""
    return _Deputies(desk).page(Form(), 200)


@router.post("/deputies", openapi_extra=rule("person", event=Event.DEPUTY_NAME, object_type="deputy", remembers=False))
def name_deputy(desk: DeskDep, sent: FormDep) -> Response:
    """Name a deputy."""
    typed = texts(sent)
    values = {name: typed.get(name, "") for name in _FIELDS}
    room = _Deputies(desk)
    try:
        wanted = command(NameDeputy, {**values, "absent": values["absent"] or None})
    except ValidationError as error:
        return desk.invalid(room.page, values, error, _FIELDS)
    desk.on_refusal(room.page, values, _FIELDS)
    deputies.name(desk.session, desk.actor, wanted)
    return go("/deputies", done="deputy_named")


@router.post(
    "/deputies/{deputy_id}/end",
    openapi_extra=rule("person", event=Event.DEPUTY_END, object_type="deputy", remembers=False),
)
def end_deputy(desk: DeskDep, deputy_id: uuid.UUID) -> Response:
    """End a deputyship before its time."""
    deputies.end(desk.session, desk.actor, deputy_id)
    return go("/deputies", done="deputy_ended")


class _Deputies:
    """The page of deputies, read before anything is changed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._rows = [
            policies.deputy_line(row, may_end=row[0].absent_id == desk.actor.user_id or desk.may(Action.ROLE_WRITE))
            for row in deputies.list_deputies(desk.session, desk.actor)
        ]

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/deputies.html",
            status,
            form=form,
            rows=self._rows,
            may_name=self._desk.may(Action.REQUEST_DECIDE) or self._desk.may(Action.ROLE_WRITE),
            for_others=self._desk.may(Action.ROLE_WRITE),
        )

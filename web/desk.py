"""What every page has at hand: the reader, the transaction, the words, and how to answer. The only door to cloudmgr.http."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Request
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import to_json
from sqlmodel import Session
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.messages import N_, Message
from cloudmgr.http.context import LANGUAGE_COOKIE, context_of
from cloudmgr.http.deps import ActorDep, AnyActorDep, SessionDep, SettingsDep
from cloudmgr.http.problem import Problem, rendered
from cloudmgr.http.validation import findings
from cloudmgr.i18n import DEFAULT_LANGUAGE, translator
from cloudmgr.services import change_freezes, maintenance, notices, sessions
from cloudmgr.settings import Settings
from web.chrome import Chrome, chrome_of
from web.forms import Form
from web.presenters import deadlines, policies
from web.rendering import LANGUAGES, Words, render

SEE_OTHER = 303
UNACCEPTABLE = 422
Command = TypeVar("Command", bound=BaseModel)
FormView = Callable[[Form, int], Response]
"""Draws the page of a form again with what was refused, in the given status."""


@dataclass
class Desk:
    """One request of one reader."""

    request: Request
    session: Session
    actor: Actor
    settings: Settings
    csrf_token: str
    language: str
    words: Words = field(init=False)
    _chrome: Chrome | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.words = Words(self.language)

    def may(self, action: Action, path: str | None = None) -> bool:
        """Whether the reader's roles allow something: what a page offers, never what is enforced."""
        return self.actor.may(action, path)

    def page(self, template: str, status: int = 200, /, **context: Any) -> Response:
        """Answer with a whole page."""
        return HTMLResponse(render(self.language, template, chrome=self.chrome(), **context), status)

    def fragment(self, template: str, status: int = 200, /, **context: Any) -> Response:
        """Answer with a part of a page."""
        return HTMLResponse(render(self.language, template, chrome=self.chrome(), **context), status)

    def chrome(self) -> Chrome:
        """Return the frame around the page; read once, for the session is over when a refusal is drawn."""
        if self._chrome is None:
            self._chrome = chrome_of(
                self.request,
                self.settings,
                self.words,
                self.language,
                self.actor,
                self.csrf_token,
                maintenance.paused_since(self.session),
                notices.count_unread(self.session, self.actor),
                [
                    *deadlines.banner(self.words, change_freezes.concerning(self.session, self.actor)),
                    *policies.banner(self.words, self.session, self.actor),
                ],
            )
        return self._chrome

    def invalid(
        self, view: FormView, values: Mapping[str, str], error: ValidationError, shown: Iterable[str]
    ) -> Response:
        """Draw the form again with what was malformed; the command never came to be."""
        found = findings(error.errors(include_url=False, include_input=False))
        problem = Problem(UNACCEPTABLE, "invalid", Message(N_("Please correct the fields marked below.")), found)
        return view(refused_form(self.language, problem, values, shown), UNACCEPTABLE)

    def on_refusal(self, view: FormView, values: Mapping[str, str], shown: Iterable[str]) -> None:
        """Have a refusal of what follows drawn on this form, with its own status; the transaction rolls back as ever."""
        names = list(shown)
        self.chrome()  # whatever it reads, it reads now: the session is over when a refusal is told

        def draw(problem: Problem) -> Response:
            return view(refused_form(self.language, problem, values, names), problem.status)

        self.request.state.on_refusal = draw


def get_desk(request: Request, session: SessionDep, settings: SettingsDep, actor: ActorDep) -> Desk:
    """Return the desk of a signed-in reader."""
    return _desk(request, session, settings, actor)


def get_any_desk(request: Request, session: SessionDep, settings: SettingsDep, actor: AnyActorDep) -> Desk:
    """Return the desk of a signed-in reader, even one who must change the password first."""
    return _desk(request, session, settings, actor)


def _desk(request: Request, session: Session, settings: Settings, actor: Actor) -> Desk:
    token = sessions.csrf_token(session, actor)
    request.state.csrf_token = token
    return Desk(request, session, actor, settings, token, language_of(request, actor))


async def get_form(request: Request) -> FormData:
    """Return the form that was sent."""
    return await request.form(max_fields=2000, max_files=0)


DeskDep = Annotated[Desk, Depends(get_desk)]
AnyDeskDep = Annotated[Desk, Depends(get_any_desk)]
FormDep = Annotated[FormData, Depends(get_form)]


def language_of(request: Request, actor: Actor | None) -> str:
    """Return the reader's language: the one chosen here, else the account's, else Chinese whatever the browser speaks."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen is not None and chosen in LANGUAGES:
        return chosen
    return actor.language if actor and actor.language in LANGUAGES else DEFAULT_LANGUAGE


def texts(form: FormData) -> dict[str, str]:
    """Return the text fields of a form by name."""
    return {name: value for name, value in form.multi_items() if isinstance(value, str)}


def command(model: type[Command], payload: Mapping[str, Any]) -> Command:
    """Build a command from what was typed, by the very rules of the API.

    Raises:
        pydantic.ValidationError: a field breaks a rule.
    """
    return model.model_validate_json(to_json(payload))


def command_of(adapter: TypeAdapter[Any], payload: Mapping[str, Any]) -> Any:
    """Build a command of one of several kinds. Raises like `command`."""
    return adapter.validate_json(to_json(payload))


def refused_form(language: str, problem: Problem, values: Mapping[str, str], shown: Iterable[str]) -> Form:
    """Return a form with a problem sorted onto its fields; the numbers of a quota refusal stand on top."""
    translate = translator(language)
    form = Form(values, code=problem.code, extra=problem.extra)
    told = rendered(list(problem.errors), translate)
    form.take([(each.get("field"), str(each["message"])) for each in told if each.get("message")], shown)
    if not form.errors or form.summary:
        whole = problem.message.render(translate)
        form.summary = [whole, *(line for line in form.summary if line != whole)]
    else:
        form.summary = [translate(N_("Please correct the fields marked below."))]
    return form


def refused_filter(
    language: str, error: ValidationError, values: Mapping[str, str], names: Mapping[str, str]
) -> tuple[Form, int]:
    """Return the filter form of a list with what was malformed, and the status; `names` maps the command's fields to the form's."""
    found = [{**each, "field": names.get(str(each["field"]), each["field"])} for each in findings(error.errors())]
    problem = Problem(UNACCEPTABLE, "invalid", Message(N_("Please correct the fields marked below.")), found)
    return refused_form(language, problem, values, values), UNACCEPTABLE


def go(address: str, /, **query: str) -> Response:
    """Send the browser to another page after a change."""
    return RedirectResponse(f"{address}?{urlencode(query)}" if query else address, SEE_OTHER)


def request_id_of(request: Request) -> str:
    """Return the number under which this request stands in the log."""
    return context_of(request).request_id

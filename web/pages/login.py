"""The door: signing in and out, one's own password, and the language."""

from collections.abc import Mapping

from fastapi import Request
from pydantic import ValidationError
from sqlmodel import Session
from starlette.responses import HTMLResponse, Response

from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import NotAuthenticated
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http import csrf
from cloudmgr.http.context import context_of
from cloudmgr.http.deps import SessionDep, SettingsDep
from cloudmgr.http.problem import Problem
from cloudmgr.http.routes import page_router, rule
from cloudmgr.http.sessions import clear_session_cookie, cookie_of, set_language_cookie, set_session_cookie
from cloudmgr.services import notices, organizations, roles, sessions, users
from cloudmgr.services.notices import SetPreferences
from cloudmgr.settings import Settings
from web import formats
from web.chrome import chrome_of, safe_next
from web.desk import AnyDeskDep, Desk, DeskDep, FormDep, command, go, language_of, refused_form, texts
from web.forms import Form
from web.rendering import LANGUAGES, Words, render

router = page_router()


@router.get("/login", openapi_extra=rule("public"))
def show_login(request: Request, settings: SettingsDep, next: str = "/") -> Response:  # noqa: A002 - the field's usual name
    """Show the sign-in form."""
    return _login_page(request, settings, Form(), safe_next(next), 200)


@router.post("/login", openapi_extra=rule("public", transaction="late", remembers=False))
def sign_in(request: Request, session: SessionDep, settings: SettingsDep, sent: FormDep) -> Response:
    """Check name and password; a refusal is told on the form."""
    csrf.check_origin(request)
    typed = texts(sent)
    goal = safe_next(typed.get("next"))

    def draw(problem: Problem) -> Response:
        form = refused_form(language_of(request, None), problem, {"username": typed.get("username", "")}, ())
        return _login_page(request, settings, form, goal, problem.status)

    request.state.on_refusal = draw
    context = context_of(request)
    user, secret, _ = sessions.authenticate(
        session,
        settings,
        typed.get("username", "").strip()[:200],
        typed.get("password", "")[:200],
        context.source,
        "console",
        request_id=context.request_id,
    )
    answer = go("/account/password" if user.must_change_password else goal)
    set_session_cookie(answer, request, settings, secret)
    return answer


@router.post("/logout", openapi_extra=rule("person", event=Event.LOGOUT, remembers=False))
def sign_out(desk: AnyDeskDep) -> Response:
    """End this session."""
    sessions.end_session(desk.session, desk.actor)
    answer = go("/login", done="signed_out")
    clear_session_cookie(answer, desk.request, desk.settings)
    return answer


@router.post("/language", openapi_extra=rule("public", object_type="user", remembers=False))
def choose_language(request: Request, session: SessionDep, settings: SettingsDep, sent: FormDep) -> Response:
    """Keep the reader's choice of language in a cookie, and with the account of whoever is signed in."""
    csrf.check_origin(request)
    typed = texts(sent)
    goal = typed.get("next") or "/"
    answer = go(goal if goal.startswith("/login") and "//" not in goal else safe_next(goal))
    chosen = typed.get("language", "")
    set_language_cookie(answer, request, settings, chosen)
    reader = _reader(request, session, settings)
    if reader is not None and chosen in LANGUAGES and chosen != reader.language:
        notices.set_preferences(session, reader, command(SetPreferences, {"language": chosen}))
    return answer


def _reader(request: Request, session: Session, settings: Settings) -> Actor | None:
    """Return who is signed in, None for nobody."""
    secret, context = cookie_of(request), context_of(request)
    if not secret:
        return None
    try:
        return sessions.actor_for_session(session, settings, secret, context.source, context.request_id)
    except NotAuthenticated:
        return None


@router.get("/account", openapi_extra=rule("person"))
def show_account(desk: DeskDep) -> Response:
    """Show who the reader is here."""
    organization = _organization_name(desk)
    grants = roles.list_roles(desk.session, desk.actor, desk.actor.user_id) if desk.actor.user_id else []
    person = {
        "username": desk.actor.username,
        "display_name": desk.actor.display_name,
        "organization": organization,
        "last_login": last_login(desk),
        "grants": [(each.grant.role, each.organization.name, each.grant.valid_until) for each in grants],
    }
    return desk.page("pages/account.html", person=person)


@router.get("/account/password", openapi_extra=rule("person"))
def show_password(desk: AnyDeskDep) -> Response:
    """Show the form for a new password."""
    return _password_page(desk, Form(), 200)


@router.post(
    "/account/password", openapi_extra=rule("person", event=Event.PASSWORD_CHANGE, transaction="late", remembers=False)
)
def change_password(desk: AnyDeskDep, sent: FormDep) -> Response:
    """Set one's own password."""
    typed = texts(sent)
    shown = ("old_password", "new_password", "again")
    nothing: Mapping[str, str] = {}

    def view(form: Form, status: int) -> Response:
        return _password_page(desk, form, status)

    if typed.get("new_password", "") != typed.get("again", ""):
        words = desk.words.translate(N_("The two new passwords are not the same."))
        return view(Form(errors={"again": [words]}, summary=[words]), 422)
    try:
        wanted = command(users.ChangePassword, {name: typed.get(name, "") for name in ("old_password", "new_password")})
    except ValidationError as error:
        return desk.invalid(view, nothing, error, shown)
    desk.on_refusal(view, nothing, shown)
    users.change_password(desk.session, desk.actor, wanted, desk.settings)
    return go("/", done="password")


def last_login(desk: Desk) -> str:
    """Return when and from where the reader's account was last used to sign in (GB/T 31168-2023, 8.12)."""
    if desk.actor.user_id is None or desk.actor.session_id is None:
        return ""
    found = sessions.last_login(desk.session, desk.actor.user_id, desk.actor.session_id)
    if found is None:
        return desk.words.translate(N_("This is your first sign-in."))
    return desk.words.translate(
        N_("Last sign-in: {at} from {source}. If that was not you, tell the security administrator."),
        at=formats.moment(found.at),
        source=found.source,
    )


def _organization_name(desk: Desk) -> str:
    if desk.actor.organization_id is None or not desk.may(Action.ORGANIZATION_READ, desk.actor.organization_path):
        return ""
    return organizations.get_organization(desk.session, desk.actor, desk.actor.organization_id).organization.name


def _password_page(desk: Desk, form: Form, status: int) -> Response:
    return desk.page(
        "pages/password.html",
        status,
        form=form,
        forced=desk.actor.must_change_password,
        length=desk.settings.security.password_min_length,
    )


def _login_page(request: Request, settings: Settings, form: Form, goal: str, status: int) -> Response:
    language = language_of(request, None)
    chrome = chrome_of(request, settings, Words(language), language, None, "")
    return HTMLResponse(render(language, "pages/login.html", chrome=chrome, form=form, next=goal), status)

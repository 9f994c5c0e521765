"""How a refusal or a fault looks in the console: on the form it came from, at the door, or on a page of its own."""

from urllib.parse import quote

from fastapi import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from cloudmgr.http.context import context_of, settings_of
from cloudmgr.http.problem import Problem
from cloudmgr.i18n import translator
from web.chrome import chrome_of
from web.desk import SEE_OTHER, language_of, request_id_of
from web.rendering import Words, render

_DOOR = frozenset({"unauthenticated", "session_expired"})
_UNAUTHENTICATED = 401


def error_page(request: Request, problem: Problem) -> Response:
    """Answer a browser with a page; the status is the problem's."""
    draw = getattr(request.state, "on_refusal", None)
    if draw is not None:
        response: Response = draw(problem)
        response.headers.update(dict(problem.headers))
        return response
    if problem.code in _DOOR:
        return _to_door(request)
    if problem.code == "password_change_required":
        return RedirectResponse("/account/password", SEE_OTHER)
    context = context_of(request)
    language = language_of(request, context.actor)
    translate = translator(language)
    token = getattr(request.state, "csrf_token", "")
    chrome = chrome_of(
        request, settings_of(request), Words(language), language, context.actor if token else None, token
    )
    page = render(
        language,
        "pages/error.html",
        chrome=chrome,
        title=problem.title(translate),
        text=problem.message.render(translate),
        request_id=request_id_of(request),
    )
    return HTMLResponse(page, problem.status, headers=dict(problem.headers))


def _to_door(request: Request) -> Response:
    """Send to the sign-in page, and back afterwards where that makes sense; a script is told by header."""
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(here)}" if request.method == "GET" and request.url.path != "/" else ""
    if request.headers.get("hx-request"):
        return Response(status_code=_UNAUTHENTICATED, headers={"HX-Redirect": "/login"})
    return RedirectResponse(f"/login{back}", SEE_OTHER)

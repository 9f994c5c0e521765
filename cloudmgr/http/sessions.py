"""How a session travels: a bearer token for programs, a cookie for the console."""

from starlette.requests import Request
from starlette.responses import Response

from cloudmgr.http.context import LANGUAGE_COOKIE
from cloudmgr.i18n import LANGUAGES
from cloudmgr.settings import Settings

SESSION_COOKIE = "cloudmgr_session"
_YEAR_S = 365 * 24 * 3600
_MAX_SECRET = 200


def bearer_of(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer …`; None when the header is absent, empty when it is something else."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    return secret.strip()[:_MAX_SECRET] if scheme.lower() == "bearer" else ""


def cookie_of(request: Request) -> str | None:
    """Return the secret of the console's cookie."""
    secret = request.cookies.get(SESSION_COOKIE)
    return secret[:_MAX_SECRET] if secret else None


def secret_of(request: Request) -> str | None:
    """Return the secret a request comes with: the header's if there is one, else the cookie's."""
    bearer = bearer_of(request)
    return bearer if bearer is not None else cookie_of(request)


def is_secure(request: Request, settings: Settings) -> bool:
    """Whether the reader's end of the connection is TLS: then cookies never leave it."""
    has_tls = settings.web.tls_cert is not None or bool(settings.web.trusted_proxies)
    return has_tls or request.url.scheme == "https"


def set_session_cookie(response: Response, request: Request, settings: Settings, secret: str) -> None:
    """Give the browser its session; it forgets it when it closes, and the server ends it by time."""
    response.set_cookie(
        SESSION_COOKIE, secret, path="/", httponly=True, samesite="lax", secure=is_secure(request, settings)
    )


def clear_session_cookie(response: Response, request: Request, settings: Settings) -> None:
    """Take the session cookie back."""
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="lax", secure=is_secure(request, settings))


def set_language_cookie(response: Response, request: Request, settings: Settings, language: str) -> None:
    """Keep the reader's choice of language for a year; an unknown one changes nothing."""
    if language in LANGUAGES:
        response.set_cookie(
            LANGUAGE_COOKIE,
            language,
            max_age=_YEAR_S,
            path="/",
            httponly=True,
            samesite="lax",
            secure=is_secure(request, settings),
        )

"""What is known of the HTTP request at hand, from its first byte to its log line."""

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection

from cloudmgr.domain.access import Actor
from cloudmgr.i18n import DEFAULT_LANGUAGE, negotiate
from cloudmgr.settings import Settings

if TYPE_CHECKING:
    import sqlalchemy as sa

KEY = "cloudmgr"
LANGUAGE_COOKIE = "cloudmgr_language"


@dataclass(slots=True)
class Context:
    """One request. Mutable: dependencies and middleware fill it in as they learn."""

    request_id: str
    source: str
    actor: Actor | None = None
    claim: uuid.UUID | None = None
    """The idempotency row this request runs under."""
    is_remembered: bool = False
    is_committed: bool = False
    log: dict[str, Any] = field(default_factory=dict)
    """Further fields of the access log line. No secrets."""


def context_of(connection: HTTPConnection) -> Context:
    """Return the context the outermost middleware made."""
    found = connection.scope[KEY]
    if not isinstance(found, Context):
        raise TypeError("the request passed no ContextMiddleware")
    return found


def settings_of(connection: HTTPConnection) -> Settings:
    """Return the settings the application was created with."""
    settings: Settings = connection.app.state.settings
    return settings


def engine_of(connection: HTTPConnection) -> "sa.Engine":
    """Return the application's database engine."""
    engine: sa.Engine = connection.app.state.engine
    return engine


def language_of(connection: HTTPConnection) -> str:
    """Return the reader's language: the console's cookie, else Accept-Language, else the user's own, else Chinese."""
    chosen = connection.cookies.get(LANGUAGE_COOKIE)
    if chosen in {"zh_CN", "en"} and "authorization" not in connection.headers:
        return chosen
    asked = negotiate(connection.headers.get("accept-language"))
    if asked is not None:
        return asked
    context = connection.scope.get(KEY)
    return context.actor.language if isinstance(context, Context) and context.actor else DEFAULT_LANGUAGE

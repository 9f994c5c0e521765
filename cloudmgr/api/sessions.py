"""Logging in by API: a bearer token for a name and password."""

from datetime import datetime

from fastapi import Response, status
from pydantic import ConfigDict, Field
from starlette.requests import Request

from cloudmgr.api.shapes import At, OrganizationName, Shape
from cloudmgr.domain.events import Event
from cloudmgr.http.context import context_of
from cloudmgr.http.deps import AnyActorDep, SessionDep, SettingsDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import sessions, users
from cloudmgr.services.inputs import Input, Text

router = api_router("/sessions", "sessions")


class Login(Input):
    """A name, a password and, where the account asks for it, a one-time code."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"username": "frq-req1", "password": "…"}]})

    username: Text = Field(min_length=1, max_length=100)
    password: str = Field(min_length=1, max_length=1000)
    otp: str | None = Field(default=None, max_length=16, description="Accepted and not asked for in this release.")


class Token(Shape):
    """A fresh token, shown once, and what its holder should know at once."""

    token: str = Field(examples=["vJ0n…"])
    expires_at: At
    roles: list[str] = Field(examples=[["requester"]])
    organization: OrganizationName
    must_change_password: bool
    last_login_at: datetime | None
    last_login_source: str | None


class SessionState(Shape):
    """Who holds the token or cookie at hand."""

    username: str
    display_name: str
    roles: list[str]
    organization: OrganizationName
    must_change_password: bool
    language: str


@router.post(
    "",
    status_code=status.HTTP_201_CREATED,
    response_model=Token,
    openapi_extra=rule("public", event=Event.LOGIN, object_type="session", transaction="late", remembers=False),
)
def create_session(command: Login, request: Request, session: SessionDep, settings: SettingsDep) -> Token:
    """Log in. After 5 failures the account is locked for a while, and after 30 the address; an unknown name answers alike."""
    context = context_of(request)
    user, secret, made = sessions.authenticate(
        session, settings, command.username, command.password, context.source, "token", request_id=context.request_id
    )
    actor = sessions.actor_for_session(session, settings, secret, context.source, context.request_id)
    before = sessions.last_login(session, user.id, made.id)
    return Token(
        token=secret,
        expires_at=made.expires_at,
        roles=actor.roles,
        organization=OrganizationName.model_validate(users.place_of(session, actor)),
        must_change_password=actor.must_change_password,
        last_login_at=before.at if before else None,
        last_login_source=before.source if before else None,
    )


@router.get("/current", response_model=SessionState, openapi_extra=rule("person"))
def read_session(actor: AnyActorDep, session: SessionDep) -> SessionState:
    """Tell who holds the token at hand."""
    return SessionState(
        username=actor.username,
        display_name=actor.display_name,
        roles=actor.roles,
        organization=OrganizationName.model_validate(users.place_of(session, actor)),
        must_change_password=actor.must_change_password,
        language=actor.language,
    )


@router.delete(
    "/current",
    status_code=status.HTTP_204_NO_CONTENT,
    openapi_extra=rule("person", event=Event.LOGOUT, object_type="session"),
)
def end_session(actor: AnyActorDep, session: SessionDep) -> Response:
    """Log out: the token holds no longer."""
    sessions.end_session(session, actor)
    return Response(status_code=status.HTTP_204_NO_CONTENT)

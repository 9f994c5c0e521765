"""Routes that carry a rule: who may, what is audited when it is refused, which transaction. One without does not load.

Also what every route does before its endpoint: unknown query parameters are refused, bodies must be JSON, and a POST may
carry an Idempotency-Key.
"""

import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import InvalidInput, Malformed
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.domain.messages import Message as Words
from cloudmgr.http import idempotency
from cloudmgr.http.context import context_of
from cloudmgr.http.errors import unsupported
from cloudmgr.http.problem import ProblemDocument

Access = Action | Literal["public", "person"]
"""An action of the access table; `public`: nobody need log in; `person`: everybody who is logged in, about themselves."""

_SUCCESS = range(200, 300)


def rule(
    access: Access,
    *,
    event: Event | None = None,
    object_type: str = "",
    transaction: Literal["read", "write", "late"] | None = None,
    remembers: bool = True,
) -> dict[str, Any]:
    """Return the `openapi_extra` that makes a route one of ours.

    `access` is what the service requires (the guard test holds it against docs/access.md); `event` is what a refusal of a
    change is audited as (default: access.deny); `transaction` overrides the one the method implies, `late` for changes
    that hash passwords before they take the write lock; `remembers` False ignores Idempotency-Key.
    """
    said = {
        "x-access": str(access),
        "x-event": event.value if event else None,
        "x-object": object_type or None,
        "x-transaction": transaction,
        "x-forgets": True if not remembers or transaction == "read" else None,
    }
    return {name: value for name, value in said.items() if value is not None}


class RuledRoute(APIRoute):
    """A route with a rule, for JSON."""

    is_strict = True

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options.get("openapi_extra") or {}
        access = extra.get("x-access")
        if access not in {*Action, "public", "person"}:
            raise TypeError(f"route {path} has no access rule: openapi_extra=rule(Action.…)")
        super().__init__(path, endpoint, **options)
        self._query_names = frozenset(_query_names(self.dependant))

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            return await self._answer(handler, request)

        return answer

    async def _answer(self, handler: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
        if self.is_strict:
            self._check_query(request)
            await self._check_body(request)
        if request.method != "POST" or (self.openapi_extra or {}).get("x-forgets"):
            return await handler(request)
        call = idempotency.call_of(request, await request.body()) if idempotency.HEADER in request.headers else None
        if call is None:
            return await handler(request)
        remembered = await run_in_threadpool(idempotency.claim, request, call)
        if remembered is not None:
            return remembered
        response = await handler(request)
        context = context_of(request)
        if context.claim is not None and response.status_code in _SUCCESS and hasattr(response, "body"):
            await run_in_threadpool(idempotency.remember, request.state.session, context.claim, response)
            context.is_remembered = True
        return response

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the route; a claim that came to nothing is released before the answer begins."""
        request = Request(scope)

        async def released(message: Message) -> None:
            context = context_of(request)
            if (
                message["type"] == "http.response.start"
                and context.claim is not None
                and not (context.is_remembered and context.is_committed)
            ):
                await run_in_threadpool(idempotency.release, request)
            await send(message)

        await super().handle(scope, receive, released)

    def _check_query(self, request: Request) -> None:
        unknown = [name for name in request.query_params if name not in self._query_names]
        if unknown:
            words = Words(N_("There is no such parameter. Leave it out, or check its spelling."))
            raise InvalidInput(
                N_("Unknown query parameters."),
                errors=[{"field": name[:100], "rule": "unknown", "message": words} for name in unknown[:20]],
            )

    async def _check_body(self, request: Request) -> None:
        if self.body_field is None or not await request.body():
            return
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json" and not (
            media_type.startswith("application/") and media_type.endswith("+json")
        ):
            raise unsupported("application/json")


class OnceRoute(RuledRoute):
    """A route whose body names nothing twice: of two amounts of one key, nobody knows which is meant."""

    async def _check_body(self, request: Request) -> None:
        await super()._check_body(request)
        if self.body_field is not None:
            with suppress(ValueError, RecursionError):  # no JSON: told where the body is read
                json.loads(await request.body(), object_pairs_hook=_named_once)


def _named_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        name = next(name for name in names if names.count(name) > 1)[:100]
        raise Malformed(N_("The body names {name} twice. Name it once."), field=name, name=name)
    return found


class PageRoute(RuledRoute):
    """A route with a rule, for pages: forms are welcome and stray query parameters do no harm."""

    is_strict = False


def _query_names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        model = parameter.field_info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, field in model.model_fields.items():
                yield field.alias or name
        else:
            yield parameter.alias
    for inner in dependant.dependencies:
        yield from _query_names(inner)


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    described = {400: "Malformed", 401: "Not logged in", 403: "Not allowed", 404: "Absent, or not yours to know of"}
    described |= {409: "Conflict with what is", 422: "The input breaks a rule", 503: "Overloaded; see Retry-After"}
    return {code: {"model": ProblemDocument, "description": described[code]} for code in codes}


def api_router(prefix: str, tag: str, route_class: type[RuledRoute] = RuledRoute) -> APIRouter:
    """Return a router of JSON routes under /api/v1. Every route needs `openapi_extra=rule(…)`."""
    return APIRouter(
        prefix=f"/api/v1{prefix}",
        tags=[tag],
        route_class=route_class,
        responses=_problems(400, 401, 403, 404, 409, 422, 503),
    )


def page_router(prefix: str = "") -> APIRouter:
    """Return a router of console pages, kept out of OpenAPI. Every route needs `openapi_extra=rule(…)`."""
    return APIRouter(prefix=prefix, route_class=PageRoute, include_in_schema=False)

"""Problem documents (RFC 9457): one shape for every error, in the reader's language."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from cloudmgr.domain.messages import N_, Message, Translator
from cloudmgr.http.context import KEY, Context, language_of
from cloudmgr.i18n import translator

MEDIA_TYPE = "application/problem+json"

_TITLES: Mapping[int, str] = {
    400: N_("The request is malformed"),
    401: N_("Not logged in"),
    403: N_("Not allowed"),
    404: N_("Not found"),
    405: N_("Not possible here"),
    409: N_("Conflict"),
    413: N_("Too large"),
    415: N_("Wrong content type"),
    422: N_("The input is not acceptable"),
    423: N_("Locked"),
    500: N_("Internal error"),
    503: N_("Overloaded or not ready"),
}


class Finding(BaseModel):
    """One thing that is wrong, for OpenAPI. Quota findings carry account, key and numbers as well."""

    model_config = ConfigDict(extra="allow")

    field: str | None = Field(default=None, examples=["servers[0].count"])
    rule: str | None = Field(default=None, examples=["max"])
    message: str | None = Field(default=None, examples=["不得大于 200。"])


class ProblemDocument(BaseModel):
    """The body of every error, for OpenAPI."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:cloudmgr:problem:invalid"])
    title: str = Field(examples=["输入有误"])
    status: int = Field(examples=[422])
    code: str = Field(examples=["invalid"])
    detail: str = Field(examples=["有 1 处需要更正。"])
    errors: list[Finding] = []
    instance: str = Field(examples=["/api/v1/users"])
    request_id: str = Field(examples=["0f8fad5bd9cb469fa16570867728950e"])


@dataclass(frozen=True, slots=True)
class Problem:
    """An error before it is told: `errors` may hold Messages; `extra` is merged into the document."""

    status: int
    code: str
    message: Message
    errors: Sequence[Mapping[str, Any]] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self, request: Request) -> dict[str, Any]:
        """Return the JSON-able document in the reader's language."""
        translate = translator(language_of(request))
        context = request.scope.get(KEY)
        return {
            **rendered(dict(self.extra), translate),
            "type": f"urn:cloudmgr:problem:{self.code}",
            "title": self.title(translate),
            "status": self.status,
            "code": self.code,
            "detail": self.message.render(translate),
            "errors": rendered(list(self.errors), translate),
            "instance": request.url.path,
            "request_id": context.request_id if isinstance(context, Context) else "",
        }

    def title(self, translate: Translator) -> str:
        """Return the short name of the kind of error."""
        return translate(_TITLES.get(self.status, _TITLES[500]))

    def response(self, request: Request) -> Response:
        """Return the problem as an HTTP response."""
        content = orjson.dumps(self.document(request), default=str)
        return Response(content, self.status, headers=dict(self.headers), media_type=MEDIA_TYPE)


def rendered(value: Any, translate: Translator) -> Any:
    """Return a JSON-able copy of a value with every Message in it told."""
    if isinstance(value, Message):
        return value.render(translate)
    if isinstance(value, Mapping):
        return {str(key): rendered(item, translate) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [rendered(item, translate) for item in value]
    return value

"""The OpenAPI document: what FastAPI derives, with what it cannot know added and our internal marks taken out."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import cloudmgr
from cloudmgr.http.problem import MEDIA_TYPE

_INTERNAL = ("x-transaction", "x-forgets", "x-object", "x-event")
_KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Makes a repeated call safe for 24 hours: the same key and body get the first successful answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    "example": "5f0c6a1e-9d3b-4c56-8a53-0d6f6c0c2a11",
}
_DESCRIPTION = """JSON API of cloudmgr. Log in with `POST /api/v1/sessions` and send the token as `Authorization: Bearer …`.

Errors are `application/problem+json` with a stable `code`. Lists take `limit` (1 to 200) and `cursor`. Ids are UUIDs,
times are UTC. Another organization's object is 404. Overload is 503 with `Retry-After`. `x-access` names the action of
the access table that a call needs."""


def install(app: FastAPI, examples: Mapping[str, Any]) -> None:
    """Make the application serve this document, with examples by schema; it is built at the first request and kept."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app, examples)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own documented way


def _document(app: FastAPI, examples: Mapping[str, Any]) -> dict[str, Any]:
    document = get_openapi(title="cloudmgr", version=cloudmgr.__version__, description=_DESCRIPTION, routes=app.routes)
    for methods in document["paths"].values():
        for method, operation in methods.items():
            if method == "post" and not operation.get("x-forgets") and operation.get("x-access") != "public":
                operation.setdefault("parameters", []).append(_KEY_PARAMETER)
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name in examples:
                body["example"] = examples[name]
            for mark in _INTERNAL:
                operation.pop(mark, None)
            for status, response in operation["responses"].items():
                if status.startswith(("4", "5")) and "application/json" in response.get("content", {}):
                    response["content"] = {MEDIA_TYPE: response["content"].pop("application/json")}
    return document

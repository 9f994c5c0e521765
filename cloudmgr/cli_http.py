"""The small HTTP client of the commands that speak to a running server. Standard library only; follows no redirect."""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from cloudmgr.cli_support import CommandFailed, Place
from cloudmgr.domain.messages import N_

DEFAULT_URL = "http://127.0.0.1:8000"
_TIMEOUT_S = 60
_LONG_S = 600
"""For a file of thousands of lines."""
_PAGE = 200


class _NoRedirect(HTTPRedirectHandler):
    """A token must not travel to wherever an answer points."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Client:
    """Speaks JSON to `CLOUDMGR_URL` with the token in `CLOUDMGR_TOKEN`."""

    def __init__(self, place: Place, *, needs_token: bool = True) -> None:
        self._place = place
        self.url = os.environ.get("CLOUDMGR_URL", DEFAULT_URL).rstrip("/")
        if urlsplit(self.url).scheme not in {"http", "https"}:
            raise CommandFailed(N_("CLOUDMGR_URL must begin with http:// or https://."))
        self._token = os.environ.get("CLOUDMGR_TOKEN", "")
        if needs_token and not self._token:
            raise CommandFailed(N_("Set CLOUDMGR_TOKEN; `cloudmgr login USERNAME` gets one from {url}."), url=self.url)
        self._opener = build_opener(_NoRedirect)

    def get(self, path: str, **query: Any) -> Any:
        """Return the answer to a GET; None in the query is left out."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Any = None) -> Any:
        """Return the answer to a POST, sent with an Idempotency-Key of its own."""
        return self._call("POST", path, body=body, headers={"Idempotency-Key": str(uuid.uuid4())})

    def send(self, path: str, content: bytes, media_type: str, **query: Any) -> Any:
        """Return the answer to a POST of a file, sent with an Idempotency-Key of its own."""
        given = [(name, value) for name, value in query.items() if value is not None]
        headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": media_type}
        with self._open(
            "POST", f"{path}?{urlencode(given)}", body=content, headers=headers, timeout_s=_LONG_S
        ) as response:
            return json.loads(response.read())

    def fetch(self, path: str, **query: str) -> bytes:
        """Return the bytes of a file."""
        with self._open("GET", f"{path}?{urlencode(query)}", headers={}) as response:
            return response.read()

    def pages(self, path: str, limit: int, **query: Any) -> Iterator[Any]:
        """Yield up to `limit` entries of a list, page after page."""
        cursor, left = None, limit
        while left > 0:
            page = self.get(path, limit=min(left, _PAGE), cursor=cursor, **query)
            yield from page["items"]
            left -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def stream(self, path: str, *, after: int = 0) -> Iterator[tuple[str, Any]]:
        """Yield (event, data) of an event stream behind an id, until the server ends it; a heartbeat is ("", None)."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        with self._open("GET", path, headers=headers) as response:
            event = "message"
            for raw in response:
                name, _, value = raw.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data":
                    yield event, json.loads(value)
                elif raw.startswith(b":"):
                    yield "", None
                elif not name:
                    event = "message"

    def _call(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: Any = None, headers: Any = None
    ) -> Any:
        given = [(name, value) for name, value in (query or {}).items() if value is not None]
        target = f"{path}?{urlencode(given, doseq=True)}" if given else path
        with self._open(method, target, body=body, headers=headers or {}) as response:
            text = response.read()
        return json.loads(text) if text else None

    def _open(
        self, method: str, path: str, *, headers: Mapping[str, str], body: Any = None, timeout_s: int = _TIMEOUT_S
    ) -> HTTPResponse:
        request = Request(f"{self.url}/api/v1{path}", method=method)  # noqa: S310 - the scheme was checked
        request.add_header("Accept-Language", "zh-CN" if self._place.language == "zh_CN" else "en")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        for name, value in headers.items():
            request.add_header(name, value)
        if isinstance(body, bytes):
            request.data = body
        elif body is not None or method == "POST":
            request.data = json.dumps(body if body is not None else {}).encode()
            request.add_header("Content-Type", "application/json")
        try:
            answer: HTTPResponse = self._opener.open(request, timeout=timeout_s)
        except HTTPError as error:
            raise self._refused(error) from error
        except (URLError, TimeoutError, ConnectionError) as error:
            reason = getattr(error, "reason", error)
            raise CommandFailed(N_("{url} does not answer: {reason}"), url=self.url, reason=str(reason)) from error
        return answer

    def _refused(self, error: HTTPError) -> CommandFailed:
        try:
            problem = json.loads(error.read())
            lines = [self._line(each) for each in problem.get("errors", ())]
            return CommandFailed(
                "{detail} ({code})", lines, detail=problem["detail"], code=problem.get("code", error.code)
            )
        except (ValueError, KeyError, TypeError):
            return CommandFailed(N_("{url} answered {status}."), url=self.url, status=error.code)

    @staticmethod
    def _line(found: Mapping[str, Any]) -> str:
        if found.get("message"):
            told = f"{found['message']} {found.get('remedy', '')}".strip()
            return f"{found['field']}: {told}" if found.get("field") else told
        return ", ".join(f"{name}={value}" for name, value in found.items())

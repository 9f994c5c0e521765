"""Lists on pages: filters from the address, the page's own limit, addresses of first and next page."""

import uuid
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlencode

from fastapi import Request

from cloudmgr.http.deps import decode_cursor, encode_cursor

PAGE = 50
_PAGES = 10
Row = TypeVar("Row")


def cursor_of(request: Request) -> uuid.UUID | None:
    """Return which page is asked for.

    Raises:
        InvalidInput: the cursor is not one of ours.
    """
    return decode_cursor(request.query_params.get("cursor") or None)


def filters_of(request: Request, *names: str) -> dict[str, str]:
    """Return the named filters that are set, trimmed and of a bearable length."""
    found = {name: request.query_params.get(name, "").strip()[:200] for name in names}
    return {name: value for name, value in found.items() if value}


def pages(request: Request, filters: Mapping[str, str], following: uuid.UUID | None) -> dict[str, str]:
    """Return the addresses of the first and the next page, empty where there is none."""
    return next_pages(request, filters, encode_cursor(following))


def next_pages(request: Request, filters: Mapping[str, str], cursor: str | None) -> dict[str, str]:
    """Return the same for a cursor that is text already."""
    path = request.url.path
    first = f"{path}?{urlencode(filters)}" if request.query_params.get("cursor") else ""
    return {"first": first.rstrip("?"), "next": f"{path}?{urlencode({**filters, 'cursor': cursor})}" if cursor else ""}


def every(read: Callable[[uuid.UUID | None], tuple[list[Row], uuid.UUID | None]]) -> list[Row]:
    """Return all rows of a list for a choice in a form, at most ten pages of it."""
    rows: list[Row] = []
    cursor: uuid.UUID | None = None
    for _ in range(_PAGES):
        found, cursor = read(cursor)
        rows += found
        if cursor is None:
            break
    return rows

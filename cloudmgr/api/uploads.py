"""A sheet as it is sent: a file as the body or as a part of a form, or rows as JSON. What is in it is for others to read."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request
from starlette.exceptions import HTTPException

from cloudmgr.http.errors import STATUS, unsupported
from cloudmgr.http.files import one_file
from cloudmgr.services.inputs import Input, Loose


class Rows(Input):
    """Lines of a sheet as JSON, by column keys; each kind of sheet says how many it takes."""

    rows: list[dict[str, Loose]]


@dataclass(frozen=True, slots=True)
class Sent:
    """The bytes that were sent, and the rows in them where they came as JSON."""

    content: bytes
    rows: list[dict[str, Any]] | None = None


async def sent_sheet(request: Request, *, files: Collection[str], rows: type[Rows] | None = None) -> Sent:
    """Read the body: one of the media types in `files`, a form with a part called `file`, or with `rows` JSON of that model.

    A form is kept by the request: it was read already, for the page's token in it.

    Raises:
        InvalidInput, ValidationError: no sheet is in it. HTTPException: malformed, or another content type.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "multipart/form-data":
        return Sent(await _part(request))
    if content_type in files:
        return Sent(await request.body())
    if content_type != "application/json" or rows is None:
        raise unsupported("multipart/form-data", *files, *(("application/json",) if rows else ()))
    content = await request.body()
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise HTTPException(STATUS["malformed"]) from error
    return Sent(content, rows.model_validate(document).rows)


async def _part(request: Request) -> bytes:
    form = await request.form()
    try:
        return await one_file(form).read()
    finally:
        await form.close()

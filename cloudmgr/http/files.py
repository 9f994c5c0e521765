"""Taking files and handing them out: a browser saves them and shows none, whatever they hold."""

from urllib.parse import quote

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_


def one_file(form: FormData) -> UploadFile:
    """Return the part of a form called `file`.

    Raises:
        InvalidInput: there is none, or more than one.
    """
    files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
    if not files:
        raise InvalidInput(N_("The form has no part called file."), field="file")
    if len(files) > 1:
        raise InvalidInput(
            N_("The form has {count} parts called file; send one at a time."), field="file", count=len(files)
        )
    return files[0]


def saved_file(name: str, media_type: str, content: bytes) -> Response:
    """Return a file as an attachment; nothing in it is run or guessed at, and no cache keeps it."""
    return Response(
        content,
        media_type=media_type,
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, no-store",
        },
    )

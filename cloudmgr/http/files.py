"""Handing out files that people sent: a browser saves them and shows none, whatever they hold."""

from urllib.parse import quote

from starlette.responses import Response


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

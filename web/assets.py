"""Static files: addressed by a digest of their content, so that a browser may keep them for ever."""

import hashlib
from functools import lru_cache
from pathlib import Path

from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

ROOT = Path(__file__).parent / "static"
_MARK = "v."
_FOREVER = "public, max-age=31536000, immutable"


@lru_cache
def asset(path: str) -> str:
    """Return the address of a static file, with the digest of its content in it; empty when the file is not there.

    Third-party files are put in place by the build: a page without them still reads.
    """
    file = ROOT / path
    if not file.is_file():
        return ""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    return f"/static/{_MARK}{digest}/{path}"


class Assets(StaticFiles):
    """Serve `/static/v.<digest>/<path>` with a far expiry, and `/static/<path>` with revalidation."""

    def __init__(self) -> None:
        super().__init__(directory=ROOT)

    def get_path(self, scope: Scope) -> str:
        """Take the digest out of the path; it only names the version."""
        path = super().get_path(scope)
        first, _, rest = path.partition("/")
        if first.startswith(_MARK):
            scope["cloudmgr.versioned"] = True
            return rest
        return path

    def file_response(self, full_path: object, stat_result: object, scope: Scope, status_code: int = 200) -> Response:
        """Add the expiry."""
        response = super().file_response(full_path, stat_result, scope, status_code)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = _FOREVER if scope.get("cloudmgr.versioned") else "no-cache"
        return response

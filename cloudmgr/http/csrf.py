"""Changes asked for by cookie must come from our own pages: a token per session, and the browser's word on the origin."""

import hmac
from urllib.parse import urlsplit

from starlette.requests import Request

from cloudmgr.domain.errors import CrossSite
from cloudmgr.domain.messages import N_

HEADER = "X-CSRF-Token"
FIELD = "csrf_token"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_OWN_SITES = frozenset({"same-origin", "none"})


async def sent_token(request: Request) -> str:
    """Return the token a request carries: in the header, or as a field of its form. The form is read once and kept."""
    header = request.headers.get(HEADER)
    if header is not None:
        return header
    if request.headers.get("content-type", "").startswith(_FORMS):
        value = (await request.form()).get(FIELD)
        return value if isinstance(value, str) else ""
    return ""


def check_token(expected: str, sent: str) -> None:
    """Refuse a change whose token is not the session's.

    Raises:
        CrossSite: it is missing or another's.
    """
    if not expected or not hmac.compare_digest(expected.encode(), sent.encode("utf-8", "surrogatepass")):
        raise _cross_site()


def check_origin(request: Request) -> None:
    """Refuse a login form that another site sent; where the browser says nothing (programs), it passes.

    Raises:
        CrossSite: Sec-Fetch-Site or Origin names another site.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in _OWN_SITES:
        raise _cross_site()
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host", ""):
        raise _cross_site()


def _cross_site() -> CrossSite:
    return CrossSite(N_("This page is too old or was not ours. Load it again and repeat."))

"""What OpenStack's services answer, in our words: the one table.

A refusal for quota and one for policy both come as 403 from Nova and Cinder, and are told apart by their words alone;
Neutron names the kind of its errors. Sources: nova and cinder `exception.py`, neutron-lib `exceptions/`.
"""

import re
import ssl
from typing import Any

import requests
from libcloud.common.types import InvalidCredsError, LibcloudError, MalformedResponseError

from cloudmgr.domain.messages import N_
from providers.errors import (
    AddressTaken,
    AuthFailed,
    Busy,
    InvalidSpec,
    NoCapacity,
    NotFound,
    ProviderError,
    Throttled,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)

TRANSPORT = (requests.exceptions.RequestException, OSError, ssl.SSLError)
SDK = (LibcloudError, InvalidCredsError, ValueError, KeyError, TypeError, AttributeError)
"""Libcloud lets what it meets in a broken answer or catalogue through as it is."""

_QUOTA = re.compile(r"quota exceeded|exceeds? (the )?(allowed )?.*quota|over ?quota|\bquota\b.*exceed", re.IGNORECASE)
_CERTIFICATE = re.compile(
    r"certificate|CERTIFICATE_VERIFY_FAILED|hostname .* doesn't match|CA (file|certificate)", re.IGNORECASE
)
_NOT_SENT = re.compile(
    r"NewConnectionError|ConnectTimeout|NameResolutionError|gaierror|Connection refused|Failed to establish|ProxyError",
    re.IGNORECASE,
)
_TAKEN = {"IpAddressInUse", "IpAddressAlreadyAllocated"}
_NO_ADDRESS = {"IpAddressGenerationFailure", "ExternalIpAddressExhausted"}


def from_answer(status: int, body: Any, *, write: bool) -> ProviderError:
    """Return our error for an answer that refuses; `write` where the call was to change something."""
    kind, words = _told(body)
    text = f"{status} {kind} {words}".strip()[:1000]
    if kind in _TAKEN:
        return AddressTaken(N_("The address is in use at the cloud."), detail=text)
    if kind in _NO_ADDRESS:
        return NoCapacity(N_("The network has no address left."), detail=text)
    if kind == "OverQuota" or (status in {400, 403, 409, 413} and _QUOTA.search(words)):
        return NoCapacity(N_("The cloud's own quota for our account does not allow this."), detail=text)
    match status:
        case 401:
            return refused(text)
        case 403:
            return AuthFailed(N_("The cloud forbids this to our account."), detail=text)
        case 404 | 410:
            return not_found(text)
        case 409:
            return busy(text)
        case 413 | 429:
            return Throttled(N_("The cloud asks to slow down; try again later."), detail=text)
        case 400 | 405 | 406 | 414 | 415 | 422:
            return InvalidSpec(N_("The cloud cannot do this exactly as asked."), detail=text)
        case 501:
            return Unsupported(N_("The cloud does not support this."), detail=text)
    if write and status != 503:  # noqa: PLR2004 - 503 alone says that nothing was begun
        return unknown_outcome(text)
    return unavailable(text)


def from_transport(error: Exception, *, write: bool) -> ProviderError:
    """Return our error for a call whose answer did not come, or was no answer."""
    text = f"{type(error).__name__}: {error}"[:1000]
    if isinstance(error, requests.exceptions.SSLError | ssl.SSLError) and _CERTIFICATE.search(text):
        return AuthFailed(N_("The cloud's certificate is not the expected one."), detail=text)
    if isinstance(error, OSError) and not isinstance(error, requests.exceptions.RequestException) and "CA cert" in text:
        return AuthFailed(N_("The cloud's certificate is not the expected one."), detail=text)
    if isinstance(error, requests.exceptions.ConnectTimeout) or _NOT_SENT.search(text) or not write:
        return unavailable(text)
    return unknown_outcome(text)


def from_login(error: Exception) -> ProviderError:
    """Return our error for a failed login: nothing was asked for yet, so nothing can have happened."""
    if isinstance(error, InvalidCredsError):
        return refused("Keystone refuses the credentials")
    text = f"{type(error).__name__}: {error}"[:1000]
    if isinstance(error, MalformedResponseError):
        if re.search(r"code: 40[0134]\b", text):
            return refused(text)
        return unavailable(text)
    if isinstance(error, TRANSPORT):
        return from_transport(error, write=False)
    # What is left is a catalogue without the service, region or interface the options name.
    return AuthFailed(N_("The cloud's catalogue does not have what the settings name."), detail=text)


def refused(detail: str) -> AuthFailed:
    """The cloud does not take our credentials."""
    return AuthFailed(N_("The cloud refuses our credentials."), detail=detail)


def not_found(detail: str) -> NotFound:
    """There is none of that name."""
    return NotFound(N_("There is no such thing at the cloud."), detail=detail)


def busy(detail: str) -> Busy:
    """Something else is being done to it."""
    return Busy(N_("The cloud is doing something else to this; try again shortly."), detail=detail)


def unavailable(detail: str) -> Unavailable:
    """The cloud does not answer, and nothing was changed."""
    return Unavailable(N_("The cloud does not answer as it should; try again later."), detail=detail)


def unknown_outcome(detail: str) -> UnknownOutcome:
    """A change was sent, and its answer lost."""
    return UnknownOutcome(N_("The cloud was asked, but its answer is not known."), detail=detail)


def _told(body: Any) -> tuple[str, str]:
    """Return the kind (Neutron only) and the words of a refusal, whatever its shape."""
    if not isinstance(body, dict):
        return "", str(body or "")
    inner = next((value for value in body.values() if isinstance(value, dict)), None)
    if inner is None:
        return "", str(next(iter(body.values()), ""))
    return str(inner.get("type") or ""), f"{inner.get('message') or ''} {inner.get('detail') or ''}".strip()

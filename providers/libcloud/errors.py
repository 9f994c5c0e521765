"""Libcloud's exceptions in our words: the one table. EC2's codes: docs.aws.amazon.com/AWSEC2/latest/APIReference."""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from libcloud.common.exceptions import BaseHTTPError
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

_CODE = re.compile(r"^([A-Za-z][\w.-]+): ")
_NOT_SENT = (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.InvalidURL)
_CODES: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"AuthFailure|UnauthorizedOperation|InvalidClientTokenId|SignatureDoesNotMatch|OptInRequired"
                r"|ExpiredToken|RequestExpired|Blocked|MissingAuthenticationToken|PendingVerification"), AuthFailed),
    (re.compile(r"RequestLimitExceeded|Throttling|.*RateExceeded"), Throttled),
    (re.compile(r"ServiceUnavailable|Unavailable"), Unavailable),
    (re.compile(r"InternalError|InternalFailure"), UnknownOutcome),
    (re.compile(r"InvalidIPAddress\.InUse|InvalidNetworkInterface\.InUse|PrivateIpAddressLimitExceeded"), AddressTaken),
    (re.compile(r"Insufficient\w+|\w+LimitExceeded|MaxIOPSLimitExceeded"), NoCapacity),
    (re.compile(r"Invalid[\w]+\.(NotFound|Malformed|Unknown)|InvalidInstanceID|InvalidAddressID?\..*"), NotFound),
    (re.compile(r"Incorrect\w*State|VolumeInUse|DependencyViolation|Resource\.AlreadyAssociated|InvalidState"
                r"|InvalidGroup\.InUse|Concurrent\w+|InvalidInstanceState|IncorrectModificationState"
                r"|IdempotentParameterMismatch|InvalidGroup\.Duplicate|OperationInProgress"), Busy),
    (re.compile(r"UnsupportedOperation|Unsupported|OperationNotPermitted|UnknownOperation|InvalidAction"), Unsupported),
    (re.compile(r"Invalid\w*|Malformed\w*|Missing\w*|UnknownParameter|VPCIdNotSpecified|ValidationError"), InvalidSpec),
)  # fmt: skip
_SAID = {
    AuthFailed: N_("The cloud refuses our credentials, or is not who it should be."),
    Throttled: N_("The cloud asks to slow down; try again later."),
    Unavailable: N_("The cloud does not answer; try again later."),
    UnknownOutcome: N_("The cloud was asked, but its answer is not known."),
    AddressTaken: N_("The address asked for is in use in the cloud."),
    NoCapacity: N_("The cloud has no room left for this, or its own limit is reached."),
    NotFound: N_("There is no such object in this cloud."),
    Busy: N_("Something else is being done to this object; try again shortly."),
    Unsupported: N_("The cloud does not support this for this object."),
    InvalidSpec: N_("The cloud cannot build exactly this."),
}
_STATUS = {
    400: InvalidSpec, 401: AuthFailed, 403: AuthFailed, 404: NotFound, 409: Busy, 413: InvalidSpec, 422: InvalidSpec,
    429: Throttled, 501: Unsupported, 503: Unavailable, 507: NoCapacity,
}  # fmt: skip


def failed(kind: type[ProviderError], detail: str) -> ProviderError:
    """Return an error of a kind in the words we have for it."""
    return kind(_SAID[kind], detail=detail)


def classify(error: Exception, *, write: bool) -> ProviderError:
    """Return our error for a failed call; what may or may not have happened is UnknownOutcome (P9)."""
    text = f"{type(error).__name__}: {error}"[:2000]
    if isinstance(error, ProviderError):
        return error
    if isinstance(error, ssl.SSLError | requests.exceptions.SSLError):
        return failed(AuthFailed, text)
    if isinstance(error, _NOT_SENT) or "NewConnectionError" in text or "NameResolutionError" in text:
        return failed(Unavailable, text)
    if isinstance(error, InvalidCredsError):
        return failed(AuthFailed, text)
    if isinstance(error, requests.exceptions.RequestException | OSError | MalformedResponseError):
        return _lost(text, write=write)
    if isinstance(error, BaseHTTPError):
        return _answered(error.code, str(error.message), text, write=write)
    if isinstance(error, LibcloudError):
        return _coded(text, write=write) or failed(InvalidSpec, text)
    if isinstance(error, NotImplementedError):
        return failed(Unsupported, text)
    # A KeyError, AttributeError, plain Exception … out of Libcloud: it did not understand the answer, or said so.
    return _coded(str(error), write=write) or _lost(text, write=write)


def _answered(status: int, message: str, text: str, *, write: bool) -> ProviderError:
    coded = _coded(message, write=write)
    if coded is not None:
        return coded
    known = _STATUS.get(status)
    return failed(known, text) if known else _lost(text, write=write)


def _coded(message: str, *, write: bool) -> ProviderError | None:
    found = _CODE.match(message)
    if found is None:
        return None
    for pattern, kind in _CODES:
        if pattern.fullmatch(found[1]):
            return failed(Unavailable, message) if kind is UnknownOutcome and not write else failed(kind, message)
    return None


def _lost(text: str, *, write: bool) -> ProviderError:
    return failed(UnknownOutcome if write else Unavailable, text)


@contextmanager
def translated(*, write: bool) -> Iterator[None]:
    """Turn whatever Libcloud raises into a ProviderError; it has no base class of its own for its failures."""
    try:
        yield
    except ProviderError:
        raise
    except (
        Exception
    ) as error:  # the boundary to Libcloud, which raises KeyError and the like on answers it did not expect
        raise classify(error, write=write) from error

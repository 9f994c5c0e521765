"""What can go wrong at a backend, told by what to do about it: callers branch on `remedy` and on nothing else.

`message` is safe for a tenant (P7) and translatable; `detail` is for operators. Neither ever holds a secret (P12).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, ClassVar

from cloudmgr.domain.messages import Message


class Remedy(StrEnum):
    """What a caller does about a provider error."""

    RETRY = "retry"
    """Nothing happened; the same call may go through later."""
    RECONCILE = "reconcile"
    """It may or may not have happened: look by token, then decide."""
    NEXT_ZONE = "next_zone"
    """This zone cannot; another may."""
    NEXT_ADDRESS = "next_address"
    """This address is in use; another may not be."""
    FAIL = "fail"
    """It will never work as asked."""
    OPERATOR = "operator"
    """A person must mend the connection."""


class ProviderError(Exception):
    """Base of everything a provider raises (P5)."""

    remedy: ClassVar[Remedy] = Remedy.FAIL
    code: ClassVar[str] = "provider_error"

    def __init__(self, template: str, *, detail: str = "", **params: Any) -> None:
        self.message = Message(template, params)
        self.detail = detail
        super().__init__(str(self.message))


class Unavailable(ProviderError):
    """The backend does not answer, or a read timed out (P9)."""

    remedy = Remedy.RETRY
    code = "backend_unavailable"


class Throttled(Unavailable):
    """The backend asks to slow down."""

    code = "backend_throttled"


class Busy(ProviderError):
    """Something else is being done to the same object."""

    remedy = Remedy.RETRY
    code = "backend_busy"


class UnknownOutcome(ProviderError):
    """A write was sent and its answer lost (P9)."""

    remedy = Remedy.RECONCILE
    code = "backend_unknown_outcome"


class NoCapacity(ProviderError):
    """The zone is full for this size."""

    remedy = Remedy.NEXT_ZONE
    code = "backend_no_capacity"


class AddressTaken(ProviderError):
    """The address asked for is in use at the backend; nothing was built."""

    remedy = Remedy.NEXT_ADDRESS
    code = "backend_address_taken"


class InvalidSpec(ProviderError):
    """The backend cannot build exactly this (P4, P13)."""

    code = "backend_invalid_spec"


class NotFound(ProviderError):
    """No such object at the backend."""

    code = "backend_not_found"


class Unsupported(ProviderError):
    """This kind of backend, or this object's state, does not allow it."""

    code = "backend_unsupported"


class AuthFailed(ProviderError):
    """The backend refuses our credentials, or its certificate is not the expected one."""

    remedy = Remedy.OPERATOR
    code = "backend_auth_failed"


@contextmanager
def translated(
    classify: Callable[[Exception], ProviderError | None],
    sdk_error: type[Exception] | tuple[type[Exception], ...],
) -> Iterator[None]:
    """Turn an SDK's exceptions into ours at the boundary; what `classify` does not know is re-raised as it gives.

    `classify` returns the ProviderError to raise. Returning None lets the original through, which the contract
    suite counts as a defect (P5).
    """
    try:
        yield
    except sdk_error as error:
        ours = classify(error)
        if ours is None:
            raise
        raise ours from error


CODES: Mapping[str, type[ProviderError]] = {
    cls.code: cls
    for cls in (
        Unavailable,
        Throttled,
        Busy,
        UnknownOutcome,
        NoCapacity,
        AddressTaken,
        InvalidSpec,
        NotFound,
        Unsupported,
        AuthFailed,
    )
}

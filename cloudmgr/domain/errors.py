"""Refusals: each has a stable code, a safe message that can be translated, and a half for operators.

The HTTP status of a code stands in `cloudmgr/http/errors.py` and nowhere else; every code has a heading in docs/errors.md.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cloudmgr.domain.messages import Message


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a fault
    """Something asked for cannot be done, for a reason the asker may read.

    `template` with `params` is what the asker sees; `detail` is for operators only; `field` names the input
    field at fault (dotted path); `errors` lists further findings, each a JSON-able mapping; `extra` is merged
    into the problem document.
    """

    code: ClassVar[str] = "refused"
    keeps_writes: ClassVar[bool] = False
    """Whether what was written before the refusal stands: counters of failed logins must."""

    def __init__(
        self,
        template: str,
        *,
        detail: str = "",
        field: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        extra: Mapping[str, Any] | None = None,
        **params: Any,
    ) -> None:
        self.message = Message(template, params)
        self.detail = detail
        self.field = field
        self.errors = list(errors)
        self.extra = dict(extra or {})
        super().__init__(str(self.message))


class InvalidInput(Refusal):
    """The input breaks a rule; `field` or `errors[].field` says where.

    `invalid` holds the records of the library that validated it (pydantic's); the edge tells them in the reader's words.
    """

    code = "invalid"
    invalid: Sequence[Mapping[str, Any]] = ()


class Malformed(Refusal):
    """The input cannot be read as one thing only."""

    code = "malformed"


class NotFound(Refusal):
    """No such thing, or not yours to know of."""

    code = "not_found"


class Hidden(NotFound):
    """It exists and is not yours: told exactly like `NotFound`, but audited as a denial."""


class Forbidden(Refusal):
    """You may see it, but not do this."""

    code = "forbidden"


class CrossSite(Forbidden):
    """A change asked for by cookie without the page's own token: another site may have sent it."""

    code = "csrf_refused"


class OwnRequest(Refusal):
    """Nobody decides on a request of their own, whatever roles they hold."""

    code = "own_request"


class SecondStage(Forbidden):
    """One person never decides two stages of the same request."""

    code = "second_stage"


class NotAuthenticated(Refusal):
    """No valid session or token."""

    code = "unauthenticated"


class SessionEnded(NotAuthenticated):
    """The session was valid once: it idled too long or reached its end."""

    code = "session_expired"
    keeps_writes = True


class BadCredentials(Refusal):
    """Unknown user or wrong password: one answer for both."""

    code = "bad_credentials"
    keeps_writes = True


class WrongPassword(Refusal):
    """The old password given with a change of one's own is not the right one."""

    code = "wrong_password"
    keeps_writes = True


class Locked(Refusal):
    """Too many failed attempts from this account or address."""

    code = "locked"
    keeps_writes = True


class PasswordExpired(Refusal):
    """A new password must be set before anything else."""

    code = "password_change_required"


class Conflict(Refusal):
    """The thing is not in a state that allows this."""

    code = "conflict"


class ChangeFrozen(Conflict):
    """A change freeze holds; `until` says how long."""

    code = "change_frozen"


class UrgedAlready(Conflict):
    """A request is urged once a working day; `next_at` says when it can be again."""

    code = "urged_already"


class AllowanceExceeded(Conflict):
    """The emergency orders that are not approved yet leave no room for another; `errors` names each key."""

    code = "emergency_allowance_exceeded"


class ExclusiveRole(Conflict):
    """三权分立: one person holds at most one of the three administrators' roles."""

    code = "exclusive_role"


class StaleVersion(Refusal):
    """Somebody else changed it first."""

    code = "stale"


class ArchMismatch(Refusal):
    """An image or zone of the asked architecture does not exist."""

    code = "arch_mismatch"


class NoFittingPool(Refusal):
    """No pool could ever take a server as asked, however empty it were."""

    code = "no_fitting_pool"


class AddressUnavailable(Conflict):
    """The address asked for belongs to somebody, or to nobody ever; `next_free` names one that can be had."""

    code = "address_unavailable"


class ClassificationRefused(Refusal):
    """Classified systems and MLPS level 4 and above may not use this platform."""

    code = "classification_refused"


class Unsupported(Refusal):
    """The backend cannot do this."""

    code = "unsupported"


class IdempotencyMismatch(Refusal):
    """The key was used with another body."""

    code = "idempotency_mismatch"


class InProgress(Refusal):
    """The same call is still running."""

    code = "in_progress"


class Overloaded(Refusal):
    """Too busy now; try again shortly."""

    code = "overloaded"


class UnsupportedFormat(Refusal):
    """A file format that is not offered."""

    code = "unsupported_format"


class ImportRefused(Refusal):
    """Rows of a sheet break rules, and nothing of it was taken; `errors` names every cell."""

    code = "import_refused"


class AsOfUnavailable(Refusal):
    """The inventory of that moment cannot be told."""

    code = "as_of_unavailable"

"""vSphere's faults in our words: the one table. Faults: vSphere Web Services API reference, `MethodFault` and below."""

import http.client
import ssl
from typing import Any
from xml.parsers.expat import ExpatError

from pyVmomi import vim, vmodl

from cloudmgr.domain.messages import N_
from providers.errors import (
    AuthFailed,
    Busy,
    InvalidSpec,
    NoCapacity,
    NotFound,
    ProviderError,
    Unavailable,
    UnknownOutcome,
    Unsupported,
)

TRANSPORT = (OSError, http.client.HTTPException, ExpatError, ssl.SSLError)
"""What the way there or back can raise; an answer that was cut off is bad XML."""
SDK_ERRORS = (vmodl.MethodFault, *TRANSPORT)

_AUTH = (
    vim.fault.InvalidLogin,
    vim.fault.NoPermission,
    vim.fault.PasswordExpired,
    vmodl.fault.SecurityError,
)
_FULL = (
    vim.fault.InsufficientResourcesFault,
    vim.fault.NoDiskSpace,
    vim.fault.NoCompatibleHost,
    vim.fault.DatastoreNotWritableOnHost,
)
_BUSY = (
    vim.fault.TaskInProgress,
    vim.fault.ConcurrentAccess,
    vim.fault.InvalidPowerState,  # the state changed between our look and our call
    vim.fault.InvalidState,
    vim.fault.DuplicateName,
    vim.fault.FileAlreadyExists,
    vim.fault.FileLocked,
    vim.fault.ResourceInUse,
    vim.fault.CustomizationPending,  # somebody with the same token asked for it before us
)
_GONE = (vmodl.fault.ManagedObjectNotFound, vim.fault.NotFound, vim.fault.FileNotFound)
_INVALID = (
    vim.fault.InvalidVmConfig,
    vim.fault.InvalidName,
    vim.fault.InvalidDatastore,
    vim.fault.CustomizationFault,
    vmodl.fault.InvalidArgument,
    vmodl.fault.InvalidType,
)
_UNSUPPORTED = (
    vmodl.fault.NotSupported,
    vmodl.fault.MethodNotFound,
    vmodl.fault.NotImplemented,
    vim.fault.MethodDisabled,
)
_OVERLOADED = (vmodl.fault.HostCommunication, vmodl.fault.RequestCanceled, vim.fault.HostConnectFault)


def from_call(error: Exception, *, write: bool) -> ProviderError:
    """Return our error for a failed call; what may or may not have happened is UnknownOutcome (P9)."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return AuthFailed(N_("The vCenter refuses our credentials, or is not who it should be."), detail=told(error))
    if isinstance(error, vmodl.MethodFault):
        return from_fault(error)
    if not write or isinstance(error, ConnectionRefusedError):
        return unavailable(told(error))
    return UnknownOutcome(N_("The vCenter was asked, but its answer is not known."), detail=told(error))


def from_fault(fault: Any) -> ProviderError:
    """Return our error for a fault the vCenter told, of a call or of a task: it says that nothing was done."""
    detail = told(fault)
    if isinstance(fault, vim.fault.NotAuthenticated):
        return Unavailable(N_("The vCenter ended our session; the next call opens a new one."), detail=detail)
    if isinstance(fault, _AUTH):
        return AuthFailed(N_("The vCenter refuses our credentials, or is not who it should be."), detail=detail)
    if isinstance(fault, _FULL):
        return NoCapacity(N_("The pool has no room left for this server."), detail=detail)
    if isinstance(fault, _BUSY):
        return busy(detail)
    if isinstance(fault, _GONE):
        return not_found(detail)
    if isinstance(fault, _UNSUPPORTED):
        return Unsupported(N_("The vCenter does not support this for this server."), detail=detail)
    if isinstance(fault, _INVALID):
        return InvalidSpec(N_("The vCenter cannot build a server exactly like this."), detail=detail)
    # It answered, with a failure this table has no word for: it happened not, and may go through later.
    return Unavailable(N_("The vCenter tried and failed; an operator can see why."), detail=detail)


def unavailable(detail: str) -> Unavailable:
    """It does not answer, and nothing was changed."""
    return Unavailable(N_("The vCenter does not answer; try again later."), detail=detail)


def busy(detail: str) -> Busy:
    """Something else is being done to the same object."""
    return Busy(N_("Something else is being done to this server; try again shortly."), detail=detail)


def not_found(detail: str) -> NotFound:
    """There is no such thing, as far as the vCenter knows."""
    return NotFound(N_("There is no such server, volume or snapshot in this vCenter."), detail=detail)


def told(error: Any) -> str:
    """Return what an operator may want to know; never what was sent, which may hold the password (P12)."""
    text = getattr(error, "msg", None) or ("" if isinstance(error, vmodl.MethodFault) else str(error))
    return f"{type(error).__name__}: {text}"[:500]

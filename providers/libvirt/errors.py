"""libvirt's error codes in our words: the one table. Codes: https://libvirt.org/html/libvirt-virterror.html."""

import re

import libvirt

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

_NOT_FOUND = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT}
_AUTH = {
    libvirt.VIR_ERR_AUTH_FAILED,
    libvirt.VIR_ERR_AUTH_CANCELLED,
    libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    libvirt.VIR_ERR_ACCESS_DENIED,
    libvirt.VIR_ERR_OPERATION_DENIED,
    libvirt.VIR_ERR_NO_CLIENT,
    libvirt.VIR_ERR_NO_SERVER,
}
_BUSY = {
    libvirt.VIR_ERR_OPERATION_TIMEOUT,  # "cannot acquire state change lock": the call was never begun
    libvirt.VIR_ERR_RESOURCE_BUSY,
    libvirt.VIR_ERR_DOM_EXIST,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST,
    libvirt.VIR_ERR_OPERATION_INVALID,  # the state changed between our look and our call
    libvirt.VIR_ERR_OPERATION_ABORTED,
}
_INVALID = {
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_INVALID_ARG,
    libvirt.VIR_ERR_CPU_INCOMPATIBLE,
    libvirt.VIR_ERR_NO_NETWORK,
}
_UNSUPPORTED = {
    libvirt.VIR_ERR_NO_SUPPORT,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    libvirt.VIR_ERR_SNAPSHOT_REVERT_RISKY,
}
_NOT_SENT = {
    libvirt.VIR_ERR_NO_STORAGE_POOL,
    libvirt.VIR_ERR_NO_STORAGE_VOL,
    libvirt.VIR_ERR_NO_MEMORY,
}
_FULL = re.compile(
    r"no space left|cannot allocate memory|cannot set up guest memory|disk quota exceeded", re.IGNORECASE
)
_NO_SLOT = re.compile(r"no more available pci slots", re.IGNORECASE)
_DENIED = re.compile(
    r"permission denied|host key verification failed|authentication failed|certificate|not authori[sz]ed|access denied",
    re.IGNORECASE,
)


def lost_connection(error: libvirt.libvirtError) -> bool:
    """Tell whether the connection is gone, so that the next call must open a new one."""
    return error.get_error_domain() == libvirt.VIR_FROM_RPC or error.get_error_code() in {
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_NO_CONNECT,
    }


def from_connect(error: libvirt.libvirtError) -> ProviderError:
    """Return our error for a failed opening: nothing was done, so it is a matter of access or of patience."""
    text = _text(error)
    if error.get_error_code() in _AUTH or _DENIED.search(text):
        return AuthFailed(N_("The libvirt host refuses our credentials, or is not who it should be."), detail=text)
    return unavailable(text)


def from_call(error: libvirt.libvirtError, *, write: bool) -> ProviderError:
    """Return our error for a failed call; what may or may not have happened is UnknownOutcome (P9)."""
    code, text = error.get_error_code(), _text(error)
    if _FULL.search(text):
        return NoCapacity(N_("The host has no room left for this server."), detail=text)
    if _NO_SLOT.search(text):
        return Unsupported(N_("This server has no room for another disk while it is on; stop it first."), detail=text)
    if code in _NOT_FOUND:
        return NotFound(N_("There is no such server or snapshot on this host."), detail=text)
    if code in _AUTH:
        return AuthFailed(N_("The libvirt host refuses our credentials, or is not who it should be."), detail=text)
    if code in _BUSY:
        return Busy(N_("Something else is being done to this server; try again shortly."), detail=text)
    if code in _INVALID:
        return InvalidSpec(N_("The host cannot build a server exactly like this."), detail=text)
    if code in _UNSUPPORTED:
        return Unsupported(N_("The host does not support this for this server."), detail=text)
    if write and lost_connection(error):
        return unknown_outcome(text)
    if code in _NOT_SENT or lost_connection(error):
        return unavailable(text)
    # The host answered, with a failure this table has no word for: it happened not, and may go through later.
    return Unavailable(N_("The host tried and failed; an operator can see why."), detail=text)


def unavailable(detail: str) -> Unavailable:
    """The host does not answer, and nothing was changed."""
    return Unavailable(N_("The libvirt host does not answer; try again later."), detail=detail)


def unknown_outcome(detail: str) -> UnknownOutcome:
    """A change was sent, and its answer lost."""
    return UnknownOutcome(N_("The libvirt host was asked, but its answer is not known."), detail=detail)


def _text(error: libvirt.libvirtError) -> str:
    return f"libvirt {error.get_error_domain()}/{error.get_error_code()}: {error.get_error_message() or error}"

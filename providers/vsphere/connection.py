"""Sessions with one vCenter: opened by the first call, opened anew when the vCenter has ended them.

Every call to the SDK goes through `read` or `write`. A read that meets an ended session logs in again and is made once
more, and so is one that was sent down a connection whose other side had gone while it rested; a write is not: what was
done is for the caller to find out. TLS is always verified, against a pinned certificate, given authorities or the
system's (the SDK's own thumbprint is not looked at when the chain holds).
"""

import contextlib
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pyVmomi import SoapStubAdapter, vim

from cloudmgr.domain.messages import N_
from providers.errors import AuthFailed, ProviderError
from providers.vsphere import errors
from providers.vsphere.options import VSphereOptions

T = TypeVar("T")
_API = "vim.version.version11"
"""vSphere 6.5: every vCenter since speaks it, and what it knows is all we ask for."""
_IDLE_CONNECTION_S = 20
"""A connection that rested longer is not used again: the other side may have closed it, and a write would be lost on it."""
_POOL = 8
_ENDED = (vim.fault.NotAuthenticated, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
"""What a call meets that came after the other side had ended the session, or closed the connection it kept."""


@dataclass(frozen=True, slots=True)
class Session:
    """A login, with the vCenter's own services."""

    stub: Any
    service: Any
    content: Any

    def reference(self, kind: Any, moid: str) -> Any:
        """Return a managed object by the id the vCenter gave it."""
        return kind(moid, self.stub)

    def bound(self, known: Any) -> Any:
        """Return an object that an earlier session told of, to be called in this one."""
        return type(known)(known._moId, self.stub)  # noqa: SLF001 - the SDK's own name for the id


class Connection:
    """One login, shared by all threads; a second one serves whoever waits for updates."""

    def __init__(self, options: VSphereOptions) -> None:
        self._options = options
        self._guard = threading.Lock()
        self._session: Session | None = None

    def read(self, deed: Callable[[Session], T]) -> T:
        """Run calls that change nothing; once more where the session or the kept connection had ended.

        Raises:
            ProviderError
        """
        session = self._opened()
        try:
            return deed(session)
        except _ENDED:
            # Behind a connection that ended may stand a vCenter that restarted, and knows of no session.
            self._forget(session)
        except errors.SDK_ERRORS as error:
            raise errors.from_call(error, write=False) from error
        session = self._opened()
        try:
            return deed(session)
        except errors.SDK_ERRORS as error:
            raise errors.from_call(error, write=False) from error

    def write(self, deed: Callable[[Session], T]) -> T:
        """Run one call that changes something.

        Raises:
            ProviderError: UnknownOutcome where its answer was lost.
        """
        session = self._opened()
        try:
            return deed(session)
        except vim.fault.NotAuthenticated as error:
            self._forget(session)
            raise errors.from_fault(error) from error
        except errors.SDK_ERRORS as error:
            raise errors.from_call(error, write=True) from error

    def close(self) -> None:
        """End the session; a later call opens a new one."""
        with self._guard:
            session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(*errors.SDK_ERRORS):
                session.content.sessionManager.Logout()
            session.stub.DropConnections()

    def _opened(self) -> Session:
        with self._guard:
            if self._session is None:
                self._session = self._open()
            return self._session

    def _forget(self, session: Session) -> None:
        with self._guard:
            if self._session is session:
                self._session = None
        session.stub.DropConnections()

    def _open(self) -> Session:
        try:
            context, password = tls_context(self._options), self._options.password()
        except (OSError, KeyError, ssl.SSLError) as error:
            raise AuthFailed(
                N_("The password or certificate of this backend cannot be read on the worker."),
                detail=f"{type(error).__name__}: {error}",
            ) from None
        stub = SoapStubAdapter(
            host=self._options.host,
            port=self._options.port,
            version=_API,
            sslContext=context,
            poolSize=_POOL,
            connectionPoolTimeout=_IDLE_CONNECTION_S,
            httpConnectionTimeout=self._options.call_timeout_s,
        )
        try:
            service: Any = vim.ServiceInstance("ServiceInstance", stub)
            content = service.RetrieveContent()
            content.sessionManager.Login(self._options.username, password, None)
        except errors.SDK_ERRORS as error:
            stub.DropConnections()
            raise _login_failed(error) from error
        return Session(stub, service, content)


def tls_context(options: VSphereOptions) -> ssl.SSLContext:
    """Return how the server proves itself. A pinned certificate is the proof, whatever name is in it."""
    if options.server_pem is None:
        return ssl.create_default_context(cafile=None if options.ca_file is None else str(options.ca_file))
    context = ssl.create_default_context(cadata=options.server_pem.read_text())
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the pin may be a certificate that somebody else signed
    return context


def _login_failed(error: Exception) -> ProviderError:
    """A login changes nothing, so a lost answer is an unavailable backend."""
    return errors.from_call(error, write=False)

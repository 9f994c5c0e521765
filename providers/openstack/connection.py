"""Calls to one cloud: Libcloud's connections of its 2.2 API for login, catalogue, HTTP and TLS, and our own reading of answers.

A session is four connections with one login, used by one thread at a time; a few that rest are kept for the next calls.
Every call has a time-out for connecting and one for each wait for an answer (P10). Nothing is retried, but a call that
was refused for an expired login is made again with a new one: a 401 means that nothing was done.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import urljoin

from libcloud.common.base import Connection
from libcloud.common.openstack import OpenStackBaseConnection, OpenStackResponse
from libcloud.common.openstack_identity import OpenStackServiceCatalog
from libcloud.compute.drivers.openstack import (
    OpenStack_2_Connection,
    OpenStack_2_ImageConnection,
    OpenStack_2_NetworkConnection,
    OpenStack_2_VolumeV3Connection,
)
from libcloud.http import LibcloudConnection

from cloudmgr.domain.messages import N_
from providers.errors import AuthFailed
from providers.openstack import errors
from providers.openstack.options import OpenStackOptions, Service

KEPT_SESSIONS = 8
MAX_PAGES = 1000
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service said: the status, the parsed body (None without one) and the headers in lower case."""

    status: int
    body: Any = field(repr=False)
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


class _Http(LibcloudConnection):
    """Libcloud's HTTP with the backend's own CA and time-outs, and without following redirections, which would show our token."""

    options: ClassVar[OpenStackOptions]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[no-untyped-call]
        if self.options.ca_file is not None:
            self.ca_cert = self.options.ca_file

    def request(
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Any = None,
        raw: bool = False,  # noqa: ARG002 - libcloud's signature
        stream: bool = False,
        hooks: Any = None,
    ) -> None:
        session: Any = self.session
        self.response = session.request(
            method=method,
            url=urljoin(str(self.host), url),
            data=body,
            headers=headers or {},
            allow_redirects=False,
            stream=stream,
            verify=self.verification,
            timeout=(self.options.connect_timeout_s, self.options.read_timeout_s),
            hooks=hooks,
        )


class _Response(OpenStackResponse):
    """Libcloud's response, which raises for no status: refusals are told apart by us, with the whole body at hand."""

    def __init__(self, response: Any, connection: Any) -> None:
        self.connection = connection
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.status = response.status_code
        self.body: Any = response.content
        self.object = self.parse_body()

    def parse_body(self) -> Any:
        if not self.body:
            return None
        if "json" in self.headers.get("content-type", ""):
            return json.loads(self.body)
        return str(self.body, "utf-8", "replace")


_PREFIX: Mapping[Service, str] = {"compute": "", "image": "/v2", "network": "/v2.0", "volume": ""}


class _Endpoint(OpenStackBaseConnection):
    """Finds a service by region and interface, under any of its usual names, and logs in once for all four."""

    responseCls = _Response  # noqa: N815 - libcloud's name
    options: ClassVar[OpenStackOptions]
    service: ClassVar[Service]
    names: ClassVar[tuple[str, ...]]

    def get_endpoint(self) -> str:
        if (configured := self.options.endpoints.get(self.service)) is not None:
            return configured.removesuffix(_PREFIX[self.service])
        catalogue: Any = self.service_catalog
        wanted = {"public": "external", "internal": "internal"}[self.options.interface]
        found = [
            (self.names.index(entry.service_type), endpoint.url)
            for entry in catalogue.get_entries()
            if entry.service_type in self.names
            for endpoint in entry.endpoints
            if endpoint.region == self.options.region and endpoint.endpoint_type == wanted and endpoint.url
        ]
        if not found:
            raise ValueError(f"no {wanted} endpoint of {'/'.join(self.names)} in region {self.options.region}")
        return str(min(found)[1]).rstrip("/").removesuffix(_PREFIX[self.service])

    def send(self, action: str, params: Any, data: Any, headers: Any, method: str) -> Any:
        """Send once: not libcloud's own `request`, which an environment variable can make send a change twice."""
        headers = dict(headers or {})
        if data is not None:
            headers["Content-Type"] = "application/json"
        return Connection.request(  # type: ignore[no-untyped-call]
            self, action, params=params, data=data, headers=headers, method=method, retry_failed=False
        )


_SERVICES: Mapping[Service, tuple[type, tuple[str, ...]]] = {
    "compute": (OpenStack_2_Connection, ("compute",)),
    "image": (OpenStack_2_ImageConnection, ("image",)),
    "network": (OpenStack_2_NetworkConnection, ("network",)),
    "volume": (OpenStack_2_VolumeV3Connection, ("volumev3", "block-storage", "block-store", "volume")),
}


class Session:
    """Four connections and their login; for one thread at a time."""

    def __init__(self, options: OpenStackOptions) -> None:
        shared = {"options": options}
        http = type("BackendHttp", (_Http,), shared)
        by_password = options.username is not None
        given = {
            "secure": options.auth_url.startswith("https"),
            "timeout": options.read_timeout_s,
            "ex_force_auth_url": options.auth_url,
            "ex_force_auth_version": "3.x_password" if by_password else "3.x_appcred",
            "ex_domain_name": options.user_domain,
            "ex_tenant_name": options.project,
            "ex_tenant_domain_id": options.project_domain_id,
            "ex_force_service_region": options.region,
        }
        user = options.username or options.application_credential_id
        secret = options.secret()
        self._connections = {}
        for service, (base, names) in _SERVICES.items():
            kind = type(
                "Backend", (_Endpoint, base), {**shared, "service": service, "names": names, "conn_class": http}
            )
            self._connections[service] = kind(user, secret, **given)
        self._identity = self._connections["compute"].get_auth_class()
        for connection in self._connections.values():
            connection._osa = self._identity  # noqa: SLF001 - libcloud has no other way to share one login

    def log_in(self, service: Service) -> None:
        """Make the connection ready: a login where there is none, the service's address from the catalogue."""
        connection = self._connections[service]
        if not self._identity.is_token_valid():
            self._identity.authenticate(force=True)
        if connection.auth_token != self._identity.auth_token:
            connection.auth_token = self._identity.auth_token
            connection.service_catalog = _catalogue(self._identity.urls)
        connection._populate_hosts_and_request_paths()  # noqa: SLF001 - what libcloud does before each call

    def forget(self) -> None:
        """Drop the login."""
        self._identity.clear_cached_auth_context()

    def identity_token(self) -> str:
        """Return the token in use."""
        return str(self._identity.auth_token)

    def send(self, service: Service, method: str, path: str, params: Any, body: Any, headers: Any) -> Answer:
        """Make one call."""
        told = self._connections[service].send(_PREFIX[service] + path, params, body, headers, method)
        return Answer(told.status, told.object, told.headers)

    def who_am_i(self) -> Any:
        """Return Keystone's words about our own token."""
        token = self.identity_token()
        told = self._identity.request("/v3/auth/tokens", headers={"X-Auth-Token": token, "X-Subject-Token": token})
        return json.loads(told.body)["token"]


class Cloud:
    """Thread-safe; holds nothing until the first call."""

    def __init__(self, options: OpenStackOptions) -> None:
        self.options = options
        self._resting: list[Session] = []
        self._guard = threading.Lock()
        self._project_id: str | None = None

    def close(self) -> None:
        """Forget the sessions."""
        with self._guard:
            self._resting.clear()

    def get(self, service: Service, path: str, **params: Any) -> Any:
        """Read; the body of the answer."""
        return self.call(service, "GET", path, params=params).body

    def find(self, service: Service, path: str, **params: Any) -> Any | None:
        """Read what may not be there."""
        answer = self.call(service, "GET", path, params=params, absent=True)
        return None if answer is None else answer.body

    def change(self, service: Service, method: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        """Change something; the body of the answer. Its loss is UnknownOutcome (P9)."""
        return self.call(service, method, path, body=body, write=True, **kwargs).body

    def remove(self, service: Service, path: str) -> None:
        """Delete; the absent succeeds (P3)."""
        self.call(service, "DELETE", path, write=True, absent=True)

    def pages(self, service: Service, path: str, key: str, **params: Any) -> Iterator[Any]:
        """Read a list to its end, one page at a time."""
        marker: dict[str, Any] = {"limit": self.options.page_size} if service != "network" else {}
        for number in range(MAX_PAGES):
            answer = self.call(service, "GET", path, params={**params, **marker}, absent=number > 0, gone=(400, 404))
            if answer is None:
                raise errors.unavailable(f"{path}: the list changed while it was read")
            rows = answer.body[key]
            yield from rows
            links = answer.body.get(f"{key}_links") or ()
            more = "next" in answer.body or any(link.get("rel") == "next" for link in links)
            if not more or not rows:
                return
            marker["marker"] = rows[-1]["id"]
        raise errors.unavailable(f"{path}: more than {MAX_PAGES} pages")

    def call(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        params: Any = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        write: bool = False,
        absent: bool = False,
        gone: tuple[int, ...] = (404, 410),
    ) -> Any:
        """Make one call; None where `absent` is allowed and there is none.

        Raises:
            ProviderError: whatever went wrong (P5).
        """
        answer = self._attempt(service, method, path, params, body, headers, write=write)
        if answer.status == UNAUTHORIZED:
            answer = self._attempt(service, method, path, params, body, headers, write=write, anew=True)
        if absent and answer.status in gone:
            return None
        if not 200 <= answer.status <= 299:  # noqa: PLR2004 - HTTP's own range
            raise errors.from_answer(answer.status, answer.body, write=write)
        return answer

    def project_id(self) -> str:
        """Return the identifier of the project we work in; asked once."""
        if self._project_id is None:
            with self._session("compute") as session:
                try:
                    self._project_id = str(session.who_am_i()["project"]["id"])
                except (*errors.TRANSPORT, *errors.SDK) as error:
                    raise errors.from_login(error) from error
        return self._project_id

    def _attempt(
        self,
        service: Service,
        method: str,
        path: str,
        params: Any,
        body: Any,
        headers: Mapping[str, str] | None,
        *,
        write: bool,
        anew: bool = False,
    ) -> Answer:
        with self._session(service, anew=anew) as session:
            try:
                return session.send(service, method, path, params, body, headers)
            except (*errors.TRANSPORT, *errors.SDK) as error:
                raise errors.from_transport(error, write=write) from error

    @contextmanager
    def _session(self, service: Service, *, anew: bool = False) -> Iterator[Session]:
        """Lend a session that is logged in; one on which something failed is not kept."""
        with self._guard:
            session = self._resting.pop() if self._resting else None
        try:
            session = session or Session(self.options)
        except (OSError, UnicodeDecodeError) as error:
            raise AuthFailed(N_("The secret of the cloud's account cannot be read."), detail=str(error)) from error
        try:
            if anew:
                session.forget()
            session.log_in(service)
        except (*errors.TRANSPORT, *errors.SDK) as error:
            raise errors.from_login(error) from error
        yield session
        with self._guard:  # not reached where something failed: what is left of that connection is not used again
            if len(self._resting) < KEPT_SESSIONS:
                self._resting.append(session)


def _catalogue(urls: Any) -> OpenStackServiceCatalog:
    return OpenStackServiceCatalog(service_catalog=urls, auth_version="3.x_password")  # type: ignore[no-untyped-call]

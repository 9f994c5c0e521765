"""Faults at the seam between an SDK and its peer: a reverse proxy that loses, refuses, delays and cuts answers by rule.

    with FaultProxy("http://127.0.0.1:8774") as proxy:
        ...  # the driver is opened on proxy.url
        with proxy.fault("lose", method="POST", path=r"/servers$") as strike:
            provider.create_server(spec, token)  # raises UnknownOutcome; the peer has the server
        assert strike.times_struck == 1
        assert proxy.count(method="POST", path=r"/servers$") == 1

It speaks HTTP/1.1 to both sides, in TLS to the driver when given a certificate (tests/providers/certificates.py) and to the
peer when the target is https. A peer that tells its own addresses (a Keystone catalogue) has them rewritten by `rewrites`.
"""

import contextlib
import http.client
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

ACTIONS = ("lose", "hang", "refuse", "drop", "delay", "cut", "replace")
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "proxy-connection",
    "expect",
}
_BODY_KEPT = 4096


@dataclass(slots=True)
class Rule:
    """One fault waiting: which requests it meets, and what it does to them.

    lose: forwarded, then the connection is closed without an answer. hang: forwarded, and never answered. refuse: not
    forwarded, answered with `status` and `answer`. drop: not forwarded, the connection is closed. delay: forwarded after
    `delay_s`. cut: forwarded, and closed after half of the answer's body. replace: forwarded, and answered with `status`
    and `answer` instead.
    """

    action: str
    method: str | None = None
    path: str = ""
    """Searched for, as a regular expression, in the path with its query."""
    body: bytes = b""
    """Has to stand in the request's body."""
    times: int | None = 1
    skip: int = 0
    """Matching requests to let pass first."""
    status: int = 503
    answer: bytes = b'{"error": {"message": "out of order", "code": 503}}'
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    delay_s: float = 0.0
    when: Callable[[], bool] = lambda: True
    times_struck: int = 0

    def __post_init__(self) -> None:
        assert self.action in ACTIONS, f"a fault is one of {', '.join(ACTIONS)}"


@dataclass(frozen=True, slots=True)
class Call:
    """A request that arrived, whatever became of it; `status` is what the peer said, None where it was not asked."""

    method: str
    path: str
    body: bytes = field(repr=False)
    status: int | None
    fault: str | None = None


class FaultProxy:
    """A reverse proxy on a loopback port. Forwards everything until a rule says otherwise, and remembers every call."""

    def __init__(
        self, target: str, *, tls: ssl.SSLContext | None = None, port: int = 0, timeout_s: float = 300
    ) -> None:
        parts = urlsplit(target)
        assert parts.hostname, "the target is a URL"
        self._peer = (parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
        self._peer_tls = ssl._create_unverified_context() if parts.scheme == "https" else None
        self.timeout_s = timeout_s
        self.rewrites: dict[bytes, bytes] = {}
        """Bytes to be put in the place of others in every answer: the peer's own URLs by those of proxies."""
        self.calls: list[Call] = []
        self._rules: list[Rule] = []
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._server = _Server(("127.0.0.1", port), self, tls)
        scheme = "http" if tls is None else "https"
        self.port: int = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening and close every connection, those that hang too."""
        self._stop.set()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join(10)

    # Faults

    def add(self, action: str, **rule: object) -> Rule:
        """Let a rule wait behind those there are; the first that matches strikes."""
        made = Rule(action, **rule)  # type: ignore[arg-type]
        with self._guard:
            self._rules.append(made)
        return made

    def remove(self, rule: Rule) -> None:
        with self._guard, contextlib.suppress(ValueError):
            self._rules.remove(rule)

    @contextmanager
    def fault(self, action: str, **rule: object) -> Iterator[Rule]:
        """Have a rule inside the block."""
        made = self.add(action, **rule)
        try:
            yield made
        finally:
            self.remove(made)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Be as a peer that is not there: every connection is closed at once."""
        with self.fault("drop", times=None):
            self._server.close_connections()
            yield

    # What was seen

    def count(self, *, method: str | None = None, path: str = "", body: bytes = b"") -> int:
        """Return how many requests of this kind arrived."""
        with self._guard:
            return sum(_matches(call.method, call.path, call.body, method, path, body) for call in self.calls)

    def forget(self) -> None:
        """Begin to count anew."""
        with self._guard:
            self.calls.clear()

    # One request

    def _relay(self, handler: "_Handler", method: str, path: str, body: bytes) -> None:
        rule = self._strike(method, path, body)
        action = rule.action if rule else None
        if rule is not None and action in {"refuse", "drop"}:
            self._remember(method, path, body, None, action)
            if action == "refuse":
                handler.answer(rule.status, list(rule.headers), rule.answer)
            else:
                handler.hang_up()
            return
        if rule is not None and action == "delay":
            self._stop.wait(rule.delay_s)
        try:
            status, headers, answer = self._forward(method, path, body, handler)
        except (OSError, http.client.HTTPException):
            self._remember(method, path, body, None, action)
            handler.hang_up()  # as a peer that is not there
            return
        self._remember(method, path, body, status, action)
        match action:
            case "lose":
                handler.hang_up()
            case "hang":
                self._stop.wait(self.timeout_s)
                handler.hang_up()
            case "cut":
                handler.answer(status, headers, answer, sent=len(answer) // 2)
                handler.hang_up()
            case "replace" if rule is not None:
                handler.answer(rule.status, list(rule.headers), rule.answer)
            case _:
                handler.answer(status, headers, answer)

    def _strike(self, method: str, path: str, body: bytes) -> Rule | None:
        with self._guard:
            for rule in self._rules:
                if not (_matches(method, path, body, rule.method, rule.path, rule.body) and rule.when()):
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                if rule.times is None or rule.times_struck < rule.times:
                    rule.times_struck += 1
                    return rule
        return None

    def _forward(
        self, method: str, path: str, body: bytes, handler: "_Handler"
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        host, port = self._peer
        if self._peer_tls is None:
            peer = http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        else:
            peer = http.client.HTTPSConnection(host, port, timeout=self.timeout_s, context=self._peer_tls)
        with contextlib.closing(peer):
            peer.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            peer.putheader("Host", f"{host}:{port}")
            peer.putheader("Accept-Encoding", "identity")
            for name, value in handler.headers.items():
                if name.lower() not in _HOP_BY_HOP | {"host", "accept-encoding", "content-length"}:
                    peer.putheader(name, value)
            if body or method in {"POST", "PUT", "PATCH"}:
                peer.putheader("Content-Length", str(len(body)))
            peer.endheaders(body or None)
            told = peer.getresponse()
            answer = told.read()
            headers = [(name, value) for name, value in told.getheaders() if name.lower() not in _HOP_BY_HOP]
        for ours, theirs in self.rewrites.items():
            answer = answer.replace(ours, theirs)
            headers = [(name, value.replace(ours.decode(), theirs.decode())) for name, value in headers]
        return told.status, headers, answer

    def _remember(self, method: str, path: str, body: bytes, status: int | None, fault: str | None) -> None:
        with self._guard:
            self.calls.append(Call(method, path, body[:_BODY_KEPT], status, fault))


def _matches(method: str, path: str, body: bytes, want: str | None, pattern: str, part: bytes) -> bool:
    return (want is None or method == want) and re.search(pattern, path) is not None and part in body


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], proxy: FaultProxy, tls: ssl.SSLContext | None) -> None:
        self.proxy = proxy
        self.tls = tls
        self.open: set[socket.socket] = set()
        self.open_guard = threading.Lock()
        super().__init__(address, _Handler)

    def close_connections(self) -> None:
        with self.open_guard:
            held = list(self.open)
        for connection in held:
            _reset(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        self.request.settimeout(self.server.proxy.timeout_s)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        with self.server.open_guard:
            self.server.open.add(self.request)
        super().setup()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().finish()
        with self.server.open_guard:
            self.server.open.discard(self.request)
        with contextlib.suppress(OSError):
            self.request.close()

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._any
        raise AttributeError(name)

    def _any(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.server.proxy._relay(self, self.command, self.path, self._body())

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, sent: int | None = None) -> None:
        """Send an answer, whole or the first `sent` bytes of its body."""
        self.send_response_only(status)
        has_body = self.command != "HEAD" and status not in {204, 304} and status >= 200
        for name, value in headers:
            if name.lower() != "content-length" or not has_body:
                self.send_header(name, value)
        if has_body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if has_body:
            self.wfile.write(body[:sent])
            self.wfile.flush()

    def hang_up(self) -> None:
        """Close the connection without another word."""
        self.close_connection = True
        _reset(self.request)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def _reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        connection.shutdown(socket.SHUT_RDWR)

"""A worker's own small ear, `[worker] listen`: is it alive, is it ready, what does it count. It changes nothing and asks nobody in."""

import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cloudmgr.http.metrics import MEDIA_TYPE

_TIMEOUT_S = 10


class _Handler(BaseHTTPRequestHandler):
    """Answers GET on three paths; everything else is 404."""

    server: "_Server"
    timeout = _TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "cloudmgr"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        if self.path == "/healthz":
            self._answer(200, "application/json", '{"status":"ok"}')
        elif self.path == "/readyz":
            checks = self.server.ready()
            is_ready = all(checks.values())
            body = {"status": "ready" if is_ready else "not_ready", "checks": dict(checks)}
            self._answer(200 if is_ready else 503, "application/json", json.dumps(body))
        elif self.path == "/metrics":
            self._answer(200, MEDIA_TYPE, _rendered(self.server.count()))
        else:
            self._answer(404, "application/json", '{"status":"not_found"}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
        """Say nothing: probes ask every few seconds."""

    def _answer(self, status: int, media_type: str, body: str) -> None:
        raw = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        ready: Callable[[], Mapping[str, bool]],
        count: Callable[[], Mapping[str, float]],
    ) -> None:
        self.ready, self.count = ready, count
        super().__init__(address, _Handler)


class Listener:
    """Listens from `start` to `stop`; `ready` and `count` are asked at each call and must answer quickly."""

    def __init__(
        self, listen: str, ready: Callable[[], Mapping[str, bool]], count: Callable[[], Mapping[str, float]]
    ) -> None:
        host, _, port = listen.rpartition(":")
        self._server = _Server((host.strip("[]") or "127.0.0.1", int(port)), ready, count)
        self._thread = threading.Thread(target=self._server.serve_forever, name="listener", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=_TIMEOUT_S)


def _rendered(counts: Mapping[str, float]) -> str:
    """Return gauges in Prometheus' text format."""
    return "".join(f"# TYPE {name} gauge\n{name} {value}\n" for name, value in counts.items())

"""Counters of this process in Prometheus' text format (version 0.0.4). No tenant's name or number appears in them."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping

import cloudmgr

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Requests by method, route and status, their durations, and what is in flight. Thread-safe."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._requests: dict[tuple[str, str, int], int] = defaultdict(int)
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0
        self.in_flight = 0
        self.refused = 0
        self.event_streams = 0

    def finished(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the template, so that ids make no series."""
        with self._guard:
            self._requests[method, route, status] += 1
            self._buckets[bisect_left(_BUCKETS, seconds)] += 1
            self._seconds += seconds

    def render(self, gauges: Mapping[str, float] | None = None) -> str:
        """Return everything as exposition text, with numbers that somebody else has counted; a name may carry its labels."""
        with self._guard:
            requests, buckets, seconds = dict(self._requests), list(self._buckets), self._seconds
        lines = [
            "# HELP cloudmgr_build_info The release that runs.",
            "# TYPE cloudmgr_build_info gauge",
            f'cloudmgr_build_info{{version="{cloudmgr.__version__}"}} 1',
            "# HELP cloudmgr_http_requests_total Answered requests.",
            "# TYPE cloudmgr_http_requests_total counter",
        ]
        lines += [
            f'cloudmgr_http_requests_total{{method="{method}",route="{_escaped(route)}",status="{status}"}} {count}'
            for (method, route, status), count in sorted(requests.items())
        ]
        lines += [
            "# HELP cloudmgr_http_request_duration_seconds Time to the end of the answer.",
            "# TYPE cloudmgr_http_request_duration_seconds histogram",
        ]
        total = 0
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), buckets, strict=True):
            total += count
            lines.append(f'cloudmgr_http_request_duration_seconds_bucket{{le="{bound}"}} {total}')
        lines += [
            f"cloudmgr_http_request_duration_seconds_sum {seconds:.6f}",
            f"cloudmgr_http_request_duration_seconds_count {total}",
            "# HELP cloudmgr_http_in_flight Requests admitted and not yet answered.",
            "# TYPE cloudmgr_http_in_flight gauge",
            f"cloudmgr_http_in_flight {self.in_flight}",
            "# HELP cloudmgr_http_refused_total Requests turned away because too many waited.",
            "# TYPE cloudmgr_http_refused_total counter",
            f"cloudmgr_http_refused_total {self.refused}",
        ]
        family = ""
        for name, value in sorted((gauges or {}).items()):
            if name.partition("{")[0] != family:
                family = name.partition("{")[0]
                lines.append(f"# TYPE {family} gauge")
            lines.append(f"{name} {value:.15g}")
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

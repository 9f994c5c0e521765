"""Logs: one JSON object a line on stdout, and the access line of every request. Bodies, queries and headers never appear."""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from cloudmgr.settings import Log

access_log = logging.getLogger("cloudmgr.access")
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"color_message"}  # the last is uvicorn's, for terminals


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, then what the caller put in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({key: value for key, value in vars(record).items() if key not in _OWN and key != "message"})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(settings: Log, stream: TextIO | None = None) -> None:
    """Send every log of the process to stdout, once; uvicorn's own access lines are replaced by ours."""
    handler = logging.StreamHandler(stream or sys.stdout)
    if settings.format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"
    logging.getLogger("httpx").setLevel(logging.WARNING)


def log_access(*, method: str, path: str, status: int, started: float, size: int, **more: Any) -> None:
    """Write the access line of one finished request."""
    duration_ms = round((time.perf_counter() - started) * 1000, 1)
    access_log.info(
        "%s %s %s",
        method,
        path,
        status,
        extra={"method": method, "path": path, "status": status, "duration_ms": duration_ms, "bytes": size, **more},
    )

"""Port openings as lines of a text area: `198.51.100.0/24 tcp/443 purpose 2027-06-30 # reason`, the last two optional."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from cloudmgr.domain.port_rules import LAST_PORT

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_PARTS = 3


def parse(text: str) -> list[dict[str, Any]]:
    """Return the lines as the API takes them; what a line lacks stays out, for the API's own check to name."""
    return [_entry(line) for line in text.splitlines() if line.strip()]


def written(entries: Iterable[Any]) -> str:
    """Return stored lines as they are typed; what is no line of ours is left out."""
    return "\n".join(_line(each) for each in entries if isinstance(each, Mapping))


def _entry(line: str) -> dict[str, Any]:
    said, _, reason = line.partition("#")
    source, spec, purpose = [*said.split(None, _PARTS - 1), *[""] * _PARTS][:_PARTS]
    protocol, _, port = spec.partition("/")
    words = purpose.split()
    entry: dict[str, Any] = {"source": source, "protocol": protocol.lower()}
    if port.isascii() and port.isdigit() and len(port) <= len(str(LAST_PORT)):
        entry["port"] = int(port)
    elif port:
        entry["ports"] = port
    if words and _DAY.fullmatch(words[-1]):
        entry["valid_until"] = words.pop()
    if words:
        entry["purpose"] = " ".join(words)
    if reason.strip():
        entry["reason"] = reason.strip()
    return entry


def _line(entry: Mapping[str, Any]) -> str:
    port = entry.get("port") if entry.get("port") is not None else entry.get("ports")
    spec = str(entry.get("protocol", "")) + (f"/{port}" if port is not None else "")
    parts = [entry.get("source"), spec, entry.get("purpose"), entry.get("valid_until")]
    if entry.get("reason"):
        parts.append(f"# {entry['reason']}")
    return " ".join(str(part) for part in parts if part)

"""What a playbook run tells: its events as they come, and what became of each server. Starts nothing itself."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from cloudmgr.adapters import playbook_guard
from cloudmgr.domain import clock
from cloudmgr.domain.messages import N_, Message


@dataclass(frozen=True, slots=True)
class Host:
    """One server to log into; `address` None: it has none yet, and counts as unreachable."""

    server_id: UUID
    name: str
    address: str | None
    user: str = "ops"
    port: int = 22


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One thing that happened; `server_id` is None when a task starts. `task` is the English name, a catalogue key."""

    seq: int
    at: datetime
    server_id: UUID | None
    role: str
    task: str
    state: str
    """started, ok, changed, skipped, failed or unreachable."""
    message: str


@dataclass(frozen=True, slots=True)
class HostResult:
    """What became of one server; `ok` counts changed tasks too, as Ansible counts."""

    server_id: UUID
    state: str
    """ok, failed or unreachable."""
    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    reason: Message | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    """Operating system, kernel, architecture … as the server said; empty after a rehearsal, which saw another machine."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What became of the run; `reason` says why it did not succeed."""

    state: str
    """succeeded, failed, cancelled or timed_out."""
    hosts: Mapping[UUID, HostResult]
    reason: Message | None = None


class Tally:
    """Counts what the guard tells and makes the result of it."""

    def __init__(self, hosts: Sequence[Host], rehearse: bool, on_event: Callable[[TaskEvent], None]) -> None:
        self.crashed = ""
        self._hosts = hosts
        self._rehearse = rehearse
        self._on_event = on_event
        self._buffer = b""
        self._seq = 0
        self._count: dict[UUID, dict[str, int]] = {host.server_id: {} for host in hosts}
        self._reason: dict[UUID, Message] = {}
        self._facts: dict[UUID, dict[str, str]] = {}
        self._end: dict[str, Any] = {}
        self._broken = ""

    def feed(self, chunk: bytes) -> None:
        *lines, self._buffer = (self._buffer + chunk).split(b"\n")
        for line in lines:
            self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if line["event"] == "end":
            self._end = line
        elif line["event"] == "broken":
            self._broken = line["message"]
        else:
            self._take_task(line)

    def _take_task(self, line: dict[str, Any]) -> None:
        server = UUID(line["host"]) if line["host"] else None
        state = line["state"]
        if server is not None:
            count = self._count[server]
            count[state] = count.get(state, 0) + 1
            if line.get("facts") and not self._rehearse:
                self._facts[server] = {str(key): str(value) for key, value in line["facts"].items()}
            if state in ("failed", "unreachable") and not line.get("ignored"):
                self._reason[server] = _reason(state, line, self._address(server))
        self._seq += 1
        at = datetime.fromisoformat(line["at"]) if line["at"] else clock.now()
        self._on_event(TaskEvent(self._seq, at, server, line["role"], line["task"], state, line["message"]))

    def _address(self, server: UUID) -> str:
        return next((host.address or "" for host in self._hosts if host.server_id == server), "")

    def result(self, state: str, timeout_s: float = 0) -> RunResult:
        """Judge: a server is fine when the whole playbook went over it and no task of it failed."""
        whole = state == "succeeded" or bool(self._end.get("stats"))
        stopped = {
            "cancelled": Message(N_("The run was cancelled.")),
            "timed_out": Message(
                N_("The run did not end within {timeout_s} seconds and was stopped."), {"timeout_s": round(timeout_s)}
            ),
        }.get(state) or (
            None if whole else Message(N_("Ansible stopped early: {said}"), {"said": _said(self._why_early())})
        )
        results = {host.server_id: self._host_result(host, stopped) for host in self._hosts}
        bad = [result for result in results.values() if result.state != "ok"]
        if state in ("cancelled", "timed_out") and not (whole and not bad):
            return RunResult(state, results, stopped)
        if stopped is not None and not whole:
            return RunResult("failed", results, stopped)
        if bad:
            params = {"bad": len(bad), "total": len(results)}
            return RunResult("failed", results, Message(N_("The playbook failed on {bad} of {total} servers."), params))
        return RunResult("succeeded", results)

    def _host_result(self, host: Host, stopped: Message | None) -> HostResult:
        count = self._count[host.server_id]
        reason = self._reason.get(host.server_id) or stopped
        state = "unreachable" if count.get("unreachable") else "ok" if reason is None else "failed"
        if host.address is None and not self._rehearse:
            state, reason = "unreachable", Message(N_("Server {name} has no address to log into."), {"name": host.name})
        return HostResult(
            server_id=host.server_id,
            state=state,
            ok=count.get("ok", 0) + count.get("changed", 0),
            changed=count.get("changed", 0),
            failed=count.get("failed", 0),
            skipped=count.get("skipped", 0),
            reason=reason,
            facts=self._facts.get(host.server_id, {}),
        )

    def _why_early(self) -> str:
        return self._broken or self._end.get("tail") or self.crashed


def _reason(state: str, line: Mapping[str, Any], address: str) -> Message:
    said = _said(line["message"])
    if state == "unreachable":
        return Message(N_("The server did not let us in at {address}: {said}"), {"address": address, "said": said})
    task = line["task"]
    named = task if "{" in task else Message(task)  # our task names are catalogue keys, too
    return Message(N_("Task “{task}” failed: {said}"), {"task": named, "said": said})


def _said(text: str) -> Message | str:
    """Return what was said: Ansible's own words as they are, ours to be translated."""
    if not text:
        return Message(N_("no reason given"))
    if text == playbook_guard.HIDDEN:
        return Message(N_("its output is hidden because it may hold secrets"))
    return text

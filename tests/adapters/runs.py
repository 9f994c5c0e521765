"""How these tests start a run: as a rehearsal on this machine, with everything defaulted that a test is not about."""

import json
import os
import uuid
from pathlib import Path
from typing import Any

from cloudmgr.adapters.ansible import Host, RunResult, TaskEvent, run_playbook

CONTENT = Path(__file__).parent / "content"


def hosts(count: int = 1, address: str | None = None) -> list[Host]:
    return [Host(uuid.uuid4(), f"430102-mzj-zhsq-prd-app{number:02}", address) for number in range(1, count + 1)]


def rehearse(work_dir: Path, playbook: str, on: list[Host], **other: Any) -> tuple[RunResult, list[TaskEvent]]:
    events: list[TaskEvent] = []
    wanted: dict[str, Any] = {
        "run_id": uuid.uuid4(),
        "playbook": playbook
        if playbook.startswith("/") or playbook in ("configure_server", "collect_facts")
        else str(CONTENT / playbook),
        "hosts": on,
        "variables": {},
        "secrets": {},
        "private_key": None,
        "known_hosts": None,
        "rehearse": True,
        "check": False,
        "timeout_s": 60,
        "work_dir": work_dir,
        "on_event": events.append,
        "is_cancelled": lambda: False,
        **other,
    }
    return run_playbook(**wanted), events


class Folders:
    """Remembers a run's private folder, told by its servers' lock files; an `on_event` for `rehearse`."""

    def __init__(self, work_dir: Path) -> None:
        self._locks = work_dir / "locks"
        self.seen: set[Path] = set()
        self.events: list[TaskEvent] = []

    def __call__(self, event: TaskEvent) -> None:
        self.events.append(event)
        for lock in self._locks.iterdir():
            if told := lock.read_text():
                self.seen.add(Path(json.loads(told)["folder"]))

    def are_gone(self) -> bool:
        return bool(self.seen) and not any(folder.exists() for folder in self.seen)


def processes_with(text: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if text.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found

"""The process between a worker and Ansible, so that a playbook run dies with its worker and leaves nothing behind.

ansible-runner starts ansible-playbook in a session of its own, which outlives even a kill -9 of the worker's process
group. This guard is therefore a process of its own, too: it reads one line of JSON (what to run) from standard input and
then waits for that pipe to close. When it closes, because the worker ended it or because the worker is gone, the guard
kills everything below it, removes the private folder and exits. Events go to standard output, one JSON object a line.

It promises not to write a secret anywhere but into the private folder (mode 0700, removed in every outcome), and knows
neither the database nor the rest of cloudmgr: standard library here, ansible-runner inside `_run` only.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER_PREFIX = "cm-"
KILL_WITHIN_S = 5.0
HIDDEN = "its output is hidden because it may hold secrets"
_MESSAGE_CHARS = 600
_TAIL_LINES = 15
_SECRET_CHARS = 4
_YOUNG_S = 60
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_PLAIN = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")  # YAML forbids or folds them


def process_started(pid: int) -> int | None:
    """Return a process's start time in clock ticks since boot (proc(5), field 22); None when there is no live one."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def kill_survivors(pid: int, started: int, folder: str) -> None:
    """Kill the session that a dead guard left behind, and what still names its private folder; then remove the folder.

    Raises:
        TimeoutError: something is still there after KILL_WITHIN_S.
    """
    if process_started(pid) in (started, None):  # else the number is another process's by now
        _kill_until_gone(lambda: [p for p, fields in _processes() if p == pid or int(fields[3]) == pid])
    if folder:
        _kill_until_gone(lambda: _naming(folder))
        remove_folder(Path(folder))


def kill_below(root: int) -> None:
    """Kill every process below `root`, daemonised ones included where `root` is a subreaper."""
    _kill_until_gone(lambda: _descendants(root))


def remove_folder(folder: Path) -> None:
    """Remove a private folder, also while something is still writing into it."""
    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.05)


def sweep(bases: Iterable[str]) -> None:
    """Remove private folders of ours whose guard is gone; each guard holds a lock on its folder's `guard` file."""
    for base in bases:
        for folder in Path(base).glob(f"{FOLDER_PREFIX}*"):
            with contextlib.suppress(OSError):
                seen = folder.stat()
                if seen.st_uid != os.getuid() or time.time() - seen.st_mtime < _YOUNG_S:
                    continue
                with (folder / "guard").open("a") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove_folder(folder)


def unsafe_yaml(value: Any) -> str:
    """Return a value as YAML whose strings Ansible never treats as templates (`!unsafe`).

    A variable like `{{ lookup('pipe', …) }}` would otherwise run on the worker.
    """
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return "!unsafe " + _NOT_PLAIN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {unsafe_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(unsafe_yaml(item) for item in value) + "]"
    return json.dumps(value)


def main(arguments: list[str]) -> int:
    """Run as guard, or (`exec`) as the small process that becomes ansible-playbook."""
    if arguments[:1] == ["exec"]:
        _become(int(arguments[1]), Path(arguments[2]), arguments[3:])
    os.umask(0o077)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = json.loads(sys.stdin.buffer.readline())
    for descriptor in order["lock_fds"]:
        os.set_inheritable(descriptor, False)  # Ansible must not keep the servers' locks alive
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=order["base"]))
    ending = _Ending(folder, order["lock_fds"])
    signal.signal(signal.SIGTERM, lambda *_: ending.end(3))
    with (folder / "guard").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Thread(target=_await_close, args=(ending,), daemon=True).start()
        try:
            _run(order, folder)
        except BaseException as error:  # noqa: BLE001 - the edge of this process: told to the worker, then cleaned up
            _say({"event": "broken", "message": _scrubber(order)(f"{type(error).__name__}: {error}")})
            ending.end(1)
        ending.end(0)
    return 0


class _Ending:
    """What happens once, whoever comes first: kill, remove, release, exit."""

    def __init__(self, folder: Path, lock_fds: list[int]) -> None:
        self._folder = folder
        self._lock_fds = lock_fds
        self._once = threading.Lock()
        self._by: int | None = None

    def end(self, status: int) -> None:
        if not self._once.acquire(blocking=False):
            if self._by == threading.get_ident():
                return  # a signal came while this thread was ending already
            threading.Event().wait()
        self._by = threading.get_ident()
        with contextlib.suppress(TimeoutError):
            kill_below(os.getpid())
            for descriptor in self._lock_fds:
                os.ftruncate(descriptor, 0)  # nothing left to look for
        remove_folder(self._folder)
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)


def _await_close(ending: _Ending) -> None:
    while sys.stdin.buffer.read(1):
        pass
    ending.end(3)


def _run(order: Mapping[str, Any], folder: Path) -> None:
    from ansible_runner import Runner, RunnerConfig  # noqa: PLC0415 - a heavy import that only this process pays

    (folder / "record.json").write_text(
        json.dumps({"run": order["run"], "locks": order["locks"], "folder": str(folder)})
    )
    _write_inputs(order, folder)
    config = RunnerConfig(
        private_data_dir=str(folder),
        project_dir=order["project"],
        playbook=order["playbook"],
        inventory=str(folder / "hosts.yml"),
        extravars=None,
        cmdline="--check" if order["check"] else None,
        forks=order["forks"],
        ident="run",
        quiet=True,
        envvars=_environment(order, folder),
    )
    config.prepare()
    config.command = [
        *order["command_prefix"],
        *(sys.executable, "-P", __file__, "exec", str(os.getpid()), str(folder / "record.json")),
        *_ansible_playbook(),
        *config.command[1:],
    ]
    relay = _Relay(_scrubber(order))
    runner = Runner(config=config, event_handler=relay.take)
    status, code = runner.run()
    _say({"event": "end", "status": status, "rc": code, "stats": relay.saw_stats, "tail": relay.tail()})


def _write_inputs(order: Mapping[str, Any], folder: Path) -> None:
    for name in ("env", "control", "tmp", "home"):
        (folder / name).mkdir()
    (folder / "ansible.cfg").write_text("[defaults]\n")
    (folder / "env" / "settings").write_text(json.dumps({"pexpect_timeout": 1, "suppress_output_file": True}))
    (folder / "env" / "extravars").write_text(unsafe_yaml({"cloudmgr_secrets": order["secrets"]}))
    shared: list[str] = []
    if order["private_key"]:
        key = folder / "key"
        key.write_text(order["private_key"].rstrip("\n") + "\n")
        shared += ["-o", "IdentitiesOnly=yes", "-i", str(key)]
    if order["known_hosts"] is not None:
        (folder / "known_hosts").write_text(order["known_hosts"])
    hosts = {}
    for name, host in order["hosts"].items():
        connection = dict(host["connection"])
        if connection.get("ansible_connection") != "local":
            own = ["-o", f'UserKnownHostsFile="{folder}/known_hosts"', "-o", "StrictHostKeyChecking=yes"]
            if order["known_hosts"] is None:
                # Once a key is kept it must match: accept-new alone would take one of another type beside it.
                kept = Path(host["known_hosts"])
                policy = "yes" if kept.exists() and kept.read_text().strip() else "accept-new"
                own = [
                    "-o",
                    f'UserKnownHostsFile="{kept}"',
                    "-o",
                    f"HostKeyAlias={name}",
                    "-o",
                    f"StrictHostKeyChecking={policy}",
                ]
            connection["ansible_ssh_common_args"] = shlex.join([*own, *shared])
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in connection.items()]
        lines += [f"{json.dumps(key)}: {unsafe_yaml(value)}" for key, value in host["variables"].items()]
        hosts[name] = "{" + ", ".join(lines) + "}"
    listed = ", ".join(f"{json.dumps(name)}: {text}" for name, text in hosts.items())
    (folder / "hosts.yml").write_text("all: {hosts: {" + listed + "}}\n")


def _environment(order: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return Ansible's settings; its own configuration files, and the user's, are not read."""
    ssh = "-F /dev/null -o ControlMaster=auto -o ControlPersist=60s -o ServerAliveInterval=15 -o ServerAliveCountMax=4"
    settings = {
        "CONFIG": f"{folder}/ansible.cfg",
        "HOME": f"{folder}/home",
        "LOCAL_TEMP": str(folder / "tmp"),
        "COLLECTIONS_PATH": f"{folder}/home",
        "COLLECTIONS_SCAN_SYS_PATH": "False",
        "ACTION_PLUGINS": f"{order['project']}/action_plugins",
        "ROLES_PATH": f"{order['project']}/roles",
        "INVENTORY_ENABLED": "yaml",
        "GATHERING": "explicit",
        "INJECT_FACT_VARS": "False",
        "PYTHON_INTERPRETER": "auto_silent",
        "PIPELINING": "True",
        "SSH_TRANSFER_METHOD": "piped",
        "SSH_ARGS": ssh,
        "SSH_CONTROL_PATH_DIR": f"{folder}/control",
        "SSH_RETRIES": "2",
        "TIMEOUT": "60",
        "HOST_KEY_CHECKING": "True",
        "RETRY_FILES_ENABLED": "False",
        "DEPRECATION_WARNINGS": "False",
        "NOCOLOR": "True",
        "NO_TARGET_SYSLOG": str(bool(order["rehearse"])),
    }
    if order["rehearse"]:
        settings["REMOTE_TEMP"] = str(folder / "tmp")
    return {f"ANSIBLE_{key}": value for key, value in settings.items()} | {"LC_ALL": "C.UTF-8"}


def _ansible_playbook() -> list[str]:
    beside = Path(sys.executable).parent / "ansible-playbook"
    return [str(beside)] if beside.exists() else [sys.executable, "-P", "-m", "ansible", "playbook"]


class _Relay:
    """Turns ansible-runner's events into ours: few fields, no secret, in order."""

    _STATES: Mapping[str, str] = {
        "runner_on_ok": "ok",
        "runner_on_skipped": "skipped",
        "runner_on_failed": "failed",
        "runner_on_unreachable": "unreachable",
    }

    def __init__(self, scrub: Callable[[str], str]) -> None:
        self._scrub = scrub
        self._tail: list[str] = []
        self.saw_stats = False

    def take(self, event: Mapping[str, Any]) -> bool:
        """Pass one event on; False tells ansible-runner not to keep it as a file."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        about = {"role": data.get("role") or "", "task": data.get("task") or "", "at": event.get("created")}
        if kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            _say({"event": "task", "state": "started", "host": None, "message": "", **about})
        elif kind in self._STATES:
            result = data.get("res") or {}
            state = self._STATES[kind]
            if state == "ok" and result.get("changed"):
                state = "changed"
            facts = (result.get("ansible_stats") or {}).get("data")
            told = {"ignored": bool(data.get("ignore_errors")), "facts": facts if isinstance(facts, dict) else None}
            message = self._scrub(said(result, state))
            _say({"event": "task", "state": state, "host": data.get("host"), "message": message, **told, **about})
        elif kind == "playbook_on_stats":
            self.saw_stats = True
        elif event.get("stdout"):
            self._tail = [*self._tail, *event["stdout"].splitlines()][-_TAIL_LINES:]
        return False

    def tail(self) -> str:
        return self._scrub("\n".join(self._tail))[-_MESSAGE_CHARS:]


def said(result: Mapping[str, Any], state: str) -> str:
    """Return what a task's result says to a person: the files it changed, or why it failed; never a traceback whole."""
    if state not in ("failed", "unreachable"):
        return ", ".join(map(str, result.get("files") or []))[:_MESSAGE_CHARS] if state == "changed" else ""
    if "censored" in result:
        return HIDDEN
    items = [item for item in result.get("results") or [] if isinstance(item, dict) and item.get("failed")]
    if items:
        return "; ".join(said(item, state) for item in items)[:_MESSAGE_CHARS]
    parts = [str(result.get("msg") or "")]
    for stream in ("module_stderr", "stderr", "module_stdout", "stdout"):
        text = str(result.get(stream) or "").strip()
        if text:
            parts.append("\n".join(text.splitlines()[-3:])[-_MESSAGE_CHARS // 2 :])
            break
    return " – ".join(part.strip() for part in parts if part.strip())[:_MESSAGE_CHARS]


def _scrubber(order: Mapping[str, Any]) -> Callable[[str], str]:
    secrets = [*order["secrets"].values(), order["private_key"] or ""]
    parts = {
        part for secret in secrets for part in (secret, *secret.splitlines()) if len(part.strip()) >= _SECRET_CHARS
    }
    longest_first = sorted(parts, key=len, reverse=True)

    def scrub(text: str) -> str:
        for part in longest_first:
            text = text.replace(part, "******")
        return text

    return scrub


def _say(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, ensure_ascii=True, default=str) + "\n")
    sys.stdout.flush()


def _become(guard: int, record: Path, command: list[str]) -> None:
    """Tie this process's life to the guard's, write down who it is where the next run will look, and become Ansible."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if process_started(guard) is None:
        os._exit(3)
    about = json.loads(record.read_text())
    mine = {"run": about["run"], "pid": os.getpid(), "started": process_started(os.getpid()), "folder": about["folder"]}
    for lock in about["locks"]:
        Path(lock).write_text(json.dumps(mine))
    os.execvp(command[0], command)  # noqa: S606 - replaces this process; no shell


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _stat(pid: int) -> list[str] | None:
    """Return proc(5) stat's fields from the third (state) on; the second may hold spaces and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None


def _processes() -> list[tuple[int, list[str]]]:
    found = ((int(name), _stat(int(name))) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return [(pid, fields) for pid, fields in found if fields is not None and fields[0] != "Z"]


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, fields in _processes():
        children.setdefault(int(fields[1]), []).append(pid)
    found, frontier = [], [root]
    while frontier:
        frontier = [child for parent in frontier for child in children.get(parent, [])]
        found += frontier
    return found


def _naming(folder: str) -> list[int]:
    """Return processes whose command line names the folder: SSH's control masters have left every session."""
    found = []
    for pid, _ in _processes():
        with contextlib.suppress(OSError):
            if folder.encode() in Path(f"/proc/{pid}/cmdline").read_bytes() and pid != os.getpid():
                found.append(pid)
    return found


def _kill_until_gone(targets: Callable[[], list[int]]) -> None:
    deadline = time.monotonic() + KILL_WITHIN_S
    while pids := targets():
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} do not die")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

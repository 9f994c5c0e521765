"""A run dies with its worker, at most one runs a server, and no secret leaves the private folder: with real processes."""

import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudmgr.adapters import playbook_guard
from cloudmgr.adapters.ansible import Host
from cloudmgr.domain.errors import Conflict

from .runs import CONTENT, Folders, hosts, processes_with, rehearse

ROOT = Path(__file__).parent.parent.parent
_seconds = itertools.count(7000 + os.getpid() % 900 * 10)


@pytest.fixture
def seconds() -> int:
    """A length of sleep no other test uses: it names this test's processes."""
    return next(_seconds)


def sleepers(seconds: int) -> list[int]:
    return processes_with(f"sleep\0{seconds}\0")


def until(condition, within_s: float = 5.0) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, "not within the time"
        time.sleep(0.05)
    return time.monotonic() - started


class Worker:
    def __init__(self, work_dir: Path, server: uuid.UUID, seconds: int) -> None:
        self.seconds = seconds
        self.lock = work_dir / "locks" / f"{server}.lock"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.adapters.worker_process",
                str(work_dir),
                str(CONTENT / "slow.yml"),
                str(server),
                str(seconds),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        until(lambda: sleepers(seconds), within_s=30)
        left = json.loads(self.lock.read_text())
        self.ansible, self.folder = left["pid"], Path(left["folder"])
        self.guard = self._parent(self.ansible)

    def _parent(self, pid: int) -> int:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    def gone(self) -> bool:
        left = [pid for pid in (self.ansible, self.guard) if playbook_guard.process_started(pid) is not None]
        return (
            not left
            and not sleepers(self.seconds)
            and not processes_with(str(self.folder))
            and not self.folder.exists()
        )


@pytest.fixture
def worker(tmp_path: Path, seconds: int) -> Iterator[Worker]:
    one = Worker(tmp_path, uuid.uuid4(), seconds)
    yield one
    with one.process:
        one.process.kill()
    until(lambda: not sleepers(seconds))


def test_a_run_dies_with_its_worker_killed_with_its_whole_group(worker):
    assert stat.S_IMODE(worker.folder.stat().st_mode) == 0o700
    os.killpg(worker.process.pid, signal.SIGKILL)
    took_s = until(worker.gone)
    print(f"after kill -9 of the worker everything was gone within {took_s:.2f} s")


def test_a_restarted_step_waits_for_the_dead_run_and_then_runs(tmp_path, worker, seconds):
    server = Host(uuid.UUID(worker.lock.stem), "app01", None)
    os.kill(worker.process.pid, signal.SIGKILL)
    result, _ = rehearse(tmp_path, "slow.yml", [server], variables={"seconds": 0})
    assert result.state == "succeeded"
    assert worker.gone()


def test_a_killed_guard_ends_the_run_and_its_worker_cleans_up(worker):
    os.kill(worker.guard, signal.SIGKILL)
    out, _ = worker.process.communicate(timeout=10)
    assert out.split()[-1] == b"failed"
    assert worker.gone()


def test_what_survives_worker_and_guard_is_killed_before_the_next_start(tmp_path, worker):
    for pid in (worker.process.pid, worker.guard):
        os.kill(pid, signal.SIGSTOP)  # both together, as a whole machine's out-of-memory killer would
    for pid in (worker.process.pid, worker.guard):
        os.kill(pid, signal.SIGKILL)
    until(lambda: playbook_guard.process_started(worker.ansible) is None)  # by its death signal
    server = Host(uuid.UUID(worker.lock.stem), "app01", None)
    result, _ = rehearse(tmp_path, "slow.yml", [server], variables={"seconds": 0})
    assert result.state == "succeeded"
    assert worker.gone()


def test_a_number_reused_by_another_process_is_not_killed(tmp_path):
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        playbook_guard.kill_survivors(bystander.pid, 1, "")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_folder_left_by_a_dead_guard_is_swept_and_a_live_ones_kept(tmp_path, monkeypatch):
    dead, alive = tmp_path / "cm-dead", tmp_path / "cm-alive"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "key").write_text("x")
    monkeypatch.setattr(playbook_guard, "_YOUNG_S", -1)
    code = "import fcntl,sys,time; f=open(sys.argv[1],'w'); fcntl.flock(f,2); print('held',flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(alive / "guard")], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        playbook_guard.sweep([str(tmp_path)])
        holder.kill()
    assert (dead.exists(), alive.exists()) == (False, True)


def test_a_second_run_on_the_same_server_is_refused_and_on_another_is_not(tmp_path, worker):
    busy, free = Host(uuid.UUID(worker.lock.stem), "app01", None), hosts()[0]
    with pytest.raises(Conflict, match="already running on server app01"):
        rehearse(tmp_path, "slow.yml", [free, busy], variables={"seconds": 0}, lock_wait_s=0.3)
    assert rehearse(tmp_path, "slow.yml", [free], variables={"seconds": 0})[0].state == "succeeded"


def test_threads_of_one_worker_exclude_each_other_too(tmp_path):
    server, running, most, guard = hosts(), 0, 0, threading.Lock()
    results: list[str] = []

    def step() -> None:
        def watch(event) -> None:
            nonlocal running, most
            with guard:
                running += {"started": 1, "ok": -1}.get(event.state, 0)
                most = max(most, running)

        results.append(
            rehearse(tmp_path, "slow.yml", server, variables={"seconds": 0}, on_event=watch, lock_wait_s=60)[0].state
        )

    threads = [threading.Thread(target=step) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (results, most) == (["succeeded"] * 3, 1)


def test_cancelling_ends_the_run_within_five_seconds(tmp_path, seconds):
    folders, cancelled, asked_at = Folders(tmp_path), threading.Event(), 0.0

    def on_event(event) -> None:
        nonlocal asked_at
        folders(event)
        until(lambda: sleepers(seconds), within_s=20)
        asked_at = time.monotonic()
        cancelled.set()

    server = hosts()[0]
    result, _ = rehearse(
        tmp_path, "slow.yml", [server], variables={"seconds": seconds}, on_event=on_event, is_cancelled=cancelled.is_set
    )
    assert time.monotonic() - asked_at < 5
    assert (result.state, str(result.reason)) == ("cancelled", "The run was cancelled.")
    assert result.hosts[server.server_id].state == "failed"
    assert not sleepers(seconds)
    assert folders.are_gone()


def test_the_time_limit_ends_the_run_and_says_so(tmp_path, seconds):
    started = time.monotonic()
    result, _ = rehearse(tmp_path, "slow.yml", hosts(), variables={"seconds": seconds}, timeout_s=4)
    assert time.monotonic() - started < 9
    assert result.state == "timed_out"
    assert str(result.reason) == "The run did not end within 4 seconds and was stopped."
    assert not sleepers(seconds)


def test_a_guard_that_does_not_follow_is_killed_with_all_it_started(tmp_path, seconds):
    server, started = hosts()[0], time.monotonic()
    lock = tmp_path / "locks" / f"{server.server_id}.lock"

    def stop_the_guard(event) -> None:
        until(lambda: sleepers(seconds), within_s=20)
        ansible = json.loads(lock.read_text())["pid"]
        os.kill(int(Path(f"/proc/{ansible}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGSTOP)

    result, _ = rehearse(
        tmp_path, "slow.yml", [server], variables={"seconds": seconds}, on_event=stop_the_guard, timeout_s=6
    )
    assert result.state == "timed_out"
    assert time.monotonic() - started < 25
    assert not sleepers(seconds)
    assert lock.read_text() == ""


SECRET = "hunter2-Zq9!x"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQ\n-----END OPENSSH PRIVATE KEY-----\n"


def test_a_secret_stands_in_no_command_line_environment_event_result_or_file_after(tmp_path):
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for entry in Path("/proc").iterdir():
                if not entry.name.isdigit() or int(entry.name) == os.getpid():
                    continue
                for part in ("cmdline", "environ"):
                    try:
                        text = (entry / part).read_bytes()
                    except OSError:
                        continue
                    if SECRET.encode() in text or b"b3BlbnNzaC1rZXk" in text:
                        seen.add(f"{part} of {text[:80]!r}")

    watcher = threading.Thread(target=look)
    watcher.start()
    folders = Folders(tmp_path)
    try:
        result, _ = rehearse(
            tmp_path, "talks.yml", hosts(2), secrets={"agent_token": SECRET}, private_key=KEY, on_event=folders
        )
    finally:
        done.set()
        watcher.join()
    assert seen == set()
    assert result.state == "failed"
    told = [event.message for event in folders.events if event.state == "failed"]
    assert told == ["the token is ****** indeed", "its output is hidden because it may hold secrets"]
    everything = (
        repr(result) + repr(folders.events) + "".join(map(str, (host.reason for host in result.hosts.values())))
    )
    assert SECRET not in everything
    assert folders.are_gone()
    kept = [file for file in tmp_path.rglob("*") if file.is_file() and SECRET in file.read_text(errors="replace")]
    assert kept == []


def test_the_worker_itself_never_loads_ansible():
    code = "import cloudmgr.adapters.ansible, cloudmgr.adapters.catalogue, sys; print([m for m in sys.modules if m.startswith('ansible')])"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"

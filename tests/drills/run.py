"""One run of the drill: a server is made, or retired, by real worker processes while its peer or they themselves fail.

What came of it is judged by the peer itself, by the ledger, and by what a person is told.
"""

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.messages import Message
from cloudmgr.models import Backend, Image, ResourceRequest, Server, Subnet
from cloudmgr.services import requests
from cloudmgr.store.db import begin_immediate, make_engine, new_session
from providers.errors import ProviderError, Remedy
from tests import world
from tests.drills.peers import CALL_TIMEOUT_S, LATE_S, Peer, until
from tests.drills.zygote import LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
FAULTS = (
    "lost",
    "killed",
    "lost_killed",
    "session",
    "away",
    "frozen",
    "restarted",
    "late",
    "503",
    "wrong_ca",
    "expired",
)
STORIES = ("provision", "retire")
DECISIVE = {"provision": "create", "retire": "delete"}
POINTS = {
    "provision": ("place", "create", "created", "await_running", "post"),
    "retire": ("retire_begin", "evidence", "list_pieces", "delete", "ask", "checked", "retired"),
}
TOLD_IN_LOG = {
    "lost": ("backend_unknown_outcome", "backend_unavailable"),
    "late": ("backend_unknown_outcome", "backend_unavailable"),
    "503": ("backend_unavailable", "backend_throttled", "backend_unknown_outcome", "backend_busy"),
}
"""What the operator's log says of faults that heal by themselves; tenants are not told of them."""
REFUSED = {"wrong_ca": ("certificate", "who it should be"), "expired": ("credentials", "password", "login")}
"""What a person reads of a cloud that is not trusted, or does not take the password; each driver has its own sentence."""
WORKER = {"poll_s": 0.1, "boot_poll_s": 0.1, "health_interval_s": 2, "retire_recheck_s": 0.5} | {
    "boot_timeout_s": 90,
    "full_sync_interval_s": 0,
    "incremental_sync_interval_s": 0,
}


def applies(peer: str, fault: str) -> bool:
    """Tell whether a peer can be hurt like this.

    EC2 has no sessions. Its client token makes a late request return the server of the first; moto ignores client tokens, so
    that a late one cannot be judged there. OpenStack's processes are shared: freezing them would be being away, and nobody
    restarts them under others.
    """
    return (peer, fault) not in {
        ("ec2", "session"),
        ("ec2", "late"),
        ("openstack", "frozen"),
        ("openstack", "restarted"),
    }


class Zygote:
    """The forking process of one peer's runs."""

    def __init__(self, driver: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.drills.zygote", driver],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip

    def run(self, folder: Path, meanwhile: Callable[[], None] | None = None, **order: Any) -> dict[str, Any]:
        """Fork a worker and wait for its end; `meanwhile` is done once it has come to its `halt_at`, which then goes on."""
        for name in ("halted", "go", "stop"):
            (folder / name).unlink(missing_ok=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"data_dir": str(folder), **order}) + "\n")
        self._process.stdin.flush()
        beside = threading.Thread(target=self._beside, args=(folder, meanwhile), daemon=True)
        if meanwhile is not None:
            beside.start()
        answer = self._process.stdout.readline()
        assert answer, "the zygote is gone"
        (folder / "ended").touch()
        if meanwhile is not None:
            beside.join(2 * LIMIT_S)  # a peer that is started anew may take its time
        (folder / "ended").unlink()
        return dict(json.loads(answer))

    @staticmethod
    def _beside(folder: Path, meanwhile: Callable[[], None]) -> None:
        if (
            until(lambda: (folder / "halted").exists() or (folder / "ended").exists(), LIMIT_S)
            and not (folder / "ended").exists()
        ):
            meanwhile()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=LIMIT_S)
        finally:
            self._process.kill()
            self._process.stdout.close()


@dataclass
class Town:
    """A city whose only cloud is a peer."""

    peer: Peer
    zygote: Zygote
    folder: Path
    settings: dict[str, Any]
    request: uuid.UUID | None = None

    @contextmanager
    def session(self) -> Iterator[Session]:
        engine = make_engine(f"sqlite:///{self.folder / 'cloudmgr.db'}", pool_size=2)
        try:
            with new_session(engine) as session:
                yield session
        finally:
            engine.dispose()

    def run(self, meanwhile: Callable[[], None] | None = None, **order: Any) -> dict[str, Any]:
        request = str(self.request) if self.request else None
        return self.zygote.run(self.folder, meanwhile, settings=self.settings, request=request, **order)

    def log(self) -> str:
        path = self.folder / "worker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def ask(self, story: str) -> None:
        """Submit what the story is about and have it approved."""
        with self.city() as city:
            if story == "provision":
                body = {"flavor": self.peer.flavor, "image": self.peer.image, "arch": self.peer.arch, "name": "drill"}
                self.request = city.submit(playbook="collect_facts", **body)
            else:
                with self.session() as session:
                    ids = [server.id for server in session.exec(select(Server))]
                self.request = city.submit_retire(ids)
            city.approve(self.request)

    @contextmanager
    def city(self) -> Iterator[world.World]:
        engine = make_engine(f"sqlite:///{self.folder / 'cloudmgr.db'}", pool_size=2)
        try:
            yield world.reopen(self.folder, engine)
        finally:
            engine.dispose()

    def copy(self, folder: Path) -> "Town":
        """Copy the city; its cloud counts as seen just now."""
        shutil.copytree(self.folder, folder)
        made = Town(self.peer, self.zygote, folder, self.settings)
        with made.session() as session:
            begin_immediate(session)
            backend = session.exec(select(Backend)).one()
            backend.last_seen_at = clock.now()
            session.add(backend)
            session.commit()
        return made


def found_town(peer: Peer, zygote: Zygote, folder: Path) -> Town:
    """Make the city of a peer, and let a worker see the peer once."""
    section = peer.section()
    with _one_at_a_time:  # Alembic keeps its context in a module
        city = world.build(folder, backends=[section], worker=WORKER)
    with city.session() as session:
        if not session.exec(select(Image).where(Image.name == peer.image)).first():
            session.add(Image(name=peer.image, title=peer.image, os_name="Lab", os_version="1"))
        session.commit()
    city.engine.dispose()
    settings = {"database": {"synchronous": "NORMAL"}, "worker": WORKER, "backends": [section]}
    town = Town(peer, zygote, folder, settings)
    done = town.run()
    assert done["status"] == 0, town.log()[-4000:]
    with town.session() as session:
        begin_immediate(session)
        for subnet in session.exec(select(Subnet)):
            subnet.is_managed = not peer.gives_addresses
            session.add(subnet)
        session.commit()
    (folder / "worker.log").unlink(missing_ok=True)
    return town


@dataclass
class Result:
    """What one run came to; `wrong` names everything that is not as it must be."""

    peer: str
    story: str
    fault: str
    point: str
    seconds: float = 0.0
    struck: bool = True
    wrong: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)


_numbers = itertools.count()
_one_at_a_time = threading.Lock()


def run(town: Town, story: str, fault: str, chance: random.Random) -> Result:
    """Let one request be worked off while `fault` happens, mend it, and judge."""
    peer = town.peer
    began = time.monotonic()
    town.ask(story)
    before = len(town.log())
    drill = _Drill(town, story, fault, chance)
    result = drill.result
    try:
        drill.strike()
    finally:
        peer.heal()
    drill.finish()
    drill.judge(town.log()[before:])
    result.seconds = time.monotonic() - began
    return result


class _Drill:
    def __init__(self, town: Town, story: str, fault: str, chance: random.Random) -> None:
        self.town, self.peer, self.story, self.fault, self.chance = town, town.peer, story, fault, chance
        self.step = DECISIVE[story]
        self.result = Result(self.peer.name, story, fault, f"{self.step}:before")

    # What happens

    def strike(self) -> None:
        """Run a worker into the fault."""
        match self.fault:
            case "lost":
                self._with_rule("lose")
            case "late":
                self._with_rule("delay", delay_s=LATE_S)
            case "503":
                self._with_rule("refuse", status=503, times=self.chance.randint(1, 3))
            case "killed":
                point = f"{self.chance.choice(POINTS[self.story])}:{self.chance.choice(('inside', 'after'))}"
                self._killed(point)
            case "lost_killed":
                self.peer.strike("lose", self.step)
                self._killed(f"{self.step}:inside")
                self.result.struck = self.peer.strikes() > 0
            case "session":
                self._meanwhile(self.peer.session_over or (lambda: None))
            case "away":
                self._meanwhile_in(self.peer.away)
            case "frozen":
                self._meanwhile_in(self.peer.frozen)
            case "restarted":
                self.result.point = f"{self.step}:{self.chance.choice(('before', 'after'))}"
                self._meanwhile_in(self.peer.restarted)
            case "wrong_ca":
                self._refused(self.peer.distrusted)
            case "expired":
                self._refused(self.peer.expired)

    def _with_rule(self, action: str, **rule: Any) -> None:
        self.peer.strike(action, self.step, **rule)
        self.town.run()
        self.result.struck = self.peer.strikes() > 0

    def _killed(self, point: str) -> None:
        self.result.point = point
        died = self.town.run(kill_at=point)
        self.result.struck = died["died_by"] == signal.SIGKILL
        self._look()

    def _meanwhile(self, deed: Callable[[], None]) -> None:
        """Let it happen while the worker stands before its decisive call, logged in and all."""

        def at_halt() -> None:
            deed()
            (self.town.folder / "go").touch()

        self.town.run(at_halt, halt_at=self.result.point)

    def _meanwhile_in(self, trouble: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        """The same, for as long as it takes until the cloud is seen to be away."""

        def at_halt() -> None:
            with trouble():
                (self.town.folder / "go").touch()
                until(lambda: self._health()[0] == "down", 3 * CALL_TIMEOUT_S + 30)
                time.sleep(self.chance.uniform(0, 2))
                self._look(ask_peer=self.fault not in ("frozen", "restarted"))

        self.town.run(at_halt, halt_at=self.result.point)

    def _refused(self, trouble: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        """Killed before its decisive call, the worker starts again, and the cloud does not take it or is not trusted."""
        point = f"{'place' if self.story == 'provision' else 'retire_begin'}:after"
        self.result.point = point
        died = self.town.run(kill_at=point)
        self.result.struck = died["died_by"] == signal.SIGKILL
        with trouble():
            watch = threading.Thread(target=self._stop_when_told, daemon=True)
            watch.start()
            self.town.run(timeout_s=90)
            watch.join(10)
            self._look()

    def _stop_when_told(self) -> None:
        until(lambda: self._health()[0] == "down" and self._failure()[0] != "", 60)
        (self.town.folder / "stop").touch()

    # What is seen

    def _health(self) -> tuple[str, str]:
        with self.town.session() as session:
            backend = session.exec(select(Backend)).one()
            text = str(Message.from_json(backend.health_message)) if backend.health_message else ""
            return backend.health, text

    def _failure(self) -> tuple[str, str]:
        with self.town.session() as session:
            failure = session.exec(select(Server)).one().failure
            return (failure["code"], str(Message.from_json(failure["message"]))) if failure else ("", "")

    def _look(self, *, ask_peer: bool = True) -> None:
        """Note what a person is told now; and nothing may count as gone that the peer has."""
        self.result.told += [each for each in (self._health(), self._failure()) if each[1]]
        with self.town.session() as session:
            server = session.exec(select(Server)).one()
            counted = _counted(session)
        if ask_peer and sum(counted) == 0 and self._pieces(server.id):
            self.result.wrong.append(f"false gone: {server.phase}, nothing counted, and the peer has it")
        if ask_peer and server.phase == "retired" and self._pieces(server.id):
            self.result.wrong.append("false gone: retired, and the peer has it")

    def _pieces(self, token: uuid.UUID) -> list[str]:
        listed = _insist(lambda: self.peer.truth.list_resources(token))  # type: ignore[attr-defined]
        return [f"{piece.kind} {piece.ref}" for piece in listed]

    # The end

    def finish(self) -> None:
        """With everything mended, work goes on by itself; what has failed is tried again by a person, once."""
        for tries in range(2):
            done = self.town.run()
            with self.town.session() as session:
                phase = session.get_one(ResourceRequest, self.town.request).phase
            if done["status"] == 0 and phase == "fulfilled":
                return
            if tries == 0 and phase == "failed" and self.fault in ("restarted", "wrong_ca", "expired"):
                with self.town.city() as city, city.session() as session:
                    requests.retry(session, city.actor("requester"), self.town.request)  # type: ignore[arg-type]
                    session.commit()
        self.result.wrong.append(f"not fulfilled but {phase} {self._failure()}, worker {done}")

    def judge(self, log: str) -> None:
        """Compare the peer, the ledger and what was told."""
        wrong = self.result.wrong
        with self.town.session() as session:
            server = session.exec(select(Server)).one()
            counted, mismatches = _counted(session), quotas.verify(session).mismatches
        there = [one for one in _insist(lambda: list(self.peer.truth.list_servers())) if one.token == server.id]
        standing = 1 if self.story == "provision" else 0
        if len(there) > standing:
            wrong.append(f"doubled: {[one.ref for one in there]}" if standing else f"left: {[o.ref for o in there]}")
        if len(there) < standing:
            wrong.append("lost: the peer has no such server")
        if not standing and (pieces := self._pieces(server.id)):
            wrong.append(f"left: {pieces}")
        if (server.phase, counted) != (("active", (1, 0)) if standing else ("retired", (0, 0))):
            wrong.append(f"ledger: {server.phase}, used and reserved {counted}")
        if mismatches:
            wrong.append(f"quota verify: {mismatches}")
        if not self.result.struck:
            wrong.append("the fault did not strike")
        self._judge_words(log)

    def _judge_words(self, log: str) -> None:
        """Each fault is seen as what it is: on the cloud and the server while it lasts, in the log where it heals by itself."""
        told, wrong = self.result.told, self.result.wrong
        if codes := TOLD_IN_LOG.get(self.fault):
            if not any(f"provider said {code}" in log for code in codes):
                wrong.append("not told in the log")
        elif self.fault in ("away", "frozen", "restarted"):
            if not any(code == "down" and "answer" in text for code, text in told):
                wrong.append(f"not told that the cloud does not answer: {told}")
        elif self.fault in ("wrong_ca", "expired"):
            words = REFUSED[self.fault]
            if not any(code == "down" and any(word in text for word in words) for code, text in told):
                wrong.append(f"the cloud does not say {words}: {told}")
            expected = "undo_unconfirmed" if self.story == "provision" else "backend_auth_failed"
            if not any(code == expected and any(word in text for word in words) for code, text in told):
                wrong.append(f"the server does not say {expected}, {words}: {told}")


def _counted(session: Session) -> tuple[int, int]:
    usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
    return usage.used.get("servers", 0), usage.reserved.get("servers", 0)


def _insist(look: Callable[[], Any]) -> Any:
    """Ask a peer for the truth; one that is still coming to itself is asked again."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            return look()
        except ProviderError as error:
            if error.remedy is not Remedy.RETRY or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def clear_away(town: Town) -> None:
    """Leave nothing at the peer, whatever came of a run."""
    with town.session() as session:
        tokens = [server.id for server in session.exec(select(Server))]
    for token in tokens:
        with contextlib.suppress(ProviderError):
            until(lambda token=token: _delete(town.peer, token), 60)


def _delete(peer: Peer, token: uuid.UUID) -> bool:
    with contextlib.suppress(ProviderError):
        found = peer.truth.find_server(token)
        if found is None:
            return True
        peer.truth.delete_server(found.ref)
    return False


def pair(founded: Town, folder: Path, faults: tuple[str, str], chance: random.Random) -> list[Result]:
    """Make a server in one run and retire it in another, each with a fault of its own; two runs."""
    town = founded.copy(folder / f"{founded.peer.name}{next(_numbers)}")
    results = []
    try:
        for story, fault in zip(STORIES, faults, strict=True):
            results.append(run(town, story, fault, chance))
            if results[-1].wrong:
                break
    finally:
        clear_away(town)
        if not any(result.wrong for result in results):
            shutil.rmtree(town.folder, ignore_errors=True)
    return results

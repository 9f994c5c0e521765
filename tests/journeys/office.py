"""A city at work: its people over real HTTP, its worker, its clock, and a hand that kills it anywhere and starts it again."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Role
from cloudmgr.domain.clock import SHANGHAI
from cloudmgr.models import RoleGrant, User
from cloudmgr.services import approval_policy, deadlines, deliveries, policy, quota_turns
from cloudmgr.settings import load_settings
from cloudmgr.store.db import new_session
from tests import support
from tests.journeys.clockwork import Shift
from tests.ports import free_port
from tests.served import until
from tests.stocked import _person
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
LOCAL = Actor(None, "local:tester", "tester", None, "/")
OPENING = datetime(2026, 9, 17, 10, 0, tzinfo=SHANGHAI)
"""A Thursday. The Sunday after it is a working day, exchanged for the autumn holidays."""
MOST_S = 600.0
"""Longest wait on a busy machine."""
EN = {"Accept-Language": "en"}
_MOST_TRIES = 10


class Zygote:
    """The forking process: `tests.journeys.clockwork` as a program."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.journeys.clockwork"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def order(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return dict(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(MOST_S)
        self._process.stdout.close()


def people(world: World) -> None:
    """Add those whom the stages of an approval want."""
    with world.session() as session:
        for name, place, role in (
            ("colleague", world.minzheng, Role.REQUESTER),
            ("reviewer", world.minzheng, Role.UNIT_REVIEWER),
            ("deputy", world.furong, Role.REQUESTER),
            ("cityboss", world.root, Role.CITY_APPROVER),
            ("tech", world.root, Role.TECHNICAL_APPROVER),
            ("rooted", world.root, Role.DISTRICT_ADMIN),
        ):
            _person(session, world, name, place, role)
        session.commit()


class Office:
    """One served city. What `get` and `post` do goes over HTTP; only tokens are laid into the database by hand."""

    def __init__(self, world: World, zygote: Zygote, shift: Shift, settings: dict[str, Any]) -> None:
        self.world = world
        self._zygote = zygote
        self._shift = shift
        self._settings = settings | {"web": {"port": free_port()}}
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{self._settings['web']['port']}", timeout=MOST_S, trust_env=False
        )
        self._tokens: dict[tuple[str, int], str] = {}
        self._told: dict[str, set[str]] = {}
        self._pid = 0

    # The city's life

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._fork()
        self._until(self._is_ready)

    def open_up(self) -> None:
        """Start it for the first time, and wait until its clouds were seen: nothing can be asked for before."""
        self.start()
        wanted = {section["name"] for section in self._settings["backends"]}
        self._until(lambda: {zone["backend"] for zone in self.get("auditor", "/zones")["items"]} == wanted)

    def _fork(self) -> None:
        order = {"data_dir": str(self.world.settings.data_dir), "settings": self._settings}
        self._pid = self._zygote.order(serve=order)["pid"]

    def _is_ready(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            assert self._is_alive(), self.log()
            return False

    def _is_alive(self) -> bool:
        return ") Z " not in Path(f"/proc/{self._pid}/stat").read_text()

    def kill(self) -> None:
        """Kill everything at once, wherever it is."""
        os.kill(self._pid, signal.SIGKILL)
        self._bury()

    def dies_at(self, *points: str, when: Callable[[], Any]) -> None:
        """Let the city die by SIGKILL at each of these points of its work in turn, and start it again after each."""
        for number, point in enumerate(points):
            self._order_to_die.write_text(point)
            if number:
                self._fork()
            else:
                with contextlib.suppress(httpx.TransportError):  # it may be dead before it has answered
                    when()
            self._until(lambda: not self._is_alive())
            assert self._bury() == signal.SIGKILL, (point, self.log())
        self.start()

    def _bury(self) -> int | None:
        """Wait for the city's end, and return the signal that ended it."""
        ended: int | None = self._zygote.order(**{"await": self._pid})["signal"]
        self._http.close()
        self._http = httpx.Client(base_url=self._http.base_url, timeout=MOST_S, trust_env=False)
        return ended

    @property
    def _order_to_die(self) -> Path:
        return self.world.settings.data_dir / "die_at"

    def stop(self) -> None:
        self.kill()
        self._http.close()

    def log(self) -> str:
        return (self.world.settings.data_dir / "city.log").read_text()[-6000:]

    # Its clock

    def at(self, text: str) -> None:
        """Move the clock on to a moment in Asia/Shanghai; what is due then is done by itself."""
        moment = datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)
        assert moment > clock.now(), "time goes one way"
        self._shift.set(moment)

    def later(self, **by: float) -> None:
        """Move the clock on by so much."""
        self._shift.set(clock.now() + timedelta(**by))

    @staticmethod
    def day(after: int = 0) -> str:
        """Return the day in Asia/Shanghai that comes so many days after the city's today."""
        return (clock.today() + timedelta(days=after)).isoformat()

    def rest(self) -> None:
        """Wait until all that is due is done, and everybody was told."""
        self._until(self._is_at_rest)

    def _is_at_rest(self) -> bool:
        with new_session(self.world.engine) as session:
            policy.attach(session, load_settings(self.world.settings.data_dir, **self._settings))
            if (
                deadlines.is_anything_due(session)
                or quota_turns.is_anything_due(session)
                or deliveries.has_work(session)
            ):
                return False
            table = "workflow_status" if self.world.settings.is_sqlite else "dbos.workflow_status"
            unfinished = sa.text(f"SELECT count(*) FROM {table} WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED')")
            if session.execute(unfinished).scalar_one():
                return False
            today = sa.text(f"SELECT count(*) FROM {table} WHERE workflow_uuid = :id")
            return bool(session.execute(today, {"id": f"act_on_leases:{clock.today().isoformat()}"}).scalar_one())

    def _until(self, is_so: Any) -> Any:
        try:
            return until(is_so, MOST_S, 0.1)
        except AssertionError:
            raise AssertionError(self.log()) from None

    def seen_working(self) -> None:
        """Wait until the worker has been seen at the city's time: it says so every few seconds."""
        self._until(self._is_ready)

    # Its people

    def headers(self, who: str) -> dict[str, str]:
        """Somebody who has just signed in: a token for the hour that it is."""
        now = (who, int(clock.now().timestamp() // 3600))
        if now not in self._tokens:
            with self.world.session() as session:
                self._tokens[now] = support.open_token(session, session.get_one(User, self.world.people[who]))
                session.commit()
        return {"Authorization": f"Bearer {self._tokens[now]}"}

    def send(self, who: str, method: str, path: str, **what: Any) -> httpx.Response:
        """Ask as somebody; a city that says it is busy is asked again."""
        headers = EN | self.headers(who) | what.pop("headers", {})
        for _ in range(_MOST_TRIES):
            answer = self._http.request(method, f"/api/v1{path}", headers=headers, **what)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        return answer

    def get(self, who: str, path: str, **params: Any) -> Any:
        answer = self.send(who, "GET", path, params=params)
        assert answer.status_code == httpx.codes.OK, (answer.text, self.log())
        return answer.json()

    def post(self, who: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.send(who, "POST", path, json=body)
        assert answer.status_code == status, (answer.status_code, answer.text, self.log())
        return answer.json() if answer.content else None

    def patch(self, who: str, path: str, body: Any, status: int = 200) -> Any:
        answer = self.send(who, "PATCH", path, json=body)
        assert answer.status_code == status, (answer.text, self.log())
        return answer.json()

    def page(self, who: str, path: str) -> str:
        """Return a page of the console as a browser of somebody gets it."""
        headers = self.headers(who) | {"Accept": "text/html", "Cookie": "cloudmgr_language=zh_CN"}
        answer = self._http.get(path, headers=headers)
        assert answer.status_code == httpx.codes.OK, answer.text
        return answer.text

    def open(self, path: str) -> httpx.Response:
        """Ask for what needs nobody to sign in."""
        return self._http.get(path)

    def told(self, who: str, event: str = "") -> Counter[str]:
        """Return what came to somebody's inbox since this was asked last, when everything is at rest: how often each."""
        self.rest()
        items, cursor = [], None
        while True:
            page = self.get(who, "/notices", limit=200, **({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        seen = self._told.setdefault(who, set())
        fresh = [each for each in items if each["id"] not in seen]
        seen |= {each["id"] for each in fresh}
        return Counter(each["event"] for each in fresh if each["event"].startswith(event))

    # Requests

    def ask(self, who: str = "requester", status: int = 201, **changes: Any) -> dict[str, Any]:
        changes = {"name": f"s{uuid.uuid4().hex[:8]}", "playbook": "collect_facts"} | changes
        return dict(self.post(who, "/requests", self.world.body(**changes), status))

    def change(self, kind: str, who: str = "requester", **body: Any) -> dict[str, Any]:
        """Ask for something else than new servers."""
        body = {"project": str(self.world.project.id), "purpose": "联调", **body}
        return dict(self.post(who, "/requests", {"kind": kind, **body}, 201))

    def decide(
        self, who: str, request: str, decision: str = "approve", comment: str = "同意", status: int = 200
    ) -> Any:
        return self.post(who, f"/requests/{request}/decisions", {"decision": decision, "comment": comment}, status)

    def read(self, request: str, who: str = "requester") -> dict[str, Any]:
        return dict(self.get(who, f"/requests/{request}"))

    def ended(self, request: str, who: str = "requester") -> dict[str, Any]:
        """Wait for a request's end, and return it."""

        def look() -> dict[str, Any] | None:
            found = self.read(request, who)
            return found if found["finished_at"] else None

        return dict(self._until(look))

    def fulfil(self, request: dict[str, Any], who: str = "admin") -> dict[str, Any]:
        """Have a request approved and wait for its end."""
        if request["phase"] == "in_review":
            self.decide(who, request["id"])
        done = self.ended(request["id"])
        assert done["phase"] == "fulfilled", (done["events"], self.log())
        return done

    def load(self, text: str) -> None:
        """Load an approval policy, as the command line does."""
        with self.world.session() as session:
            approval_policy.load(session, LOCAL, text)
            session.commit()

    def grant(self, who: str, role: Role, organization: uuid.UUID) -> None:
        """Give somebody one more role, as a security administrator does."""
        with self.world.session() as session:
            user = self.world.people[who]
            session.add(RoleGrant(user_id=user, role=role.value, organization_id=organization, granted_by="test"))
            session.commit()

    def reserved(self, key: str = "servers") -> int:
        """Return what the project holds of a key for requests."""
        return int(self.get("requester", f"/quotas/{self.world.project.account_id}")["reserved"].get(key, 0))

    def balanced(self) -> None:
        """Recount the whole ledger."""
        with new_session(self.world.engine) as session:
            assert quotas.verify(session).mismatches == []


@contextlib.contextmanager
def opened(world: World, zygote: Zygote, **sections: dict[str, Any]) -> Iterator[Office]:
    """Serve a city from `OPENING` on; it ends with a kill, as everything here must bear."""
    own = {
        "database": {"url": None if world.settings.is_sqlite else world.settings.database_url, "synchronous": "NORMAL"},
        "backends": [dict(section) for section in world.settings.backends],
        "worker": {
            "poll_s": 0.2,
            "boot_poll_s": 0.05,
            "health_interval_s": 5,
            "quota_turn_s": 1,
            "deadlines_interval_s": 1,
            "full_sync_interval_s": 0,
            "incremental_sync_interval_s": 0,
            "prover_interval_s": 0,
        },
        "notices": {"spread_interval_s": 0.3},
        "security": {"password_max_days": 3650},  # these stories last for years
        "log": {"level": "WARNING"},
    }
    for name, section in sections.items():
        given = own.get(name)
        own[name] = given | section if isinstance(given, dict) else section
    shift = Shift(world.settings.data_dir)
    shift.set(OPENING)
    shift.install()
    office = Office(world, zygote, shift, own)
    try:
        office.open_up()
        yield office
    finally:
        office.stop()
        shift.uninstall()

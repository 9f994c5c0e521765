"""A city whose only cloud is a real peer, run by the real processes; what its people do goes over the API."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

import quotas
from cloudmgr.domain import clock
from tests.journeys.peer import BACKEND, IMAGE, Peer
from tests.served import Served, opened, prepare, serving, until
from tests.world import World

LIMIT_S = 240.0
"""For one thing to be done by a worker, on a machine that is busy with others."""
PEOPLE = ("requester", "admin", "sysadmin", "auditor")
HEADERS = {"Accept-Language": "en", "Connection": "close"}  # between two calls lies more than a kept connection lives
OF_SERVERS = ["unmanaged", "unauthorised", "revived", "orphan", "drift"]


@dataclass
class Town:
    """The running installation, its people, and the hands at its cloud."""

    live: Served
    peer: Peer
    before: set[str]
    """What stood at the cloud before anybody asked for anything."""
    found: str = ""
    """The server that was made by hand before the first look."""
    tag: str = ""
    """What the names of what was made by hand end in."""
    people: dict[str, httpx.Client] = field(default_factory=dict)
    ahead_s: float = 0.0
    """How far its clock is ahead of ours."""

    @property
    def world(self) -> World:
        return self.live.world

    def send(self, who: str, method: str, path: str, *, status: int | None = None, **what: Any) -> Any:
        """Call the API as somebody and return the document; another status than expected fails."""
        answer = self.people[who].request(method, path, **what)
        expected = answer.is_success if status is None else answer.status_code == status
        assert expected, f"{method} {path}: {answer.status_code} {answer.text}\n{self.live.log()}"
        return answer.json() if answer.content else None

    def get(self, who: str, path: str, **query: Any) -> Any:
        return self.send(who, "GET", path, params=query)

    def post(self, who: str, path: str, body: Any, *, status: int | None = None, **query: Any) -> Any:
        return self.send(who, "POST", path, status=status, json=body, params=query)

    def when(self, is_so: Callable[[], Any], seconds: float = LIMIT_S) -> Any:
        """Wait until something is so; tell the logs where it never is."""
        try:
            return until(is_so, seconds, every=0.25)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.live.log()}") from None

    # Time

    @property
    def today(self) -> date:
        return (datetime.now(UTC) + timedelta(seconds=self.ahead_s)).astimezone(clock.SHANGHAI).date()

    def step(self, by: timedelta) -> None:
        """Move the clock of the installation on, never back; its people log in anew."""
        self.ahead_s += by.total_seconds()
        _write_ahead(self.live.world.settings.data_dir, self.ahead_s)
        with clock.stepped(datetime.now(UTC) + timedelta(seconds=self.ahead_s)):
            self.log_in()

    def log_in(self) -> None:
        for who in PEOPLE:
            if who in self.people:
                self.people[who].close()
            self.people[who] = self.live.client(who, **HEADERS)

    # Looks

    @property
    def backend(self) -> dict[str, Any]:
        (found,) = (row for row in self.get("sysadmin", "/backends")["items"] if row["name"] == BACKEND)
        return dict(found)

    def look(self, **command: Any) -> dict[str, Any]:
        """Have the cloud looked at, and return how that ended."""
        path = f"/backends/{self.backend['id']}/syncs"
        command = {"confirm_losses": self.peer.is_shared} | command
        before = {run["id"] for run in self.get("sysadmin", path)["items"]}
        self.post("sysadmin", path, command, status=202)

        def ended() -> dict[str, Any] | None:
            return next((run for run in self.get("sysadmin", path)["items"] if run["id"] not in before), None)

        return dict(self.when(ended))

    def findings(self, **query: Any) -> list[dict[str, Any]]:
        """Return what the inbox says of servers."""
        told = {"backend": BACKEND, "limit": 200, "kind": OF_SERVERS} | query
        return list(self.get("sysadmin", "/findings", **told)["items"])

    def findings_of(self, ref: str, **query: Any) -> list[dict[str, Any]]:
        return [finding for finding in self.findings(**query) if finding["ref"] == ref]

    def decide(self, decision: str, *found: dict[str, Any], reason: str = "") -> set[str]:
        """Take a decision on findings; return what became of them."""
        body = {"ids": [finding["id"] for finding in found], "decision": decision, "reason": reason}
        return {item["state"] for item in self.post("sysadmin", "/findings/decisions", body)["items"]}

    def ref_of(self, server: str) -> str:
        """Return the cloud's own reference of a server of ours, as the last look showed it."""
        rows = self.get("sysadmin", "/observed-servers", backend=BACKEND, managed="true", limit=200)["items"]
        return str(next(row["ref"] for row in rows if row["server"] == server))

    # Requests

    def body(self, **entry: Any) -> dict[str, Any]:
        """Return a request for one server of the lab's image."""
        return self.world.body(
            servers=[{"count": 1, "flavor": self.peer.flavor, "image": IMAGE, "arch": self.peer.arch, **entry}],
        )

    def submit(self, body: dict[str, Any]) -> str:
        """Ask for something as the requester, and approve it as the district's administrator."""
        request = self.post("requester", "/requests", body, status=201)
        decided = self.post("admin", f"/requests/{request['id']}/decisions", {"decision": "approve", "comment": "同意"})
        assert decided["phase"] == "approved"
        return str(request["id"])

    def rest(self, request: str) -> dict[str, Any]:
        """Wait until a request has come to its end, and return it."""

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = self.get("requester", f"/requests/{request}")
            return found if found["finished_at"] else None

        return dict(self.when(ended))

    def fulfil(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask, approve and wait: the request is fulfilled."""
        done = self.rest(self.submit(body))
        assert done["phase"] == "fulfilled", ([event["text"] for event in done["events"]], self.live.log())
        return done

    def change(self, kind: str, **body: Any) -> dict[str, Any]:
        """Fulfil a request of another kind than a new server."""
        return self.fulfil({"kind": kind, "project": str(self.world.project.id), "purpose": "联调", **body})

    def switch(self, server: str, action: str, power: str) -> None:
        """Switch a server as its owner does, and wait until its cloud shows it."""
        self.post("admin", f"/servers/{server}/actions", {"action": action}, status=202)
        self.when(lambda: self.server(server)["state"] == power)

    def flavor(self, name: str, vcpus: int, memory_mib: int) -> str:
        """Put another size into the catalogue."""
        like = next(row for row in self.get("sysadmin", "/flavors")["items"] if row["name"] == self.peer.flavor)
        size = {"vcpus": vcpus, "memory_mib": memory_mib, "system_disk_gib": like["system_disk_gib"]}
        return str(self.post("sysadmin", "/flavors", {"name": name, **size}, status=201)["name"])

    def server(self, server: str) -> dict[str, Any]:
        return dict(self.get("admin", f"/servers/{server}"))

    # Records

    def usage(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return what the project uses and holds reserved, without what is zero."""
        told = self.get("requester", f"/quotas/{self.world.project.account_id}")
        return tuple({key: amount for key, amount in told[part].items() if amount} for part in ("used", "reserved"))  # type: ignore[return-value]

    def verify(self) -> None:
        """Recount the whole ledger."""
        with opened(self.world) as session:
            assert quotas.verify(session).mismatches == []

    def left(self) -> set[str]:
        """Return what stands at the cloud now and did not before."""
        return self.peer.everything() - self.before


@contextmanager
def town(home: Path, peer: Peer, **environment: str) -> Iterator[Town]:
    """Start a city on a peer. A server made by hand stands there already, and the first look has seen it."""
    before = peer.everything()
    tag = uuid.uuid4().hex[:6]
    found = peer.make(f"stood-before-{tag}")
    world = prepare(home, backends=[peer.section()])
    quiet = {"FULL_SYNC_INTERVAL_S": "0", "INCREMENTAL_SYNC_INTERVAL_S": "0", "HEALTH_INTERVAL_S": "2"}
    told = {f"CLOUDMGR_WORKER__{key}": value for key, value in quiet.items()}
    told |= {"CLOUDMGR_LOG__LEVEL": "WARNING", **environment}
    with ExitStack() as stack:
        stack.callback(world.engine.dispose)
        live = stack.enter_context(serving(world, ahead=_write_ahead(world.settings.data_dir, 0.0), **told))
        city = Town(live, peer, before, found, tag)
        city.log_in()
        stack.callback(lambda: [client.close() for client in city.people.values()])
        _furnish(city)
        first = city.look()
        assert first["outcome"] == "ok", (first, live.log())
        yield city


def _write_ahead(data_dir: Path, seconds: float) -> Path:
    """Write in one go, for it is read at any moment."""
    file, fresh = data_dir / "clock-ahead-s", data_dir / "clock-ahead-s.new"
    fresh.write_text(str(seconds))
    fresh.replace(file)
    return file


def _furnish(city: Town) -> None:
    """Do what an operator does for a new cloud: say which image is which, and whose the addresses are."""
    images = {row["name"]: row["id"] for row in city.get("sysadmin", "/images")["items"]}
    variant = {"arch": city.peer.arch, "backend": BACKEND, "ref": city.peer.image}
    city.send("sysadmin", "PATCH", f"/images/{images[IMAGE]}", json={"variants": [variant]})
    for subnet in city.get("sysadmin", "/subnets")["items"]:
        if subnet["cidr"] == city.peer.managed:
            city.send("sysadmin", "PATCH", f"/subnets/{subnet['id']}", json={"is_managed": True})

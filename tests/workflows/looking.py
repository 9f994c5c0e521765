"""A city on simulated clouds whose looks are taken step by step, without the engine: each step is the real one."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from cloudmgr.domain import clock
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import Backend, Finding, ObservedServer, Server, SyncRun
from cloudmgr.services import policy
from cloudmgr.store import servers
from cloudmgr.store.db import begin_immediate, new_session
from cloudmgr.workflows import discover, discover_read, facts, provision, sync
from cloudmgr.workflows import runtime as runtimes
from tests import world


@dataclass
class Watched:
    """The city and its clouds, as a worker would look at them."""

    city: world.World

    @contextmanager
    def write(self) -> Iterator[Session]:
        session = policy.attach(new_session(self.city.engine), self.city.settings)
        with session:
            begin_immediate(session)
            yield session
            session.commit()

    def read(self, deed: Callable[[Session], Any]) -> Any:
        with new_session(self.city.engine) as session:
            return deed(session)

    def state_dir(self, backend: str = "kp") -> Path:
        return self.city.settings.data_dir.absolute() / "backends" / backend

    def ask(self, backend: str = "kp") -> bool:
        """Ask how a backend is, as the worker's watch does."""
        seen = sync.observe(backend)
        with self.write() as session:
            sync.record(session, backend, seen)
        return bool(seen["ok"])

    def look(self, backend: str = "kp", kind: str = "full", *, confirmed: bool = False) -> str:
        """Take one look, and follow what it showed; returns how it ended."""
        if kind == "full" and not self.ask(backend):
            read: dict[str, Any] = {"ok": False, "message": {"template": "no answer", "params": {}}}
        else:
            read = discover_read.read_servers(backend, kind)
        with self.write() as session:
            settled = discover.settle(session, backend, kind, read, confirmed)
        if settled["outcome"] == "ok":
            with self.write() as session:
                assert not discover.follow(session, backend, settled["looked_at"])
        return str(settled["outcome"])

    def build(self, name: str = "srv", **body: Any) -> list[uuid.UUID]:
        """Build servers through request, approval and the steps of their making, and hand them over."""
        request_id = self.city.submit(name=name, **body)
        self.city.approve(request_id)
        with self.write() as session:
            query = select(Server.id).where(Server.request_id == request_id).order_by(col(Server.name))
            ids = list(session.exec(query))
        for id_ in ids:
            token = str(id_)
            with self.write() as session:
                placed = facts.place(session, token, 1, False)
            assert placed
            made = provision.create(token, placed)
            assert made["ok"], made
            with self.write() as session:
                facts.created(session, token, 1, made["result"])
            seen = provision.look(token, placed["backend"])
            with self.write() as session:
                facts.post(session, token, 1, seen["result"])
            with self.write() as session:
                server = servers.get(session, id_)
                assert server is not None
                server.activated_at = clock.now()
                servers.move(session, server, ServerPhase.ACTIVE, actor="test", change="activated")
        return ids

    def server(self, id_: uuid.UUID) -> Server:
        return self.read(lambda session: session.get_one(Server, id_))

    def backend(self, name: str = "kp") -> Backend:
        return self.read(lambda session: session.exec(select(Backend).where(Backend.name == name)).one())

    def findings(self, *, closed: bool = False, backend: str = "kp") -> list[Finding]:
        """Return what is not settled (or, with `closed`, what is), in order."""
        backend_id = self.backend(backend).id
        is_open = col(Finding.closed_at).is_not(None) if closed else col(Finding.closed_at).is_(None)
        query = select(Finding).where(Finding.backend_id == backend_id, is_open).order_by(col(Finding.id))
        return self.read(lambda session: list(session.exec(query)))

    def open_kinds(self, backend: str = "kp") -> list[tuple[str, str]]:
        return sorted((row.kind, row.field) for row in self.findings(backend=backend))

    def observed(self, backend: str = "kp") -> list[ObservedServer]:
        backend_id = self.backend(backend).id
        query = select(ObservedServer).where(ObservedServer.backend_id == backend_id).order_by(col(ObservedServer.id))
        return self.read(lambda session: list(session.exec(query)))

    def runs(self, backend: str = "kp") -> list[SyncRun]:
        backend_id = self.backend(backend).id
        query = select(SyncRun).where(SyncRun.backend_id == backend_id).order_by(col(SyncRun.id))
        return self.read(lambda session: list(session.exec(query)))


@contextmanager
def watched(home: Path, url: str | None, **build: Any) -> Iterator[Watched]:
    """Make the city and stand in for the worker's process."""
    city = world.build(home, url, **build)
    runtime = runtimes.Runtime(settings=city.settings, engine=city.engine, datasource=None)  # type: ignore[arg-type]
    runtimes.install(runtime)
    try:
        one = Watched(city)
        for section in city.settings.backends:
            one.ask(str(section["name"]))
        yield one
    finally:
        runtime.close()
        runtimes.install(None)
        city.engine.dispose()

"""What every workflow must survive, as tools: run it, kill it at a point, run it on, and ask whether the slate is right."""

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import col, select

import quotas
from cloudmgr.models import Allocation, PlaybookRun, ResourceRequest, Server, ZoneInventory
from cloudmgr.store.db import make_engine, new_session
from providers.simulated import drill
from tests import world

ROOT = Path(__file__).resolve().parents[2]


class Zygote:
    """The forking process of this test process."""

    def __init__(self, path: Sequence[Path] = ()) -> None:
        """Start it; `path` names folders to import from before everything else."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.workflows.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=path[0] if path else ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(str(folder) for folder in [*path, ROOT])},
        )
        self.has_seen: set[str] = set()
        """The databases whose statements its forks begin with."""

    def run(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote is gone"
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=120)
        self._process.stdout.close()


@dataclass
class Case:
    """One copy of a prepared city, in which one request waits to be fulfilled."""

    zygote: Zygote
    data_dir: Path
    url: str | None
    settings: dict[str, Any]
    request: uuid.UUID
    backends: list[str] = field(default_factory=lambda: ["kp"])
    ansible: bool = True
    """Whether playbooks really run; else they are stood in for, as in every copy of a prepared city until told otherwise."""

    def run(
        self, kill_at: str | None = None, occurrence: int = 1, timeout_s: float = 180, **order: Any
    ) -> dict[str, Any]:
        """Fork a worker; it runs until the request rests, or dies at the point."""
        return self.zygote.run(
            data_dir=str(self.data_dir),
            settings=self.settings,
            request=str(self.request),
            kill_at=kill_at,
            occurrence=occurrence,
            timeout_s=timeout_s,
            without_ansible=not self.ansible,
            **order,
        )

    def finish(self) -> None:
        """Run without a kill; it must come to rest by itself."""
        done = self.run()
        assert done["status"] == 0, (done, self.log())

    def log(self) -> str:
        path = self.data_dir / "worker.log"
        return path.read_text()[-6000:] if path.exists() else ""

    @property
    def engine(self) -> sa.Engine:
        return make_engine(self.url or f"sqlite:///{self.data_dir / 'cloudmgr.db'}", pool_size=2)

    def phase(self) -> str:
        engine = self.engine
        with new_session(engine) as session:
            phase = session.get_one(ResourceRequest, self.request).phase
        engine.dispose()
        return phase

    def built(self) -> dict[str, list[uuid.UUID | None]]:
        """Return the tokens of the servers each simulated cloud really has."""
        return {name: [server.token for server in drill.list_servers(self.state_dir(name))] for name in self.backends}

    def state_dir(self, backend: str) -> Path:
        return self.data_dir / "backends" / backend

    def calls(self, backend: str = "kp") -> list[Any]:
        return drill.calls(self.state_dir(backend))


def check_slate(case: Case, *, standing: int) -> None:
    """Exactly `standing` servers are built, active, counted and allocated; nothing else is left anywhere."""
    engine = case.engine
    with new_session(engine) as session:
        alive = [server for server in session.exec(select(Server)) if server.phase == "active"]
        assert len(alive) == standing, [
            (server.name, server.phase, server.failure) for server in session.exec(select(Server))
        ]
        tokens = sorted(str(token) for tokens in case.built().values() for token in tokens)
        assert tokens == sorted(str(server.id) for server in alive), "the cloud has exactly the servers we count"
        verification = quotas.verify(session)
        assert verification.mismatches == []
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        assert usage.used.get("servers", 0) == standing
        assert usage.reserved.get("servers", 0) == 0, "no pending quota is left"
        allocations = list(session.exec(select(Allocation).where(col(Allocation.released_at).is_(None))))
        assert sorted(row.server_id for row in allocations) == sorted(server.id for server in alive)
        used = sum(row.used for row in session.exec(select(ZoneInventory).where(ZoneInventory.resource == "vcpus")))
        assert used == sum(server.vcpus for server in alive)
        addresses = [address for server in alive for address in server.ipv4]
        assert len(addresses) == len(set(addresses))
        runs = list(session.exec(select(PlaybookRun)))
        assert all(run.finished_at is not None for run in runs)
        schema = "" if engine.dialect.name == "sqlite" else "dbos."
        left = session.execute(
            sa.text(f"SELECT workflow_uuid, status FROM {schema}workflow_status WHERE status NOT IN ('SUCCESS')")
        ).all()
        assert left == [], "every workflow has ended well"
    engine.dispose()
    built = [
        call
        for name in case.backends
        for call in case.calls(name)
        if call.call == "create_server" and call.outcome == "built"
    ]
    assert len({call.token for call in built}) == len(built), "no server was built twice"
    assert not playbooks_running(case.data_dir), "no playbook outlived its worker"


def playbooks_running(data_dir: Path) -> list[str]:
    """Return command lines of ansible processes that belong to this data directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (entry / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if "ansible-playbook" in line and str(data_dir) in line + environment:
                found.append(line)
    return found


@dataclass
class Stage:
    """A prepared city that is copied for every case."""

    zygote: Zygote
    home: Path
    settings: dict[str, Any]
    url: str | None
    request: uuid.UUID

    def case(self, data_dir: Path) -> Case:
        """Copy the city: files by copy, PostgreSQL by template."""
        shutil.copytree(self.home, data_dir)
        settings = json.loads(json.dumps(self.settings))
        url = None
        if self.url is not None:
            parsed = sa.make_url(self.url)
            name = f"c{uuid.uuid4().hex[:12]}"
            admin = sa.create_engine(
                parsed.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool
            )
            with admin.connect() as connection:
                connection.exec_driver_sql(f'CREATE DATABASE {name} TEMPLATE "{parsed.database}"')
            url = parsed.set(database=name).render_as_string(hide_password=False)
            settings["database"]["url"] = url
        case = Case(self.zygote, data_dir, url, settings, self.request, [b["name"] for b in settings["backends"]])
        case.ansible = False
        _made.append(case)
        return case


_made: list[Case] = []


def drop_databases(folder: Path) -> None:
    """Drop the PostgreSQL databases of the cases below a folder: each is a thousand files."""
    for case in [case for case in _made if case.data_dir.is_relative_to(folder)]:
        _made.remove(case)
        if case.url is not None:
            url = sa.make_url(case.url)
            admin = sa.create_engine(url.set(database="postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
            with admin.connect() as connection:
                connection.exec_driver_sql(f'DROP DATABASE "{url.database}" WITH (FORCE)')


def prepare(
    zygote: Zygote,
    home: Path,
    url: str | None,
    *,
    retire: bool = False,
    backends: list[dict[str, Any]] | None = None,
    worker: dict[str, Any] | None = None,
    **body: Any,
) -> Stage:
    """Make a city in which a create request (or, with `retire`, the retirement of what it built) has been approved."""
    chosen = backends or [world.simulated_backend()]
    city = world.build(home, url, backends=chosen)
    settings: dict[str, Any] = {
        "database": {"url": url, "synchronous": "NORMAL"},
        "worker": {"poll_s": 0.05, "boot_poll_s": 0.05, "health_interval_s": 600}
        | {"full_sync_interval_s": 0, "incremental_sync_interval_s": 0}
        | (worker or {}),
        "backends": chosen,
    }
    ready = zygote.run(data_dir=str(home), settings=settings, request=None)
    assert ready["status"] == 0, (home / "worker.log").read_text()[-4000:]
    body.setdefault("playbook", "collect_facts")
    request = city.submit(**body)
    city.approve(request)
    if retire:
        case = Case(zygote, home, url, settings, request, [b["name"] for b in chosen])
        case.finish()
        with new_session(city.engine) as session:
            ids = [server.id for server in session.exec(select(Server))]
        request = city.submit_retire(ids)
        city.approve(request)
    city.engine.dispose()
    (home / "worker.log").unlink(missing_ok=True)
    stage = Stage(zygote, home, settings, url, request)
    is_simulated = all(
        one["provider"] == "simulated" for one in chosen
    )  # a copy of a real cloud's city would have the same servers
    if is_simulated and (dialect := city.engine.dialect.name) not in zygote.has_seen:
        zygote.has_seen.add(dialect)
        show(stage.case(home.with_name("shown")))
    return stage


def show(case: Case) -> None:
    """Have what waits in a case done by the zygote itself, and what it built retired, so that its forks know how."""
    for _ in range(2):
        done = case.run(stay=True)
        assert done["status"] == 0, case.log()
        city = world.reopen(case.data_dir, case.engine)
        with city.session() as session:
            ids = [server.id for server in session.exec(select(Server).where(Server.phase == "active"))]
        if ids:
            case.request = city.submit_retire(ids)
            city.approve(case.request)
        city.engine.dispose()

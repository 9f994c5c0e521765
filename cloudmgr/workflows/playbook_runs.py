"""One playbook run: planned for the servers of a request or asked for by a person, executed through the adapter, settled.

While it runs its events are written as they come, in transactions of their own, keyed so that the same event told twice is
one row: they are for watching. What the run came to is written by `finish`, exactly once.
"""

import json
import logging
import threading
import time
import uuid
from typing import Any

import sqlalchemy as sa
from dbos import DBOS
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import Session, col, select

from cloudmgr.adapters import ansible
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.labels import TASK_STATES, word
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import ServerPhase
from cloudmgr.models import (
    Backend,
    Image,
    Organization,
    PlaybookEvent,
    PlaybookRun,
    PlaybookRunServer,
    ResourceRequest,
    Server,
)
from cloudmgr.services import audit, playbooks
from cloudmgr.services.policy import catalogue_folders
from cloudmgr.store import requests, servers
from cloudmgr.store.db import is_sqlite, new_session
from cloudmgr.workflows import credentials
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, write

logger = logging.getLogger(__name__)

_CANCEL_CHECK_S = 2.0
_TOLD_STATES = frozenset({"ok", "changed", "failed", "unreachable", "skipped"})


@DBOS.workflow(name="run_playbook", max_recovery_attempts=1000)
def run_playbook(run_id: str) -> str:
    """Run a playbook that a person asked for."""
    if write("run_begin", begin, run_id) is not None:
        outcome = call("configure", execute, run_id)
        write("run_end", finish, run_id, outcome)
    return run_id


def plan(session: Session, request_id: str, attempt: int) -> list[str]:
    """Make one run for every group of a request's standing servers that share a playbook, its variables and its cloud's kind."""
    request = session.get_one(ResourceRequest, uuid.UUID(request_id))
    groups: dict[str, list[Server]] = {}
    for server in servers.plain_of_request(session, request):
        if server.phase == ServerPhase.FAILED and server.built_at is not None and server.failed_step is None:
            servers.move(session, server, ServerPhase.CONFIGURING, actor=SYSTEM.username, change="configuring")
        if server.phase != ServerPhase.CONFIGURING or server.backend_id is None:
            continue
        rehearses = session.get_one(Backend, server.backend_id).rehearses
        key = json.dumps([server.playbook, rehearses, server.variables], sort_keys=True)
        groups.setdefault(key, []).append(server)
    runs = []
    for index, (key, members) in enumerate(sorted(groups.items())):
        playbook, rehearses, variables = json.loads(key)
        run = PlaybookRun(
            id=uuid.uuid5(request.id, f"run:{attempt}:{index}"),
            request_id=request.id,
            organization_id=request.organization_id,
            playbook=playbook,
            digest=playbooks.known(catalogue_folders(runtime().settings))[playbook].digest,
            variables=variables,
            rehearsed=rehearses,
            started_by=SYSTEM.username,
        )
        session.add(run)
        session.flush()
        session.add_all(PlaybookRunServer(run_id=run.id, server_id=member.id) for member in members)
        runs.append(str(run.id))
    session.flush()
    return runs


def begin(session: Session, run_id: str) -> bool | None:
    """Mark the run as running; None when it has come to its end already."""
    run = session.get_one(PlaybookRun, uuid.UUID(run_id))
    if run.finished_at is not None:
        return None
    run.state, run.started_at = "running", clock.now()
    session.add(run)
    title = (
        N_("Playbook {playbook} begins on {count} servers (rehearsal).")
        if run.rehearsed
        else N_("Playbook {playbook} begins on {count} servers.")
    )
    count = len(_members(session, run.id))
    if run.request_id is not None:
        requests.tell(
            session,
            run.request_id,
            kind="step",
            message=Message(title, {"playbook": run.playbook, "count": count}),
            dedupe=f"run:{run.id}",
            data={"rehearsed": run.rehearsed},
        )
    _audit(session, run, Event.PLAYBOOK_START, servers=count)
    return True


def execute(run_id: str) -> Outcome:
    """Run the playbook now and return what became of every server; nothing of the run is left when this returns."""
    settings = runtime().settings
    with new_session(runtime().engine) as session:
        run = session.get_one(PlaybookRun, uuid.UUID(run_id))
        hosts = _hosts(session, run)
        project_id = (
            session.exec(select(Server.project_id).where(Server.id == hosts[0].server_id)).one() if hosts else None
        )
        private_key = None
        if project_id is not None and not run.rehearsed:
            private_key = credentials.private_key(session, project_id)
        number = session.get_one(ResourceRequest, run.request_id).number if run.request_id else ""
        entry = playbooks.known(catalogue_folders(settings))[run.playbook]
        variables = {**playbooks.with_defaults(entry, run.variables), "request_number": number or ""}
        last = session.exec(select(sa.func.max(PlaybookEvent.seq)).where(PlaybookEvent.run_id == run.id)).one() or 0
        names = {host.server_id: host.name for host in hosts}
        rehearsed, request_id = run.rehearsed, run.request_id
    recorder = _Recorder(uuid.UUID(run_id), request_id, last, names, rehearsed=rehearsed)
    try:
        result = ansible.run_playbook(
            run_id=uuid.UUID(run_id),
            playbook=str(entry.path),
            hosts=hosts,
            variables=variables,
            secrets={},
            private_key=private_key,
            known_hosts=None,
            rehearse=rehearsed,
            check=rehearsed,
            timeout_s=min(entry.timeout_s, settings.worker.playbook_timeout_s),
            work_dir=runtime().work_dir,
            on_event=recorder.take,
            is_cancelled=recorder.is_cancelled,
            command_prefix=settings.worker.ansible_command_prefix,
        )
    except Refusal as refusal:
        return {"ok": False, "state": "failed", "message": refusal.message.as_json(), "hosts": {}}
    except Exception:  # the step's edge: a defect of the run must end as a told failure
        logger.exception("a playbook run failed in an unforeseen way")
        message = Message(N_("The playbook could not be run; an operator finds the reason in the log."))
        return {"ok": False, "state": "failed", "message": message.as_json(), "hosts": {}}
    finally:
        recorder.flush()
    return {
        "ok": result.state == "succeeded",
        "state": result.state,
        "message": result.reason.as_json() if result.reason else None,
        "hosts": {
            str(server_id): {
                "state": host.state,
                "ok": host.ok,
                "changed": host.changed,
                "failed": host.failed,
                "reason": host.reason.as_json() if host.reason else None,
                "facts": dict(host.facts),
            }
            for server_id, host in result.hosts.items()
        },
    }


def _hosts(session: Session, run: PlaybookRun) -> list[ansible.Host]:
    rows = session.exec(
        select(Server, Image.login_user)
        .join(PlaybookRunServer, col(PlaybookRunServer.server_id) == col(Server.id))
        .join(Image, col(Server.image_id) == col(Image.id))
        .where(PlaybookRunServer.run_id == run.id)
        .order_by(col(Server.name))
    ).all()
    return [
        ansible.Host(
            server_id=server.id, name=server.name, address=next(iter([*server.ipv4, *server.ipv6]), None), user=user
        )
        for server, user in rows
    ]


class _Recorder:
    """Writes a run's events while it runs: a few at a time, so that watching costs little."""

    BATCH, EVERY_S = 20, 0.5

    def __init__(
        self,
        run_id: uuid.UUID,
        request_id: uuid.UUID | None,
        last: int,
        names: dict[uuid.UUID, str],
        *,
        rehearsed: bool,
    ) -> None:
        self.run_id, self.request_id, self.offset, self.names, self.rehearsed = (
            run_id,
            request_id,
            last,
            names,
            rehearsed,
        )
        self._waiting: list[ansible.TaskEvent] = []
        self._flushed_at = 0.0
        self._asked_at = 0.0
        self._cancelled = False
        self._guard = threading.Lock()

    def take(self, event: ansible.TaskEvent) -> None:
        """Keep one event; write what waits when there is enough of it or enough time has passed."""
        with self._guard:
            if event.state in _TOLD_STATES:
                self._waiting.append(event)
        if len(self._waiting) >= self.BATCH or time.monotonic() - self._flushed_at > self.EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._guard:
            events, self._waiting = self._waiting, []
            self._flushed_at = time.monotonic()
        if not events:
            return
        with new_session(runtime().engine) as session:
            insert = sqlite.insert(PlaybookEvent) if is_sqlite(session) else postgresql.insert(PlaybookEvent)
            session.execute(
                insert.values(
                    [
                        {
                            "run_id": self.run_id,
                            "seq": self.offset + event.seq,
                            "at": event.at,
                            "server_id": event.server_id,
                            "role": event.role,
                            "task": event.task[:300],
                            "state": event.state,
                            "message": event.message[:2000],
                        }
                        for event in events
                    ]
                ).on_conflict_do_nothing()
            )
            for event in events:
                self._tell(session, event)
            session.commit()

    def _tell(self, session: Session, event: ansible.TaskEvent) -> None:
        if self.request_id is None or event.state == "skipped":
            return
        requests.tell(
            session,
            self.request_id,
            kind="task",
            server_id=event.server_id,
            message=Message(
                N_("{server} · {task}: {state}"),
                {
                    "server": self.names.get(event.server_id, "") if event.server_id else "",
                    "task": Message(event.task.replace("{", "{{").replace("}", "}}")),
                    "state": word(TASK_STATES, event.state),
                },
            ),
            dedupe=f"task:{self.run_id}:{self.offset + event.seq}",
            data={
                "run": str(self.run_id),
                "role": event.role,
                "task": event.task,
                "state": event.state,
                "detail": event.message[:500],
                "rehearsed": self.rehearsed,
            },
        )

    def is_cancelled(self) -> bool:
        """Whether somebody has asked to cancel the run; asked of the database every two seconds."""
        if not self._cancelled and time.monotonic() - self._asked_at > _CANCEL_CHECK_S:
            self._asked_at = time.monotonic()
            with new_session(runtime().engine) as session:
                self._cancelled = session.exec(
                    select(PlaybookRun.cancel_asked).where(PlaybookRun.id == self.run_id)
                ).one()
        return self._cancelled


def finish(session: Session, run_id: str, outcome: Outcome) -> None:
    """Settle the run and, where it belongs to a request, its servers: active, or failed with quota kept."""
    run = session.get_one(PlaybookRun, uuid.UUID(run_id))
    run.state, run.finished_at = outcome["state"], clock.now()
    run.reason = outcome["message"]
    session.add(run)
    for member in _members(session, run.id):
        told = outcome["hosts"].get(str(member.server_id))
        reason = (told or {}).get("reason") or outcome["message"]
        good = told is not None and told["state"] == "ok" and outcome["state"] in ("succeeded", "failed")
        member.state = "ok" if good else (told or {}).get("state", "failed")
        member.ok, member.changed, member.failed = (
            (told or {}).get("ok", 0),
            (told or {}).get("changed", 0),
            (told or {}).get("failed", 0),
        )
        member.reason = None if good else reason
        session.add(member)
        server = servers.get(session, member.server_id, lock=True)
        if server is not None and run.request_id is not None and server.phase == ServerPhase.CONFIGURING:
            _settle(session, run, server, told or {}, good=good, reason=reason)
    _audit(
        session,
        run,
        Event.PLAYBOOK_FINISH,
        outcome=Ended.SUCCESS if outcome["ok"] else Ended.FAILURE,
        reason="" if outcome["ok"] else outcome["state"],
    )


def _settle(
    session: Session, run: PlaybookRun, server: Server, told: dict[str, Any], *, good: bool, reason: Any
) -> None:
    organization = session.get_one(Organization, server.organization_id)
    server.rehearsed = run.rehearsed
    if not good:
        message = (
            Message.from_json(reason)
            if reason
            else Message(N_("The playbook did not finish on {name}."), {"name": server.name})
        )
        server.failed_step = "configure"
        server.failure = {"code": "playbook_failed", "message": message.as_json()}
        servers.move(session, server, ServerPhase.FAILED, actor=SYSTEM.username, change="failed")
        text = Message(
            N_("{name} stands, but its playbook failed: {reason} Its quota stays used; try again or retire it."),
            {"name": server.name, "reason": message},
        )
        _tell(session, run, server, text, "warning")
        _audit_server(session, server, organization, Event.VM_FAIL, outcome=Ended.FAILURE, reason="playbook_failed")
        return
    server.guest = dict(told.get("facts", {}))
    server.failure, server.failed_step = None, None
    server.activated_at = server.activated_at or clock.now()
    server.lease_start = server.lease_start or clock.today()
    servers.move(session, server, ServerPhase.ACTIVE, actor=SYSTEM.username, change="active")
    ready = (
        N_("{name} is ready (configuration rehearsed, not applied).")
        if run.rehearsed
        else N_("{name} is configured and ready.")
    )
    _tell(session, run, server, Message(ready, {"name": server.name}), "step")
    _audit_server(session, server, organization, Event.VM_ACTIVATE, rehearsed=run.rehearsed)


def _tell(session: Session, run: PlaybookRun, server: Server, message: Message, kind: str) -> None:
    if run.request_id is not None:
        requests.tell(
            session,
            run.request_id,
            kind=kind,
            message=message,
            server_id=server.id,
            dedupe=f"settled:{run.id}:{server.id}",
        )


def _members(session: Session, run_id: uuid.UUID) -> list[PlaybookRunServer]:
    return list(session.exec(select(PlaybookRunServer).where(PlaybookRunServer.run_id == run_id)))


def _audit(session: Session, run: PlaybookRun, event: Event, **extra: Any) -> None:
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="playbook_run",
        object_id=run.id,
        object_name=run.playbook,
        organization_path=session.get_one(Organization, run.organization_id).path,
        rehearsed=run.rehearsed,
        **extra,
    )


def _audit_server(session: Session, server: Server, organization: Organization, event: Event, **extra: Any) -> None:
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="server",
        object_id=server.id,
        object_name=server.name,
        organization_path=organization.path,
        **extra,
    )

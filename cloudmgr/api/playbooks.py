"""Playbooks: the catalogue and runs."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request, status
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.http.context import language_of
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.i18n import translator
from cloudmgr.models import PlaybookRun
from cloudmgr.services import playbooks
from cloudmgr.services.playbooks import RunView, StartRun

router = api_router("", "playbooks")


class PlaybookShape(Shape):
    """A playbook that may be run."""

    name: str = Field(examples=["configure_server"])
    title: str
    description: str
    needs_approval: bool
    frozen_in_key_period: bool
    timeout_s: int
    variables: dict[str, Any]
    digest: str


class RunShape(Shape):
    """A run of a playbook; `rehearsed` (模拟执行) means that nothing was changed."""

    id: UUID
    playbook: str
    request: UUID | None
    state: str = Field(examples=["succeeded"])
    rehearsed: bool
    variables: dict[str, Any]
    digest: str
    started_by: str
    reason: str | None
    created_at: At
    started_at: datetime | None
    finished_at: datetime | None


class RunServerShape(Shape):
    """What a run did on one server."""

    server: UUID
    name: str
    state: str
    ok: int
    changed: int
    failed: int
    reason: str | None


class TaskShape(Shape):
    """One task on one server."""

    seq: int
    at: At
    server: UUID | None
    role: str
    task: str
    state: str
    message: str


class RunPage(RunShape):
    """A run with its servers and tasks."""

    servers: list[RunServerShape]
    events: list[TaskShape]


def _run(run: PlaybookRun, translate: Translator) -> dict[str, Any]:
    return {
        "id": run.id,
        "playbook": run.playbook,
        "request": run.request_id,
        "state": run.state,
        "rehearsed": run.rehearsed,
        "variables": run.variables,
        "digest": run.digest,
        "started_by": run.started_by,
        "reason": Message.from_json(run.reason).render(translate) if run.reason else None,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
    }


def _run_page(view: RunView, translate: Translator) -> RunPage:
    return RunPage(
        **_run(view.run, translate),
        servers=[
            RunServerShape(
                server=server.id,
                name=server.name,
                state=member.state,
                ok=member.ok,
                changed=member.changed,
                failed=member.failed,
                reason=Message.from_json(member.reason).render(translate) if member.reason else None,
            )
            for member, server in view.servers
        ],
        events=[
            TaskShape(
                seq=event.seq,
                at=event.at,
                server=event.server_id,
                role=event.role,
                task=translate(event.task),
                state=event.state,
                message=event.message,
            )
            for event in view.events
        ],
    )


@router.get("/playbooks", response_model=ItemPage[PlaybookShape], openapi_extra=rule(Action.PLAYBOOK_READ))
def list_playbooks(actor: ActorDep, session: SessionDep, http: Request) -> ItemPage[PlaybookShape]:
    """List the catalogue; `variables` is a JSON schema."""
    language = "en" if language_of(http) == "en" else "zh"
    return ItemPage(
        items=[
            PlaybookShape(
                name=entry.name,
                title=entry.title[language],
                description=entry.description[language],
                needs_approval=entry.needs_approval,
                frozen_in_key_period=entry.frozen_in_key_period,
                timeout_s=entry.timeout_s,
                variables=dict(entry.variables),
                digest=entry.digest,
            )
            for entry in playbooks.list_playbooks(session, actor)
        ]
    )


@router.get("/playbook-runs", response_model=ItemPage[RunShape], openapi_extra=rule(Action.SERVER_READ))
def list_runs(
    actor: ActorDep,
    session: SessionDep,
    page: PageDep,
    http: Request,
    server: Annotated[UUID | None, Query(description="Only runs on this server.")] = None,
) -> ItemPage[RunShape]:
    """List the runs you may read, newest first."""
    rows, following = playbooks.list_runs(session, actor, server_id=server, limit=page.limit, cursor=page.cursor)
    translate = translator(language_of(http))
    return ItemPage(items=[RunShape(**_run(run, translate)) for run in rows], next_cursor=encode_cursor(following))


@router.post(
    "/playbook-runs",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=RunShape,
    openapi_extra=rule(Action.PLAYBOOK_RUN, event=Event.PLAYBOOK_START, object_type="playbook_run"),
)
def start_run(command: StartRun, actor: ActorDep, session: SessionDep, http: Request) -> RunShape:
    """Run a playbook on servers that stand; a worker does it, at most one run a server at a time."""
    return RunShape(**_run(playbooks.start_run(session, actor, command), translator(language_of(http))))


@router.get(
    "/playbook-runs/{run_id}",
    response_model=RunPage,
    openapi_extra=rule(Action.SERVER_READ, object_type="playbook_run"),
)
def read_run(run_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> RunPage:
    """Tell what a run did, task by task."""
    return _run_page(playbooks.get_run(session, actor, run_id), translator(language_of(http)))


@router.post(
    "/playbook-runs/{run_id}/cancel",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=RunShape,
    openapi_extra=rule(Action.PLAYBOOK_RUN, event=Event.PLAYBOOK_FINISH, object_type="playbook_run"),
)
def cancel_run(run_id: UUID, actor: ActorDep, session: SessionDep, http: Request) -> RunShape:
    """Ask a run to stop; its worker ends it within seconds."""
    return RunShape(**_run(playbooks.cancel_run(session, actor, run_id), translator(language_of(http))))

"""What was seen at backends, and looking again: use cases around observations. No cloud is called here; workers look."""

import uuid
from dataclasses import dataclass

from sqlmodel import Session

from cloudmgr.adapters import queue
from cloudmgr.domain import access, clock, freshness
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.findings import SyncKind
from cloudmgr.domain.freshness import Freshness, Standing
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend, ObservedImage, ObservedServer, Server, SyncRun
from cloudmgr.services import audit
from cloudmgr.services.inputs import Input
from cloudmgr.services.policy import worker_of
from cloudmgr.store import catalogue, discovery, organizations

unmanaged_rows = discovery.unmanaged_rows
BATCH = discovery.BATCH


class AskSync(Input):
    """Ask for a complete look now. `confirm_losses`: servers that are not listed are really gone."""

    confirm_losses: bool = False


@dataclass(frozen=True, slots=True)
class AskedSync:
    """A look that was asked for; its run appears among the backend's when it has ended."""

    id: str
    backend: Backend


def standing_of(session: Session, backend: Backend) -> Standing:
    """Return the health of a backend that may be shown now, and how fresh it is."""
    return freshness.standing(
        backend.health,
        backend.last_seen_at,
        now=clock.now(),
        period_s=worker_of(session).health_interval_s,
        expected_offline_hours=backend.expected_offline_hours,
    )


def servers_freshness(session: Session, backend: Backend) -> Freshness:
    """Return how fresh what is known of a backend's servers is."""
    return freshness.age_of(backend.servers_synced_at, now=clock.now(), period_s=_looked_at_every_s(session, backend))


def server_freshness(session: Session, server: Server, backend: Backend | None) -> Freshness:
    """Return how fresh what is known of one server is; `away` while its site may be."""
    if backend is None or server.last_seen_at is None:
        return Freshness.NEVER
    found = freshness.age_of(server.last_seen_at, now=clock.now(), period_s=_looked_at_every_s(session, backend))
    if found is Freshness.STALE and not freshness.is_alarming(
        server.last_seen_at, now=clock.now(), expected_offline_hours=backend.expected_offline_hours
    ):
        return Freshness.AWAY
    return found


def list_syncs(
    session: Session, actor: Actor, backend_id: uuid.UUID, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[SyncRun], uuid.UUID | None]:
    """Return the looks at a backend's servers, the newest first.

    Raises:
        NotFound: there is no such backend.
    """
    access.require(actor, Action.FINDING_READ)
    _existing(session, backend_id)
    return discovery.run_page(session, backend_id, limit=limit, cursor=cursor)


def ask_sync(session: Session, actor: Actor, backend_id: uuid.UUID, command: AskSync) -> AskedSync:
    """Ask a worker to look at a backend now, even at one that is being left in peace.

    Raises:
        NotFound: there is no such backend.
        Conflict: no worker's settings have it.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    backend = _existing(session, backend_id)
    if not backend.is_configured:
        raise Conflict(
            N_("No worker is connected to {backend}: its section is missing in the settings."), backend=backend.name
        )
    id_ = f"look:{backend.name}:asked:{uuid.uuid4()}"
    queue.enqueue(
        session,
        "sync_backend",
        id_,
        backend.name,
        clock.now().isoformat(),
        SyncKind.FULL.value,
        command.confirm_losses,
    )
    audit.record(
        session,
        actor,
        Event.BACKEND_SYNC,
        object_type="backend",
        object_id=backend.id,
        object_name=backend.name,
        confirm_losses=command.confirm_losses,
    )
    return AskedSync(id_, backend)


def list_observed(
    session: Session,
    actor: Actor,
    *,
    managed: bool | None = None,
    backend: str | None = None,
    name: str | None = None,
    with_missing: bool = False,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[tuple[ObservedServer, Backend]], uuid.UUID | None]:
    """Return servers seen at backends, ours or not, the latest found first.

    Who administers the whole city sees all; a district those at backends it owns.
    """
    chosen, paths = reach(session, actor, backend)
    return discovery.page(
        session,
        managed=managed,
        backend_ids=chosen,
        paths=paths,
        name=name,
        with_missing=with_missing,
        limit=limit,
        cursor=cursor,
    )


def list_observed_images(session: Session, actor: Actor, backend_id: uuid.UUID) -> list[ObservedImage]:
    """Return the templates a backend lists; one without an architecture is listed and never used.

    Raises:
        NotFound: there is no such backend.
    """
    access.require(actor, Action.CAPACITY_READ)
    _existing(session, backend_id)
    return discovery.images(session, backend_id)


def reach(session: Session, actor: Actor, backend: str | None) -> tuple[list[uuid.UUID] | None, list[str] | None]:
    """Return which backends are asked about (None: all), and whose an actor may know of (None: everybody's).

    Raises:
        Forbidden: the actor may read findings nowhere.
    """
    access.require(actor, Action.FINDING_READ)
    chosen = None
    if backend is not None:
        found = catalogue.by_name(session, Backend, backend)
        chosen = [found.id] if found is not None else []
    return chosen, None if sees_all(session, actor) else actor.scope(Action.FINDING_READ)


def sees_all(session: Session, actor: Actor) -> bool:
    """Whether an actor may read findings of the whole city, and so of backends that nobody owns."""
    root = organizations.root(session)
    return actor.may(Action.FINDING_READ, root.path if root else "/")


def _looked_at_every_s(session: Session, backend: Backend) -> float:
    worker = worker_of(session)
    period_s = worker.full_sync_interval_s
    if "incremental" in backend.capabilities and worker.incremental_sync_interval_s:
        period_s = min(period_s or worker.incremental_sync_interval_s, worker.incremental_sync_interval_s)
    return period_s


def _existing(session: Session, backend_id: uuid.UUID) -> Backend:
    backend = catalogue.get(session, Backend, backend_id)
    if backend is None:
        raise NotFound(N_("There is no such backend."))
    return backend

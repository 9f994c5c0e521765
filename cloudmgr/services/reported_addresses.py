"""What backends say of a subnet's addresses beside our own record: used by somebody else, kept for it, or unknown."""

import uuid

from sqlmodel import Session

from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import NotFound
from cloudmgr.domain.messages import N_
from cloudmgr.models import Backend
from cloudmgr.services.discovery import reach
from cloudmgr.store import addresses, organizations
from cloudmgr.store import reported_addresses as store
from cloudmgr.store.reported_addresses import ReportedRow

SeenRow = store.SeenRow


def may_read(session: Session, actor: Actor, backend: Backend | None) -> bool:
    """Whether somebody may know what stands at a backend beside us: who may read findings of its owner."""
    return backend is not None and actor.may(Action.FINDING_READ, _path(session, backend))


def list_reported(
    session: Session, actor: Actor, subnet_id: uuid.UUID, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[ReportedRow], uuid.UUID | None]:
    """Return addresses of a subnet that its backend says are in use, except by the servers that have them.

    A subnet on no network has none: nobody reports there. A backend that lists no addresses says nothing here either;
    what its servers show is passed over all the same when an address is chosen.

    Raises:
        NotFound: there is no such subnet.
        Forbidden: the actor may not know what else stands at the backend.
    """
    row = addresses.get(session, subnet_id)
    if row is None:
        raise NotFound(N_("There is no such subnet."))
    subnet, network, backend = row
    if network is None or backend is None:
        require(actor, Action.FINDING_READ)
        return [], None
    require(actor, Action.FINDING_READ, _path(session, backend))
    return store.page(session, subnet, network, limit=limit, after=cursor)


def list_seen(
    session: Session,
    actor: Actor,
    *,
    explained: bool | None = None,
    backend: str | None = None,
    subnet_id: uuid.UUID | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[SeenRow], uuid.UUID | None]:
    """Return addresses that backends report as in use, in the order in which they were first seen.

    `explained` true gives those that a server of ours has and shows, and gateways; false everything else. Who administers
    the whole city sees all; a district those at backends it owns.

    Raises:
        NotFound: there is no such subnet.
        Forbidden: the actor may read findings nowhere.
    """
    chosen, paths = reach(session, actor, backend)
    place = None
    if subnet_id is not None:
        row = addresses.get(session, subnet_id)
        if row is None:
            raise NotFound(N_("There is no such subnet."))
        subnet, network, _ = row
        if network is None:  # nobody reports there
            return [], None
        place = (subnet, network)
    return store.seen(
        session,
        explained=explained,
        backend_ids=chosen,
        paths=paths,
        subnet=place,
        limit=limit,
        after=cursor,
    )


def _path(session: Session, backend: Backend) -> str:
    owner_id = backend.owner_organization_id
    owner = organizations.get(session, owner_id) if owner_id else organizations.root(session)
    return owner.path if owner else "/"

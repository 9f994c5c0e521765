"""Use cases of backends (云平台): what people may know and decide of them. Credentials and calls are the worker's."""

import uuid
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.freshness import Freshness, Standing
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import Tier
from cloudmgr.models import Backend, BackendShare, Organization
from cloudmgr.services import audit
from cloudmgr.services.changes import set_changed
from cloudmgr.services.discovery import servers_freshness, standing_of
from cloudmgr.services.inputs import Closed, Id, Input, Name, Text, formed, unset
from cloudmgr.store import catalogue, organizations
from cloudmgr.store.unique import add_unique

BackendName = Annotated[
    str,
    formed(
        r"^[a-z0-9][a-z0-9._-]{0,63}$",
        N_(
            "Begin with a small letter or a digit and go on with small letters, digits, dots, underscores and hyphens, 64 in all at most."
        ),
    ),
]
ProviderName = Annotated[
    str,
    formed(
        r"^[a-z][a-z0-9_]{0,31}$",
        N_("Begin with a small letter and go on with small letters, digits and underscores, 32 in all at most."),
    ),
]
Datacenter = Annotated[Text, StringConstraints(min_length=1, max_length=100)]
Title = Annotated[Text, StringConstraints(max_length=200)]
Shares = Annotated[list[Id], Field(max_length=200)]
OfflineHours = Annotated[int, Field(ge=0, le=24 * 366)]
BackendTier = Annotated[Tier, Closed]


class CreateBackend(Input):
    """A backend's entry in the catalogue. Without an owner it is the whole city's and open to everybody."""

    name: BackendName
    title: Title = ""
    provider: ProviderName
    tier: BackendTier = Tier.CITY
    datacenter: Datacenter
    vendor: Name | None = None
    owner_organization: Id | None = None
    shared_with: Shares = Field(default_factory=list)
    counts_city_quota: bool = False
    expected_offline_hours: OfflineHours = 0
    is_enabled: bool = True


class UpdateBackend(Input):
    """What may change of a backend; its name and provider stay."""

    title: Title = unset()
    tier: BackendTier = unset()
    datacenter: Datacenter = unset()
    vendor: Name | None = None
    owner_organization: Id | None = None
    shared_with: Shares = unset()
    counts_city_quota: bool = unset()
    expected_offline_hours: OfflineHours = unset()
    is_enabled: bool = unset()


@dataclass(frozen=True, slots=True)
class BackendView:
    """A backend with its owner and those it is shared with; `standing` is the health to show, never that of the row."""

    backend: Backend
    owner: Organization | None
    shared_with: list[Organization]
    standing: Standing
    servers_freshness: Freshness


def list_backends(
    session: Session, actor: Actor, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[BackendView], uuid.UUID | None]:
    """Return a page of the backends; disabled ones only to those who keep the catalogue."""
    access.require(actor, Action.CATALOGUE_READ)
    active_only = not actor.may(Action.CATALOGUE_WRITE)
    rows, following = catalogue.listed(session, Backend, active_only=active_only, limit=limit, after=cursor)
    return _views(session, rows), following


def get_backend(session: Session, actor: Actor, backend_id: uuid.UUID) -> BackendView:
    """Return one backend.

    Raises:
        NotFound: there is none.
    """
    access.require(actor, Action.CATALOGUE_READ)
    return _views(session, [_existing(session, backend_id)])[0]


def create_backend(session: Session, actor: Actor, command: CreateBackend) -> BackendView:
    """Add a backend to the catalogue; its connection stands in the settings of the workers.

    Raises:
        Conflict: the name is taken.
        InvalidInput: an organization named does not exist.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    _require_organizations(
        session, [command.owner_organization] if command.owner_organization else [], "owner_organization"
    )
    fields = command.model_dump(exclude={"owner_organization", "shared_with"}) | {"tier": command.tier.value}
    backend = Backend(owner_organization_id=command.owner_organization, **fields)
    if not add_unique(session, backend):
        raise Conflict(N_("There is a backend called {name} already."), field="name", name=command.name)
    _share(session, backend, command.shared_with)
    _record(session, actor, backend, after=command.model_dump(mode="json"))
    return _views(session, [backend])[0]


def update_backend(session: Session, actor: Actor, backend_id: uuid.UUID, command: UpdateBackend) -> BackendView:
    """Change what was given of a backend; `shared_with` is the whole new list.

    Raises:
        NotFound: there is no such backend.
        InvalidInput: an organization named does not exist.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    backend = _existing(session, backend_id)
    wanted: dict[str, Any] = command.changes()
    if "tier" in wanted:
        wanted["tier"] = Tier(wanted["tier"]).value
    if "owner_organization" in wanted:
        owner_id = wanted.pop("owner_organization")
        _require_organizations(session, [owner_id] if owner_id else [], "owner_organization")
        wanted["owner_organization_id"] = owner_id
    shared_with = wanted.pop("shared_with", None)
    changed = set_changed(session, backend, wanted)
    before, after = dict(changed.before), dict(changed.after)
    if shared_with is not None:
        was = _share(session, backend, shared_with)
        if set(was) != set(shared_with):
            before["shared_with"], after["shared_with"] = (
                [str(each) for each in was],
                [str(each) for each in shared_with],
            )
    if after:
        _record(session, actor, backend, before=before, after=after)
    return _views(session, [backend])[0]


def require_backend(session: Session, name: str, *, field: str = "backend") -> Backend:
    """Return the backend of a name.

    Raises:
        InvalidInput: there is none; `field` names it.
    """
    backend = catalogue.by_name(session, Backend, name)
    if backend is None:
        raise InvalidInput(N_("There is no backend called {name}."), field=field, name=name)
    return backend


def _existing(session: Session, backend_id: uuid.UUID) -> Backend:
    backend = catalogue.get(session, Backend, backend_id)
    if backend is None:
        raise NotFound(N_("There is no such backend."))
    return backend


def _views(session: Session, rows: list[Backend]) -> list[BackendView]:
    owners = catalogue.owners(session, rows)
    shares = catalogue.shares(session, [row.id for row in rows])
    return [
        BackendView(
            row,
            owners[row.owner_organization_id] if row.owner_organization_id else None,
            shares[row.id],
            standing_of(session, row),
            servers_freshness(session, row),
        )
        for row in rows
    ]


def _require_organizations(session: Session, ids: list[uuid.UUID], field: str) -> None:
    if len(organizations.paths(session, ids)) != len(set(ids)):
        raise InvalidInput(N_("There is no such organization."), field=field)


def _share(session: Session, backend: Backend, wanted: list[uuid.UUID]) -> list[uuid.UUID]:
    """Make the shares of a backend exactly these; return what they were."""
    _require_organizations(session, wanted, "shared_with")
    rows = {row.organization_id: row for row in catalogue.share_rows(session, backend.id)}
    for organization_id, row in rows.items():
        if organization_id not in wanted:
            catalogue.remove(session, row)
    for organization_id in set(wanted) - rows.keys():
        add_unique(session, BackendShare(backend_id=backend.id, organization_id=organization_id))
    return list(rows)


def _record(session: Session, actor: Actor, backend: Backend, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.BACKEND_WRITE,
        object_type="backend",
        object_id=backend.id,
        object_name=backend.name,
        **detail,
    )

"""Use cases of a project's public keys: put on its new servers; standing servers are not touched."""

import uuid
from typing import Annotated

from pydantic import StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access, sshkeys
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import Conflict, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import ProjectSshKey
from cloudmgr.services import audit
from cloudmgr.services.inputs import Input, Text
from cloudmgr.services.projects import ProjectView, get_project
from cloudmgr.store import projects
from cloudmgr.store.unique import add_unique

MAX_KEYS = 50


class AddSshKey(Input):
    """One public key; without a name, the key's own comment names it."""

    public_key: Annotated[Text, StringConstraints(min_length=1, max_length=4096)]
    name: Annotated[Text, StringConstraints(max_length=100)] = ""


def list_ssh_keys(session: Session, actor: Actor, project_id: uuid.UUID) -> list[ProjectSshKey]:
    """Return a project's public keys, oldest first; there are at most `MAX_KEYS`.

    Raises:
        NotFound: there is no such project for this actor.
    """
    view = get_project(session, actor, project_id)
    return projects.ssh_keys(session, view.project.id)


def add_ssh_key(session: Session, actor: Actor, project_id: uuid.UUID, command: AddSshKey) -> ProjectSshKey:
    """Add a public key to a project; whoever may ask for servers there, or keeps the register, may.

    Raises:
        InvalidInput: it is not an acceptable public key.
        Conflict: the project has it already, or has `MAX_KEYS`.
    """
    view = get_project(session, actor, project_id)
    _require_keeper(actor, view)
    line = sshkeys.checked_public_key(command.public_key, field="public_key")
    comment = "".join(line.split(None, 2)[2:])
    if len(projects.ssh_keys(session, project_id)) >= MAX_KEYS:
        raise Conflict(N_("A project may have at most {most} public keys; remove one first."), most=MAX_KEYS)
    row = ProjectSshKey(
        project_id=project_id,
        name=(command.name or comment)[:100],
        public_key=line,
        fingerprint=sshkeys.fingerprint(line),
        created_by_id=actor.user_id,
    )
    if not add_unique(session, row):
        raise Conflict(N_("The project has this key already ({fingerprint})."), fingerprint=row.fingerprint)
    _record(session, actor, Event.SSH_KEY_ADD, view, row)
    return row


def ensure_ssh_key(session: Session, actor: Actor, project_id: uuid.UUID, command: AddSshKey) -> None:
    """Add a public key unless the project has it already; otherwise as `add_ssh_key`."""
    line = sshkeys.checked_public_key(command.public_key, field="ssh_keys")
    if all(key.fingerprint != sshkeys.fingerprint(line) for key in projects.ssh_keys(session, project_id)):
        add_ssh_key(session, actor, project_id, command)


def remove_ssh_key(session: Session, actor: Actor, project_id: uuid.UUID, key_id: uuid.UUID) -> None:
    """Take a key from a project; servers that have it keep it until a playbook is run on them.

    Raises:
        NotFound: there is no such project for this actor, or no such key.
    """
    view = get_project(session, actor, project_id)
    _require_keeper(actor, view)
    row = projects.ssh_key(session, project_id, key_id)
    if row is None:
        raise NotFound(N_("There is no such key."))
    projects.remove_ssh_key(session, row)
    _record(session, actor, Event.SSH_KEY_REMOVE, view, row)


def _require_keeper(actor: Actor, view: ProjectView) -> None:
    if not actor.may(Action.REQUEST_MAKE, view.organization.path):
        access.require(actor, Action.ORGANIZATION_WRITE, view.organization.path, see=Action.ORGANIZATION_READ)


def _record(session: Session, actor: Actor, event: Event, view: ProjectView, key: ProjectSshKey) -> None:
    audit.record(
        session,
        actor,
        event,
        object_type="ssh_key",
        object_id=key.id,
        object_name=key.name,
        organization_path=view.organization.path,
        project=str(view.project.id),
        fingerprint=key.fingerprint,
    )

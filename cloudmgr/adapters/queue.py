"""Handing work to the durable engine inside the transaction that the work is about: committed together or not at all."""

import threading
import uuid
import weakref
from typing import Any

import sqlalchemy as sa
from dbos import DBOSClient
from sqlmodel import Session

from cloudmgr.adapters.serialization import JsonSerializer

REQUESTS = "requests"
"""Queue of whole requests; each waits for the servers it started."""
SERVERS = "servers"
"""Queue of single servers: build, retire, power."""

LOOKS = "looks"
"""Queue of looks at backends: apart, so that a slow cloud never takes the place of a server that is being built."""

NOTICES = "notices"
"""Queue of e-mail and webhooks: apart, so that a slow mail server holds up nothing else."""

WORKFLOWS = {
    "fulfil_request": REQUESTS,
    "watch_deadlines": REQUESTS,
    "provision_server": SERVERS,
    "retire_server": SERVERS,
    "recheck_retire": SERVERS,
    "resize_server": SERVERS,
    "renew_server": SERVERS,
    "freeze_server": SERVERS,
    "unfreeze_server": SERVERS,
    "act_on_leases": SERVERS,
    "make_volume": SERVERS,
    "attach_volume": SERVERS,
    "detach_volume": SERVERS,
    "delete_volume": SERVERS,
    "take_snapshot": SERVERS,
    "revert_snapshot": SERVERS,
    "delete_snapshot": SERVERS,
    "power_server": SERVERS,
    "run_playbook": SERVERS,
    "apply_openings": SERVERS,
    "assign_public_ip": SERVERS,
    "release_public_ip": SERVERS,
    "sync_backend": LOOKS,
    "verify_quotas": LOOKS,
    "turn_quotas": LOOKS,
    "restore_server": SERVERS,
    "deliver_notice": NOTICES,
}
"""Every workflow that may be enqueued by name, and its queue; a guard test holds this equal to the definitions."""

_clients: "weakref.WeakKeyDictionary[sa.Engine, DBOSClient]" = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def workflow_id(kind: str, object_id: uuid.UUID, attempt: int) -> str:
    """Return the id of one attempt at something; an id that has run never runs again."""
    return f"{kind}:{object_id}:{attempt}"


def enqueue(session: Session, workflow: str, id_: str, *args: Any) -> None:
    """Enqueue a workflow by name in the session's own transaction. `args` must be JSON-able. Twice is once."""
    session.flush()
    _client(session.get_bind()).enqueue_in_transaction(
        session, {"workflow_name": workflow, "queue_name": WORKFLOWS[workflow], "workflow_id": id_}, *args
    )


def _client(bind: "sa.Engine | sa.Connection") -> DBOSClient:
    engine = bind if isinstance(bind, sa.Engine) else bind.engine
    with _guard:
        client = _clients.get(engine)
        if client is None:
            client = _clients[engine] = DBOSClient(
                system_database_engine=engine, serializer=JsonSerializer(), lazy=True
            )
        return client

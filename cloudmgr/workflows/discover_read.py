"""Reading what a backend holds: servers, addresses, leftovers, its own limits; written as observations while they come.

The one call step that writes our database, and only observations: nothing is decided on them here, twice is once, and ten
thousand servers pass through in batches instead of through a step's result. Reason: docs/decisions/0006-observations.md.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.addresses import key_of
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.models import Backend
from cloudmgr.store import discovery
from cloudmgr.store.db import begin_immediate, new_session
from cloudmgr.workflows import looks
from cloudmgr.workflows.looks import Put
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import reach
from providers.base import AddressObservation, Provider, ResourceKind, ResourceObservation, ServerObservation
from providers.capabilities import CloudQuota, Evidence, FixedAddresses, Incremental, capabilities
from providers.errors import ProviderError, Unsupported

logger = logging.getLogger(__name__)

MOST_LEFTOVERS = 1000
"""More than this is told as a number."""
MOST_REFS = 500
"""More changes than this are compared as a whole."""


def read_servers(backend: str, kind: str) -> Outcome:
    """Read a backend's servers (`full`, or `incremental` where the driver can) and note them; return what is left to judge."""
    return attempt(lambda: _read(backend, kind))


def _read(backend: str, kind: str) -> dict[str, Any]:
    began, looked_at = time.monotonic(), clock.now()
    with new_session(runtime().engine) as session:
        row = session.exec(select(Backend).where(Backend.name == backend)).one()
        backend_id, cursor = row.id, row.sync_cursor
        known = discovery.known_servers(session, backend_id)
    look = _Look(backend_id, looked_at.isoformat())
    timeout_s = runtime().settings.worker.sync_timeout_s
    answers = looks.stream(backend, timeout_s, lambda put: _produce(backend, kind, cursor, put))
    with contextlib.closing(answers):
        for topic, content in answers:
            if topic == "servers":
                with _session() as session:
                    look.changed += discovery.note_servers(session, backend_id, content, known, looked_at)
                    reach("read_servers:batch")
                    session.commit()
                look.count(content)
            elif topic == "addresses":
                network, entries = content
                with _session() as session:
                    discovery.note_addresses(session, backend_id, network, entries, looked_at)
                    session.commit()
            else:
                look.told[topic] = content
    return look.as_json() | {"seconds": round(time.monotonic() - began, 3)}


class _Look:
    """What one reading comes to, small enough for a step's result."""

    def __init__(self, backend_id: uuid.UUID, looked_at: str) -> None:
        self.backend_id = backend_id
        self.looked_at = looked_at
        self.servers = self.changed = 0
        self.refs: list[str] = []
        self.told: dict[str, Any] = {}

    def count(self, batch: Sequence[dict[str, Any]]) -> None:
        self.servers += len(batch)
        if len(self.refs) <= MOST_REFS:
            self.refs += [seen["ref"] for seen in batch]

    def as_json(self) -> dict[str, Any]:
        is_complete = self.told.get("complete", True)
        refs = None if is_complete or len(self.refs) > MOST_REFS else self.refs
        defaults = {"complete": True, "gone": [], "cursor": None, "networks": [], "leftovers": None, "quota": None}
        numbers = {"servers": self.servers, "changed": self.changed, "refs": refs, "looked_at": self.looked_at}
        return defaults | {"notes": []} | self.told | numbers


def _produce(backend: str, kind: str, cursor: str | None, put: Put) -> None:
    """Ask the cloud; runs in a thread of its own and touches no database."""
    provider = runtime().provider(backend)
    able = frozenset(capabilities(provider))
    if isinstance(provider, Incremental) and "incremental" in able:
        changes = provider.list_changes(cursor if kind == "incremental" else None)
        complete = changes.is_full
        _put_servers(changes.servers, put)
        put(("complete", complete))
        put(("gone", [] if complete else list(changes.gone)))
        put(("cursor", changes.cursor))
    else:
        complete = True
        _put_servers(provider.list_servers(), put)
    if kind == "full":
        notes: list[dict[str, Any]] = []
        for topic, ask in (("networks", _put_addresses), ("leftovers", _leftovers), ("quota", _quota)):
            try:
                put((topic, ask(provider, able, put)))
            except Unsupported:
                continue
            except (
                ProviderError
            ) as error:  # servers were read: what else could not be is told, and what was known stays
                logger.warning("%s of %s could not be read: %s", topic, backend, error.detail or error)
                notes.append(error.message.as_json())
        put(("notes", notes))


def _put_servers(seen: Iterable[ServerObservation], put: Put) -> None:
    for batch in _batched(seen):
        put(("servers", [_server(each) for each in batch]))


def _server(seen: ServerObservation) -> dict[str, Any]:
    return {
        "ref": seen.ref[:300],
        "token": seen.token,
        "native_uuid": seen.native_uuid,
        "name": seen.name[:300],
        "power": seen.power.value,
        "native_state": seen.native_state[:200],
        "arch": seen.arch.value if seen.arch else None,
        "vcpus": seen.vcpus,
        "memory_mib": seen.memory_mib,
        "system_disk_gib": seen.system_disk_gib,
        "data_disk_gib": seen.data_disk_gib,
        "zone_ref": seen.zone[:200] if seen.zone else None,
        "host": seen.host[:200] if seen.host else None,
        "image": seen.image[:300] if seen.image else None,
        "networks": list(seen.networks) if seen.networks is not None else None,
        "ipv4": list(seen.ipv4),
        "ipv6": list(seen.ipv6),
    }


def _put_addresses(provider: Provider, able: frozenset[str], put: Put) -> list[str]:
    """Put the addresses in use on every network; return the networks that were read."""
    if not isinstance(provider, FixedAddresses) or "fixed_addresses" not in able:
        return []
    read = []
    for network in provider.list_networks():
        for batch in _batched(provider.list_addresses(network.ref)):
            put(("addresses", (network.ref, [entry for each in batch for entry in _address(each)])))
        read.append(network.ref)
    return read


def _address(seen: AddressObservation) -> Iterator[dict[str, Any]]:
    try:
        key = key_of(seen.address)
    except (InvalidInput, ValueError):
        return  # a cloud that reports no address for a port has none in use
    yield {
        "address": seen.address,
        "key": key,
        "server_ref": seen.server[:300] if seen.server else None,
        "mac": seen.mac[:32] if seen.mac else None,
        "owner": seen.owner[:200],
    }


def _leftovers(provider: Provider, able: frozenset[str], _put: Put) -> list[dict[str, Any]] | None:
    if not isinstance(provider, Evidence) or "evidence" not in able:
        return None
    found = [each for each in provider.list_resources() if each.kind is not ResourceKind.SERVER]
    return [_resource(each) for each in found[:MOST_LEFTOVERS]]


def _resource(seen: ResourceObservation) -> dict[str, Any]:
    return {
        "kind": seen.kind.value,
        "ref": seen.ref,
        "name": seen.name,
        "size_gib": seen.size_gib,
        "token": str(seen.token) if seen.token else None,
        "created_at": seen.created_at.isoformat() if seen.created_at else None,
    }


def _quota(provider: Provider, able: frozenset[str], _put: Put) -> list[dict[str, Any]] | None:
    if not isinstance(provider, CloudQuota) or "cloud_quota" not in able:
        return None
    return [{"resource": each.resource, "used": each.used, "limit": each.limit} for each in provider.read_quota()]


def _batched(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, discovery.BATCH)):
        yield batch


def _session() -> Session:
    session = new_session(runtime().engine)
    begin_immediate(session)
    return session

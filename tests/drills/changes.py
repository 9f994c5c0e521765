"""A resize and a freeze whose worker is killed between the cloud's answer and its being written down: done once, and right."""

import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

import quotas
from cloudmgr.models import Allocation, Flavor, ResourceRequest, Server, ServerChange
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import body_adapter
from providers.base import PowerState
from tests.drills.run import Town, clear_away

GROWN = "grown"
POINTS = {"resize": "resize_resize:inside", "freeze": "freeze_stop:inside"}
"""Between the decisive call and the record of it."""


@contextmanager
def standing(founded: Town, folder: Path, size: tuple[int, int]) -> Iterator[Town]:
    """A copy of a city with one server in service, and a bigger flavor; nothing is left of it at the peer."""
    town = founded.copy(folder)
    try:
        town.ask("provision")
        done = town.run()
        assert done["status"] == 0, (done, town.log()[-4000:])
        with town.city() as city, city.session() as session:
            vcpus, memory_mib = size
            session.add(Flavor(name=GROWN, vcpus=vcpus, memory_mib=memory_mib, system_disk_gib=40))
            session.commit()
        yield town
    finally:
        clear_away(town)


def check(founded: Town, folder: Path, size: tuple[int, int]) -> None:
    """The peer, the ledger and the pool say the same after each, whatever died on the way."""
    with standing(founded, folder, size) as town:
        before = _server(town)
        _killed(town, "resize", flavor=GROWN)
        _check(town, before, size, PowerState.RUNNING)
        _killed(town, "freeze")
        _check(town, before, size, PowerState.STOPPED)
        _killed(town, "unfreeze")
        _check(town, before, size, PowerState.RUNNING)


def _killed(town: Town, kind: str, **body: Any) -> None:
    """Ask for a change, kill the worker in the middle of it, and let another finish it."""
    with town.city() as city, city.session() as session:
        server = session.exec(select(Server)).one()
        whole = {
            "kind": kind,
            "project": str(server.project_id),
            "purpose": "演练",
            "servers": [str(server.id)],
            **body,
        }
        request = requests.submit_new(session, city.actor("requester"), body_adapter.validate_python(whole))
        session.commit()
        town.request = request.id
        city.approve(request.id)
    if kind in POINTS:
        died = town.run(kill_at=POINTS[kind])
        assert died["died_by"] == signal.SIGKILL, (died, town.log()[-4000:])
    done = town.run()
    with town.session() as session:
        phase = session.get_one(ResourceRequest, town.request).phase
        failures = [change.failure for change in session.exec(select(ServerChange)) if change.failure]
    assert (done["status"], phase) == (0, "fulfilled"), (failures, town.log()[-4000:])


def _check(town: Town, before: Server, size: tuple[int, int], power: PowerState) -> None:
    seen = town.peer.truth.get_server(before.native_ref or "")
    assert (seen.power, seen.vcpus, seen.memory_mib) == (power, *size)
    assert [one.token for one in town.peer.truth.list_servers() if one.token == before.id] == [before.id]
    now = _server(town)
    phase = "active" if power is PowerState.RUNNING else "suspended"
    assert (now.phase, now.state, now.vcpus, now.memory_mib) == (phase, str(power), *size)
    assert (now.native_ref, now.ipv4, now.resizing_since) == (before.native_ref, before.ipv4, None)
    with town.session() as session:
        _check_books(session, now.id, size)


def _check_books(session: Session, server: uuid.UUID, size: tuple[int, int]) -> None:
    counted = dict(zip(("vcpus", "memory_mib"), size, strict=True))
    assert quotas.verify(session).mismatches == []
    usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
    assert {key: usage.used[key] for key in counted} == counted
    assert not any(usage.reserved.values()), "no pending quota is left"
    held = session.exec(select(Allocation).where(col(Allocation.released_at).is_(None))).one()
    assert (held.server_id, {key: held.amounts[key] for key in counted}) == (server, counted)
    assert {change.state for change in session.exec(select(ServerChange))} == {"done"}


def _server(town: Town) -> Server:
    with town.session() as session:
        return session.exec(select(Server)).one()

"""What a look confirms, beside a worker that is just writing one of the servers."""

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.models import Backend, ObservedServer, Server
from cloudmgr.store import discovery
from tests.stocked import stock
from tests.world import World, build

AGO = timedelta(hours=1)


@pytest.fixture
def seen(tmp_path: Path, pg_database: str) -> World:
    """Two servers that an earlier look saw at a cloud."""
    city = build(tmp_path / "city", pg_database)
    stock(city)
    city.submit(name="seen", count=2)
    with city.session() as session:
        backend = _backend(session)
        for server in session.exec(select(Server)):
            server.backend_id, server.native_ref = backend, server.name
            then = {"first_seen_at": clock.now() - AGO, "last_seen_at": clock.now() - AGO, "changed_at": clock.now()}
            what = {"ref": server.name, "name": server.name, "power": "running", "native_state": "running"}
            session.add(ObservedServer(backend_id=backend, server_id=server.id, **what, **then))
        session.commit()
    return city


def _backend(session: Session) -> uuid.UUID:
    return session.exec(select(Backend.id).where(Backend.name == "kp")).one()


@pytest.mark.parametrize("held", [Server, ObservedServer])
def test_a_look_waits_for_no_server_that_is_being_written_and_the_next_one_confirms_it(
    seen: World, held: type[Server] | type[ObservedServer]
) -> None:
    with seen.session() as worker, seen.session() as look:
        row = worker.exec(select(held).order_by(held.id)).first()  # type: ignore[arg-type]
        worker.exec(select(held).where(held.id == row.id).with_for_update()).one()
        look.connection().exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        first = clock.now()
        discovery.touch(look, _backend(look), first, everything=True)
        assert [server.last_seen_at for server in look.exec(select(Server))].count(first) == 1
        look.commit()
        worker.commit()
        second = clock.now()
        discovery.touch(look, _backend(look), second, everything=True)
        assert {server.last_seen_at for server in look.exec(select(Server))} == {second}
        look.rollback()
    seen.engine.dispose()

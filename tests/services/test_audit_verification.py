"""What a look at the audit log finds: nothing, a hole, a cut tail, a missing trigger; and who may ask."""

import pytest
from sqlmodel import Session

from cloudmgr.domain.errors import Forbidden
from cloudmgr.domain.events import Event
from cloudmgr.main import create_app
from cloudmgr.models import User
from cloudmgr.services import audit, audit_verification
from cloudmgr.store import triggers
from cloudmgr.workflows.facts import SYSTEM
from tests import support
from tests.stocked import Desk
from tests.world import World


@pytest.fixture
def ten(desk: Desk) -> Desk:
    """A log with at least ten records."""
    for _ in range(10):
        audit.record(desk.session, SYSTEM, Event.SYSTEM_START, object_type="worker")
        desk.session.flush()
    return desk


def _delete(session: Session, condition: str) -> None:
    """Delete records as the database's owner could: with the trigger off."""
    dialect = session.get_bind().dialect.name
    connection = session.connection()
    rows, _ = triggers.names("audit_events", dialect)
    if dialect == "sqlite":
        connection.exec_driver_sql("DROP TRIGGER append_only_audit_events_delete")
    else:
        connection.exec_driver_sql(f"ALTER TABLE audit_events DISABLE TRIGGER {rows}")
    connection.exec_driver_sql(f"DELETE FROM audit_events WHERE {condition}")
    triggers.install(connection, ("audit_events",))


def test_a_whole_log_is_told_whole(ten: Desk) -> None:
    found = audit_verification.verify(ten.session)
    assert (found.ok, found.triggers_missing, found.stage) == (True, [], "append_only")
    assert found.events >= 10
    assert found.last_seq >= found.first_seq + 9


def test_a_record_taken_from_the_middle_leaves_a_gap(ten: Desk) -> None:
    before = audit_verification.verify(ten.session)
    seq = before.last_seq - 3
    _delete(ten.session, f"seq = {seq}")
    found = audit_verification.verify(ten.session)
    assert [seq - 1, seq + 1] in found.gaps
    assert found.missing == before.missing + 1
    assert found.ok is found.gaps_explained is (ten.session.get_bind().dialect.name == "postgresql")


def test_records_taken_from_the_end_are_missed_on_sqlite(ten: Desk) -> None:
    before = audit_verification.verify(ten.session)
    _delete(ten.session, f"seq > {before.last_seq - 2}")
    found = audit_verification.verify(ten.session)
    if ten.session.get_bind().dialect.name == "sqlite":
        assert (found.ok, found.missing, found.gaps[-1]) == (False, 2, [before.last_seq - 2, before.last_seq + 1])
    else:
        assert found.ok, "PostgreSQL does not tell: the chain will"


def test_a_missing_trigger_is_found(ten: Desk) -> None:
    dialect = ten.session.get_bind().dialect.name
    name, _ = triggers.names("server_versions", dialect)
    on = "" if dialect == "sqlite" else " ON server_versions"
    ten.session.connection().exec_driver_sql(f"DROP TRIGGER {name}{on}")
    found = audit_verification.verify(ten.session)
    assert (found.ok, found.triggers_missing) == (False, [name])


def test_who_may_not_read_the_log_may_not_ask(desk: Desk) -> None:
    for name in ("requester", "sysadmin", "secadmin"):
        with pytest.raises(Forbidden):
            audit_verification.latest(desk.session, desk.actor(name))
    assert audit_verification.latest(desk.session, desk.actor("auditor"))["ok"] is True


def test_the_last_look_is_told_over_http(small_world: World) -> None:
    app = create_app(small_world.settings, engine=small_world.engine)
    with small_world.session(write=False) as session:
        client = support.client_for(app, session.get_one(User, small_world.people["auditor"]))
        stranger = support.client_for(app, session.get_one(User, small_world.people["requester"]))
    assert client.get("/api/v1/audit/verification").json()["ok"] is True
    with small_world.session() as session:
        found = audit_verification.verify_and_record(session, small_world.actor("auditor"))
        session.commit()
    told = client.get("/api/v1/audit/verification").json()
    assert (told["events"], told["stage"], told["gaps"]) == (found.events, "append_only", [])
    assert stranger.get("/api/v1/audit/verification").status_code == 403
    with small_world.session(write=False) as session:
        (event,) = support.audit_events(session, event="audit.verify")
        assert event.detail["events"] == found.events

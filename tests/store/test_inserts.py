"""New rows of several tables in one go: as if each had been flushed, on both databases."""

import uuid

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from cloudmgr.domain.events import Event
from cloudmgr.models import AuditEvent, Flavor, Image, NetworkZone, RequestEvent
from cloudmgr.store import inserts
from cloudmgr.store.db import new_session
from tests.stocked import Desk


def flavor(name: str) -> Flavor:
    return Flavor(name=name, vcpus=2, memory_mib=4096, system_disk_gib=40)


def event(name: str) -> AuditEvent:
    return AuditEvent(
        actor="王芳", event=Event.LOGIN.value, object_type="user", object_name=name, outcome="success", detail={"n": 1}
    )


def test_rows_of_several_tables_are_there_as_they_were_given(desk: Desk) -> None:
    image = Image(name="零", title="它", os_name="x", os_version="1")
    with inserts.together(desk.session) as added:
        inserts.add(desk.session, flavor("f1"), flavor("f2"))
        inserts.add(desk.session, image)
        assert desk.session.exec(select(Flavor).where(Flavor.name == "f1")).first() is None
    assert [type(row) for row in added] == [Flavor, Flavor, Image]
    assert image in desk.session
    before = image.model_dump()
    desk.session.expunge(image)
    assert desk.session.exec(select(Image).where(Image.name == "零")).one().model_dump() == before
    assert {"f1", "f2"} <= set(desk.session.exec(select(Flavor.name)))


def test_keys_the_database_counts_come_back_in_order(desk: Desk) -> None:
    rows = [event(f"e{number}") for number in range(5)]
    with inserts.together(desk.session):
        inserts.add(desk.session, *rows)
    numbers = [row.seq for row in rows]
    assert numbers == sorted(numbers)
    found = desk.session.exec(select(AuditEvent).where(AuditEvent.object_type == "user").order_by(AuditEvent.seq))
    assert [row.object_name for row in found if row.seq in numbers] == [f"e{number}" for number in range(5)]
    assert rows[0].detail == {"n": 1}


def test_a_row_written_together_is_changed_like_any_other(desk: Desk) -> None:
    row = flavor("f1")
    with inserts.together(desk.session):
        inserts.add(desk.session, row)
        inserts.flush(desk.session)
        row.vcpus = 64
    assert desk.session.connection().execute(sa.select(Flavor.vcpus).where(Flavor.name == "f1")).scalar_one() == 64


def test_after_an_error_nothing_is_written(desk: Desk) -> None:
    def fail() -> None:
        with inserts.together(desk.session):
            inserts.add(desk.session, flavor("f1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert desk.session.exec(select(Flavor).where(Flavor.name == "f1")).first() is None
    assert not inserts.is_collecting(desk.session)


def test_what_the_database_refuses_is_its_own_error(desk: Desk) -> None:
    with pytest.raises(IntegrityError), desk.session.begin_nested(), inserts.together(desk.session):
        inserts.add(desk.session, NetworkZone(name="政务外网区", code="again"))


def test_a_child_without_its_parent_is_refused(desk: Desk) -> None:
    line = RequestEvent(request_id=uuid.uuid4(), kind="phase", message={}, data={}, dedupe="x")
    with pytest.raises(IntegrityError), desk.session.begin_nested(), inserts.together(desk.session):
        inserts.add(desk.session, line, flavor("f1"))
    assert desk.session.exec(select(Flavor).where(Flavor.name == "f1")).first() is None


def test_outside_it_rows_are_written_at_once(desk: Desk) -> None:
    inserts.add(desk.session, flavor("f1"))
    with new_session(desk.world.engine) as other:
        assert other.exec(select(Flavor).where(Flavor.name == "f1")).first() is None, "not committed"
    assert desk.session.exec(select(Flavor).where(Flavor.name == "f1")).one().vcpus == 2

"""Rooms of cloud platforms: what may be said of each, who is told what, and asking for a look."""

import uuid
from datetime import timedelta
from typing import Any

from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import AuditEvent, Backend, SyncRun
from tests.web.conftest import Console


def _backend(console: Console, **changes: Any) -> uuid.UUID:
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        for name, value in changes.items():
            setattr(backend, name, value)
        session.add(backend)
        session.commit()
        return backend.id


def test_a_platform_not_heard_of_lately_is_never_shown_as_well(console: Console) -> None:
    id_ = _backend(console, last_seen_at=clock.now() - timedelta(hours=1), servers_synced_at=clock.now())
    reader = console.reader("sysadmin")
    for address in ("/backends", f"/backends/{id_}"):
        page = reader.page(address)
        assert "已过期" in page.text or "过期" in page.text, address
        assert "正常" not in page.words, address


def test_a_platform_left_in_peace_says_why_and_how_long(console: Console) -> None:
    id_ = _backend(
        console,
        health="down",
        failures=4,
        retry_at=clock.now() + timedelta(minutes=3),
        health_message={"template": "The cloud does not answer.", "params": {}},
    )
    page = console.reader("sysadmin", "en").page(f"/backends/{id_}")
    assert "The cloud does not answer." in page.text
    assert "4 looks in a row failed" in page.text


def test_what_it_can_do_and_how_full_it_is_by_architecture(console: Console) -> None:
    quota = [{"resource": "vcpus", "used": 20, "limit": 64}, {"resource": "ram_disks", "used": 1, "limit": None}]
    id_ = _backend(console, capabilities=["power", "teleport"], cloud_quota=quota)
    page = console.reader("sysadmin", "en").page(f"/backends/{id_}")
    assert "Switch on and off, restart Yes" in page.text
    assert "Change sizes No" in page.text
    assert "teleport Yes" in page.text
    assert "Arm (aarch64) Pools: 1" in page.text
    assert "128 left of 128" in page.text
    assert "44 left of 64" in page.text
    assert "1 taken, no limit at this level" in page.text


def test_numbers_and_looks_are_told_to_those_who_may_know(console: Console) -> None:
    id_ = _backend(console, cloud_quota=[{"resource": "vcpus", "used": 20, "limit": 64}])
    text = console.reader("requester", "en").page(f"/backends/{id_}").text
    assert "Not shown to your role" in text
    assert "44 left" not in text
    assert "Looks at its servers" not in text
    assert "Look now" not in text


def test_every_look_is_listed_with_its_outcome(console: Console) -> None:
    id_ = _backend(console)
    with console.world.session() as session:
        for number in range(21):
            at = clock.now() - timedelta(minutes=number)
            told = {"template": "The session had ended.", "params": {}} if number == 0 else None
            session.add(
                SyncRun(
                    backend_id=id_, kind="full", outcome="failed" if told else "ok", message=told,
                    servers=1000 + number, started_at=at, finished_at=at,
                )
            )  # fmt: skip
        session.commit()
    reader = console.reader("sysadmin", "en")
    page = reader.page(f"/backends/{id_}")
    assert "The session had ended." in page.text
    assert "1,005" in page.text
    following = next(link for link in page.links if "cursor=" in link)
    assert "First page" in reader.page(following).text


def test_a_look_is_asked_for_by_who_may_and_audited(console: Console) -> None:
    id_ = _backend(console)
    reader = console.reader("sysadmin")
    reader.post(f"/backends/{id_}/look", confirm_losses="1")
    assert reader.location == f"/backends/{id_}?done=looked"
    assert "正在同步" in reader.page(reader.location).text
    with console.world.session(write=False) as session:
        event = session.exec(select(AuditEvent).where(AuditEvent.event == "backend.sync")).one()
        assert event.detail["confirm_losses"] is True
    console.reader("admin").post(f"/backends/{id_}/look", 403)


def test_a_look_that_cannot_be_asked_for_is_told_on_the_page(console: Console) -> None:
    id_ = _backend(console, is_configured=False)
    page = console.reader("sysadmin").post(f"/backends/{id_}/look", 409)
    assert "市级鲲鹏云" in page.text
    assert console.reader("sysadmin").page(f"/backends/{uuid.uuid4()}", 404)

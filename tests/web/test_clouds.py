"""Rooms of cloud platforms: what may be said of each, who is told what, and asking for a look."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import AuditEvent, Backend, Finding, SyncRun
from tests.web.conftest import Console
from tests.web.html import Page


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
    assert "Servers of this system take, as far as our own record goes: vCPUs 0" in page.text


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
        for number in reversed(range(21)):
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


def names(page: Page) -> set[str]:
    return {each.get("name", "") for _, each in page.fields}


def _findings(console: Console, server_id: uuid.UUID) -> dict[str, uuid.UUID]:
    """A drift that can be accepted, and a stranger that cannot; returned by kind."""
    now = clock.now()
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        rows = [
            Finding(
                kind="drift", backend_id=backend.id, server_id=server_id, ref="vm-1", field="name", name="srv01",
                held={"value": "srv01"}, observed={"value": "srv01-old"}, first_seen_at=now, last_seen_at=now,
                message={"template": "{name} differs.", "params": {"name": "srv01"}},
            ),
            Finding(
                kind="unmanaged", backend_id=backend.id, ref="vm-9", name="hand-made", first_seen_at=now,
                last_seen_at=now, observed={"power": "running", "vcpus": 4, "memory_mib": 8192, "addresses": ["10.60.0.77"]},
            ),
        ]  # fmt: skip
        session.add_all(rows)
        session.commit()
        return {row.kind: row.id for row in rows}


def test_the_inbox_shows_both_sides_and_who_may_decide(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _findings(console, server_id)
    page = console.reader("sysadmin").page("/findings")
    assert f"/servers/{server_id}" in page.links
    assert "srv01-old" in page.words
    assert "4C8G · 运行中 · 10.60.0.77" in page.text
    assert "decision" in names(page)
    only = console.reader("sysadmin").page("/findings?kind=unmanaged")
    assert "srv01-old" not in only.words
    auditor = console.reader("auditor").page("/findings")
    assert "srv01-old" in auditor.words
    assert "decision" not in names(auditor)
    district = console.reader("admin").page("/findings")
    assert "hand-made" not in district.words


def test_many_findings_are_decided_at_once_and_refusals_stand_beside(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    made = _findings(console, standing())
    reader = console.reader("sysadmin", "en")
    page = reader.post("/findings", 200, ids=[str(each) for each in made.values()], decision="accept")
    assert "1 decided, 1 refused" in page.text
    assert "hand-made is not in the ledger: import it into a project, or ignore it." in page.text
    assert "srv01-old" not in page.words
    reader.post(
        "/findings?kind=unmanaged", ids=str(made["unmanaged"]), decision="ignore", reason="belongs to the archive"
    )
    assert reader.location == "/findings?kind=unmanaged&done=decided"
    ignored = reader.page("/findings?state=ignored")
    assert "sysadmin: belongs to the archive" in ignored.text.replace(" :", ":")


def test_a_decision_that_lacks_something_is_told_on_the_form(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    made = _findings(console, standing())
    reader = console.reader("sysadmin", "en")
    assert "Mark at least one line first." in reader.post("/findings", 422, decision="ignore").text
    one = str(made["unmanaged"])
    page = reader.post("/findings", 422, ids=one, decision="ignore")
    assert "Say why: this decision puts nothing right." in page.text
    assert [each.get("value") for _, each in page.fields if "checked" in each] == [one]
    assert "correct the fields" in reader.post("/findings", 422, ids=one, decision="burn").text
    assert "is not in the ledger" in reader.post("/findings", 409, ids=one, decision="accept").text
    console.reader("auditor").post("/findings", 403, ids=one, decision="ignore", reason="x")
    reader.page("/findings?kind=nonsense", 422)

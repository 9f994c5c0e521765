"""A server's page: how fresh what it tells is, its disks and what may be asked of them, and what was found to differ."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import Backend, Finding, Project, ResourceRequest, Server, Snapshot, Volume
from tests.web.conftest import Console
from tests.web.html import Page
from tests.web.test_certificates import certify

ALL = ["power", "volumes", "snapshots"]


def _change(console: Console, server_id: uuid.UUID, capabilities: list[str] | None = None, **changes: Any) -> None:
    with console.world.session() as session:
        server = session.get_one(Server, server_id)
        for name, value in changes.items():
            setattr(server, name, value)
        backend = session.exec(select(Backend)).one()
        if capabilities is not None:
            backend.capabilities = capabilities
        session.add_all([server, backend])
        session.commit()


def _disks(console: Console, server_id: uuid.UUID) -> dict[str, uuid.UUID]:
    """A volume the server has, one that nobody has, and a snapshot; their ids by name."""
    with console.world.session() as session:
        server = session.get_one(Server, server_id)
        common = {
            "request_id": server.request_id, "reservation_id": server.reservation_id,
            "project_id": session.exec(select(Project).where(Project.id == server.project_id)).one().id,
            "organization_id": server.organization_id,
        }  # fmt: skip
        place = {"backend_id": server.backend_id, "zone_id": server.zone_id}
        rows = [
            Volume(**common, **place, name="data-1", size_gib=100, phase="attached", server_id=server.id),
            Volume(**common, **place, name="spare-1", size_gib=50, phase="available"),
            Snapshot(**common, name="before-upgrade", phase="available", server_id=server.id, taken_at=clock.now()),
        ]
        session.add_all(rows)
        session.commit()
        return {row.name: row.id for row in rows}


def _names(page: Page) -> set[str]:
    return {each.get("name", "") for _, each in page.fields}


def _badges(console: Console, address: str) -> str:
    return console.reader("sysadmin").client.get(address).text


def test_a_state_not_seen_lately_is_never_green(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, last_seen_at=clock.now())
    green = '<span class="badge ok">运行中</span>'
    for address in (f"/servers/{server_id}", "/servers"):
        assert green in _badges(console, address), address
    _change(console, server_id, last_seen_at=clock.now() - timedelta(hours=5))
    for address in (f"/servers/{server_id}", "/servers"):
        text = _badges(console, address)
        assert green not in text, address
        assert "运行中" in text, address
    page = console.reader("sysadmin").page(f"/servers/{server_id}")
    assert "已过期" in page.text or "过期" in page.text


def test_disks_are_listed_with_what_may_be_asked(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, ALL)
    made = _disks(console, server_id)
    reader = console.reader("requester", "en")
    page = reader.page(f"/servers/{server_id}")
    assert {"data-1", "before-upgrade"} <= set(page.words)
    assert {f"/servers/{server_id}/volumes", f"/servers/{server_id}/snapshots"} <= set(page.links)
    form = reader.page(f"/servers/{server_id}/volumes")
    assert {"detach", "attach", "delete", "create[0].name", "purpose"} <= _names(form)
    assert "spare-1" in form.words
    assert {"data-1", "spare-1"} <= set(reader.page("/volumes").words)
    auditor = console.reader("auditor").page(f"/servers/{server_id}/volumes")
    assert "purpose" not in _names(auditor)
    assert made


def test_what_the_cloud_cannot_do_is_said_and_not_offered(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    reader = console.reader("requester", "en")
    page = reader.page(f"/servers/{server_id}")
    assert "has no volumes." in page.text
    assert "takes no snapshots." in page.text
    assert f"/servers/{server_id}/volumes" not in page.links
    assert "purpose" not in _names(reader.page(f"/servers/{server_id}/snapshots"))
    fields = {"purpose": "x", "create[0].name": "data", "create[0].size_gib": "10", "create[0].count": "1"}
    assert "has no volumes" in reader.post(f"/servers/{server_id}/volumes", 409, **fields).text


def test_one_request_asks_for_several_changes_of_volumes(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, ALL)
    made = _disks(console, server_id)
    reader = console.reader("requester", "en")
    address = f"/servers/{server_id}/volumes"
    wrong = {"create[0].name": "Data!", "create[0].size_gib": "many", "create[0].count": "1"}
    page = reader.post(address, 422, purpose="扩容", **wrong)
    assert "correct the fields" in page.text
    assert [each["value"] for _, each in page.fields if each.get("name") == "create[0].size_gib"] == ["many"]
    right = {"create[0].name": "logs", "create[0].size_gib": "20", "create[0].count": "2"}
    reader.post(address, purpose="扩容", attach=str(made["spare-1"]), detach=str(made["data-1"]), **right)
    told = reader.page(reader.location).text
    assert "Make volume logs-01 of 20 GiB" in told or "Make volume logs01 of 20 GiB" in told, told
    assert "Attach volume spare-1 to srv" in told
    assert "Detach volume data-1" in told
    nothing = reader.post(address, 422, purpose="x", **{"create[0].count": "1"})
    assert "Say which volumes" in nothing.text
    console.reader("auditor").post(address, 403, purpose="x")


def test_going_back_wants_the_name_typed_once_more(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, ALL)
    snapshot = str(_disks(console, server_id)["before-upgrade"])
    reader = console.reader("requester", "en")
    address = f"/servers/{server_id}/snapshots"
    page = reader.post(address, 422, purpose="升级失败", revert=snapshot, **{"revert[0].server": "other"})
    assert "type that name" in page.text
    assert [each.get("value") for _, each in page.fields if "checked" in each] == [snapshot]
    reader.post(address, purpose="升级失败", revert=snapshot, **{"revert[0].server": "srv"})
    assert "Bring srv back to snapshot before-upgrade" in reader.page(reader.location).text
    reader.post(address, purpose="留底", **{"create[0].name": "second"})
    with console.world.session(write=False) as session:
        asked = session.exec(select(ResourceRequest).where(ResourceRequest.kind == "snapshot")).all()
    assert len(asked) == 2


def test_a_server_with_volumes_is_retired_by_saying_what_becomes_of_them(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    _change(console, server_id, ALL)
    _disks(console, server_id)
    reader = console.reader("requester", "en")
    page = reader.post(f"/servers/{server_id}/retire", 409, purpose="下线")
    assert "say whether they are detached" in page.text
    reader.post(f"/servers/{server_id}/retire", purpose="下线", volumes="delete")
    assert reader.location.endswith("done=submitted")
    assert "It is being retired." in reader.page(f"/servers/{server_id}/volumes").text


def test_every_difference_stays_with_who_decided(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id, now = standing(), clock.now()
    with console.world.session() as session:
        backend = session.exec(select(Backend)).one()
        for field, state, held, seen in (("vcpus", "accepted", 2, 4), ("name", "open", "srv", "srv-old")):
            session.add(
                Finding(
                    kind="drift", state=state, backend_id=backend.id, server_id=server_id, ref="vm-1", field=field,
                    name="srv", held={"value": held}, observed={"value": seen}, first_seen_at=now, last_seen_at=now,
                    closed_at=now if state == "accepted" else None, decided_by="赵系统" if state == "accepted" else None,
                    reason="已补办手续" if state == "accepted" else "",
                )
            )  # fmt: skip
        session.commit()
    text = console.reader("sysadmin", "en").page(f"/servers/{server_id}").text
    for words in ("vCPUs 2 4", "srv-old", "赵系统", "已补办手续", "Accepted", "Open"):
        assert words in text, words
    assert "Differences that were found" not in console.reader("requester", "en").page(f"/servers/{server_id}").text


def test_a_retired_server_leads_to_its_certificate(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    id_ = certify(console, server_id)
    page = console.reader("requester").page(f"/servers/{server_id}")
    assert f"/certificates/{id_}" in page.links
    assert "XH20261122-0001" in page.words
    assert "申请开通" in page.words

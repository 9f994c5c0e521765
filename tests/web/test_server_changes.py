"""Asking for changes of servers in the console: from the list, from a server's page, with a preview."""

import uuid
from collections.abc import Callable

from sqlmodel import select

from cloudmgr.models import ResourceRequest, ServerChange
from cloudmgr.services import approvals
from cloudmgr.services.request_inputs import Decide
from tests.web.conftest import Console
from tests.web.test_server_page import _change

ABLE = ["power", "resize", "volumes"]


def test_a_servers_page_offers_what_its_cloud_can(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, ABLE, native_ref="r-1", state="running")
    text = console.reader("requester").page(f"/servers/{server_id}").text
    for words in ("续期", "变更规格", "冻结", "申请注销"):
        assert words in text
    _change(console, server_id, ABLE, phase="suspended", frozen_by="request")
    text = console.reader("requester").page(f"/servers/{server_id}").text
    assert "解冻" in text
    assert f"kind=freeze&amp;server={server_id}" not in text


def test_the_chosen_servers_are_renewed_with_a_preview_first(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    _change(console, server_id, ABLE, native_ref="r-1", state="running")
    reader = console.reader("requester")
    assert f'value="{server_id}"' in reader.client.get("/servers").text
    page = reader.page(f"/server-changes?kind=resize&server={server_id}")
    assert "变更规格" in page.text
    form = {"csrf_token": reader.csrf, "server": str(server_id), "purpose": "扩容", "add_data_disk_gib": "100"}
    shown = reader.client.post("/server-changes", data=form | {"kind": "resize"} | {"action": "plan"})
    assert shown.status_code == 200, shown.text[-500:]
    assert "可以提交" in shown.text
    with console.world.session() as session:
        assert session.exec(select(ServerChange)).all() == []
    sent = reader.client.post("/server-changes", data=form | {"kind": "resize"} | {"action": "submit"})
    assert sent.status_code == 303, sent.text[-500:]
    with console.world.session() as session:
        made = session.exec(select(ResourceRequest).where(ResourceRequest.kind == "resize")).one()
    assert sent.headers["location"].startswith(f"/requests/{made.id}")
    assert "100" in reader.page(f"/requests/{made.id}").text


def test_freezing_can_be_asked_for_as_an_emergency(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, ABLE, native_ref="r-1", state="running")
    reader = console.reader("requester")
    assert "应急事由" in reader.page(f"/server-changes?kind=freeze&server={server_id}").text
    assert "应急事由" not in reader.page(f"/server-changes?kind=renew&server={server_id}").text
    form = {
        "csrf_token": reader.csrf,
        "server": str(server_id),
        "purpose": "隔离",
        "kind": "freeze",
        "action": "submit",
    }
    refused = reader.client.post("/server-changes", data=form | {"emergency": "1"})
    assert refused.status_code == 422
    assert "请说明为什么不能等待审批" in refused.text
    sent = reader.client.post("/server-changes", data=form | {"emergency": "1", "emergency_reason": "主机被入侵"})
    assert sent.status_code == 303, sent.text[-500:]
    page = reader.page(sent.headers["location"]).text
    assert "应急申请：已先行办理" in page
    assert "主机被入侵" in page


def test_what_is_refused_stands_on_the_form(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    _change(console, server_id, ABLE, native_ref="r-1", state="running")
    reader = console.reader("requester", "en")
    form = {"csrf_token": reader.csrf, "server": str(server_id), "purpose": "x", "action": "submit"}
    answer = reader.client.post("/server-changes", data=form | {"kind": "unfreeze"})
    assert answer.status_code == 409
    assert "is not frozen" in answer.text
    assert reader.client.get("/server-changes?kind=freeze").status_code == 422


def test_retiring_many_leads_to_its_own_form(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    other = uuid.uuid4()
    answer = console.reader("requester").client.get(f"/server-changes?kind=retire&server={server_id}&server={other}")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/servers/{server_id}/retire?also={other}"


def test_a_returned_change_is_corrected_on_its_form_and_submitted_again(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    _change(console, server_id, ABLE, native_ref="r-1", state="running")
    reader = console.reader("requester")
    form = {"csrf_token": reader.csrf, "server": str(server_id), "purpose": "扩容", "action": "submit"}
    reader.client.post("/server-changes", data=form | {"kind": "resize", "add_data_disk_gib": "100"})
    made = _newest(console, "resize")
    _return(console, made, "磁盘过大")
    assert "补正并重新提交" in reader.page(f"/requests/{made.id}").text
    assert reader.client.get(f"/requests/{made.id}/edit").headers["location"] == f"/requests/{made.id}/change"
    page = reader.client.get(f"/requests/{made.id}/change").text
    assert "磁盘过大" in page
    assert 'value="100"' in page
    assert console.reader("admin").client.get(f"/requests/{made.id}/change").status_code == 403
    refused = reader.client.post(f"/requests/{made.id}/change", data=form | {"add_data_disk_gib": "0"})
    assert refused.status_code == 422
    sent = reader.client.post(f"/requests/{made.id}/change", data=form | {"add_data_disk_gib": "40"})
    assert sent.status_code == 303, sent.text[-500:]
    again = _newest(console, "resize")
    assert (again.id, again.number, again.phase, again.submission) == (made.id, made.number, "in_review", 2)
    assert again.body["add_data_disk_gib"] == 40
    assert reader.client.get(f"/requests/{made.id}/change").status_code == 409


def test_a_returned_retirement_is_corrected_and_submitted_again(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    server_id = standing()
    _change(console, server_id, ABLE, native_ref="r-1", state="running")
    reader = console.reader("requester")
    form = {"csrf_token": reader.csrf, "purpose": "不再使用"}
    reader.client.post(f"/servers/{server_id}/retire", data=form)
    made = _newest(console, "retire")
    _return(console, made, "请补充说明")
    address = reader.client.get(f"/requests/{made.id}/edit").headers["location"]
    page = reader.client.get(address).text
    assert "请补充说明" in page
    assert "不再使用" in page
    assert reader.client.post(address, data=form | {"purpose": ""}).status_code == 422
    sent = reader.client.post(address, data=form | {"purpose": "系统整体下线"})
    assert sent.status_code == 303, sent.text[-500:]
    again = _newest(console, "retire")
    assert (again.id, again.submission, again.purpose) == (made.id, 2, "系统整体下线")
    assert reader.client.get(address).status_code == 409


def _newest(console: Console, kind: str) -> ResourceRequest:
    with console.world.session(write=False) as session:
        return session.exec(select(ResourceRequest).where(ResourceRequest.kind == kind)).one()


def _return(console: Console, request: ResourceRequest, comment: str) -> None:
    with console.world.session() as session:
        command = Decide.model_validate({"decision": "return", "comment": comment})
        approvals.decide(session, console.world.actor("admin"), request.id, command)
        session.commit()

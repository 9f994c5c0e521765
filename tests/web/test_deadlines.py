"""Deadlines, emergency orders and change freezes in the console."""

from datetime import timedelta

from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.models import ApprovalStage, ChangeFreeze, StageMark
from tests.web.conftest import Console


def test_a_freeze_is_announced_said_everywhere_and_lifted(console: Console) -> None:
    quota = console.reader("quota")
    wish = {"organization": str(console.world.furong.id), "reason": "两会重保"}
    until = (clock.now() + timedelta(days=2)).astimezone(clock.SHANGHAI).strftime("%Y-%m-%dT%H:%M")
    quota.post("/change-freezes", 422, **wish)
    quota.post("/change-freezes", 303, **wish, ends_at=until)
    for who in ("requester", "admin"):
        assert "两会重保" in console.reader(who).page("/requests").text
    listed = console.reader("requester").page("/change-freezes")
    assert "生效中" in listed.text
    assert "立即解除" not in listed.text
    with console.world.session(write=False) as session:
        freeze = session.exec(select(ChangeFreeze)).one()
    console.reader("requester").post(f"/change-freezes/{freeze.id}/lift", 403)
    quota.post(f"/change-freezes/{freeze.id}/lift", 303)
    assert "提前解除" in quota.page("/change-freezes").text
    assert "两会重保" not in console.reader("requester").page("/requests").text
    assert "Lifted early" in console.reader("quota", "en").page("/change-freezes").text


def test_an_overdue_request_says_so_in_words_and_can_be_urged(console: Console) -> None:
    request = console.world.submit()
    with console.world.session() as session:
        session.exec(select(ApprovalStage)).one().due_at = clock.now() - timedelta(days=7)
        session.commit()
    requester = console.reader("requester")
    for address in ("/requests", f"/requests/{request}"):
        assert "已逾期" in requester.page(address).text
    assert "已逾期" in console.reader("admin").page("/approvals").text
    assert "Overdue" in console.reader("admin", "en").page("/approvals").text
    requester.post(f"/requests/{request}/urge", 303)
    assert "已催办" in requester.page(f"/requests/{request}?done=urged").text
    assert "今日已催办过" in requester.post(f"/requests/{request}/urge", 409).text
    with console.world.session(write=False) as session:
        assert [mark.kind for mark in session.exec(select(StageMark))] == ["urge"]


def test_an_emergency_is_asked_for_in_the_form_and_stands_first(console: Console) -> None:
    assert "先行办理，事后补批" in console.reader("requester").page("/requests/new").text
    console.world.submit(name="plain")
    urgent = console.world.submit(name="urgent", emergency=True, emergency_reason="防汛指挥")
    page = console.reader("admin").page("/approvals").text
    assert page.index("YJ") < page.index("SQ2")
    assert "防汛指挥" in console.reader("admin").page(f"/requests/{urgent}").text

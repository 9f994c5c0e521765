"""The rooms of approval in the console: policy, deputies, remarks, proposed changes, the form; in both languages."""

import pytest
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor
from cloudmgr.models import Deputy, RequestChange
from cloudmgr.services import approval_policy
from tests.web.conftest import Console, sound

EXPIRED = """
version = "old/1"
title = "旧办法"
valid_from = 2020-01-01
valid_until = 2020-12-31
[[rules]]
name = "全部"
stages = [{ mode = "all", by = [{ level = "district" }, { person = "quota" }], sla_working_days = 2 }]
"""


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_the_policy_can_be_read_by_whoever_asks_for_servers(console: Console, language: str) -> None:
    text = console.reader("requester", language).page("/approval-policy").text
    assert "2026-11/3" in text
    assert (text.count("、") > 1) is (language == "zh_CN"), "beside the warning that stands on every page"
    assert ("区县管理员" if language == "zh_CN" else "District administrator") in text


def test_the_policy_says_what_happens_when_a_stage_takes_too_long(console: Console) -> None:
    reader = console.reader("requester")
    assert "逾期 2 个工作日后，上一级也可审批" in reader.page("/approval-policy").text
    stage = 'sla_working_days = 2, escalate_after_working_days = 3, on_timeout = "return"'
    with console.world.session() as session:
        text = EXPIRED.replace("valid_until = 2020-12-31", "").replace("sla_working_days = 2", stage)
        approval_policy.load(session, Actor(None, "local:t", "t", None, "/"), text)
        session.commit()
    page = reader.page("/approval-policy").text
    assert "逾期 3 个工作日后，上一级也可审批" in page
    assert "超时后：退回申请人" in page


def test_an_expired_policy_is_told_on_every_page_of_those_concerned(console: Console) -> None:
    with console.world.session() as session:
        approval_policy.load(session, Actor(None, "local:t", "t", None, "/"), EXPIRED)
        session.commit()
    assert "old/1 已于" in console.reader("admin").page("/requests").text
    assert "old/1 已于" not in console.reader("requester").page("/requests").text
    assert "已于 2020-12-31 到期" in console.reader("requester").page("/approval-policy").text


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_a_deputy_is_named_and_ended(console: Console, language: str) -> None:
    reader = console.reader("admin", language)
    reader.page("/deputies")
    today = clock.today().isoformat()
    reader.post("/deputies", 422, deputy="admin", valid_from=today, valid_until=today, reason="")
    reader.post("/deputies", 422, deputy="requester", valid_from="tomorrow", valid_until=today, reason="")
    reader.post("/deputies", deputy="requester", valid_from=today, valid_until=today, reason="出差")
    page = reader.page(reader.location)
    assert "张requester" in page.text
    with console.world.session(write=False) as session:
        deputy = session.exec(select(Deputy.id)).one()
    reader.post(f"/deputies/{deputy}/end")
    assert "出差" not in reader.page("/deputies").text


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_remarks_are_made_on_the_requests_own_page(console: Console, language: str) -> None:
    request = f"/requests/{console.world.submit(name='srv')}"
    admin, requester = console.reader("admin", language), console.reader("requester", language)
    admin.post(f"{request}/comments", text="请补充备案", internal="")
    admin.post(f"{request}/comments", text="内部看法", internal="1")
    admin.post(f"{request}/comments", 422, text="")
    files = {"file": ("说明.txt", "申请说明".encode())}
    sent = requester.client.post(f"{request}/attachments", data={"csrf_token": requester.csrf}, files=files)
    assert sent.status_code == 303, sent.text[-500:]
    bad = {"file": ("page.html", b"<html>")}
    sent = requester.client.post(f"{request}/attachments", data={"csrf_token": requester.csrf}, files=bad)
    assert sent.status_code == 422
    seen = requester.page(request).text
    assert "请补充备案" in seen
    assert "内部看法" not in seen
    assert "说明.txt" in seen
    assert "内部看法" in admin.page(request).text
    requester.post(f"{request}/feedback", 409, score="5", feedback="")


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_a_change_is_proposed_and_confirmed(console: Console, language: str) -> None:
    request_id = console.world.submit(name="srv", count=3)
    admin, requester = console.reader("admin", language), console.reader("requester", language)
    fields = {"entry.0.count": "2", "entry.0.flavor": "2C4G", "entry.0.data_disk_gib": "0", "change_lease_end": ""}
    admin.page(f"/approvals/{request_id}")
    admin.post(f"/approvals/{request_id}/changes", 422, **fields, change_comment="")
    admin.post(f"/approvals/{request_id}/changes", **fields, change_comment="两台即可")
    page = requester.page(f"/requests/{request_id}")
    assert "两台即可" in page.text
    with console.world.session(write=False) as session:
        change = approval_change(session)
    admin.post(f"/requests/{request_id}/changes/{change}/answer", 403, accept="yes", answer="")
    requester.post(f"/requests/{request_id}/changes/{change}/answer", accept="yes", answer="同意")
    assert "同意但调整" in requester.page(requester.location).text or language == "en"


def test_who_proposed_a_change_can_take_it_back(console: Console) -> None:
    request_id = console.world.submit(name="srv", count=3)
    admin, requester = console.reader("admin", "zh_CN"), console.reader("requester", "zh_CN")
    fields = {"entry.0.count": "2", "entry.0.flavor": "2C4G", "entry.0.data_disk_gib": "0", "change_lease_end": ""}
    admin.page(f"/approvals/{request_id}")
    admin.post(f"/approvals/{request_id}/changes", **fields, change_comment="两台即可")
    with console.world.session(write=False) as session:
        change = approval_change(session)
    assert "撤回调整意见" not in requester.page(f"/requests/{request_id}").text
    assert "撤回调整意见" in admin.page(f"/requests/{request_id}").text
    requester.post(f"/requests/{request_id}/changes/{change}/withdrawal", 403)
    admin.post(f"/requests/{request_id}/changes/{change}/withdrawal")
    assert "已撤回，该环节重新待办。" in admin.page(admin.location).text
    assert "两台即可" in admin.page(f"/requests/{request_id}").text, "it stays on record"


SIGNED = """
version = "signed/1"
title = "会签办法"
valid_from = 2020-01-01
[[rules]]
name = "全部"
stages = [
  { by = [{ person = "quota" }] },
  { name = "会签", mode = "all", by = [{ level = "district" }, { level = "city" }] },
]
"""


def test_stages_say_who_decides_who_has_and_for_whom(console: Console) -> None:
    with console.world.session() as session:
        approval_policy.load(session, Actor(None, "local:t", "t", None, "/"), SIGNED)
        day = clock.today()
        people = console.world.people
        session.add(
            Deputy(
                absent_id=people["quota"],
                deputy_id=people["both"],
                valid_from=day,
                valid_until=day,
                reason="出差",
                named_by="quota",
            )
        )
        session.commit()
    request_id = console.world.submit(name="srv")
    reader = console.reader("requester")
    waiting = reader.page(f"/requests/{request_id}").text
    assert "张quota" in waiting
    for role in ("区县管理员", "市级行政审批人"):
        assert role in waiting
    assert reader.page(f"/requests/{request_id}/form").text.count("签字（盖章）") == 3
    console.reader("both").post(f"/approvals/{request_id}", decision="approve", comment="代为同意")
    console.world.approve(request_id)
    for page in (reader.page(f"/requests/{request_id}").text, reader.page(f"/requests/{request_id}/form").text):
        assert "张both（代 张quota）" in page
        assert "代为同意" in page
        assert "张admin" in page
        assert "市级行政审批人" in page, "one signature is still wanted"
    assert reader.page(f"/requests/{request_id}/form").text.count("签字（盖章）") == 1


def test_the_form_says_all_that_was_asked_for(console: Console) -> None:
    request_id = console.world.submit(
        name="srv",
        emergency=True,
        emergency_reason="防汛指挥",
        exclusive=True,
        exclusive_reason="密码机要求",
        funding_source="财政预算",
        priority="high",
    )
    text = console.reader("requester").page(f"/requests/{request_id}/form").text
    for words in ("防汛指挥", "密码机要求", "财政预算", "优先"):
        assert words in text, words


@pytest.mark.parametrize(("language", "words"), [("zh_CN", "提交的内容过大"), ("en", "What was sent is too large")])
def test_a_file_over_the_limit_is_refused_on_a_page_in_the_readers_language(
    console: Console, language: str, words: str
) -> None:
    request = f"/requests/{console.world.submit(name='srv')}"
    reader = console.reader("requester", language)
    reader.client.headers["Accept-Language"] = "en" if language == "zh_CN" else "zh-CN"
    files = {"file": ("说明.txt", b"x" * 2_000_000)}
    for address in (f"{request}/attachments", "/requests/sheet"):
        sent = reader.client.post(address, data={"csrf_token": reader.csrf}, files=files)
        assert sent.status_code == 413
        assert sent.headers["content-type"].startswith("text/html")
        assert words in sound(sent.text, address).text


def approval_change(session: Session) -> str:
    return str(session.exec(select(RequestChange.id)).one())


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_the_form_has_a_box_for_every_stage(console: Console, language: str) -> None:
    request_id = console.world.submit(name="srv")
    reader = console.reader("requester", language)
    before = reader.page(f"/requests/{request_id}/form").text
    assert ("签字（盖章）" if language == "zh_CN" else "Signature and stamp") in before
    console.world.approve(request_id)
    after = reader.page(f"/requests/{request_id}/form").text
    assert ("区县初审意见" if language == "zh_CN" else "Opinion: District review") in after
    assert "2026-11/3" in after
    assert "智慧社区综合服务平台" in after

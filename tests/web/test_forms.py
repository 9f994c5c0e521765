"""Forms: what was typed comes back with what was refused, in the refusal's own status; nothing half-done stays."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import select

from cloudmgr.models import AuditEvent, ResourceRequest, RoleGrant, Server, User
from cloudmgr.services.request_changes import whole
from cloudmgr.store.db import new_session
from tests import support
from tests.web.conftest import Console
from tests.web.html import Page, filled
from tests.world import KEY, ZONE


def typed(console: Console, **changes: str) -> dict[str, str]:
    """The request form as somebody fills it in."""
    return {
        "action": "submit",
        "project": str(console.world.project.id),
        "purpose": "智慧社区业务应用",
        "env": "prd",
        "network_zone": ZONE,
        "lease_end": "2027-06-30",
        "ssh_keys": KEY,
        "servers[0].name": "430102-mzj-zhsq-prd-app",
        "servers[0].count": "2",
        "servers[0].flavor": "8C32G",
        "servers[0].image": "kylin-v10",
        "servers[0].arch": "aarch64",
        "servers[0].data_disk_gib": "100",
        "servers[0].purpose_kind": "app",
        "servers[0].spread": "host",
        "servers[0].backend": "",
    } | changes


def requests_of(console: Console) -> list[ResourceRequest]:
    with new_session(console.world.engine) as session:
        return list(session.exec(select(ResourceRequest).order_by(ResourceRequest.id)))


def values(page: Page) -> dict[str, str]:
    return {
        field["name"]: field.get("value", "") for _, field in page.fields if "name" in field and field["tag"] == "input"
    }


def test_the_plan_says_cost_at_every_level_and_which_pools(console: Console) -> None:
    reader = console.reader("requester")
    page = reader.post("/requests/plan", 200, **typed(console))
    for words in ("此申请可以提交", "长沙市", "鲲鹏资源池", "16"):
        assert words in page.text
    assert "action" in values(page) or any(field.get("name") == "action" for _, field in page.fields)
    fragment = reader.client.post(
        "/requests/plan", data={**typed(console), "csrf_token": reader.csrf}, headers={"HX-Request": "true"}
    )
    assert "<html" not in fragment.text
    assert "鲲鹏资源池" in fragment.text
    assert requests_of(console) == []


def test_an_unfinished_form_has_a_plan_panel_that_says_what_is_missing(console: Console) -> None:
    page = console.reader("requester").post(
        "/requests/plan", 200, **typed(console, purpose="", **{"servers[0].count": ""})
    )
    assert "用途" in page.text
    assert "第 1 组 数量" in page.text


def test_a_plan_over_quota_is_told_and_audits_nothing(console: Console) -> None:
    page = console.reader("requester").post(
        "/requests/plan",
        200,
        **typed(
            console, **{"servers[0].count": "200", "servers[0].flavor": "8C32G", "servers[0].data_disk_gib": "60000"}
        ),
    )
    assert "按此提交将不予受理" in page.text
    with new_session(console.world.engine) as session:
        assert session.exec(select(AuditEvent).where(AuditEvent.outcome == "denied")).all() == []


def test_submitting_makes_a_numbered_request(console: Console) -> None:
    reader = console.reader("requester")
    reader.post("/requests/new", **typed(console))
    (made,) = requests_of(console)
    assert made.phase == "in_review"
    assert reader.location == f"/requests/{made.id}?done=submitted"
    page = reader.page(reader.location)
    assert str(made.number) in page.text
    assert "430102-mzj-zhsq-prd-app01" in page.text
    assert "已提交，等待审批" in page.text


def test_a_refusal_stands_beside_its_field_and_keeps_what_was_typed(console: Console) -> None:
    reader = console.reader("requester")
    page = reader.post("/requests/new", 422, **typed(console, **{"servers[0].arch": "x86_64"}))
    assert "x86_64" in page.text
    assert values(page)["servers[0].name"] == "430102-mzj-zhsq-prd-app"
    assert any(field.get("aria-invalid") for _, field in page.fields)
    assert requests_of(console) == []


def test_over_quota_keeps_the_status_and_leaves_nothing(console: Console) -> None:
    page = console.reader("requester").post(
        "/requests/new", 409, **typed(console, **{"servers[0].count": "200", "servers[0].data_disk_gib": "60000"})
    )
    assert "长沙市" in page.text
    assert requests_of(console) == []
    with new_session(console.world.engine) as session:
        (denied,) = session.exec(select(AuditEvent).where(AuditEvent.outcome == "denied")).all()
        assert (denied.event, denied.reason) == ("request.submit", "quota_exceeded")


def test_malformed_fields_are_each_told(console: Console) -> None:
    page = console.reader("requester").post(
        "/requests/new",
        422,
        **typed(console, **{"servers[0].name": "Not A Name", "servers[0].count": "many", "lease_end": "tomorrow"}),
    )
    assert sum(1 for _, field in page.fields if field.get("aria-invalid")) == 3


def test_groups_are_added_and_taken_away_without_scripts(console: Console) -> None:
    reader = console.reader("requester")
    two = reader.post("/requests/new", 200, **typed(console, action="add-row"))
    assert "servers[1].name" in values(two)
    one = reader.post(
        "/requests/new",
        200,
        **typed(console, action="remove-0", **{"servers[1].name": "second", "servers[1].count": "1"}),
    )
    assert values(one)["servers[0].name"] == "second"
    assert "servers[1].name" not in values(one)


def test_a_draft_is_kept_corrected_and_submitted(console: Console) -> None:
    reader = console.reader("requester")
    reader.post("/requests/new", **typed(console, action="draft", purpose="", **{"servers[0].flavor": ""}))
    (draft,) = requests_of(console)
    assert (draft.phase, draft.number) == ("draft", None)
    reader.page(f"/requests/{draft.id}")
    page = reader.page(f"/requests/{draft.id}/edit")
    assert values(page)["servers[0].name"] == "430102-mzj-zhsq-prd-app"
    refused = reader.post(f"/requests/{draft.id}/submit", 422)
    assert "申请单" in refused.text
    reader.post(f"/requests/{draft.id}/edit", **typed(console))
    (made,) = requests_of(console)
    assert made.phase == "in_review"


def test_return_correct_and_resubmit(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    approver, reader = console.reader("admin"), console.reader("requester")
    refused = approver.post(f"/approvals/{request_id}", 422, decision="return", comment="同意")
    assert any(field.get("aria-invalid") for _, field in refused.fields)
    approver.post(f"/approvals/{request_id}", decision="return", comment="请补充业务说明")
    page = reader.page(f"/requests/{request_id}/edit")
    assert "退回意见：请补充业务说明" in page.text
    reader.post(f"/requests/{request_id}/edit", **typed(console, **{"servers[0].count": "1"}))
    assert requests_of(console)[0].phase == "in_review"


def test_approving_shows_what_it_takes_beside_what_is_left(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    approver = console.reader("admin")
    assert "srv" in approver.page("/requests/" + str(request_id)).text
    page = approver.page(f"/approvals/{request_id}")
    assert "本次申请占用 2，办理后剩余" in page.text
    assert values(page).get("csrf_token")
    approver.post(f"/approvals/{request_id}", decision="approve", comment="同意")
    assert approver.location == f"/requests/{request_id}?done=approved"
    approver.post(f"/approvals/{request_id}", 409, decision="approve", comment="同意")


def test_nobody_decides_on_their_own_request(console: Console) -> None:
    request_id = console.world.submit("both", name="srv")
    reader = console.reader("both")
    page = reader.page(f"/approvals/{request_id}")
    assert "您不能审批本人提交的申请单" in page.text
    assert not any(field.get("name") == "decision" for _, field in page.fields)
    reader.post(f"/approvals/{request_id}", 403, decision="approve", comment="同意")


def test_withdrawing_is_asked_twice_and_then_done(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    reader = console.reader("requester")
    assert "确认撤回" in reader.page(f"/requests/{request_id}").text
    reader.post(f"/requests/{request_id}/withdraw")
    assert "已撤回" in reader.page(f"/requests/{request_id}").text
    reader.post(f"/requests/{request_id}/withdraw", 409)


def test_a_withdrawn_draft_is_called_one(console: Console) -> None:
    reader = console.reader("requester")
    reader.post("/requests/new", **typed(console, action="draft"))
    at = reader.location.partition("?")[0]
    assert "提交后生成" in reader.page(at).text
    reader.post(f"{at}/withdraw")
    text = reader.page(at).text
    assert text.startswith("已撤回的草稿")
    assert "无（未曾提交）" in text
    assert "提交后生成" not in text
    assert "已撤回的草稿" in reader.page("/requests").text


def test_power_and_retirement_from_a_servers_page(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    admin, reader = console.reader("admin"), console.reader("requester")
    assert not any(field.get("value") == "reboot" for _, field in reader.page(f"/servers/{server_id}").fields)
    assert any(field.get("value") == "reboot" for _, field in admin.page(f"/servers/{server_id}").fields)
    admin.post(f"/servers/{server_id}/actions", action="reboot")
    reader.post(f"/servers/{server_id}/actions", 403, action="reboot")
    admin.post(f"/servers/{server_id}/actions", 422, action="explode")
    reader.page(f"/servers/{server_id}/retire")
    reader.post(f"/servers/{server_id}/retire", 422, purpose="")
    reader.post(f"/servers/{server_id}/retire", purpose="系统下线")
    assert "注销云主机" in reader.page(reader.location).text
    assert "还是" not in reader.post(f"/servers/{server_id}/retire", 409, purpose="系统下线").text


def test_the_delivery_sheet_says_how_to_sign_in(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    with new_session(console.world.engine) as session:
        request_id = session.get_one(Server, server_id).request_id
    page = console.reader("requester").page(f"/requests/{request_id}/handover")
    for words in ("10.60.0.9", "fd00:60::9", "ssh ops@10.60.0.9", "银河麒麟 V10", "模拟执行", "SSH 密钥登录"):
        assert words in page.text
    with new_session(console.world.engine) as session:
        session.get_one(Server, server_id).ssh_keys = []
        session.commit()
    keyless = console.reader("requester").page(f"/requests/{request_id}/handover")
    assert "未提供 SSH 公钥" in keyless.text
    external = console.reader("external").page(f"/requests/{request_id}/handover")
    assert "13800000000" not in external.text


def test_limits_are_set_by_who_may_and_the_root_needs_its_own(console: Console) -> None:
    account = console.world.furong.account_id
    quota = console.reader("quota")
    quota.post(f"/quotas/{account}", **{"limits.vcpus": "100", "reason": "年度分配"})
    assert "共 100" in quota.page(f"/quotas/{account}").text
    quota.post(f"/quotas/{account}", 422, **{"limits.vcpus": "100", "reason": "年度分配"})
    quota.post(
        f"/quotas/{account}",
        **{"limits.vcpus": "100", "new_key": "vcpus{arch=aarch64}", "new_limit": "60", "reason": "信创"},
    )
    assert "vCPU（架构: Arm（aarch64））" in quota.page(f"/quotas/{account}").text
    quota.post(f"/quotas/{account}", 422, **{"limits.vcpus": "lots", "limits.vcpus{arch=aarch64}": "60", "reason": "x"})
    root = quota.post(f"/quotas/{console.world.root.account_id}", 422, **{"limits.vcpus": "", "reason": "不设"})
    assert root.text
    admin = console.reader("admin")
    assert not any(field.get("name") == "reason" for _, field in admin.page(f"/quotas/{account}").fields)
    admin.post(f"/quotas/{account}", 403, **{"limits.vcpus": "900", "reason": "越权"})
    admin.post(f"/quotas/{console.world.minzheng.account_id}", **{"limits.vcpus": "50", "reason": "分配"})


def test_accounts_and_roles_are_two_peoples_work(console: Console) -> None:
    system, security = console.reader("sysadmin"), console.reader("secadmin")
    page = system.post(
        "/users", 201, username="frq-wang", display_name="王芳", organization=str(console.world.furong.id)
    )
    assert "一次性密码" in page.text
    with new_session(console.world.engine) as session:
        made = session.exec(select(User).where(User.username == "frq-wang")).one().id
    grant = {"role": "requester", "organization": str(console.world.furong.id), "valid_until": ""}
    system.post(f"/users/{made}/roles", 403, **grant)
    security.post(f"/users/{made}/roles", **grant)
    security.post(f"/users/{made}/roles", 409, **grant)
    assert "申请人" in security.page(f"/users/{made}").text
    security.post(f"/users/{made}/roles", revoke="1", role="requester", organization=str(console.world.furong.id))
    system.post(f"/users/{made}", disabled="1")
    assert "已停用" in system.page(f"/users/{made}").text
    system.post("/users", 422, username="x y", display_name="", organization="")
    system.post("/users", 409, username="frq-wang", display_name="王芳", organization=str(console.world.furong.id))
    with new_session(console.world.engine) as session:
        assert (
            session.exec(select(RoleGrant).where(RoleGrant.user_id == made, RoleGrant.revoked_at.is_(None))).all() == []
        )


def test_an_information_system_is_registered(console: Console) -> None:
    system = console.reader("sysadmin")
    entry = {"organization": str(console.world.furong.id), "name": "芙蓉区门户", "mlps_level": "三级"}
    system.post("/projects", **entry)
    assert "芙蓉区门户" in system.page("/projects?q=门户").text
    system.post("/projects", 409, **entry)
    console.reader("admin").post("/projects", 403, **entry)


@pytest.fixture
def wang(console: Console) -> dict[str, Any]:
    """Somebody with a password."""
    with console.world.session() as session:
        user = support.add_user(session, "wang", session.merge(console.world.furong), display_name="王芳")
        session.commit()
        console.world.people["wang"] = user.id
    return {"username": "wang", "password": support.PASSWORD}


def test_signing_in_leads_back_and_tells_the_last_time(console: Console, wang: dict[str, Any]) -> None:
    nobody = console.reader(None)
    page = nobody.page("/login?next=/quotas")
    assert "/quotas" in [field.get("value") for _, field in page.fields if field.get("name") == "next"]
    nobody.post("/login", **wang, next="/account")
    assert nobody.location == "/account"
    cookie = next(c for c in nobody.client.cookies.jar if c.name == "cloudmgr_session")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert "首次登录" in nobody.page("/").text
    again = console.reader(None)
    again.post("/login", **wang, next="https://evil.example/")
    assert again.location == "/"
    assert "上次登录" in again.page("/").text


def test_a_wrong_password_says_so_and_does_not_say_which(console: Console, wang: dict[str, Any]) -> None:
    nobody = console.reader(None)
    wrong = nobody.post("/login", 401, username="wang", password="nope")
    absent = console.reader(None).post("/login", 401, username="nobody", password="nope")
    assert "用户名或密码" in wrong.text
    assert values(wrong)["username"] == "wang"
    assert wrong.text == absent.text
    for _ in range(5):
        last = nobody.client.post("/login", data={"username": "wang", "password": "nope"})
    assert last.status_code == 423
    assert "分钟" in Page(last.text).text


def test_a_given_password_must_be_changed_first(console: Console, wang: dict[str, Any]) -> None:
    with console.world.session() as session:
        session.get_one(User, console.world.people["wang"]).must_change_password = True
        session.commit()
    reader = console.reader("wang")
    answer = reader.client.get("/")
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/password")
    new = {"old_password": support.PASSWORD, "new_password": "Blue-Kite-2031", "again": "Blue-Kite-2031"}
    reader.post("/account/password", 422, **{**new, "again": "other"})
    reader.post("/account/password", 422, **{**new, "new_password": "short", "again": "short"})
    reader.post("/account/password", 422, **{**new, "old_password": "wrong"})
    reader.post("/account/password", **new)
    assert "密码已修改" in reader.page("/?done=password").text


def test_signing_out_ends_the_session(console: Console) -> None:
    reader = console.reader("requester")
    reader.post("/logout")
    assert reader.location == "/login?done=signed_out"
    assert "您已退出登录" in reader.page(reader.location).text
    assert reader.client.get("/").status_code == 303


def test_the_language_is_switched_by_a_form_and_stays(console: Console) -> None:
    reader = console.reader("requester")
    reader.post("/language", language="en", next="/servers")
    assert reader.location == "/servers"
    assert "No servers" in reader.page("/servers").text
    reader.post("/language", language="en", next="//evil.example")
    assert reader.location == "/"


def test_a_form_without_the_token_changes_nothing(console: Console) -> None:
    reader = console.reader("requester")
    for address in ("/requests/new", "/logout", f"/requests/{uuid.uuid4()}/withdraw", "/account/password"):
        assert reader.client.post(address, data=typed(console)).status_code == 403
    assert requests_of(console) == []


def test_another_sites_form_cannot_sign_in(console: Console) -> None:
    nobody = console.reader(None)
    answer = nobody.client.post(
        "/login", data={"username": "a", "password": "b"}, headers={"Origin": "https://evil.example"}
    )
    assert answer.status_code == 403


def test_the_inventory_leaves_as_a_file_and_is_on_the_register(
    console: Console, standing: Callable[..., uuid.UUID]
) -> None:
    standing()
    auditor = console.reader("auditor")
    answer = auditor.client.get("/inventory/file?format=csv&view=audit&encoding=utf-8-sig")
    assert answer.status_code == 200
    text = answer.content.decode("utf-8-sig")
    assert "资源编号" in text.splitlines()[0]
    assert "13800000000" not in text
    assert "attachment" in answer.headers["content-disposition"]
    page = auditor.page("/inventory")
    assert "完成" in page.text
    assert "csv · 审计视图" in page.text
    both = auditor.client.get("/inventory/file?format=json&view=short&retired=1&unmanaged=1")
    assert (both.status_code, both.json()["not_collected"]) == (200, [])
    auditor.page("/inventory/file?format=csv&reveal=1", 422)
    auditor.page("/inventory/file?format=papyrus", 422)
    assert console.reader("quota").client.get("/inventory/file?format=csv&reveal=1&reason=x").status_code == 403


def test_what_the_form_shows_nothing_of_outlives_a_correction(console: Console) -> None:
    asked = {
        "exclusive": True,
        "exclusive_reason": "等保三级要求",
        "funding_source": "2027 年度预算第 18 项",
        "priority": "high",
        "env": "tst",
    }
    entry = {"playbook": "configure_server", "variables": {"time_zone": "Asia/Shanghai"}}
    request_id = console.world.submit(name="srv", **asked, **entry)
    console.reader("admin").post(f"/approvals/{request_id}", decision="return", comment="请确认")
    before = whole(requests_of(console)[0].body)
    reader = console.reader("requester")
    shown = filled(reader.client.get(f"/requests/{request_id}/edit").text)
    reader.post(f"/requests/{request_id}/edit", **{**shown, "action": "submit"})
    (request,) = requests_of(console)
    assert request.phase == "in_review"
    assert whole(request.body) == before


def test_funding_priority_and_hosts_of_its_own_are_asked_for_in_the_form(console: Console) -> None:
    reader = console.reader("requester")
    refused = reader.post("/requests/new", 422, **typed(console, exclusive="1"))
    assert "申请独占宿主机须说明理由" in refused.text
    more = {"exclusive": "1", "exclusive_reason": "等保三级", "funding_source": "自筹", "priority": "high"}
    reader.post("/requests/new", **typed(console, **more))
    (made,) = requests_of(console)
    assert {name: made.body[name] for name in more} == more | {"exclusive": True}

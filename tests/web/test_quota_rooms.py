"""Rooms of quota: an account's history, asking for quota, keeping a request until it is granted, and deciding on it."""

from datetime import timedelta

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.models import Organization, QuotaVerification, ResourceRequest
from tests.web.conftest import Console
from tests.world import ZONE

BOTH = pytest.mark.parametrize("language", ["zh_CN", "en"])


@pytest.fixture
def bureau(console: Console) -> Organization:
    with console.world.session() as session:
        found = session.exec(select(Organization).where(Organization.name == "芙蓉区民政局")).one()
        quotas.set_limits(
            session,
            account_id=found.account_id,
            limits={"vcpus": 8, "memory_mib": 64 * 1024},
            replace=False,
            reason="年初下达",
            basis_no="长数〔2026〕1号",
            actor="quota",
        )
        session.commit()
    return found


def newest(console: Console, kind: str) -> ResourceRequest:
    with console.world.session(write=False) as session:
        return session.exec(
            select(ResourceRequest).where(ResourceRequest.kind == kind).order_by(ResourceRequest.id.desc())
        ).first()


@BOTH
def test_the_history_tells_who_decided_and_which_request_took_what(console: Console, bureau, language: str) -> None:
    request_id = console.world.submit(name="srv")
    reader = console.reader("quota", language)
    address = f"/quotas/{bureau.account_id}/history"
    page = reader.page(address)
    assert "长数〔2026〕1号" in page.text
    assert str(request_id) in reader.client.get(address).text
    assert "srv" in page.text
    decided = reader.page(f"{address}?what=decisions&key=vcpus").text
    assert "srv" not in decided
    assert "年初下达" in decided
    assert "/history" in reader.client.get(f"/quotas/{bureau.account_id}").text


def test_the_history_of_a_level_above_is_not_for_those_below(console: Console, bureau) -> None:
    reader = console.reader("requester")
    with console.world.session(write=False) as session:
        city = session.exec(select(Organization).where(Organization.parent_id.is_(None))).one()
    reader.page(f"/quotas/{bureau.account_id}/history")
    reader.page(f"/quotas/{city.account_id}/history", 403)
    assert "/history" not in reader.client.get(f"/quotas/{city.account_id}").text


@BOTH
def test_quota_is_asked_for_decided_and_shown_beside_what_it_takes(console: Console, bureau, language: str) -> None:
    requester, decider = console.reader("requester", language), console.reader("quota", language)
    address = f"/quotas/{bureau.account_id}/ask"
    requester.page(address)
    typed = {"limits.vcpus": "40", "limits.memory_mib": "64", "purpose": "新建系统"}
    requester.post(address, 422, **(typed | {"limits.vcpus": "8"}))
    sent = {"csrf_token": requester.csrf, **typed, "limits.vcpus": "many"}
    wrong = requester.client.post(address, data=sent)
    assert wrong.status_code == 422
    assert 'value="many"' in wrong.text
    assert "新建系统" in wrong.text
    requester.post(address, 422, **(typed | {"purpose": ""}))
    requester.post(address, 422, **typed, new_key="vcpu", new_limit="4")
    requester.post(address, 200, **typed, action="plan")
    requester.post(address, **typed, action="submit")
    request = newest(console, "quota_change")
    assert request.body["limits"] == {"vcpus": 40}
    assert request.number in decider.page("/approvals").text
    assert request.number in decider.page("/").text
    page = decider.page(f"/approvals/{request.id}")
    assert "40" in page.text
    assert ("现上限" if language == "zh_CN" else "Limit now") in page.text
    decider.post(f"/approvals/{request.id}", decision="return", comment="请附依据")
    requester.page(f"/requests/{request.id}/edit", 303)
    assert "请附依据" in requester.page(f"/requests/{request.id}/limits").text
    requester.post(f"/requests/{request.id}/limits", **typed, basis_no="芙民〔2026〕3号", action="submit")
    assert newest(console, "quota_change").body["basis_no"] == "芙民〔2026〕3号"
    decider.page(f"/approvals/{request.id}")


def test_a_request_over_quota_asks_for_it_and_waits(console: Console, bureau) -> None:
    reader = console.reader("requester")
    fields = {
        "project": str(console.world.project.id),
        "purpose": "扩容",
        "network_zone": ZONE,
        "lease_end": (clock.today().replace(year=clock.today().year + 1)).isoformat(),
        "servers[0].name": "big",
        "servers[0].count": "9",
        "servers[0].flavor": "2C4G",
        "servers[0].image": "kylin-v10",
        "servers[0].arch": "aarch64",
    }
    refused = reader.post("/requests/new", 409, **fields, action="submit")
    assert "等待配额" in refused.text
    reader.post("/requests/new", **fields, action="wait")
    draft, change = newest(console, "create"), newest(console, "quota_change")
    assert (draft.phase, draft.after_id) == ("draft", change.id)
    assert "正在等待一份配额申请" in reader.page(f"/requests/{draft.id}").text
    again = reader.post("/requests/new", 409, **(fields | {"servers[0].name": "more"}), action="submit")
    assert change.number in again.text
    reader.post("/requests/new", **(fields | {"servers[0].name": "more"}), after=str(change.id), action="wait")
    assert newest(console, "create").after_id == change.id
    reader.post("/requests/new", 422, **(fields | {"servers[0].name": "odd"}), after="odd", action="wait")


@BOTH
def test_a_guaranteed_share_is_a_mark_on_the_bar_with_words_and_a_legend(console: Console, language: str) -> None:
    words = {"zh_CN": ("其中保障 16", "保障份额"), "en": ("16 of it guaranteed", "Guaranteed share")}[language]
    reader = console.reader("quota", language)
    with console.world.session() as session:
        district = console.world.furong.account_id
        for account, limit in ((console.world.root.account_id, 400), (district, 64)):
            why = {"replace": False, "reason": "年初下达", "actor": "quota"}
            quotas.set_limits(session, account_id=account, limits={"vcpus": limit}, **why)
        session.commit()
        plain = reader.page(f"/quotas/{district}").text
        quotas.set_guarantees(session, account_id=district, guarantees={"vcpus": 16}, reason="保障")
        session.commit()
    for address in (f"/quotas/{district}", "/quotas"):
        reader.page(address)
        shown = reader.client.get(address).text
        assert all(word in shown for word in (*words, 'class="bar-mark" x1="25.0"')), address
    assert not any(word in plain for word in words)


def test_a_recount_tells_a_wrong_number_in_words(console: Console) -> None:
    with console.world.session() as session:
        wrong = {"key": "memory_mib{arch=aarch64}", "column": "reserved", "recorded": 2048, "recounted": 1024}
        share = {"key": "*", "column": "", "recorded": None, "recounted": None, "source": "server", "name": "app01"}
        session.add(
            QuotaVerification(
                state="done",
                asked_by="system",
                period=None,
                finished_at=clock.now(),
                duration_ms=1,
                accounts=1,
                entries=1,
                things=1,
                mismatch_count=2,
                mismatches=[{**wrong, "name": "岳麓区", "source": "entries"}, share],
            )
        )
        session.commit()
    page = console.reader("quota").page("/quotas/recounts").text
    assert "岳麓区 内存（架构: Arm（aarch64）） 预占 2 GiB 1 GiB 账本分录" in page
    assert "app01 全部 未占配额" in page


def test_a_term_and_a_target_are_taken_back_on_the_page(console: Console, bureau) -> None:
    reader, address = console.reader("quota"), f"/quotas/{bureau.account_id}"
    until = (clock.today() + timedelta(days=30)).isoformat()
    why = {"reason": "迎检"}
    reader.post(f"{address}/shares", what="limit", key="vcpus", amount="12", valid_until=until, **why)
    reader.post(f"{address}/shares", what="target", key="aarch64_share_pct", amount="80", **why)
    with console.world.session(write=False) as session:
        (term,) = quotas.terms_of(session, [bureau.account_id])
    action = f"{address}/terms/{term.term_id}"
    assert action in reader.client.get(address).text
    console.reader("requester").post(action, 403)
    reader.post(action)
    reader.post(f"{address}/shares", what="target", key="aarch64_share_pct", amount="", **why)
    with console.world.session(write=False) as session:
        assert quotas.terms_of(session, [bureau.account_id]) == []
        assert quotas.account_usage(session, bureau.account_id).limits["vcpus"] == 8
        assert quotas.targets_of(session, [bureau.account_id]) == {}


def test_who_may_not_set_limits_is_shown_no_form(console: Console, bureau) -> None:
    for address in (f"/quotas/{bureau.account_id}/shares", "/quotas/plan"):
        assert any(field.get("name") == "reason" for _, field in console.reader("quota").page(address).fields)
        assert not any(field.get("name") == "reason" for _, field in console.reader("requester").page(address).fields)

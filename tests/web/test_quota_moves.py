"""The pages on which quota is transferred and accounts are moved, merged and closed, and a plan is loaded."""

import pytest
from sqlmodel import select

import quotas
from cloudmgr.models import Organization
from tests.web.conftest import Console

WHY = {"reason": "年中调剂", "basis_no": "长数〔2026〕18号"}


@pytest.fixture
def accounts(console: Console):
    with console.world.session() as session:
        found = {each.name: each for each in session.exec(select(Organization))}
        for name in ("芙蓉区", "岳麓区"):
            quotas.set_limits(
                session, account_id=found[name].account_id, limits={"vcpus": 100}, replace=False, reason="x", actor="x"
            )
        session.commit()
    return found


def limit(console: Console, organization: Organization):
    with console.world.session() as session:
        return quotas.account_usage(session, organization.account_id).limits.get("vcpus")


@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_every_page_is_whole_in_both_languages(console: Console, accounts, language: str) -> None:
    reader = console.reader("quota", language)
    for name in accounts:
        reader.page(f"/quotas/{accounts[name].account_id}/rearrange")
    reader.page("/quotas/plan")
    assert "/rearrange" in reader.client.get(f"/quotas/{accounts['芙蓉区'].account_id}").text


def test_a_transfer_is_made_and_a_refused_one_says_why(console: Console, accounts) -> None:
    reader = console.reader("quota")
    giver, taker = accounts["芙蓉区"], accounts["岳麓区"]
    address = f"/quotas/{giver.account_id}/transfer"
    sent = {"to": taker.code, "key.0": "vcpus", **WHY}
    assert "空闲" in reader.post(address, 409, **sent, **{"amount.0": "101"}).text
    reader.post(address, 422, **(sent | {"to": "nowhere"}), **{"amount.0": "1"})
    reader.post(address, 422, **(sent | {"reason": ""}), **{"amount.0": "1"})
    page = reader.post(address, 422, **sent, **{"amount.0": "1", "key.1": "vcpus", "amount.1": "2"})
    assert "重复选择" in page.text
    assert "请填写划转数量" in reader.post(address, 422, **sent, **{"key.1": "vcpus", "amount.1": "2"}).text
    assert "请选择" in reader.post(address, 422, **sent, **{"amount.0": "1", "amount.1": "2"}).text
    assert limit(console, giver) == 100
    reader.post(address, 303, **sent, **{"amount.0": "30"})
    assert (limit(console, giver), limit(console, taker)) == (70, 130)


def test_accounts_move_merge_close_and_open_again(console: Console, accounts) -> None:
    reader = console.reader("quota")
    bureau, yuelu = accounts["芙蓉区民政局"], accounts["岳麓区"]
    reader.post(f"/quotas/{bureau.account_id}/move", 303, parent=yuelu.code, **WHY)
    reader.post(f"/quotas/{accounts['芙蓉区'].account_id}/close", 303, **WHY)
    reader.page(f"/quotas/{accounts['芙蓉区'].account_id}/rearrange")
    reader.post(f"/quotas/{accounts['芙蓉区'].account_id}/reopen", 303, **WHY)
    reader.post(f"/quotas/{accounts['芙蓉区'].account_id}/merge", 303, target=yuelu.code, **WHY)
    with console.world.session() as session:
        assert quotas.verify(session).ok


def test_a_form_undoes_nobodys_decision(console: Console, accounts) -> None:
    account, reader = accounts["芙蓉区"].account_id, console.reader("quota")
    address = f"/quotas/{account}"

    def opened() -> dict[str, str]:
        fields = {field["name"]: field.get("value", "") for _, field in reader.page(address).fields if "name" in field}
        return {name: text for name, text in fields.items() if name.startswith(("limits.", "seen."))}

    def limits() -> dict[str, int | None]:
        with console.world.session(write=False) as session:
            return quotas.account_usage(session, account).limits

    reader.post(address, **opened() | {"limits.vcpus": "400", "reason": "年初"})
    form = opened()
    reader.post(address, **form | {"limits.vcpus": "450", "reason": "追加"})
    reader.post(address, **form | {"limits.servers": "30", "reason": "台数"})
    assert (limits()["vcpus"], limits()["servers"]) == (450, 30)
    page = reader.post(address, 409, **form | {"limits.vcpus": "420", "reason": "压减"})
    assert "450" in page.text
    assert limits()["vcpus"] == 450
    again = {field["name"]: field.get("value", "") for _, field in page.fields if "name" in field}
    assert (again["limits.vcpus"], again["seen.vcpus"], again["limits.servers"]) == ("420", "450", "30")
    reader.post(
        address, **{name: text for name, text in again.items() if name.startswith(("limits.", "seen.", "reason"))}
    )
    assert limits()["vcpus"] == 420


def test_a_plan_is_tried_then_set(console: Console, accounts) -> None:
    reader = console.reader("quota")
    good = f"单位编码,vCPU（核）\n{accounts['芙蓉区'].code},480\n".encode()
    for action, status, content, after in (
        ("try", 200, good, 100),
        ("set", 422, good + b"nowhere,1\n", 100),
        ("set", 200, good, 480),
    ):
        answer = reader.client.post(
            "/quotas/plan",
            data={"csrf_token": reader.csrf, "action": action, **WHY},
            files={"file": ("plan.csv", content, "text/csv")},
        )
        assert answer.status_code == status, answer.text
        assert limit(console, accounts["芙蓉区"]) == after
    template = reader.client.get("/quotas/plan/template")
    assert template.content.startswith(b"PK")

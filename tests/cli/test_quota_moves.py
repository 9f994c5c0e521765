"""`cloudmgr quota transfer|move|merge|close|reopen|load` on an installation of one's own."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.domain import clock

Run = Callable[..., Any]

CITY = """
organizations:
- {code: CS, name: 长沙市, kind: city, parent: null}
- {code: 430102, name: 芙蓉区, kind: district, parent: CS}
- {code: 430104, name: 岳麓区, kind: district, parent: CS}
- {code: 430102-01, name: 芙蓉区民政局, kind: department, parent: 430102}
quotas:
- {tenant: CS, vcpu: 1000, limits: {servers: 50}}
- {tenant: 430102, vcpu: 100}
- {tenant: 430104, vcpu: 100}
"""


@pytest.fixture
def limits(run: Run, installed: dict[str, str], tmp_path: Path) -> Callable[[], dict[str, Any]]:
    file = tmp_path / "city.yaml"
    file.write_text(CITY, encoding="utf-8")
    assert run("apply", str(file)).status == 0
    return lambda: {each["code"]: each["limits"].get("vcpus") for each in run("quota", "show", "--json").json}


def test_limits_go_over_and_accounts_move_merge_and_close(run: Run, limits: Any) -> None:
    why = ("--reason", "年中调剂", "--basis-no", "长数〔2026〕18号")
    done = run("quota", "transfer", "430102", "430104", "vcpus=30", *why, "--json")
    assert [each["after"] for each in done.json["limits"]] == [70, 130]
    assert run("quota", "transfer", "430102", "430104", "vcpus=71", *why).status == 1
    assert run("quota", "transfer", "430102", "430104", "vcpus=1", "vcpus=2", *why).status == 1
    assert run("quota", "transfer", "430102", "nowhere", "vcpus=1", *why).status == 1
    assert run("quota", "move", "430102-01", "430104", *why).status == 0
    assert run("quota", "close", "430102-01", *why).status == 0
    assert run("quota", "reopen", "430102-01", *why).status == 0
    assert run("quota", "merge", "430102", "430104", *why).status == 0
    assert limits() == {"CS": 1000, "430102": 0, "430104": 200, "430102-01": None}
    assert run("quota", "verify", "--json").json["ok"]


def test_a_plan_is_rehearsed_and_then_loaded(run: Run, limits: Any, tmp_path: Path) -> None:
    file = tmp_path / "plan.csv"
    file.write_text("单位编码,vCPU（核）\n430102,480\n430104,多\n", encoding="gb18030")
    why = ("--reason", "2027年度计划")
    shown = run("quota", "load", str(file), *why, "--dry-run", "--json")
    assert (shown.status, shown.json["accepted"], len(shown.json["changes"])) == (1, False, 1)
    assert run("quota", "load", str(file), *why).status == 1
    assert limits()["430102"] == 100
    file.write_text("单位编码,vCPU（核）\n430102,480\n430104,无\n", encoding="utf-8")
    assert run("quota", "load", str(file), *why, "--dry-run").status == 0
    assert limits()["430102"] == 100
    assert run("quota", "load", str(file), *why).status == 0
    assert (limits()["430102"], limits()["430104"]) == (480, None)


def test_a_loan_is_offered_on_the_command_line_and_never_signed_by_one_person_for_both(run: Run, limits: Any) -> None:
    until = (clock.today() + timedelta(days=30)).isoformat()
    wanted = ("430102", "430104", "vcpus=20", "--until", until, "--reason", "迎检期间借用")
    (made,) = run("quota", "loan", "offer", *wanted, "--json").json
    assert (made["state"], made["amounts"]["vcpus"]["amount"]) == ("offered", 20)
    refused = run("quota", "loan", "accept", made["id"])
    assert (refused.status, limits()["430104"]) == (1, 100)
    assert made["id"] in run("quota", "loan", "list").out
    assert run("quota", "loan", "cancel", made["id"], "--json").json[0]["state"] == "cancelled"
    assert run("quota", "loan", "return", made["id"], "vcpus=1").status == 1
    assert run("quota", "loan", "decline", made["id"]).status == 1

"""`cloudmgr policy`: a file is checked, loaded once a version, shown, and an expired one says so by its exit status."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.services import approval_policy

Run = Callable[..., Any]

GOOD = """
version = "2027/1"
title = "新办法"
valid_from = 2020-01-01
valid_until = {until}
[[rules]]
name = "全部"
when = {when}
stages = [{{ by = [{{ level = "district" }}] }}]
[[rules]]
name = "其余"
stages = [{{ by = [{{ person = "{person}" }}] }}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(until: str = "2099-12-31", when: str = "{}", person: str = "sysadmin", text: str = "") -> str:
        path = tmp_path / "policy.toml"
        path.write_text(text or GOOD.format(until=until, when=when, person=person), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.usefixtures("installed")
class TestPolicy:
    def test_a_file_is_checked_loaded_and_then_in_force(self, run: Run, file: Callable[..., str]) -> None:
        assert run("policy", "show", "--json").json["version"] == "2026-11/3"
        assert run("policy", "check", file()).status == 0
        assert run("policy", "show", "--json").json["version"] == "2026-11/3", "checking changes nothing"
        assert run("policy", "load", file()).status == 0
        assert run("policy", "load", file()).status == 0, "the same file twice is once"
        shown = run("policy", "show", "--json").json
        assert (shown["version"], shown["rules"][1]["stages"][0]["by"]) == ("2027/1", ["sysadmin"])
        assert "其余" in run("policy", "show").out

    def test_a_version_is_written_once(self, run: Run, file: Callable[..., str]) -> None:
        assert run("policy", "load", file()).status == 0
        refused = run("policy", "load", file(until="2098-12-31"))
        assert refused.status == 1
        assert "2027/1" in refused.err

    def test_an_expired_one_in_force_is_exit_status_1(self, run: Run, file: Callable[..., str]) -> None:
        assert run("policy", "load", file(until="2020-12-31")).status == 0
        shown = run("policy", "show", "--json")
        assert (shown.status, shown.json["expired"]) == (1, True)

    def test_who_does_not_exist_cannot_decide(self, run: Run, file: Callable[..., str]) -> None:
        checked = run("policy", "check", file(person="ghost"), "--json")
        assert (checked.status, checked.json["unknown_people"]) == (1, ["ghost"])
        assert run("policy", "load", file(person="ghost")).status == 1

    @pytest.mark.parametrize(
        ("when", "field", "words"),
        [
            ('{ kinds = ["creat"] }', "kinds", "create"),
            ("{ at_least = { vcpuz = 8 } }", "at_least", "vcpus"),
            ('{ at_least = { "vcpus{arch=arm64}" = 8 } }', "at_least", "vcpus"),
            ('{ archs = ["zzz"] }', "archs", "aarch64"),
            ('{ network_zones = ["不存在"] }', "network_zones", "不存在"),
            ('{ organizations = ["999999"] }', "organizations", "999999"),
        ],
    )
    def test_a_condition_that_can_never_hold_is_refused(
        self, run: Run, file: Callable[..., str], when: str, field: str, words: str
    ) -> None:
        for command in ("check", "load"):
            refused = run("policy", command, file(when=when))
            assert refused.status == 1
            assert f"rules[0].when.{field}" in refused.err
            assert words in refused.err
        assert run("policy", "show", "--json").json["version"] == "2026-11/3"

    def test_conditions_that_can_hold_are_taken(self, run: Run, file: Callable[..., str]) -> None:
        when = '{ kinds = ["create", "volume"], at_least = { vcpus = 8, "vcpus{arch=aarch64}" = 4 }, archs = ["x86_64"], organizations = ["CS"] }'
        assert run("policy", "load", file(when=when)).status == 0

    def test_a_role_that_cannot_decide_has_no_seat(self, run: Run, file: Callable[..., str]) -> None:
        text = GOOD.format(until="2099-01-01", when="{}", person="sysadmin")
        refused = run("policy", "load", file(text=text.replace('"district" }', '"district", role = "requester" }')))
        assert refused.status == 1
        assert "rules[0].stages[0].by[0].role" in refused.err
        assert (
            run("policy", "load", file(text=text.replace('"district" }', '"city", role = "quota_admin" }'))).status == 0
        )

    @pytest.mark.parametrize(
        "text",
        [
            "not toml [",
            'version = "1"',
            GOOD.format(until="2019-01-01", when="{}", person="sysadmin"),
            GOOD.format(until="2099-01-01", when='{ colour = "red" }', person="sysadmin"),
            GOOD.format(until="2099-01-01", when="{}", person="sysadmin")
            .rpartition("[[rules]]")[0]
            .replace("when = {}", 'when = { kinds = ["create"] }'),
            GOOD.format(until="2099-01-01", when="{}", person="sysadmin").replace(
                'by = [{ level = "district" }]', 'by = [{ level = "moon" }]'
            ),
            GOOD.format(until="2099-01-01", when="{}", person="sysadmin").replace(
                'stages = [{ by = [{ level = "district" }] }]',
                "stages = [" + ", ".join(['{ by = [{ level = "unit" }] }'] * 7) + "]",
            ),
        ],
        ids=["toml", "empty", "dates", "condition", "last rule", "level", "seven stages"],
    )
    def test_what_is_wrong_with_a_file_is_refused(self, run: Run, file: Callable[..., str], text: str) -> None:
        assert run("policy", "check", file(text=text)).status == 1


def test_the_packaged_policy_is_well_formed() -> None:
    policy = approval_policy.parse(approval_policy.packaged_text())
    four = max(policy.rules, key=lambda rule: len(rule.stages))
    assert [stage.name for stage in four.stages] == [
        "Unit review",
        "District review",
        "City approval",
        "Technical approval",
    ]

"""Commands on an installation of one's own: set-up, people, files, proof; exit status 0, 1 or 2."""

import importlib
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
from sqlmodel import select

from cloudmgr.cli import COMMANDS
from cloudmgr.models import AuditEvent, User
from cloudmgr.services.sessions import authenticate
from cloudmgr.settings import load_settings
from cloudmgr.store.db import make_engine, new_session

Run = Callable[..., Any]

CITY = """
organizations:
- {code: CS, name: 长沙市, kind: city, parent: null}
- {code: 430102, name: 芙蓉区, kind: district, parent: CS}
projects:
- {name: 门户网站, organization: 430102, mlps_level: 二级, network_zone: 互联网区}
quotas:
- {tenant: CS, vcpu: 100, limits: {servers: 50}}
"""


@pytest.fixture
def city(tmp_path: Path) -> Path:
    file = tmp_path / "city.yaml"
    file.write_text(CITY, encoding="utf-8")
    return file


def test_init_makes_three_administrators_a_key_and_a_settings_file(
    run: Run, installed: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    assert set(installed) == {"sysadmin", "secadmin", "auditadmin"}
    assert len(set(installed.values())) == 3
    for name in ("secret.key", "cloudmgr.toml", "cloudmgr.db"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
    settings = load_settings(data)
    engine = make_engine(settings.database_url)
    with new_session(engine) as session:
        assert all(user.must_change_password for user in session.exec(select(User)))
        user, _, _ = authenticate(session, settings, "sysadmin", installed["sysadmin"], "192.0.2.1", "token")
        assert user.username == "sysadmin"
        session.rollback()
        created = session.exec(select(AuditEvent).where(AuditEvent.event == "system.init")).one()
        assert created.actor.startswith("local:")
        assert not any(password in str(created.detail) for password in installed.values())
    engine.dispose()
    assert run("config", "check").status == 0
    assert run("config", "check", "--json").json == {"ok": True, "backends": [], "faults": []}


def test_init_refuses_what_is_not_empty_and_changes_nothing(run: Run, installed: dict[str, str]) -> None:
    again = run("init")
    assert again.status == 1
    assert "already" in again.err
    assert len(run("user", "list", "--json").json) == 3


def test_a_command_without_an_installation_says_how_to_make_one(run: Run, tmp_path: Path) -> None:
    told = run("user", "list")
    assert told.status == 1
    assert "cloudmgr init" in told.err
    assert not (tmp_path / "data" / "cloudmgr.db").exists()


def test_apply_rehearses_applies_and_then_changes_nothing(run: Run, installed: dict[str, str], city: Path) -> None:
    rehearsed = run("apply", str(city), "--dry-run", "--json").json
    assert rehearsed["counts"]["projects"]["created"] == 1
    assert run("quota", "show", "--json").json[0]["limits"] == {}
    assert run("apply", str(city)).status == 0
    second = run("apply", str(city), "--json").json
    assert second["changes"] == []
    shown = run("quota", "show", "--json").json
    assert [account["code"] for account in shown] == ["CS", "430102", "430102/门户网站"]
    assert shown[0]["limits"] == {"servers": 50, "vcpus": 100}


def test_a_refused_file_is_told_by_its_places_in_both_languages_and_audited(
    run: Run, installed: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("projects:\n- {name: 甲, org: CS, mlps: 二级, zone: 没有}\nsurprise: 1\n", encoding="utf-8")
    assert run("apply", str(file)).status == 1
    file.write_text("projects:\n- {name: 甲, org: CS, mlps: 二级, zone: 没有}\n", encoding="utf-8")
    english = run("apply", str(file))
    assert english.status == 1
    assert "projects[0].zone: There is no network zone 没有" in english.err
    chinese = run("--lang", "zh_CN", "apply", str(file))
    assert "projects[0].zone" in chinese.err
    assert "There is no network zone" not in chinese.err
    engine = make_engine(load_settings(tmp_path / "data").database_url)
    with new_session(engine) as session:
        denied = session.exec(select(AuditEvent).where(AuditEvent.outcome == "denied")).all()
        assert [(event.event, event.reason) for event in denied] == [("system.apply", "invalid")] * 3
    engine.dispose()


def test_people_are_added_granted_locked_and_listed(run: Run, installed: dict[str, str], city: Path) -> None:
    run("apply", str(city))
    added = run("user", "add", "wangfang", "--name", "王芳", "-o", "430102", "--role", "requester", "--json")
    assert len(added.json["one_time_password"]) >= 12
    assert run("user", "grant", "wangfang", "district_admin", "-o", "430102", "--until", "2099-01-01").status == 0
    assert run("user", "lock", "wangfang").status == 0
    person = next(each for each in run("user", "list", "-o", "430102", "--json").json)
    assert person["locked"]
    assert [(role["role"], role["valid_until"]) for role in person["roles"]] == [
        ("requester", None),
        ("district_admin", "2099-01-01T23:59:59+08:00"),
    ]
    assert run("user", "lock", "wangfang", "--off").status == 0
    assert run("user", "revoke", "wangfang", "requester", "-o", "430102").status == 0
    assert run("user", "revoke", "wangfang", "requester", "-o", "430102").status == 1
    assert run("user", "passwd", "wangfang", "--json").json["one_time_password"] != added.json["one_time_password"]
    assert run("user", "passwd", "nobody").status == 1
    assert run("user", "grant", "wangfang", "emperor", "-o", "430102").status == 2


def test_the_three_administrators_exclude_each_other_here_too(run: Run, installed: dict[str, str]) -> None:
    refused = run("user", "grant", "sysadmin", "audit_admin", "-o", "CS")
    assert refused.status == 1
    assert len(refused.err.splitlines()) <= 2


def test_a_tampered_balance_is_found_by_verify(run: Run, installed: dict[str, str], city: Path, tmp_path: Path) -> None:
    run("apply", str(city))
    assert run("quota", "verify", "--json").json["ok"]
    engine = make_engine(load_settings(tmp_path / "data").database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE quota_balances SET used = 7 WHERE key = 'vcpus'")
    engine.dispose()
    found = run("quota", "verify", "--json")
    assert found.status == 1
    assert ("vcpus", 7) in [(each["key"], each["recorded"]) for each in found.json["mismatches"]]


NAMED = "[[backends]]\nname = 'a'\nprovider = 'simulated'\ndatacenter = 'x'\n"


@pytest.mark.parametrize(
    ("toml", "told"),
    [
        ("[web]\nport = 'x'\n", "web.port"),
        ("[web]\ncolour = 'red'\n", "web.colour"),
        ("[web\n", "TOML"),
        ("[web]\nhost = '0.0.0.0'\n", "TLS"),
        ("[[backends]]\nname = 'a'\nprovider = 'nimbus'\ndatacenter = 'x'\n", "nimbus"),
        ("[[backends]]\nname = 'a'\nprovider = 'simulated'\ndatacenter = 'x'\n", "backends[0].zones"),
        ("[[backends]]\nprovider = 'simulated'\n", "name, datacenter"),
        (f"{NAMED}tier = 'ctiy'\n", "backends[0].tier"),
        (f"{NAMED}overcommit = {{ vcpus = 'much' }}\n", "backends[0].overcommit"),
        (f"{NAMED}owner = '430199'\n", "no organization 430199"),
        (f"{NAMED}shared_with = ['430198']\n", "no organization 430198"),
        (f"{NAMED}network_zones = {{ default = '内网区' }}\n", "no network zone 内网区"),
    ],
)
def test_config_check_names_what_is_wrong(
    run: Run, installed: dict[str, str], tmp_path: Path, toml: str, told: str
) -> None:
    (tmp_path / "data" / "cloudmgr.toml").write_text(toml, encoding="utf-8")
    checked = run("config", "check")
    assert checked.status == 1
    assert told in checked.err
    for_programs = run("config", "check", "--json")
    assert (for_programs.status, for_programs.json["ok"]) == (1, False)
    assert any(told in fault for fault in for_programs.json["faults"])


def test_a_schema_that_is_missing_is_told_and_upgraded(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cloudmgr.db").touch()
    told = run("db", "check")
    assert told.status == 1
    assert "cloudmgr db upgrade" in told.err
    assert run("db", "upgrade").status == 0
    assert run("db", "check", "--json").json["is_current"]


def test_a_worker_is_missed_by_name_of_what_it_did_not_do(run: Run, installed: dict[str, str]) -> None:
    assert run("sync").status == 1
    assert run("backend", "check", "nowhere").status == 1


@pytest.mark.parametrize("arguments", [("nonsense",), ("user", "nonsense"), ("apply",), ("user", "add", "x")])
def test_wrong_usage_ends_with_two(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments).status == 2


def test_commands_over_the_api_say_how_to_get_a_token(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    told = run("server", "list")
    assert told.status == 1
    assert "cloudmgr login" in told.err
    monkeypatch.setenv("CLOUDMGR_TOKEN", "x")
    monkeypatch.setenv("CLOUDMGR_URL", "http://127.0.0.1:1")
    assert "does not answer" in run("request", "list").err
    monkeypatch.setenv("CLOUDMGR_URL", "file:///etc/passwd")
    assert run("request", "list").status == 1


def test_a_password_may_come_through_a_pipe(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDMGR_PASSWORD", raising=False)
    monkeypatch.setenv("CLOUDMGR_URL", "http://127.0.0.1:1")
    monkeypatch.setattr("sys.stdin", io.StringIO("Secret-1234\n"))
    told = run("login", "sysadmin")
    assert told.status == 1
    assert "does not answer" in told.err
    assert "Password" not in told.err + told.out


def _commands() -> list[tuple[str, Any]]:
    found = []
    for name, (target, _) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        command = typer.main.get_command(getattr(importlib.import_module(module), attribute))
        inner = getattr(command, "commands", None)
        found += (
            [each for key, sub in inner.items() for each in _below(f"{name} {key}", sub)]
            if inner
            else [(name, command)]
        )
    return found


def _below(name: str, command: Any) -> list[tuple[str, Any]]:
    """A command, and those of the group it is."""
    below = [each for key, sub in getattr(command, "commands", {}).items() for each in _below(f"{name} {key}", sub)]
    return [(name, command), *below]


def test_every_command_shows_an_example_and_says_what_it_does() -> None:
    for name, command in _commands():
        assert (command.epilog or "").startswith("Example: "), name
        assert f"cloudmgr {name}" in command.epilog, name
        assert command.help, name


def test_help_is_quick_because_it_loads_no_command() -> None:
    script = "import sys; from cloudmgr.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint('fastapi' in sys.modules, 'dbos' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert shown.stdout.splitlines()[-1] == "False False"
    assert all(name in shown.stdout for name in COMMANDS)

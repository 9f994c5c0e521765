"""`cloudmgr demo`: one start seeds the city through the real workflow, a killed one is finished, a second keeps everything."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cloudmgr.domain.errors import Conflict
from tests.ports import free_port

_COMMAND = "import sys; from cloudmgr.cli import main; main()"
_PATIENCE_S = 240


def call(port: int, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method="POST" if body is not None else "GET")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, None


@contextmanager
def demo(data: Path, port: int, *, ready: bool = True) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", _COMMAND, "demo", "--port", str(port), "--data-dir", str(data)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CLOUDMGR_")}
    with (data.parent / "demo.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + _PATIENCE_S
        path = "/readyz" if ready else "/healthz"
        while call(port, path)[0] != 200:
            assert process.poll() is None, (data.parent / "demo.log").read_text()[-3000:]
            assert time.monotonic() < deadline, (data.parent / "demo.log").read_text()[-3000:]
            time.sleep(0.3)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def login(port: int, account: dict[str, Any]) -> str:
    status, answer = call(port, "/api/v1/sessions", {"username": account["username"], "password": account["password"]})
    assert status == 201, answer
    assert not answer["must_change_password"]
    assert sorted(answer["roles"]) == sorted(account["roles"])
    return str(answer["token"])


def test_a_killed_demonstration_is_finished_and_kept_by_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    port = free_port()
    with demo(data, port, ready=False) as process:
        before = json.loads((data / "demo-accounts.json").read_text())
        process.kill()
    with demo(data, port):
        file = data / "demo-accounts.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        accounts = json.loads(file.read_text())
        assert accounts == before
        _require_everybody(accounts)
        tokens = {account["username"]: login(port, account) for account in accounts}
        servers = call(port, "/api/v1/servers?phase=active", token=tokens["auditadmin"])[1]["items"]
        assert len(servers) == 5
        assert {server["arch"] for server in servers} == {"aarch64", "x86_64"}
        assert all(server["rehearsed"] and server["ipv4"] for server in servers)
        zones = call(port, "/api/v1/zones?limit=200", token=tokens["sysadmin"])[1]["items"]
        assert all(len(zone["network_zones"]) == 5 and zone["capacity"]["vcpus"] > 100 for zone in zones)
        plan = call(port, "/api/v1/subnets?limit=200", token=tokens["sysadmin"])[1]["items"]
        assert [each["reserved"] for each in plan if each["is_managed"] and each["network"]] == [2]
        openings = call(port, "/api/v1/port-openings", token=tokens["frq-req1"])[1]["items"]
        assert sorted(each["port"] for each in openings) == ["icmp", "icmp", "tcp/8080-8081", "tcp/8080-8081"]
        assert {each["state"] for each in openings} == {"active"}
        found = _findings(port, tokens["sysadmin"])
        assert found == {("unmanaged", "legacy-oa-01", ""), ("drift", "430102-mzj-zhsq-prd-app01", "memory_mib")}
        backends = call(port, "/api/v1/backends", token=tokens["sysadmin"])[1]["items"]
        assert [backend["health"] for backend in backends] == ["ok"] * 3
        refused = subprocess.run(
            [sys.executable, "-c", _COMMAND, "demo", "--port", str(port), "--data-dir", str(data)],
            capture_output=True,
            check=False,
        )
        assert refused.returncode == 1
        verified = subprocess.run(
            [sys.executable, "-c", _COMMAND, "quota", "verify", "--data-dir", str(data)], check=False
        )
        assert verified.returncode == 0
    started = time.monotonic()
    with demo(data, port):
        print(f"second start to ready: {time.monotonic() - started:.1f} s")
        assert login(port, accounts[0])
        kept = call(port, "/api/v1/servers?phase=active", token=login(port, accounts[0]))[1]["items"]
        assert {server["id"] for server in kept} <= {server["id"] for server in servers}


def _findings(port: int, token: str) -> set[tuple[str, str, str]]:
    """Return what the inbox shows once the clouds were looked at again, by kind, name and field."""
    deadline = time.monotonic() + _PATIENCE_S
    found: set[tuple[str, str, str]] = set()
    while len(found) < 2 and time.monotonic() < deadline:
        time.sleep(1)
        items = call(port, "/api/v1/findings", token=token)[1]["items"]
        found = {(each["kind"], each["name"], each["field"]) for each in items}
    return found


def _require_everybody(accounts: list[dict[str, Any]]) -> None:
    held = [(account["organization"]["code"], role) for account in accounts for role in account["roles"]]
    for district in ("430102", "430104"):
        assert held.count((district, "requester")) >= 2
        assert (district, "unit_reviewer") in held
        assert (district, "district_admin") in held
    city = "quota_admin city_approver technical_approver system_admin security_admin audit_admin external_auditor"
    assert {role for code, role in held if code == "CS"} == set(city.split())
    assert any({"requester", "district_admin"} <= set(account["roles"]) for account in accounts)


def test_a_lost_accounts_file_means_new_passwords(tmp_path: Path) -> None:
    from cloudmgr.seed import demo as demonstration  # noqa: PLC0415 - loads the whole application
    from cloudmgr.settings import load_settings  # noqa: PLC0415

    settings = load_settings(tmp_path / "demo", **demonstration.overrides(8000))
    first = demonstration.prepare(settings)
    assert demonstration.prepare(settings) == first
    demonstration.accounts_file(settings).unlink()
    second = demonstration.prepare(settings)
    assert [each.username for each in second] == [each.username for each in first]
    assert {each.password for each in second}.isdisjoint({each.password for each in first})
    with (
        demonstration.only_one(settings.data_dir),
        pytest.raises(Conflict, match="already runs"),
        demonstration.only_one(settings.data_dir),
    ):
        pytest.fail("two demonstrations on one folder")

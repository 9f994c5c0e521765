"""Nova of the OpenStack lab as the other side of the admission benchmark: a project of its own, its POSTs and what they cost."""

import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.providers.openstack_lab import LAB_HOME, lab, secrets

MICROVERSION = {"X-OpenStack-Nova-API-Version": "2.90"}
"""From 2.37 on a server may be asked for without networks."""
PLENTY = {"instances": 1_000_000, "cores": 10_000_000, "ram": 1_000_000_000}
_SETTLE_S = 600


@contextmanager
def nova_side() -> Iterator[dict[str, Any]]:
    """Make a project whose quota does not bind; everything made in it is removed at the end."""
    found = lab()
    with httpx.Client(timeout=120, trust_env=False) as http:
        admin = _token(http, found, found["admin"], "admin")
        name = f"bench-{uuid.uuid4().hex[:8]}"
        made = _ask(
            http, admin, "POST", f"{found['auth_url']}/projects", {"project": {"name": name, "domain_id": "default"}}
        )
        project = made["project"]["id"]
        user = _ask(http, admin, "GET", f"{found['auth_url']}/users?name={found['username']}")["users"][0]["id"]
        role = _ask(http, admin, "GET", f"{found['auth_url']}/roles?name=member")["roles"][0]["id"]
        _ask(http, admin, "PUT", f"{found['auth_url']}/projects/{project}/users/{user}/roles/{role}")
        nova = found["services"]["compute"]
        _ask(http, admin, "PUT", f"{nova}/os-quota-sets/{project}", {"quota_set": PLENTY | {"force": True}})
        token = _token(http, found, found["username"], name)
        image = next(
            row
            for row in _ask(http, token, "GET", f"{found['services']['image']}/v2/images")["images"]
            if row.get("hw_architecture", "x86_64") == "x86_64"
        )
        flavor = min(_ask(http, token, "GET", f"{nova}/flavors/detail")["flavors"], key=lambda row: row["ram"])
        server = {"name": "@name@", "imageRef": image["id"], "flavorRef": flavor["id"], "networks": "none"}
        host, _, path = nova.removeprefix("http://").partition("/")
        try:
            yield {
                "name": "Nova",
                "wrk": {
                    "addresses": [host],
                    "method": "POST",
                    "path": f"/{path}/servers",
                    "body": json.dumps({"server": server}),
                    "desks": [{"headers": {"X-Auth-Token": token, **MICROVERSION}}],
                },
                "pids": pids,
                "settle": lambda: settle(http, nova, token),
            }
        finally:
            settle(http, nova, token)
            _ask(http, admin, "DELETE", f"{found['auth_url']}/projects/{project}")


def settle(http: httpx.Client, nova: str, token: str) -> None:
    """Wait until what was accepted is built or has failed, and remove it."""
    deadline = time.monotonic() + _SETTLE_S
    while _ask(http, token, "GET", f"{nova}/servers?status=BUILD&limit=1")["servers"] and time.monotonic() < deadline:
        time.sleep(1)
    while (
        servers := _ask(http, token, "GET", f"{nova}/servers?limit=1000")["servers"]
    ) and time.monotonic() < deadline:
        for row in servers:
            http.delete(f"{nova}/servers/{row['id']}", headers={"X-Auth-Token": token, **MICROVERSION})
        time.sleep(2)


def pids() -> list[int]:
    """Every process of the lab's services, by the sessions their starters opened."""
    sessions = {
        int(file.read_text()) for file in (LAB_HOME / "run").glob("*.pid") if file.read_text().strip().isdigit()
    }
    return [
        pid
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        if _session(pid) in sessions or pid in sessions
    ]


def _session(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[3])
    except OSError:
        return -1


def _token(http: httpx.Client, found: dict[str, Any], user: str, project: str) -> str:
    password = secrets()[0].strip()
    domain = {"name": "Default"}
    identity = {"methods": ["password"], "password": {"user": {"name": user, "domain": domain, "password": password}}}
    scope = {"project": {"name": project, "domain": domain}}
    answer = http.post(f"{found['auth_url']}/auth/tokens", json={"auth": {"identity": identity, "scope": scope}})
    answer.raise_for_status()
    return answer.headers["X-Subject-Token"]


def _ask(http: httpx.Client, token: str, method: str, url: str, body: Any = None) -> Any:
    answer = http.request(method, url, json=body, headers={"X-Auth-Token": token, **MICROVERSION})
    answer.raise_for_status()
    return answer.json() if answer.content else None

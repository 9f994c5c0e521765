"""The journeys on a real OpenStack, in a project of their own; the hands speak its API without any driver."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.journeys.peer import Peer
from tests.journeys.stories import Changes
from tests.journeys.town import Town, town
from tests.providers import openstack_lab
from tests.providers.openstack_lab import until
from tests.world import ZONE

pytestmark = pytest.mark.lab("openstack")

PASSWORD = "journey-Pw-7"
CIDR = "10.66.0.0/24"
SMALL, BY_HAND = "lab.1c1024m2g", "lab.4c8192m40g"
POWER = {"ACTIVE": "running", "SHUTOFF": "stopped"}
OF_ROUTERS = ("network:",)


class Account:
    """A login at the cloud, and its services."""

    def __init__(self, username: str, password: str, project: str) -> None:
        lab = openstack_lab.lab()
        user = {"name": username, "domain": {"id": "default"}, "password": password}
        scope = {"project": {"name": project, "domain": {"id": "default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        self._http = httpx.Client(timeout=60, trust_env=False)
        answer = self._http.post(f"{lab['auth_url']}/auth/tokens", json=body)
        assert answer.status_code == 201, answer.text
        self._http.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        self.project = answer.json()["token"]["project"]["id"]
        services = lab["services"]
        self._base = {
            "identity": lab["auth_url"],
            "compute": services["compute"],
            "image": f"{services['image']}/v2",
            "network": f"{services['network']}/v2.0",
            "volume": f"{services['volumev3']}/{self.project}",
        }

    def ask(self, method: str, service: str, path: str, body: Any = None) -> Any:
        answer = self._http.request(method, f"{self._base[service]}{path}", json=body)
        if answer.status_code == 404:
            return None
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def get(self, service: str, path: str) -> Any:
        return self.ask("GET", service, path)

    def make(self, service: str, path: str, kind: str, **what: Any) -> dict[str, Any]:
        return dict(self.ask("POST", service, path, {kind: what})[kind])

    def close(self) -> None:
        self._http.close()


class OpenStack(Peer):
    arch = "aarch64"
    pieces = frozenset({"server", "disk", "nic", "address", "port_rules"})
    managed = CIDR

    def __init__(self, home: Path) -> None:
        lab = openstack_lab.lab()
        self._admin = Account(lab["admin"], openstack_lab.secrets()[0], lab["admin"])
        self.name = f"journey-{uuid.uuid4().hex[:8]}"
        roles = {role["name"]: role["id"] for role in self._admin.get("identity", "/roles")["roles"]}
        self._project = self._admin.make("identity", "/projects", "project", name=self.name)["id"]
        self._user = self._admin.make("identity", "/users", "user", name=self.name, password=PASSWORD)["id"]
        self._admin.ask("PUT", "identity", f"/projects/{self._project}/users/{self._user}/roles/{roles['member']}")
        self._own = Account(self.name, PASSWORD, self.name)
        self._net = self._own.make("network", "/networks", "network", name=self.name)["id"]
        self._subnet = self._own.make(
            "network", "/subnets", "subnet", network_id=self._net, ip_version=4, cidr=CIDR, name=self.name
        )["id"]
        outside = {"network_id": lab["outside"]}
        self._router = self._own.make("network", "/routers", "router", name=self.name, external_gateway_info=outside)[
            "id"
        ]
        self._interface("add")
        self._password_file = home / "password"
        self._password_file.write_text(PASSWORD)

    def close(self) -> None:
        """Take the project away with everything in it."""
        for server in self._own.get("compute", "/servers")["servers"]:
            self.delete(server["id"])
        for volume in self._own.get("volume", "/volumes")["volumes"]:
            self._own.ask("DELETE", "volume", f"/volumes/{volume['id']}")
        for address in self._own.get("network", "/floatingips")["floatingips"]:
            self._own.ask("DELETE", "network", f"/floatingips/{address['id']}")
        for port in self._ports():
            self._own.ask("DELETE", "network", f"/ports/{port['id']}")
        self._interface("remove")
        self._own.ask("DELETE", "network", f"/routers/{self._router}")
        self._own.ask("DELETE", "network", f"/networks/{self._net}")
        for group in self._own.get("network", f"/security-groups?project_id={self._project}")["security_groups"]:
            self._admin.ask("DELETE", "network", f"/security-groups/{group['id']}")
        self._admin.ask("DELETE", "identity", f"/users/{self._user}")
        self._admin.ask("DELETE", "identity", f"/projects/{self._project}")
        self._own.close()
        self._admin.close()

    def _interface(self, action: str) -> None:
        path = f"/routers/{self._router}/{action}_router_interface"
        self._own.ask("PUT", "network", path, {"subnet_id": self._subnet})

    def options(self) -> dict[str, Any]:
        told = openstack_lab.options(
            project=self.name,
            username=self.name,
            password_file=str(self._password_file),
            default_network=self.name,
        )
        return {"provider": "openstack", "network_zones": {self._net: ZONE}, **told}

    @property
    def image(self) -> str:
        (found,) = self._own.get("image", f"/images?name=lab-{self.arch}")["images"]
        return str(found["id"])

    def _ports(self) -> list[dict[str, Any]]:
        ports = self._own.get("network", f"/ports?project_id={self._project}")["ports"]
        return [port for port in ports if not port["device_owner"].startswith(OF_ROUTERS)]

    def everything(self) -> set[str]:
        own = f"?project_id={self._project}"
        listed = [
            *self._own.get("compute", "/servers")["servers"],
            *self._own.get("compute", "/os-server-groups")["server_groups"],
            *self._own.get("volume", "/volumes")["volumes"],
            *self._own.get("volume", "/snapshots")["snapshots"],
            *self._own.get("image", f"/images?owner={self._project}")["images"],
            *self._own.get("network", f"/floatingips{own}")["floatingips"],
            *self._own.get("network", f"/security-groups{own}")["security_groups"],
            *self._ports(),
        ]
        return {str(each["id"]) for each in listed}

    def _flavor(self, name: str) -> str:
        flavors = self._own.get("compute", "/flavors")["flavors"]
        return str(next(flavor["id"] for flavor in flavors if flavor["name"] == name))

    def _status(self, ref: str) -> str | None:
        found = self._own.get("compute", f"/servers/{ref}")
        return None if found is None else str(found["server"]["status"])

    def make(self, name: str) -> str:
        networks = [{"uuid": self._net}]
        what = {"name": name, "imageRef": self.image, "flavorRef": self._flavor(SMALL), "networks": networks}
        ref = str(self._own.make("compute", "/servers", "server", **what)["id"])
        until(lambda: self._status(ref) == "ACTIVE", 180)
        return ref

    def _act(self, ref: str, wanted: str, **action: Any) -> None:
        self._own.ask("POST", "compute", f"/servers/{ref}/action", action)
        until(lambda: self._status(ref) == wanted, 180)

    def stop(self, ref: str) -> None:
        self._act(ref, "SHUTOFF", **{"os-stop": None})

    def resize(self, ref: str) -> None:
        self._act(ref, "VERIFY_RESIZE", resize={"flavorRef": self._flavor(BY_HAND)})
        self._act(ref, "SHUTOFF", confirmResize=None)

    def delete(self, ref: str) -> None:
        self._own.ask("DELETE", "compute", f"/servers/{ref}")
        until(lambda: self._status(ref) is None, 180)

    def seen(self, ref: str) -> tuple[str, int, int] | None:
        found = self._own.get("compute", f"/servers/{ref}")
        if found is None:
            return None
        flavor = self._own.get("compute", f"/flavors/{found['server']['flavor']['id']}")["flavor"]
        return POWER[found["server"]["status"]], flavor["vcpus"], flavor["ram"]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    home = tmp_path_factory.mktemp("openstack")
    peer = OpenStack(home)
    try:
        with town(home / "city", peer) as found:
            yield found
    finally:
        peer.close()


class TestOpenStack(Changes):
    @pytest.fixture
    def town(self, city: Town) -> Town:
        return city

"""The OpenStack lab for tests: its options, and a wire of proxies in front of its services that counts calls and loses answers."""

import json
import os
import subprocess
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.providers.faults import FaultProxy

LAB_HOME = Path(os.environ.get("LAB", Path.home() / ".cache" / "cloudmgr-lab")) / "openstack"
LAB_SCRIPTS = Path(__file__).parents[1] / "labs" / "openstack"
ZONES = [
    {"availability_zone": "nova", "arch": arch, "vcpus": 1000, "memory_mib": 800_000, "disk_gib": 600_000}
    for arch in ("aarch64", "x86_64")
]
_ENDPOINTS = {"compute": "compute", "image": "image", "network": "network", "volume": "volumev3"}


def lab():
    return json.loads((LAB_HOME / "lab.json").read_text())


def secrets():
    return tuple(Path(lab()[name]).read_text() for name in ("password_file", "application_credential_secret_file"))


def options(**changes):
    """Options of a plain member by password."""
    found = lab()
    return {
        "auth_url": found["auth_url"],
        "region": found["region"],
        "project": found["project"],
        "username": found["username"],
        "password_file": found["password_file"],
        "default_network": "lab",
        "public_network": "outside",
        "zones": ZONES,
        "claim_s": 5,
        **changes,
    }


def by_credential(**changes):
    """Options of the same account by an application credential."""
    found, told = lab(), options(**changes)
    for key in ("project", "username", "password_file"):
        del told[key]
    return told | {
        "application_credential_id": found["application_credential_id"],
        "application_credential_secret_file": found["application_credential_secret_file"],
    }


def opened(state_dir, **changes):
    from providers.openstack.provider import OpenStackProvider  # noqa: PLC0415 - needs the SDK

    return OpenStackProvider.open(options(**changes), backend="lab", state_dir=state_dir)


class Wire:
    """A proxy in front of each service but Keystone."""

    def __init__(self):
        self._stack = ExitStack()
        services = lab()["services"]
        self.proxies = {}
        self.endpoints = {}
        for name, kind in _ENDPOINTS.items():
            base, path = _split(services[kind])
            proxy = self._stack.enter_context(FaultProxy(base, timeout_s=120))
            self.proxies[name] = proxy
            self.endpoints[name] = proxy.url + path + (f"/{lab()['project_id']}" if name == "volume" else "")

    def changes(self):
        """How many calls that change something have arrived."""
        return sum(
            proxy.count(method=method)
            for proxy in self.proxies.values()
            for method in ("POST", "PUT", "PATCH", "DELETE")
        )

    def reads(self, service, path):
        return self.proxies[service].count(method="GET", path=path)

    def fault(self, service, action, **rule):
        return self.proxies[service].fault(action, **rule)

    def close(self):
        self._stack.close()


def _split(url):
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    return f"{scheme}://{host}", f"/{path}" if path else ""


@contextmanager
def wired(state_dir, **changes):
    """A provider of its own, all of whose calls go over a wire of its own."""
    wire = Wire()
    provider = opened(state_dir, endpoints=wire.endpoints, **changes)
    try:
        yield provider, wire
    finally:
        provider.close()
        wire.close()


@contextmanager
def foreign_server(provider, name="made-by-hand"):
    """A server made by hand: an image, a flavor, a network, and no word of ours."""
    cloud = provider._cloud
    image = next(image for image in provider.list_images() if image.name == "lab-aarch64")
    flavor = provider._catalogue.choose_flavor(vcpus=1, memory_mib=512, disk_gib=1)
    server = {
        "name": name,
        "imageRef": image.ref,
        "flavorRef": flavor.ref,
        "networks": [{"uuid": lab()["networks"]["lab-other"]}],
    }
    ref = cloud.change("compute", "POST", "/servers", {"server": server})["server"]["id"]
    try:
        until(lambda: cloud.get("compute", f"/servers/{ref}")["server"]["status"] == "ACTIVE")
        yield ref
    finally:
        cloud.remove("compute", f"/servers/{ref}")
        until(lambda: cloud.find("compute", f"/servers/{ref}") is None)


def until(look, limit_s=90):
    end = time.monotonic() + limit_s
    while not look():
        assert time.monotonic() < end, "not reached in time"
        time.sleep(0.5)


@contextmanager
def cloned(ref, count):
    """The server copied in the cloud's database until there are `count` of it; the copies are taken away at the end."""
    try:
        done = subprocess.run([LAB_SCRIPTS / "clone.sh", ref, str(count)], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield
    finally:
        subprocess.run([LAB_SCRIPTS / "clone.sh", "--clear", ref], check=True, capture_output=True)

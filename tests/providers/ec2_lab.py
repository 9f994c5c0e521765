"""EC2's API on loopback: moto's server, a real HTTP peer, behind a proxy that can lose and refuse its answers.

moto sends its XML namespace without the trailing slash that EC2 writes, and in errors, where EC2 writes none. The proxy mends
both, as Libcloud would otherwise find nothing in any answer. moto is installed in an environment of its own (.venv/moto, made by `make test`).
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from libcloud.compute.drivers.ec2 import API_VERSION

from providers.libcloud.ec2.wire import Wire
from providers.libcloud.provider import LibcloudProvider
from tests.providers.checks import ROOT
from tests.providers.faults import FaultProxy

MOTO = ROOT / ".venv/moto/bin/moto_server"
REGION = "eu-central-1"  # signed with version 4; us-east-1 is signed with version 2, which moto takes for S3
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI-a-secret-nobody-may-see"
WRONG = f'xmlns="http://ec2.amazonaws.com/doc/{API_VERSION}"'.encode()
RIGHT = f'xmlns="http://ec2.amazonaws.com/doc/{API_VERSION}/"'.encode()
WRONG_ERROR, RIGHT_ERROR = b"<Response " + WRONG + b"><Errors>", b"<Response><Errors>"


class Moto:
    """moto's server on one loopback port. It writes nothing down: what was made is gone with its process.

    What it has from the start (networks, images) has the same references after every start.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("a") as out:
            self._process = subprocess.Popen([MOTO, "-H", "127.0.0.1", "-p", str(self.port)], stdout=out, stderr=out)
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                break
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            assert time.monotonic() < deadline, "moto does not listen"
            time.sleep(0.1)
        httpx.post(f"{self.url}/moto-api/seed?a=42", timeout=120, trust_env=False).raise_for_status()
        scope = f"AWS4-HMAC-SHA256 Credential={KEY}/20261123/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0"
        asked = {"Action": "DescribeSubnets", "Version": API_VERSION}  # makes what there is from the start
        headers = {"Authorization": scope}
        httpx.post(self.url, data=asked, headers=headers, timeout=120, trust_env=False).raise_for_status()

    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None


@contextlib.contextmanager
def moto(log: Path) -> Iterator[Moto]:
    """moto for as long as the block lasts."""
    server = Moto(log)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def moto_server(log: Path) -> Iterator[str]:
    """Start moto on a free loopback port, and give its URL."""
    with moto(log) as server:
        yield server.url


def settings(port: int, folder: Path, **changes: Any) -> dict[str, Any]:
    """The section of a backend at EC2, as an operator writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "key").write_text(f"{KEY}\n")
    (folder / "secret").write_text(f"{SECRET}\n")
    base: dict[str, Any] = {
        "driver": "ec2",
        "arguments": {
            "key": {"file": str(folder / "key")},
            "secret": {"file": str(folder / "secret")},
            "region": REGION,
            "host": "127.0.0.1",
            "port": port,
            "secure": False,
        },
        "zones": [
            zone("a", "x86_64"),
            zone("a", "aarch64"),
            zone("b", "x86_64"),
        ],
        "timeout_s": 60,
        "rehearses": True,
    }
    return base | changes


def zone(letter: str, arch: str) -> dict[str, Any]:
    return {
        "ref": f"{letter}-{arch}",
        "name": f"公有云{letter}区 {arch}",
        "location": f"{REGION}{letter}",
        "arch": arch,
        "vcpus": 64,
        "memory_mib": 262144,
        "disk_gib": 10000,
    }


def images(provider: LibcloudProvider) -> list[dict[str, Any]]:
    """One of moto's images for each architecture it has, as the settings name them."""
    with provider._drivers.session() as driver:
        there = driver.list_images(ex_owner="amazon")
    first = {}
    for image in sorted(there, key=lambda image: image.id):
        plain = len(image.extra["block_device_mapping"]) == 1 and image.extra["platform"] != "windows"
        if plain and image.extra["root_device_type"] == "ebs":
            first.setdefault(image.extra["architecture"], image.id)
    return [{"ref": ref, "name": f"openeuler-{arch}"} for arch, ref in first.items()]


def ask(provider: LibcloudProvider, action: str, **params: Any) -> Any:
    """Send one request past the provider, with its connection."""
    with provider._drivers.session() as driver:
        return Wire(driver).ask(action, {name.replace("__", "."): value for name, value in params.items()})


@contextlib.contextmanager
def peer(folder: Path) -> Iterator[FaultProxy]:
    """moto behind a proxy that mends its namespace."""
    folder.mkdir(parents=True, exist_ok=True)
    with moto_server(folder / "moto.log") as url, FaultProxy(url) as proxy:
        proxy.rewrites |= {WRONG_ERROR: RIGHT_ERROR, WRONG: RIGHT}
        yield proxy

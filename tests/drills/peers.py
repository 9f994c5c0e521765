"""The three SDK peers of a drill, each behind proxies that lose, refuse and cut, with files a drill can spoil.

What is true is asked of the peer past the proxies, by a provider of its own.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from providers.base import Provider
from tests import world
from tests.providers import ec2_lab, openstack_lab, vsphere_lab
from tests.providers.certificates import make_certificate
from tests.providers.faults import FaultProxy, Rule

CALL_TIMEOUT_S = 10
LATE_S = CALL_TIMEOUT_S + 2.0
UNAUTHORISED = b"<Response><Errors><Error><Code>AuthFailure</Code><Message>no</Message></Error></Errors></Response>"


@dataclass
class Peer:
    """One peer, and how to hurt it. `writes`: by step, where its decisive call goes and how it is told from others."""

    name: str
    driver: str
    truth: Provider
    options: dict[str, Any]
    image: str
    arch: str
    proxies: Mapping[str, FaultProxy]
    writes: Mapping[str, tuple[str, dict[str, Any]]]
    ca_file: Path
    strange_ca: Path
    flavor: str = "2C4G"
    gives_addresses: bool = True
    """Whether servers get addresses of their network by themselves; if not, we manage its subnets."""
    secret_file: Path | None = None
    session_over: Callable[[], None] | None = None
    process: Callable[[], int] | None = None
    """Tells the simulator's own process, where it belongs to the drill alone."""
    kill: Callable[[], None] | None = None
    """Ends that process as a power cut does; it has written nothing down."""
    start: Callable[[], None] | None = None
    """Starts it anew at the same address."""
    _kept: dict[Path, bytes] = field(default_factory=dict)
    _rules: list[tuple[FaultProxy, Rule]] = field(default_factory=list)

    def section(self) -> dict[str, Any]:
        """Return the `[[backends]]` section of a worker that reaches the peer through the proxies only."""
        offered = self.truth.list_networks()
        here = {zone.ref for zone in self.truth.list_zones()}
        inside = {
            one.ref: world.ZONE
            for one in offered
            if one.cidr_v4 and not one.is_external and (not one.zones or here <= set(one.zones))
        }
        return {
            "name": self.name,
            "provider": self.driver,
            "tier": "city",
            "datacenter": "实验室",
            "network_zones": inside,
            **self.options,
        }

    def strike(self, action: str, step: str, **rule: Any) -> None:
        """Let the decisive call of a step meet a fault."""
        where, match = self.writes[step]
        proxy = self.proxies[where]
        self._rules.append((proxy, proxy.add(action, **match, **rule)))

    def strikes(self) -> int:
        """Return how often the faults have struck."""
        return sum(rule.times_struck for _, rule in self._rules)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut every connection and refuse every new one."""
        with ExitStack() as stack:
            for proxy in self.proxies.values():
                stack.enter_context(proxy.down())
            yield

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the peer's process where it stands, and let it go on; one that is not ours alone is cut off instead."""
        if self.process is None:
            with self.away():
                yield
            return
        process = self.process()
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    @contextmanager
    def restarted(self) -> Iterator[None]:
        """End the peer's process, and start it anew: with its sessions everything is gone that was made there."""
        assert self.kill is not None
        assert self.start is not None
        self.kill()
        try:
            yield
        finally:
            with self.away():  # until all is there that it has from the start
                self.start()

    @contextmanager
    def distrusted(self) -> Iterator[None]:
        """Let the worker trust another authority than the one that vouches for the peer."""
        with self._spoilt(self.ca_file, self.strange_ca.read_bytes()):
            yield

    @contextmanager
    def expired(self) -> Iterator[None]:
        """Let the password be one that the peer does not take; a peer that takes any says no by its proxy."""
        if self.secret_file is not None:
            with self._spoilt(self.secret_file, b"expired-last-week"):
                yield
            return
        (proxy,) = self.proxies.values()
        headers = (("Content-Type", "text/xml"),)
        with proxy.fault("refuse", times=None, status=401, answer=UNAUTHORISED, headers=headers):
            yield

    @contextmanager
    def _spoilt(self, file: Path, content: bytes) -> Iterator[None]:
        kept = file.read_bytes()
        file.write_bytes(content)
        try:
            yield
        finally:
            file.write_bytes(kept)

    def heal(self) -> None:
        """Forget every fault that has not struck."""
        for proxy, rule in self._rules:
            proxy.remove(rule)
        self._rules.clear()


@contextmanager
def openstack(folder: Path) -> Iterator[Peer]:
    """The OpenStack lab, with a Keystone in TLS and a password file of our own."""
    folder.mkdir(parents=True, exist_ok=True)
    right, wrong = make_certificate(folder / "right"), make_certificate(folder / "wrong")
    ca_file, secret = folder / "ca.pem", folder / "password"
    shutil.copy(right.ca_file, ca_file)
    shutil.copy(openstack_lab.lab()["password_file"], secret)
    target = openstack_lab.lab()["auth_url"].removesuffix("/v3")
    network = openstack_lab.lab()["networks"]["lab"]
    expired = b'{"error": {"code": 401, "message": "The request you have made requires authentication."}}'
    with ExitStack() as stack:
        keystone = stack.enter_context(FaultProxy(target, tls=right.server_context()))
        wire = openstack_lab.Wire()
        stack.callback(wire.close)
        truth = stack.enter_context(closing(openstack_lab.opened(folder / "truth")))
        options = openstack_lab.options(
            auth_url=f"{keystone.url}/v3", ca_file=str(ca_file), password_file=str(secret), endpoints=wire.endpoints,
            rehearses=True, connect_timeout_s=CALL_TIMEOUT_S, read_timeout_s=CALL_TIMEOUT_S, claim_s=2 * LATE_S,
        )  # fmt: skip
        peer = Peer(
            "openstack", "openstack", truth, options, "lab-aarch64", "aarch64",
            proxies={"keystone": keystone, **wire.proxies},
            writes={
                "create": ("compute", {"method": "POST", "path": r"/servers$"}),
                "delete": ("compute", {"method": "DELETE", "path": r"/servers/"}),
            },
            ca_file=ca_file, strange_ca=wrong.ca_file, secret_file=secret,
        )  # fmt: skip

        def session_over() -> None:
            wire.proxies["compute"].add("refuse", status=401, answer=expired)

        peer.session_over = session_over
        listed = peer.section()
        peer.options["network_zones"] = {network: listed["network_zones"][network]}
        yield peer


@contextmanager
def vsphere(folder: Path) -> Iterator[Peer]:
    """A vCenter simulator of the drill's own."""
    wrong = make_certificate(folder / "wrong")
    with ExitStack() as stack:
        lab = stack.enter_context(vsphere_lab.vcenter(folder / "vcenter"))
        ca_file, secret = folder / "ca.pem", folder / "password"
        shutil.copy(lab.certificate.ca_file, ca_file)
        shutil.copy(lab.password_file, secret)
        proxy = stack.enter_context(
            FaultProxy(f"https://127.0.0.1:{lab.port}", tls=lab.certificate.server_context(), timeout_s=60)
        )
        truth = stack.enter_context(closing(lab.open(folder / "truth")))
        options = lab.options(
            port=proxy.port, ca_file=str(ca_file), password_file=str(secret), rehearses=True,
            call_timeout_s=float(CALL_TIMEOUT_S),
        )  # fmt: skip

        def pid() -> int:
            assert lab.process is not None
            return lab.process.pid

        def start() -> None:
            lab.start(lab.port)
            lab.make_templates()

        yield Peer(
            "vsphere", "vsphere", truth, options, "debian-12-aarch64", "aarch64",
            proxies={"sdk": proxy},
            writes={
                "create": ("sdk", {"method": "POST", "body": b"CloneVM_Task"}),
                "delete": ("sdk", {"method": "POST", "body": b"Destroy_Task"}),
            },
            ca_file=ca_file, strange_ca=wrong.ca_file, secret_file=secret,
            session_over=lab.end_sessions, process=pid, kill=lab.kill, start=start,
            flavor="small", gives_addresses=False,  # its hosts have 4 GiB
        )  # fmt: skip


@contextmanager
def ec2(folder: Path) -> Iterator[Peer]:
    """EC2's API by moto, in TLS. It has no sessions, and takes any key."""
    right, wrong = make_certificate(folder / "right"), make_certificate(folder / "wrong")
    ca_file = folder / "ca.pem"
    shutil.copy(right.ca_file, ca_file)
    with ExitStack() as stack:
        server = stack.enter_context(ec2_lab.moto(folder / "moto.log"))
        plain = stack.enter_context(FaultProxy(server.url))
        plain.rewrites |= {ec2_lab.WRONG_ERROR: ec2_lab.RIGHT_ERROR, ec2_lab.WRONG: ec2_lab.RIGHT}
        proxy = stack.enter_context(FaultProxy(plain.url, tls=right.server_context()))
        here = [ec2_lab.zone("a", arch) for arch in ("x86_64", "aarch64")]  # a subnet reaches one location
        told = ec2_lab.settings(plain.port, folder, zones=here)
        with closing(ec2_lab.LibcloudProvider.open(told, backend="first", state_dir=folder)) as first:
            told["images"] = ec2_lab.images(first)
        truth = stack.enter_context(
            closing(ec2_lab.LibcloudProvider.open(told, backend="truth", state_dir=folder / "truth"))
        )
        options = told | {
            "arguments": told["arguments"] | {"secure": True, "port": proxy.port},
            "ca_file": str(ca_file),
            "timeout_s": CALL_TIMEOUT_S,
        }
        yield Peer(
            "ec2", "libcloud", truth, options, "openeuler-x86_64", "x86_64",
            proxies={"api": proxy},
            writes={
                "create": ("api", {"path": "Action=RunInstances"}),
                "delete": ("api", {"path": "Action=TerminateInstances"}),
            },
            ca_file=ca_file, strange_ca=wrong.ca_file, process=server.pid, kill=server.kill, start=server.start,
        )  # fmt: skip


PEERS: Mapping[str, Callable[[Path], Any]] = {"openstack": openstack, "vsphere": vsphere, "ec2": ec2}


def until(reached: Callable[[], Any], limit_s: float) -> Any:
    """Ask until the answer is true; return the last answer, whatever it is."""
    deadline = time.monotonic() + limit_s
    while not (answer := reached()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer

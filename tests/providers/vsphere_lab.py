"""The vSphere lab for tests: a vCenter simulator of their own, started with certificates and a folder of its own.

    with vcenter(tmp_path) as lab:
        provider = lab.open(tmp_path / "state")

The inventory has a cluster of x86-64 and one of Arm hosts, two port groups, and templates of three kinds.
"""

import contextlib
import os
import ssl
import subprocess
import urllib.request
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.providers.certificates import Certificate, make_certificate

LAB_HOME = Path(os.environ.get("LAB", Path.home() / ".cache" / "cloudmgr-lab"))
BINARY = LAB_HOME / "vsphere" / "vcsim"
USER = "cloudmgr@vsphere.local"
PASSWORD = "Gh7-lab-secret-of-vsphere"
NETWORK = {"name": "DC0_DVPG0", "cidr_v4": "10.77.0.0/16", "gateway_v4": "10.77.0.1", "dns": ["10.77.0.2"]}
TEMPLATES = {
    "debian-12-x86_64": ("DC0_C0", "debian10_64Guest"),
    "debian-12-aarch64": ("DC0_C1", "debian10_64Guest"),
    "of-no-known-kind": ("DC0_C0", "otherGuest"),
}


@dataclass
class Lab:
    """One running vCenter."""

    folder: Path
    certificate: Certificate
    password_file: Path
    flags: tuple[str, ...]
    process: subprocess.Popen | None = None
    port: int = 0
    host: str = "127.0.0.1"
    _stub: object = field(default=None, repr=False)

    def options(self, **changes):
        return {
            "host": self.host,
            "port": self.port,
            "username": USER,
            "password_file": str(self.password_file),
            "ca_file": str(self.certificate.ca_file),
            "networks": [NETWORK],
            "guest_setup": "customization",
            "page_size": 10,
            "call_timeout_s": 30.0,
            **changes,
        }

    def open(self, state_dir, **changes):
        from providers.vsphere.provider import VSphereProvider  # noqa: PLC0415 - needs the SDK

        return VSphereProvider.open(self.options(**changes), backend="lab", state_dir=state_dir)

    # The process

    def start(self, port=0):
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        log = (self.folder / "vcsim.log").open("ab")
        self.process = subprocess.Popen(
            [
                str(BINARY),
                "-l",
                f"{self.host}:{port}",
                "-cert",
                str(self.certificate.cert_file),
                "-key",
                str(self.certificate.key_file),
                "-user",
                USER,
                "-password-file",
                str(self.password_file),
                *self.flags,
            ],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
        log.close()
        line = self.process.stdout.readline().strip()
        assert line, (self.folder / "vcsim.log").read_text()
        self.port = int(line.rpartition(":")[2])
        self._stub = None

    def stop(self):
        """End it as it wants to be ended, so that it takes its files along."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.kill()

    def kill(self):
        """End it at once, as a power cut does."""
        if self._stub is not None:
            self._stub[0].DropConnections()
            self._stub = None
        if self.process is not None:
            self.process.kill()
            self.process.wait(20)
            self.process.stdout.close()
            self.process = None

    def knob(self, path):
        """Turn one of the simulator's knobs: task?name=cloneVm&delay=1s, fail?name=powerOn&n=1, idle?after=1s."""
        context = ssl.create_default_context(cafile=str(self.certificate.ca_file))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(f"https://{self.host}:{self.port}/lab/{path}", timeout=10):
            pass

    @contextmanager
    def slow(self, delay, *names):
        """Let tasks of these names take their time."""
        for name in names:
            self.knob(f"task?name={name}&delay={delay}")
        try:
            yield
        finally:
            for name in names:
                self.knob(f"task?name={name}&delay=0s")

    # An administrator beside us

    @property
    def content(self):
        """The services of an administrator's own session."""
        return self._admin()[1]

    def _admin(self):
        if self._stub is None:
            from pyVmomi import SoapStubAdapter, vim  # noqa: PLC0415 - the SDK comes with the lab

            stub = SoapStubAdapter(
                host=self.host,
                port=self.port,
                version="vim.version.version11",
                sslContext=ssl.create_default_context(cafile=str(self.certificate.ca_file)),
                httpConnectionTimeout=60,
            )
            content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
            content.sessionManager.Login(USER, PASSWORD, None)
            self._stub = (stub, content)
        return self._stub

    def find(self, path):
        """A managed object by its inventory path."""
        return self.content.searchIndex.FindByInventoryPath(path)

    def make_machine(self, name, cluster, guest_id="debian10_64Guest", *, disk_gib=1, memory_mib=256, ref=None):
        """A machine that cloudmgr did not make; without `ref` the vCenter chooses its instance UUID."""
        from pyVmomi import vim  # noqa: PLC0415 - the SDK comes with the lab

        device = vim.vm.device
        controller = device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="noSharing")
        disk = device.VirtualDisk(
            key=-2,
            controllerKey=1000,
            unitNumber=0,
            capacityInKB=disk_gib * 1024 * 1024,
            backing=device.VirtualDisk.FlatVer2BackingInfo(
                fileName="[LocalDS_0]", diskMode="persistent", thinProvisioned=True
            ),
        )
        card = device.VirtualVmxnet3(
            key=-3, backing=device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network")
        )
        kind = device.VirtualDeviceSpec
        spec = vim.vm.ConfigSpec(
            name=name,
            guestId=guest_id,
            numCPUs=1,
            memoryMB=memory_mib,
            files=vim.vm.FileInfo(vmPathName="[LocalDS_0]"),
            instanceUuid=ref,
            deviceChange=[
                kind(operation="add", device=controller),
                kind(operation="add", fileOperation="create", device=disk),
                kind(operation="add", device=card),
            ],
        )
        compute = self.find(f"/DC0/host/{cluster}")
        pool = self.find(f"/DC0/host/{cluster}/Resources")
        folder = self.find("/DC0/vm")
        hosts = self.read(compute, "host")
        return self.done(folder.CreateVM_Task(config=spec, pool=pool, host=hosts[0]))

    def read(self, obj, *names):
        """Properties of an object; one is given bare."""
        from providers.vsphere.collector import these  # noqa: PLC0415 - needs the SDK
        from providers.vsphere.connection import Session  # noqa: PLC0415 - needs the SDK

        stub, content = self._admin()
        (row,) = these(Session(stub, None, content), [obj], {type(obj): names})
        return row.get(names[0]) if len(names) == 1 else tuple(row.get(name) for name in names)

    def done(self, task):
        """The result of a task that ends within its call."""
        state, error, result = self.read(task, "info.state", "info.error", "info.result")
        assert state == "success", error
        return result

    def machine(self, ref):
        """A server's machine, for a change by hand."""
        return self.content.searchIndex.FindByUuid(None, ref, True, True)

    def make_templates(self):
        """Make the templates, with the same references after every start."""
        for name, (cluster, guest_id) in TEMPLATES.items():
            ref = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
            self.make_machine(name, cluster, guest_id, ref=ref).MarkAsTemplate()

    @contextmanager
    def foreign(self):
        """A machine made by hand, by its reference."""
        made = self.make_machine(f"foreign-{uuid.uuid4().hex[:8]}", "DC0_C0")
        try:
            yield self.read(made, "config.instanceUuid")
        finally:
            made.Destroy_Task()

    def end_sessions(self):
        """End every session but our own."""
        manager = self.content.sessionManager
        own, listed = self.read(manager, "currentSession", "sessionList")
        manager.TerminateSession([session.key for session in listed if session.key != own.key])


@contextmanager
def vcenter(folder, *flags, templates=True):
    """A vCenter for as long as the block lasts."""
    folder.mkdir(parents=True, exist_ok=True)
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    lab = Lab(folder, make_certificate(folder / "pki"), password_file, flags)
    lab.start()
    try:
        if templates:
            lab.make_templates()
        yield lab
    finally:
        lab.stop()

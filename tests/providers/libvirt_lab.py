"""The libvirt lab for tests: its options, SSH into its guests, and a wire that loses answers on demand."""

import json
import os
import socket
import struct
import subprocess
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cloudmgr.domain.architectures import Architecture
from providers.base import ServerSpec

LAB_HOME = Path(os.environ.get("LAB", Path.home() / ".cache" / "cloudmgr-lab"))
SSH_OPTIONS = (
    "StrictHostKeyChecking=no",
    "UserKnownHostsFile=/dev/null",
    "LogLevel=ERROR",
    "BatchMode=yes",
    "ConnectTimeout=10",
)


def lab():
    return json.loads((LAB_HOME / "lab.json").read_text())


def options(**changes):
    return {**lab()["options"], "stop_grace_s": 10, **changes}


def opened(state_dir, **changes):
    from providers.libvirt.provider import LibvirtProvider  # noqa: PLC0415 - needs the SDK, which comes with the lab

    return LibvirtProvider.open(options(**changes), backend="lab", state_dir=state_dir)


def spec(arch=Architecture.AARCH64, **changes):
    plain = ServerSpec(
        name="test-app01",
        arch=arch,
        vcpus=1,
        memory_mib=512,
        system_disk_gib=1,
        zone=f"lab-{arch}",
        image=f"debian-12-{arch}",
        networks=("lab",),
    )
    return replace(plain, **changes)


def files_of(token):
    """Everything on the host's disks that carries the token."""
    return sorted(path.name for path in Path(lab()["storage_dir"]).iterdir() if str(token) in path.name)


def ssh(address, command, *, key=None, user="ops", timeout_s=60):
    """Run a command in a guest; the address must be reachable from the lab's network namespace."""
    found = lab()
    given = [part for option in SSH_OPTIONS for part in ("-o", option)]
    return subprocess.run(
        [
            "ip",
            "netns",
            "exec",
            found["netns"],
            "ssh",
            "-i",
            str(key or found["ssh_key_file"]),
            *given,
            f"{user}@{address}",
            command,
        ],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def ssh_when_up(provider, ref, command, *, limit_s=240, **kwargs):
    """Wait for the guest's address and login, then run the command."""
    deadline = time.monotonic() + limit_s
    last = None
    while time.monotonic() < deadline:
        seen = provider.get_server(ref)
        for address in seen.ipv4[:1]:
            last = ssh(address, command, **kwargs)
            if last.returncode == 0:
                return last.stdout
        time.sleep(0.5)
    raise AssertionError(f"no login within {limit_s} s: {last}; {provider.get_server(ref)}")


def make_key(folder):
    """A key pair of the test's own: the private file, and the public line."""
    private = folder / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "requester", "-f", str(private)], check=True)
    return private, (folder / "id.pub").read_text().strip()


@contextmanager
def short_tmp_path():
    """A Unix socket's path may not be long."""
    with tempfile.TemporaryDirectory(prefix="cm") as folder:
        yield Path(folder)


# https://libvirt.org/kbase/internals/rpc.html: length, program, version, procedure, each 32 bits in network order
REMOTE_PROGRAM = 0x20008086
PROC_DOMAIN_DESTROY = 12
PROC_DOMAIN_ATTACH_DEVICE = 160
PROC_DOMAIN_DETACH_DEVICE = 161
PROC_DOMAIN_UPDATE_DEVICE = 174
PROC_DOMAIN_SET_METADATA = 264
PROC_LIST_ALL_DOMAINS = 273


class Wire:
    """A Unix socket in front of libvirtd that passes everything on, but for one answer.

    The first call of the chosen procedure reaches libvirtd; nothing comes back on that connection any more.
    """

    def __init__(self, path, procedure):
        self.path = path
        self.procedure = procedure
        self._is_used_up = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._open = [self._listener]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(lab()["socket"])
            self._open += [client, server]
            cut = threading.Event()
            threading.Thread(target=self._ask, args=(client, server, cut), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client, cut), daemon=True).start()

    def _ask(self, client, server, cut):
        with suppress(OSError):
            while frame := _frame(client):
                _, program, _, procedure = struct.unpack(">4I", frame[:16])
                if (program, procedure) == (REMOTE_PROGRAM, self.procedure) and not self._is_used_up.is_set():
                    self._is_used_up.set()
                    cut.set()
                server.sendall(frame)

    def _answer(self, server, client, cut):
        with suppress(OSError):
            while frame := _frame(server):
                if not cut.is_set():
                    client.sendall(frame)

    def close(self):
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _frame(source):
    head = _exactly(source, 4)
    return head and head + _exactly(source, struct.unpack(">I", head)[0] - 4)


def _exactly(source, count):
    got = b""
    while len(got) < count:
        if not (part := source.recv(count - len(got))):
            return b""
        got += part
    return got


@contextmanager
def answers_lost_from(tmp_path, procedure, *, limit_s=1.5, **changes):
    """A provider whose host falls silent at one kind of call: the call arrives, its answer does not."""
    wire = Wire(tmp_path / "wire", procedure)
    provider = opened(
        tmp_path / "state",
        uri="qemu+unix:///system",
        socket=str(wire.path),
        call_timeout_s=limit_s,
        slow_timeout_s=limit_s,
        **changes,
    )
    try:
        yield provider
    finally:
        provider.close()
        wire.close()


def virsh(*args):
    return subprocess.run(["virsh", "-q", "-c", lab()["uri"], *args], capture_output=True, text=True, check=True).stdout


def virsh_names():
    return virsh("list", "--all", "--name").split()


FOREIGN = """<domain type='qemu'><name>{name}</name><memory unit='MiB'>64</memory>
<os><type arch='x86_64'>hvm</type></os><devices>{disk}</devices></domain>"""
_DISK = "<disk type='file' device='disk'><source file='{disk}'/><target dev='vda' bus='virtio'/></disk>"


@contextmanager
def foreign_domain(disk=None):
    import libvirt  # noqa: PLC0415 - the SDK comes with the lab

    conn = libvirt.open(lab()["uri"])
    devices = _DISK.format(disk=disk) if disk else ""
    domain = conn.defineXML(FOREIGN.format(name=f"foreign-{uuid.uuid4().hex[:8]}", disk=devices))
    try:
        yield domain.UUIDString()
    finally:
        with suppress(libvirt.libvirtError):  # a test may have removed it
            domain.undefine()
        conn.close()

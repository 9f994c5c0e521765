"""The keys of a `[[backends]]` entry with `provider = "libvirt"`; docs/providers.md explains each."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, IPvAnyNetwork, field_validator, model_validator

from cloudmgr.domain.architectures import Architecture, CpuFamily, normalise
from cloudmgr.domain.errors import Refusal
from providers.base import ProviderOptions


def _architecture(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return normalise(value)
    except Refusal as refusal:
        raise ValueError(str(refusal)) from refusal


Arch = Annotated[Architecture, BeforeValidator(_architecture)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\x00-\x1f]+$")]
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{64}")

EMULATED_CPU_MODELS: Mapping[Architecture, str] = {
    Architecture.AARCH64: "neoverse-n1",  # `max` costs several times the CPU time under emulation
    Architecture.X86_64: "Nehalem",  # the oldest model that is x86-64-v2
}


class Firmware(ProviderOptions):
    """UEFI firmware on the host: the code and the template of its variables."""

    loader: AbsolutePath
    nvram_template: AbsolutePath


DEBIAN_FIRMWARE: Mapping[Architecture, Firmware] = {
    Architecture.AARCH64: Firmware(
        loader="/usr/share/AAVMF/AAVMF_CODE.fd", nvram_template="/usr/share/AAVMF/AAVMF_VARS.fd"
    ),
    Architecture.X86_64: Firmware(
        loader="/usr/share/OVMF/OVMF_CODE_4M.fd", nvram_template="/usr/share/OVMF/OVMF_VARS_4M.fd"
    ),
}


class Image(ProviderOptions):
    """A base image on the host; servers are thin overlays over it, so it must never change."""

    ref: str = Field(min_length=1, max_length=200)
    name: str = Field(min_length=1, max_length=200)
    arch: Arch
    path: AbsolutePath
    format: Literal["qcow2", "raw"] = "qcow2"
    firmware: Literal["bios", "uefi", "direct"]
    kernel: AbsolutePath | None = None
    initrd: AbsolutePath | None = None
    cmdline: str | None = None
    digest: str | None = None
    min_disk_gib: int = Field(default=1, ge=1)

    @field_validator("digest")
    @classmethod
    def _sha256(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.lower()
        if not _DIGEST.fullmatch(value):
            raise ValueError("write a digest as sha256:<64 hexadecimal digits>")
        return value.removeprefix("sha256:")

    @model_validator(mode="after")
    def _bootable(self) -> Self:
        if self.firmware == "direct" and self.kernel is None:
            raise ValueError(f"image {self.ref}: firmware 'direct' needs a kernel")
        if self.kernel is None and (self.initrd or self.cmdline):
            raise ValueError(f"image {self.ref}: initrd and cmdline need a kernel")
        if self.firmware == "bios" and self.arch is not Architecture.X86_64:
            raise ValueError(f"image {self.ref}: there is no BIOS on {self.arch}; use uefi or direct")
        return self


class Zone(ProviderOptions):
    """A placement target on this host, where it is not simply the whole of it."""

    ref: str = Field(min_length=1, max_length=200)
    name: str | None = None
    arch: Arch
    vcpus: int | None = Field(default=None, ge=1)
    memory_mib: int | None = Field(default=None, ge=1)
    disk_gib: int | None = Field(default=None, ge=1)
    cpu_family: CpuFamily | None = None
    """Only where recognition says `unknown` and a person knows better."""


class LibvirtOptions(ProviderOptions):
    """One libvirt host. Secrets are files; there is no key that holds one."""

    uri: str = "qemu:///system"
    socket: AbsolutePath | None = None
    ssh_key_file: AbsolutePath | None = None
    known_hosts_file: AbsolutePath | None = None
    pki_dir: AbsolutePath | None = None
    domain_type: Literal["kvm", "qemu"] = "kvm"
    cpu_models: Mapping[Arch, str] = Field(default_factory=dict)
    emulation_cache_mib: int = Field(default=256, ge=1)
    storage_pool: str | None = None
    storage_dir: AbsolutePath | None = None
    disk_cache: Literal["none", "writeback", "writethrough", "directsync", "unsafe"] = "none"
    default_network: str | None = None
    address_sources: tuple[Literal["lease", "arp"], ...] = ("lease",)
    hotplug_slots: int = Field(default=4, ge=0, le=16)
    """How many volumes a new server can be given while it runs."""
    port_rules: bool = True
    management_sources: tuple[IPvAnyNetwork, ...] = ()
    """From these a server with port rules is reached on port 22 and by ICMP, whatever its rules say."""
    vnc: bool = True
    vnc_listen: str = "127.0.0.1"
    stop_mode: Literal["acpi", "destroy"] = "acpi"
    stop_grace_s: int = Field(default=90, ge=0)
    firmware: Mapping[Arch, Firmware] = Field(default_factory=dict)
    zones: tuple[Zone, ...] = ()
    images: tuple[Image, ...] = ()
    connect_timeout_s: float = Field(default=15.0, gt=0)
    call_timeout_s: float = Field(default=30.0, gt=0)
    slow_timeout_s: float = Field(default=300.0, gt=0)
    """For the calls that move memory or whole files: snapshots, and the first reading of an image's digest."""

    @field_validator("uri")
    @classmethod
    def _kvm_host(cls, value: str) -> str:
        parts = urlsplit(value)
        driver, _, transport = parts.scheme.partition("+")
        if driver != "qemu" or transport not in {"", "unix", "ssh", "tls"}:
            raise ValueError("the URI must be qemu:///…, qemu+unix, qemu+ssh or qemu+tls")
        if transport in {"ssh", "tls"} and not parts.hostname:
            raise ValueError("a remote URI needs a host")
        if parts.password:
            raise ValueError("a password has no place in a URI; use ssh_key_file or pki_dir")
        if parts.query:
            raise ValueError("write socket, ssh_key_file, known_hosts_file and pki_dir instead of URI parameters")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.storage_pool is None) == (self.storage_dir is None):
            raise ValueError("give storage_pool (a libvirt pool's name) or storage_dir (a folder), one of them")
        ssh = self.transport == "ssh"
        if (self.ssh_key_file or self.known_hosts_file) and not ssh:
            raise ValueError("ssh_key_file and known_hosts_file belong to qemu+ssh")
        if self.socket and self.transport in {"tls", ""}:
            raise ValueError("socket belongs to qemu+unix and qemu+ssh")
        if self.pki_dir and self.transport != "tls":
            raise ValueError("pki_dir belongs to qemu+tls")
        for what, refs in (("images", [i.ref for i in self.images]), ("zones", [z.ref for z in self.zones])):
            if len(refs) != len(set(refs)):
                raise ValueError(f"{what}: each ref may stand once")
        if len({z.arch for z in self.zones}) != len(self.zones):
            raise ValueError("zones: one for each architecture")
        return self

    @property
    def transport(self) -> str:
        """Return "" (this machine), "unix", "ssh" or "tls"."""
        return urlsplit(self.uri).scheme.partition("+")[2]

    @property
    def remote_host(self) -> str | None:
        """Return the host of a remote URI, None for this machine."""
        return urlsplit(self.uri).hostname

    @property
    def is_emulated(self) -> bool:
        """Whether guests run by emulation: set by the operator, never guessed from what the host advertises."""
        return self.domain_type == "qemu"

    def cpu_model(self, arch: Architecture) -> str | None:
        """Return the guest CPU model; None means the host's own (only under KVM)."""
        return self.cpu_models.get(arch) or (EMULATED_CPU_MODELS.get(arch) if self.is_emulated else None)

    def firmware_for(self, arch: Architecture) -> Firmware | None:
        """Return the UEFI firmware for an architecture."""
        return self.firmware.get(arch) or DEBIAN_FIRMWARE.get(arch)

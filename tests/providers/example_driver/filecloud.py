"""A driver from another package: each server is a folder of a shared directory, named by its token.

The file system is the backend. Making a folder and linking a file into it happen once however many try, so the same token
gives the same server without a lock. Folders that others made are listed too, and are nobody's.
"""

import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from cloudmgr.domain.architectures import Architecture, Cpu, CpuFamily
from cloudmgr.domain.messages import N_
from providers.base import (
    ImageObservation,
    NetworkObservation,
    PowerState,
    Provider,
    ProviderOptions,
    ServerObservation,
    ServerSpec,
    ZoneObservation,
)
from providers.capabilities import PowerControl
from providers.errors import InvalidSpec, NotFound, ProviderError, Unavailable, UnknownOutcome

_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,99}")
_POWER = {"running": PowerState.RUNNING, "stopped": PowerState.STOPPED}


class FileCloudOptions(ProviderOptions):
    """The keys of a `[[backends]]` entry with `provider = "filecloud"`."""

    folder: Path
    images: dict[str, Architecture]
    vcpus: int = 64
    memory_mib: int = 262144
    disk_gib: int = 4000


@contextmanager
def reaching(*, write: bool = False) -> Iterator[None]:
    """Turn the file system's errors into ours: an answer lost is not a change that did not happen (P5, P9)."""
    try:
        yield
    except OSError as error:
        raise translate(error, write=write) from error


def translate(error: OSError, *, write: bool) -> ProviderError:
    """Return our error for one of the file system's."""
    if write and error.errno in (errno.ETIMEDOUT, errno.EIO):
        return UnknownOutcome(N_("The cloud was asked, but its answer is not known."), detail=str(error))
    return Unavailable(N_("The cloud does not answer; try again later."), detail=str(error))


@dataclass(frozen=True)
class FileCloud(Provider, PowerControl):
    """One shared directory."""

    name: ClassVar[str] = "filecloud"
    Options: ClassVar[type[ProviderOptions]] = FileCloudOptions
    rehearses: ClassVar[bool] = True  # nobody can log into a folder
    options: FileCloudOptions

    @classmethod
    def open(cls, options: Mapping[str, Any], *, backend: str, state_dir: Path) -> Self:
        return cls(FileCloudOptions.model_validate(dict(options)))

    def check(self) -> str:
        with reaching():
            return f"file system, {len(list(self._servers().iterdir()))} servers"

    def list_zones(self) -> list[ZoneObservation]:
        room = self.options.vcpus, self.options.memory_mib, self.options.disk_gib
        machine = Architecture.X86_64
        cpu = Cpu(machine, CpuFamily.UNKNOWN, "unknown", "a directory has no processor")
        return [ZoneObservation("only", "共享目录", machine, cpu, *room, hosts=1)]

    def list_images(self) -> list[ImageObservation]:
        return [ImageObservation(ref, ref, arch) for ref, arch in self.options.images.items()]

    def list_networks(self) -> list[NetworkObservation]:
        return []

    def list_servers(self) -> Iterator[ServerObservation]:
        with reaching():
            refs = sorted(folder.name for folder in self._servers().iterdir() if folder.is_dir())
        for ref in refs:
            with suppress(NotFound):  # deleted since
                yield self.get_server(ref)

    def create_server(self, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        known = {image.ref: image.arch for image in self.list_images()}
        zone = self.list_zones()[0]
        if (
            spec.networks
            or spec.addresses
            or (spec.zone, spec.arch, known.get(spec.image)) != ("only", zone.arch, zone.arch)
        ):
            raise InvalidSpec(
                N_("The cloud cannot build exactly this."), detail=f"{spec.zone}, {spec.arch}, {spec.image}"
            )
        asked = spec.vcpus, spec.memory_mib, spec.system_disk_gib
        room = zone.vcpus, zone.memory_mib, zone.disk_gib
        if min(asked) < 1 or spec.data_disk_gib < 0 or any(one > most for one, most in zip(asked, room, strict=True)):
            raise InvalidSpec(N_("The cloud cannot build exactly this."), detail=f"{asked} of {room}")
        told = {"name": spec.name, "power": "running", "zone": spec.zone, "image": spec.image, "arch": spec.arch}
        told |= dict(zip(("vcpus", "memory_mib", "system_disk_gib"), asked, strict=True))
        with reaching(write=True):
            folder = self._servers() / str(token)
            folder.mkdir(exist_ok=True)
            draft = folder / f".{uuid.uuid4().hex}"
            draft.write_text(json.dumps({**told, "data_disk_gib": spec.data_disk_gib}))
            with suppress(FileExistsError):  # built by an earlier call, or by a rival
                os.link(draft, folder / "server.json")
            draft.unlink()
        return self.get_server(str(token))

    def find_server(self, token: uuid.UUID) -> ServerObservation | None:
        with suppress(NotFound):
            return self.get_server(str(token))
        return None

    def get_server(self, ref: str) -> ServerObservation:
        folder = self._folder(ref)
        told: dict[str, Any] = {"name": ref, "power": "half-built"}
        with reaching(), suppress(FileNotFoundError):
            told = json.loads((folder / "server.json").read_text())
        native = str(told.pop("power"))
        power = PowerState.ERROR if native == "half-built" else _POWER.get(native, PowerState.UNKNOWN)
        arch = Architecture(told.pop("arch")) if "arch" in told else None
        with suppress(ValueError):
            return ServerObservation(ref, power=power, native_state=native, token=uuid.UUID(ref), arch=arch, **told)
        return ServerObservation(ref, power=power, native_state=native, arch=arch, **told)

    def delete_server(self, ref: str) -> None:
        with suppress(NotFound), reaching(write=True):
            shutil.rmtree(self._folder(ref), ignore_errors=False)

    def start_server(self, ref: str) -> None:
        self._turn(ref, "running")

    def stop_server(self, ref: str) -> None:
        self._turn(ref, "stopped")

    def reboot_server(self, ref: str) -> None:
        self._turn(ref, "running")

    def _turn(self, ref: str, power: str) -> None:
        folder = self._folder(ref)
        with reaching(write=True):
            told = json.loads((folder / "server.json").read_text()) | {"power": power}
            draft = folder / f".{uuid.uuid4().hex}"
            draft.write_text(json.dumps(told))
            draft.replace(folder / "server.json")

    def _folder(self, ref: str) -> Path:
        """Return a server's folder; a reference is never a path (P5)."""
        with reaching():
            folder = self._servers() / ref if _REF.fullmatch(ref) else None
            if folder is None or not folder.is_dir():
                raise NotFound(N_("There is no such object in this cloud."), detail=ref[:100])
            return folder

    def _servers(self) -> Path:
        """Return the folder of servers; a directory that is not there is a cloud that does not answer, never an empty one."""
        self.options.folder.stat()
        servers = self.options.folder / "servers"
        servers.mkdir(exist_ok=True)
        return servers

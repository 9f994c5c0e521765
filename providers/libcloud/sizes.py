"""The cloud's sizes by what they hold: exactly what is asked, or nothing (P4)."""

import fnmatch
import re
from dataclasses import dataclass
from typing import Any

from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.messages import N_
from providers.errors import InvalidSpec
from providers.libcloud.options import LibcloudOptions

_GRAVITON = re.compile(r"^(a1|[a-z]+[0-9]+[a-z]*g[a-z]*)\.")
"""EC2 writes a g after the generation where the processor is its own Arm one: m6g, c7gn, im4gn."""


@dataclass(frozen=True, slots=True)
class Held:
    """One of the cloud's sizes; `disk_gib` is what it brings, 0 where disks are made apart; `native` is Libcloud's."""

    ref: str
    arch: Architecture | None
    vcpus: int
    memory_mib: int
    disk_gib: int
    price: float
    native: Any


class Sizes:
    """The sizes of one cloud, read once: what Libcloud lists, corrected by the settings."""

    def __init__(self, options: LibcloudOptions) -> None:
        self._options = options
        self._known: dict[str, Held] | None = None

    def all(self, driver: Any) -> dict[str, Held]:
        """Return every usable size by its reference; one whose vCPUs nobody tells is left out."""
        if self._known is None:
            stated = {size.ref: size for size in self._options.sizes}
            known = {}
            for native in driver.list_sizes():
                ref = str(native.id)
                said = stated.get(ref)
                vcpus = said.vcpus if said else _vcpus(native)
                if vcpus is not None and any(fnmatch.fnmatchcase(ref, name) for name in self._options.size_names):
                    known[ref] = Held(
                        ref=ref,
                        arch=said.arch if said else _arch(native, self._options.archs),
                        vcpus=vcpus,
                        memory_mib=said.memory_mib if said else int(native.ram or 0),
                        disk_gib=said.disk_gib if said else int(native.disk or 0),
                        price=float(native.price or 0) or float("inf"),
                        native=native,
                    )
            self._known = known
        return self._known

    def match(self, driver: Any, arch: Architecture, *, vcpus: int, memory_mib: int, disk_gib: int = 0) -> Held:
        """Return the cheapest size that holds exactly this.

        Raises:
            InvalidSpec: there is none.
        """
        fitting = [
            size
            for size in self.all(driver).values()
            if (size.arch, size.vcpus, size.memory_mib, size.disk_gib) == (arch, vcpus, memory_mib, disk_gib)
        ]
        if not fitting:
            raise InvalidSpec(
                N_("The cloud has no size of exactly {vcpus} vCPUs and {memory_mib} MiB for {arch}."),
                detail=f"disk {disk_gib} GiB; {len(self.all(driver))} sizes known",
                vcpus=vcpus,
                memory_mib=memory_mib,
                arch=arch.value,
            )
        return min(fitting, key=lambda size: (size.price, size.ref))


def _vcpus(native: Any) -> int | None:
    """Drivers tell the number of processors in as many ways as there are clouds."""
    extra = getattr(native, "extra", None) or {}
    for said in (
        *(extra.get(key) for key in ("vcpu", "vcpus", "cpu", "cpus", "cores", "guestCpus", "CpuCoreCount")),
        *(getattr(native, key, None) for key in ("vcpus", "cpu", "cpus")),
    ):
        if str(said).isdigit() and int(str(said)) > 0:
            return int(str(said))
    return None


def _arch(native: Any, archs: tuple[Architecture, ...]) -> Architecture | None:
    extra = getattr(native, "extra", None) or {}
    if "physicalProcessor" in extra:  # EC2's price list
        is_arm = "Graviton" in str(extra["physicalProcessor"]) or _GRAVITON.match(str(native.id))
        return Architecture.AARCH64 if is_arm else Architecture.X86_64
    return archs[0] if len(archs) == 1 else None

"""Processor architectures and families: the one place where their many names become ours.

Recognition is by (implementer, part) on Arm and by vendor id on x86, never by marketing name: util-linux has called
0x48/0xd01 "TSV110", "Kunpeng-920" and "TaiShan-v110" in turn. What is not in the tables stays `unknown`.
Sources: util-linux lscpu-arm.c, libvirt cpu_map, MIDR_EL1 implementer codes.
"""

from dataclasses import dataclass
from enum import StrEnum

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_


class Architecture(StrEnum):
    """Instruction set, spelled as `uname -m` spells it."""

    AARCH64 = "aarch64"
    X86_64 = "x86_64"
    LOONGARCH64 = "loongarch64"
    MIPS64EL = "mips64el"
    SW_64 = "sw_64"


class CpuFamily(StrEnum):
    """Family of the host's processors, as inventories name it."""

    KUNPENG = "kunpeng"
    PHYTIUM = "phytium"
    HYGON = "hygon"
    ZHAOXIN = "zhaoxin"
    LOONGSON = "loongson"
    SUNWAY = "sunway"
    INTEL = "intel"
    AMD = "amd"
    UNKNOWN = "unknown"


XINCHUANG_FAMILIES = frozenset(
    {CpuFamily.KUNPENG, CpuFamily.PHYTIUM, CpuFamily.HYGON, CpuFamily.ZHAOXIN, CpuFamily.LOONGSON, CpuFamily.SUNWAY}
)

_ALIASES = {
    "aarch64": Architecture.AARCH64,
    "arm64": Architecture.AARCH64,
    "armv8": Architecture.AARCH64,
    "x86_64": Architecture.X86_64,
    "x86-64": Architecture.X86_64,
    "amd64": Architecture.X86_64,
    "x64": Architecture.X86_64,
    "loongarch64": Architecture.LOONGARCH64,
    "loong64": Architecture.LOONGARCH64,
    "mips64el": Architecture.MIPS64EL,
    "mips64le": Architecture.MIPS64EL,
    "sw_64": Architecture.SW_64,
    "sw64": Architecture.SW_64,
}

_ARM_PARTS: dict[tuple[int, int], tuple[CpuFamily, str]] = {
    (0x48, 0xD01): (CpuFamily.KUNPENG, "Kunpeng-920"),
    (0x48, 0xD02): (CpuFamily.KUNPENG, "Kunpeng-920 (TaiShan-v120)"),
    (0x70, 0x660): (CpuFamily.PHYTIUM, "FTC660"),
    (0x70, 0x661): (CpuFamily.PHYTIUM, "FTC661"),
    (0x70, 0x662): (CpuFamily.PHYTIUM, "FT-2000+"),
    (0x70, 0x663): (CpuFamily.PHYTIUM, "FTC663"),
    (0x70, 0x664): (CpuFamily.PHYTIUM, "FTC664"),
    (0x70, 0x303): (CpuFamily.PHYTIUM, "FTC310"),
    (0x70, 0x862): (CpuFamily.PHYTIUM, "FTC862"),
}

_X86_VENDORS = {
    "HygonGenuine": CpuFamily.HYGON,
    "CentaurHauls": CpuFamily.ZHAOXIN,
    "  Shanghai  ": CpuFamily.ZHAOXIN,
    "GenuineIntel": CpuFamily.INTEL,
    "AuthenticAMD": CpuFamily.AMD,
}
_CENTAUR_FIRST_ZHAOXIN_FAMILY = 6


@dataclass(frozen=True, slots=True)
class Cpu:
    """What is known of a host's processor; `raw` keeps the strings it was read from."""

    arch: Architecture | None
    family: CpuFamily
    model: str
    raw: str

    @property
    def is_xinchuang(self) -> bool:
        """Whether the family counts as domestic; the inventory also asks it of the operating system."""
        return self.family in XINCHUANG_FAMILIES


def normalise(name: str) -> Architecture:
    """Return our name for an architecture spelled in any usual way (arm64, amd64, AArch64 …).

    Raises:
        InvalidInput: the spelling is not known.
    """
    found = _ALIASES.get(name.strip().lower())
    if found is None:
        raise InvalidInput(
            N_("Architecture {given} is not known; use one of {known}."),
            field="arch",
            given=name,
            known=", ".join(Architecture),
        )
    return found


def recognise_arm(implementer: int, part: int, product: str = "") -> Cpu:
    """Recognise an Arm core by its MIDR implementer and part numbers.

    `product` is DMI's processor version: S2500 and FT-2000/4 share a part number, and only it tells them apart.
    An Arm Cortex-A72 is never guessed to be an early TaiShan.
    """
    raw = f"implementer=0x{implementer:02x} part=0x{part:03x}" + (f" product={product}" if product else "")
    family, model = _ARM_PARTS.get((implementer, part), (CpuFamily.UNKNOWN, "unknown"))
    if family is not CpuFamily.UNKNOWN and product:
        model = product
    return Cpu(Architecture.AARCH64, family, model, raw)


def recognise_x86(vendor_id: str, model_name: str = "", family: int | None = None) -> Cpu:
    """Recognise an x86 processor by its CPUID vendor string (12 bytes, spaces kept)."""
    found = _X86_VENDORS.get(vendor_id, CpuFamily.UNKNOWN)
    if vendor_id == "CentaurHauls" and family is not None and family < _CENTAUR_FIRST_ZHAOXIN_FAMILY:
        found = CpuFamily.UNKNOWN  # an old VIA part, not a Zhaoxin
    raw = f"vendor_id={vendor_id!r}" + (f" model={model_name}" if model_name else "")
    return Cpu(Architecture.X86_64, found, model_name or "unknown", raw)

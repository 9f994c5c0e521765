"""Architectures and processors: many names become ours, strangers stay unknown, raw strings are kept."""

import pytest

from cloudmgr.domain.architectures import (
    XINCHUANG_FAMILIES,
    Architecture,
    CpuFamily,
    normalise,
    recognise_arm,
    recognise_x86,
)
from cloudmgr.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("spelled", "ours"),
    [
        ("aarch64", "aarch64"), ("arm64", "aarch64"), ("AArch64", "aarch64"), (" ARM64 ", "aarch64"), ("armv8", "aarch64"),
        ("x86_64", "x86_64"), ("amd64", "x86_64"), ("x64", "x86_64"), ("X86-64", "x86_64"),
        ("loongarch64", "loongarch64"), ("loong64", "loongarch64"),
        ("mips64el", "mips64el"), ("mips64le", "mips64el"), ("sw_64", "sw_64"), ("sw64", "sw_64"),
    ],
)  # fmt: skip
def test_the_usual_spellings_become_ours(spelled: str, ours: str) -> None:
    assert normalise(spelled) is Architecture(ours)


@pytest.mark.parametrize("spelled", ["", "arm", "armv7l", "i686", "x86", "riscv64", "鲲鹏"])
def test_other_spellings_are_refused_with_the_known_ones(spelled: str) -> None:
    with pytest.raises(InvalidInput, match="loongarch64"):
        normalise(spelled)


@pytest.mark.parametrize(
    ("implementer", "part", "family", "model"),
    [
        (0x48, 0xD01, "kunpeng", "Kunpeng-920"),
        (0x48, 0xD02, "kunpeng", "Kunpeng-920 (TaiShan-v120)"),
        (0x70, 0x660, "phytium", "FTC660"),
        (0x70, 0x661, "phytium", "FTC661"),
        (0x70, 0x662, "phytium", "FT-2000+"),
        (0x70, 0x663, "phytium", "FTC663"),
        (0x70, 0x664, "phytium", "FTC664"),
        (0x70, 0x303, "phytium", "FTC310"),
        (0x70, 0x862, "phytium", "FTC862"),
    ],
)
def test_domestic_arm_cores_are_recognised_by_implementer_and_part(
    implementer: int, part: int, family: str, model: str
) -> None:
    cpu = recognise_arm(implementer, part)
    assert (cpu.arch, cpu.family, cpu.model) == (Architecture.AARCH64, CpuFamily(family), model)
    assert cpu.is_xinchuang
    assert cpu.raw == f"implementer=0x{implementer:02x} part=0x{part:03x}"


@pytest.mark.parametrize(
    ("implementer", "part"),
    [(0x41, 0xD08), (0x41, 0xD0C), (0x48, 0xD40), (0x70, 0xFFF), (0x00, 0x00), (0x70, 0xD01), (0x48, 0x662)],
)
def test_a_stranger_among_arm_cores_stays_unknown_and_keeps_its_numbers(implementer: int, part: int) -> None:
    cpu = recognise_arm(implementer, part, product="TaiShan 200 (Model 2280)")
    assert (cpu.family, cpu.model, cpu.is_xinchuang) == (CpuFamily.UNKNOWN, "unknown", False)
    assert f"part=0x{part:03x}" in cpu.raw
    assert "TaiShan 200" in cpu.raw


@pytest.mark.parametrize("product", ["FT-2000/4", "Tengyun-S2500"])
def test_only_the_product_tells_two_processors_of_one_part_apart(product: str) -> None:
    cpu = recognise_arm(0x70, 0x663, product=product)
    assert (cpu.family, cpu.model) == (CpuFamily.PHYTIUM, product)


@pytest.mark.parametrize(
    ("vendor", "cpu_family", "ours", "domestic"),
    [
        ("HygonGenuine", 24, "hygon", True),
        ("CentaurHauls", 7, "zhaoxin", True),
        ("CentaurHauls", 6, "zhaoxin", True),
        ("CentaurHauls", None, "zhaoxin", True),
        ("CentaurHauls", 5, "unknown", False),
        ("  Shanghai  ", 7, "zhaoxin", True),
        ("Shanghai", 7, "unknown", False),
        ("GenuineIntel", 6, "intel", False),
        ("AuthenticAMD", 25, "amd", False),
        ("hygongenuine", 24, "unknown", False),
        ("", None, "unknown", False),
    ],
)
def test_x86_is_recognised_by_the_vendor_string_to_the_space(
    vendor: str, cpu_family: int | None, ours: str, domestic: bool
) -> None:
    cpu = recognise_x86(vendor, "Some 32-core Processor", cpu_family)
    assert (cpu.family, cpu.is_xinchuang) == (CpuFamily(ours), domestic)
    assert repr(vendor) in cpu.raw
    assert "Some 32-core" in cpu.raw


def test_the_domestic_families_are_six() -> None:
    assert set(CpuFamily) - XINCHUANG_FAMILIES == {CpuFamily.INTEL, CpuFamily.AMD, CpuFamily.UNKNOWN}

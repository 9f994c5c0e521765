"""The processors simulated hosts are built of, as real hosts report them; recognition itself is the domain's.

Arm cores carry MIDR implementer and part numbers (util-linux lscpu-arm.c) and, where the number alone is ambiguous, the
DMI processor version; x86 processors carry the CPUID vendor string.
"""

from collections.abc import Mapping

from cloudmgr.domain.architectures import Cpu, recognise_arm, recognise_x86

MODELS: Mapping[str, Cpu] = {
    "kunpeng-920": recognise_arm(0x48, 0xD01, "Kunpeng-920"),
    "kunpeng-920-v120": recognise_arm(0x48, 0xD02),
    "ft-2000plus": recognise_arm(0x70, 0x662, "FT-2000+/64"),
    "s2500": recognise_arm(0x70, 0x663, "S2500"),  # shares its part number with FT-2000/4: only DMI tells
    "s5000c": recognise_arm(0x70, 0x862, "S5000C"),
    "cortex-a72": recognise_arm(0x41, 0xD08),  # an early TaiShan looks like this: unknown, never guessed
    "hygon-7285": recognise_x86("HygonGenuine", "Hygon C86 7285 32-core Processor"),
    "xeon-8358": recognise_x86("GenuineIntel", "Intel(R) Xeon(R) Platinum 8358 CPU @ 2.60GHz"),
    "epyc-7763": recognise_x86("AuthenticAMD", "AMD EPYC 7763 64-Core Processor"),
}
"""By the name that the option `model` takes."""

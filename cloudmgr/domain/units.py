"""Sizes: whole numbers with the unit in the name; GiB and MiB are powers of two, as the reports count them."""

MIB_PER_GIB = 1024
BYTES_PER_MIB = 1024 * 1024
BYTES_PER_GIB = 1024 * BYTES_PER_MIB


def gib_to_mib(gib: int) -> int:
    """Return mebibytes for gibibytes."""
    return gib * MIB_PER_GIB


def mib_to_gib(mib: int) -> float:
    """Return gibibytes, for showing only."""
    return mib / MIB_PER_GIB

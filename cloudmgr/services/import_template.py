"""A sheet to fill in: what clouds show and nobody owns, one server a line, with the columns an import understands.

What a cloud knows is filled in; what only people know is empty. Knows no database: whoever asks brings the servers.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from cloudmgr.domain import units
from cloudmgr.domain.cells import cell
from cloudmgr.services.import_sheet import SPELLINGS

COLUMNS = (
    "uuid", "cloud_platform", "name", "ipv4", "ipv6", "arch", "vcpu", "memory_gib", "system_disk_gib", "data_disk_gib",
    "org_name", "system_name", "system_code", "env", "purpose", "network_zone", "lease_start", "lease_end",
    "owner_name", "owner_phone", "source", "resource_type", "datacenter", "counts_quota", "os_name", "os_version",
    "remark",
)  # fmt: skip
_LANGUAGES = ("zh_CN", "en")


def template(seen: Iterable[Mapping[str, Any]], *, language: str) -> str:
    """Return the sheet as CSV text; `seen` are servers as `/observed-servers` tells them. Without any, the headers."""
    spelling = _LANGUAGES.index(language)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(SPELLINGS[key][spelling] for key in COLUMNS)
    for server in seen:
        known = _known(server)
        writer.writerow(cell(known.get(key), language) for key in COLUMNS)
    return text.getvalue()


def _known(server: Mapping[str, Any]) -> dict[str, Any]:
    memory_mib = server["memory_mib"]
    return {
        "uuid": server["ref"],
        "cloud_platform": server["backend"],
        "name": server["name"],
        "ipv4": server["ipv4"],
        "ipv6": server["ipv6"],
        "arch": server["arch"],
        "vcpu": server["vcpus"],
        "memory_gib": None if memory_mib is None else units.mib_to_gib(memory_mib),
        "system_disk_gib": server["system_disk_gib"],
        "data_disk_gib": server["data_disk_gib"],
    }

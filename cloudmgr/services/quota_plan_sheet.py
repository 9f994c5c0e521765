"""The columns of a sheet of quotas: an account's code, and one column a key under a heading people write. Knows no database."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloudmgr.adapters.workbooks import column_name
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.units import MIB_PER_GIB
from cloudmgr.services.sheet_lines import plain
from quotas import Key, parse_key

MAX_ROWS = 5_000
ACCOUNT = "account"
TITLES: Mapping[str, str] = {
    "servers": "云主机（台）",
    "vcpus": "vCPU（核）",
    "memory_mib": "内存（MiB）",
    "disk_gib": "存储（GiB）",
    "volumes": "云硬盘（块）",
    "snapshots": "快照（个）",
    "images": "私有镜像（个）",
    "networks": "网络（个）",
    "subnets": "子网（个）",
    "ip_addresses": "IP地址（个）",
    "public_ips": "公网IP（个）",
    "bandwidth_mbps": "带宽（Mbit/s）",
    "security_groups": "安全组（个）",
    "load_balancers": "负载均衡（个）",
    "gpus": "GPU（块）",
    "backups_gib": "备份（GiB）",
}
"""Resource → its heading in Chinese; memory may also be headed in GiB."""
MEMORY_GIB = "内存（GiB）"
ACCOUNT_TITLE, NAME_TITLE = "账户编码", "名称"
_ACCOUNT_TITLES = frozenset({"账户编码", "单位编码", "编码", "account", "code"})
_PASSED_OVER = frozenset({"名称", "单位名称", "账户名称", "name", "备注", "remark"})
_DIMENSIONS = {
    "架构": "arch",
    "云平台": "backend",
    "处理器": "cpu_family",
    "环境": "environment",
    "信创": "is_xinchuang",
    "网络区域": "network_zone",
    "层级": "tier",
}
_NO_LIMIT = frozenset({"无", "不限", "无限制", "none", "null"})
_YES_NO = {"是": "true", "否": "false"}
_HEADING = re.compile(r"(?P<name>[^(){}]+?)\s*(?:\((?P<unit>[^()]*)\))?\s*(?:\{(?P<dims>[^{}]*)\})?")
_WHOLE = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+")


_UNHEADED = Message(
    N_("This column has no heading. In CSV, a number with thousands separators stands in quotation marks.")
)
_UNCALCULATED = Message(
    N_("This formula has no result in the file. Calculate and save it in a spreadsheet program, or write the number.")
)


@dataclass(frozen=True, slots=True)
class PlanColumn:
    """One column of amounts: how it is headed, what it counts, and how many units of the ledger one of its own is."""

    title: str
    key: str
    factor: int = 1


@dataclass(frozen=True, slots=True)
class PlanError:
    """One cell that cannot be taken, or a whole line. Row 1 is the header; an empty column is the line."""

    row: int
    column: str
    value: str
    message: Message
    errors: Sequence[Mapping[str, Any]] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as the problem document and the preview tell it."""
        told = {
            "field": f"rows[{self.row}].{self.column}",
            "row": self.row,
            "column": self.column,
            "value": self.value,
            "message": self.message,
        }
        return told | ({"limits": list(self.errors)} if self.errors else {})


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One line: an account's code, and the amounts that were filled in by key; None is no limit."""

    number: int
    code: str
    amounts: Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class PlanSheet:
    """The lines that hold anything, the columns by key, and the cells that are wrong in themselves."""

    rows: Sequence[PlanRow]
    columns: Mapping[str, PlanColumn]
    errors: Sequence[PlanError]


def understood(lines: Sequence[Sequence[str]]) -> PlanSheet:
    """Read a sheet by its header.

    Raises:
        InvalidInput: no column of account codes, columns that are not known or stand twice (`errors` names each), too many lines.
    """
    places, columns = _columns(lines[0])
    headed = {at for at, heading in enumerate(lines[0]) if plain(heading)}
    filled = [(number, line) for number, line in enumerate(lines[1:], 2) if any(cell.strip() for cell in line)]
    if len(filled) > MAX_ROWS:
        raise InvalidInput(
            N_("{count} rows are too many for one import; send at most {most} at once."),
            count=len(filled),
            most=MAX_ROWS,
        )
    rows, errors = [], []
    for number, line in filled:
        cells = {at: plain(cell) for at, cell in enumerate(line)}
        errors += [
            PlanError(number, column_name(at), text[:100], _UNHEADED)
            for at, text in cells.items()
            if text and at not in headed
        ]
        amounts: dict[str, int | None] = {}
        for at, column in columns.items():
            text = cells.get(at, "")
            if not text:
                continue
            if text.startswith("="):
                errors.append(PlanError(number, column.title, text[:100], _UNCALCULATED))
            elif text.lower() in _NO_LIMIT:
                amounts[column.key] = None
            elif _WHOLE.fullmatch(text):
                amounts[column.key] = int(text.replace(",", "")) * column.factor
            else:
                words = Message(
                    N_("Give a whole number, or 无 for no limit; leave the cell empty to keep what is set.")
                )
                errors.append(PlanError(number, column.title, text[:100], words))
        rows.append(PlanRow(number, cells.get(places, ""), amounts))
    return PlanSheet(rows, {column.key: column for column in columns.values()}, errors)


def _columns(header: Sequence[str]) -> tuple[int, dict[int, PlanColumn]]:
    account: int | None = None
    columns: dict[int, PlanColumn] = {}
    faults: list[PlanError] = []
    for at, heading in enumerate(header):
        title = plain(heading)
        name = _normal(title)
        if not name or name in _PASSED_OVER:
            continue
        if name in _ACCOUNT_TITLES and account is None:
            account = at
            continue
        try:
            column = _column(title)
        except InvalidInput as refusal:
            faults.append(PlanError(1, title[:100], title[:100], refusal.message))
            continue
        if any(column.key == each.key for each in columns.values()):
            words = Message(N_("These columns stand twice: {columns}."), {"columns": repr(title)})
            faults.append(PlanError(1, title[:100], title[:100], words))
        columns[at] = column
    if faults:
        first = faults[0].message
        raise InvalidInput(first.template, errors=[fault.as_json() for fault in faults], **first.params)
    if account is None:
        raise InvalidInput(N_("No column is headed {title}: it must say whose quota a line is."), title=ACCOUNT_TITLE)
    if not columns:
        raise InvalidInput(
            N_("No column is headed by something that is counted, like {examples}."),
            examples=", ".join([TITLES["vcpus"], MEMORY_GIB, "vCPU{架构=aarch64}"]),
        )
    return account, columns


def _column(title: str) -> PlanColumn:
    found = _HEADING.fullmatch(_normal(title))
    name = found["name"] if found else ""
    unit = (found["unit"] or "") if found else ""
    resource = _RESOURCES.get(name)
    if found is None or resource is None or (name == "内存" and unit not in ("gib", "gb", "mib", "mb")):
        raise InvalidInput(
            N_("The column {title} is not known. Head it by what is counted, like {examples}."),
            title=repr(title[:100]),
            examples=", ".join([TITLES["vcpus"], MEMORY_GIB, "vCPU{架构=aarch64}"]),
        )
    factor = MIB_PER_GIB if resource == "memory_mib" and (unit in ("gib", "gb") or name == "memory_gib") else 1
    dims = _dims(plain(title)[plain(title).index("{") :]) if "{" in title else ""
    return PlanColumn(title, str(parse_key(resource + dims)), factor)


def _dims(text: str) -> str:
    pairs = []
    for item in text.strip("{} ").replace("，", ",").split(","):
        name, equals, value = item.partition("=")
        key = _DIMENSIONS.get(name.strip(), name.strip())
        pairs.append(f"{key}{equals}{_YES_NO.get(value.strip(), value.strip()) if key == 'is_xinchuang' else value}")
    return "{" + ",".join(pairs) + "}"


def _normal(title: str) -> str:
    return title.replace("（", "(").replace("）", ")").strip().lower()


def title_of(key: Key) -> str:
    """Return a key's heading, as `understood` reads it again."""
    title = TITLES.get(key.resource, key.resource)
    words = {name: chinese for chinese, name in _DIMENSIONS.items()}
    dims = ",".join(f"{words[name]}={value}" for name, value in key.dims)
    return f"{title}{{{dims}}}" if dims else title


_RESOURCES = {
    **{resource: resource for resource in TITLES},
    **{_normal(title).partition("(")[0]: resource for resource, title in TITLES.items()},
    "memory_gib": "memory_mib",
    "磁盘": "disk_gib",
    "云主机数量": "servers",
    "公网ip": "public_ips",
    "vcpu": "vcpus",
}

"""The 64 columns of the resource inventory (资源台账): keys, headers, kinds, words for codes, and which view shows them.

A file format that auditors and scripts rely on: add at the end, never rename. Headers and words stand here and not in the
catalogues, because a better translation of the console must not change a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Kind = Literal["text", "code", "boolean", "integer", "decimal", "day", "moment", "list"]
Labels = Mapping[str, tuple[str, str]]
"""Code → (Chinese, English)."""

_NONE: Labels = MappingProxyType({})
_LANGUAGES = {"zh_CN": 0, "en": 1}

_RESOURCE_TYPE: Labels = {
    "vm": ("云主机", "Cloud server"),
    "baremetal": ("物理机", "Physical machine"),
    "volume": ("云硬盘", "Volume"),
    "eip": ("公网IP", "Public IP"),
}
_STATUS: Labels = {
    "pending": ("待开通", "Awaiting provisioning"),
    "running": ("运行中", "Running"),
    "stopped": ("已关机", "Stopped"),
    "frozen": ("已冻结", "Frozen"),
    "released": ("已回收", "Released"),
    "abnormal": ("异常", "Abnormal"),
}
_MLPS_LEVEL: Labels = {
    "一级": ("一级", "Level 1"),
    "二级": ("二级", "Level 2"),
    "三级": ("三级", "Level 3"),
    "四级": ("四级", "Level 4"),
    "五级": ("五级", "Level 5"),
    "未定级": ("未定级", "Not rated"),
}
_ENV: Labels = {
    "prd": ("生产", "Production"),
    "tst": ("测试", "Test"),
    "dev": ("开发", "Development"),
    "dr": ("灾备", "Disaster recovery"),
}
_PURPOSE: Labels = {
    "app": ("应用", "Application"),
    "db": ("数据库", "Database"),
    "mid": ("中间件", "Middleware"),
    "web": ("Web", "Web"),
    "fs": ("文件", "File storage"),
    "other": ("其他", "Other"),
}
_RESOURCE_POOL: Labels = {
    "xinchuang": ("信创资源区", "Xinchuang pool"),
    "non_xinchuang": ("非信创资源区", "Non-Xinchuang pool"),
}
_CPU_FAMILY: Labels = {
    "kunpeng": ("鲲鹏", "Kunpeng"),
    "phytium": ("飞腾", "Phytium"),
    "hygon": ("海光", "Hygon"),
    "zhaoxin": ("兆芯", "Zhaoxin"),
    "loongson": ("龙芯", "Loongson"),
    "sunway": ("申威", "Sunway"),
    "intel": ("Intel", "Intel"),
    "amd": ("AMD", "AMD"),
}
_SOURCE: Labels = {
    "collected": ("自动采集", "Collected"),
    "entered": ("人工登记", "Entered by hand"),
}

LONG_TERM = ("长期使用", "Long-term")
"""Told in the remarks of a server whose lease has no end; the date itself stays empty."""
REHEARSED = ("模拟执行", "Rehearsal")
"""Told in the remarks of a server whose playbook was rehearsed: nothing was configured."""
CONFIRMED = ("人工确认", "Confirmed by hand")
"""Told in the remarks, with the day, of a row that a person last confirmed."""
UNMANAGED = ("未纳管", "Not in the ledger")
"""Told in the remarks of a server that a cloud shows and nobody owns."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `required`: filled for every server in service."""

    key: str
    header_zh: str
    header_en: str
    kind: Kind
    required: bool = False
    labels: Labels = field(default_factory=lambda: _NONE)

    def header(self, language: str) -> str:
        """Return the header in zh_CN or en."""
        return (self.header_zh, self.header_en)[_LANGUAGES[language]]

    def words(self, language: str) -> dict[str, str]:
        """Return the word of every code in zh_CN or en; empty for what is no code."""
        return {code: both[_LANGUAGES[language]] for code, both in self.labels.items()}


def word(both: tuple[str, str], language: str) -> str:
    """Return the Chinese or English of a pair."""
    return both[_LANGUAGES[language]]


COLUMNS: tuple[Column, ...] = (
    Column("resource_id", "资源编号", "Resource ID", "text", required=True),
    Column("resource_type", "资源类型", "Resource type", "code", required=True, labels=_RESOURCE_TYPE),
    Column("name", "云主机名称", "VM name", "text", required=True),
    Column("status", "状态", "Status", "code", required=True, labels=_STATUS),
    Column("org_code", "单位代码", "Organisation code", "text"),
    Column("org_name", "所属单位", "Organisation", "text", required=True),
    Column("district_code", "行政区划代码", "Division code", "text", required=True),
    Column("district_name", "所属区县", "District / county", "text", required=True),
    Column("tenant", "租户", "Tenant", "text", required=True),
    Column("system_name", "信息系统", "Information system", "text", required=True),
    Column("system_code", "系统编码", "System code", "text"),
    Column("project_no", "项目编号", "Project / approval no.", "text"),
    Column("mlps_level", "等保级别", "MLPS level", "code", required=True, labels=_MLPS_LEVEL),
    Column("mlps_record_no", "等保备案证明编号", "MLPS filing no.", "text"),
    Column("is_classified", "是否涉密", "Classified?", "boolean", required=True),
    Column("env", "环境", "Environment", "code", required=True, labels=_ENV),
    Column("purpose", "用途", "Purpose", "code", required=True, labels=_PURPOSE),
    Column("cloud_platform", "云平台", "Cloud platform", "text", required=True),
    Column("cloud_vendor", "云服务商", "Cloud provider", "text"),
    Column("datacenter", "数据中心", "Data centre", "text", required=True),
    Column("az", "可用区", "Availability zone", "text"),
    Column("resource_pool", "资源池/分区", "Resource pool", "code", required=True, labels=_RESOURCE_POOL),
    Column("host", "宿主机", "Hypervisor host", "text"),
    Column("network_zone", "网络区域", "Network zone", "code", required=True),
    Column("vpc_subnet", "VPC/子网", "VPC / subnet", "text"),
    Column("ipv4", "IPv4地址", "IPv4", "list", required=True),
    Column("ipv6", "IPv6地址", "IPv6", "list"),
    Column("public_ip", "公网IP", "Public IP", "list"),
    Column("bandwidth_mbps", "带宽(Mbps)", "Bandwidth (Mbps)", "integer"),
    Column("open_ports", "开放端口", "Open ports", "text"),
    Column("arch", "CPU架构", "Architecture", "code", required=True),
    Column("cpu_family", "CPU系列", "CPU family", "code", required=True, labels=_CPU_FAMILY),
    Column("cpu_model", "CPU型号", "CPU model", "text", required=True),
    Column("is_xinchuang", "是否信创", "Domestic stack (Xinchuang)", "boolean", required=True),
    Column("vcpu", "vCPU(核)", "vCPU (cores)", "integer", required=True),
    Column("memory_gib", "内存(GiB)", "Memory (GiB)", "decimal", required=True),
    Column("system_disk_gib", "系统盘(GiB)", "System disk (GiB)", "decimal", required=True),
    Column("data_disk_gib", "数据盘(GiB)", "Data disk (GiB)", "decimal", required=True),
    Column("storage_gib", "存储合计(GiB)", "Total storage (GiB)", "decimal", required=True),
    Column("storage_class", "存储类型", "Storage class", "code"),
    Column("os_name", "操作系统", "Operating system", "text", required=True),
    Column("os_version", "操作系统版本", "OS version", "text", required=True),
    Column("kernel", "内核版本", "Kernel", "text"),
    Column("image_id", "镜像", "Image", "text"),
    Column("image_digest", "镜像校验值", "Image digest", "text"),
    Column("cpu_avg_30d", "CPU月均利用率(%)", "CPU avg util 30d (%)", "decimal"),
    Column("cpu_peak_30d", "CPU月峰值利用率(%)", "CPU peak util 30d (%)", "decimal"),
    Column("mem_avg_30d", "内存月均利用率(%)", "Memory avg util 30d (%)", "decimal"),
    Column("disk_used_pct", "磁盘使用率(%)", "Disk used (%)", "decimal"),
    Column("monthly_fee_cny", "月费用(元)", "Monthly fee (CNY)", "decimal"),
    Column("request_no", "创建单号", "Creation order no.", "text", required=True),
    Column("change_no", "最近变更单号", "Last change order no.", "text"),
    Column("release_no", "注销单号", "Release order no.", "text"),
    Column("created_at", "开通时间", "Provisioned at", "moment", required=True),
    Column("lease_start", "使用起始日期", "Lease start", "day", required=True),
    Column("lease_end", "到期时间", "Lease end", "day", required=True),
    Column("released_at", "回收时间", "Released at", "moment"),
    Column("owner_name", "责任人", "Responsible person", "text", required=True),
    Column("owner_phone", "联系电话", "Phone", "text", required=True),
    Column("ops_vendor", "运维单位", "Maintenance contractor", "text"),
    Column("backup_policy", "备份策略", "Backup policy", "text"),
    Column("last_seen_at", "最近采集时间", "Last collected at", "moment", required=True),
    Column("source", "数据来源", "Data source", "code", required=True, labels=_SOURCE),
    Column("remark", "备注", "Remarks", "text"),
)

BY_KEY: Mapping[str, Column] = {column.key: column for column in COLUMNS}

_SHORT = (
    "resource_id",
    "name",
    "org_name",
    "system_name",
    "mlps_level",
    "network_zone",
    "ipv4",
    "arch",
    "vcpu",
    "memory_gib",
    "storage_gib",
    "os_name",
    "cloud_platform",
    "status",
    "lease_end",
    "owner_name",
)
PERSONAL = frozenset({"owner_name", "owner_phone"})
"""Personal data: masked unless revealed with a reason."""
_NOT_PUBLIC = PERSONAL | {"host"}

VIEWS: Mapping[str, tuple[Column, ...]] = {
    "audit": COLUMNS,
    "short": tuple(BY_KEY[key] for key in _SHORT),
    "public": tuple(column for column in COLUMNS if column.key not in _NOT_PUBLIC),
}

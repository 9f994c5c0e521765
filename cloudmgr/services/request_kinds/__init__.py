"""What requests can ask for, one module a kind; `requests`, `plans` and `approvals` know kinds only through `Kind`."""

from collections.abc import Mapping
from typing import Any

from cloudmgr.services.request_kinds.base import Kind
from cloudmgr.services.request_kinds.create import CreateKind
from cloudmgr.services.request_kinds.freeze import FreezeKind, UnfreezeKind
from cloudmgr.services.request_kinds.imports import ImportKind
from cloudmgr.services.request_kinds.ports import PortsKind
from cloudmgr.services.request_kinds.public_ip import PublicIpKind
from cloudmgr.services.request_kinds.quota_change import QuotaChangeKind
from cloudmgr.services.request_kinds.renew import RenewKind
from cloudmgr.services.request_kinds.resize import ResizeKind
from cloudmgr.services.request_kinds.retire import RetireKind
from cloudmgr.services.request_kinds.snapshot import SnapshotKind
from cloudmgr.services.request_kinds.volume import VolumeKind

KINDS: Mapping[str, Kind[Any, Any]] = {
    kind.name: kind
    for kind in (
        CreateKind(),
        ImportKind(),
        RetireKind(),
        ResizeKind(),
        RenewKind(),
        FreezeKind(),
        UnfreezeKind(),
        PortsKind(),
        PublicIpKind(),
        VolumeKind(),
        SnapshotKind(),
        QuotaChangeKind(),
    )
}
"""Every kind that can be asked for. A new one is a module here, its body in `request_inputs` and its work in `workflows`."""


def kind_of(name: str) -> Kind[Any, Any]:
    """Return the rules of a kind of request."""
    return KINDS[name]

"""The body of POST and PUT /requests: a whole request, or with `"draft": true` an unfinished one."""

import uuid
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from cloudmgr.services.inputs import Id, Input
from cloudmgr.services.request_inputs import (
    Command,
    CreateRequest,
    DraftRequest,
    FreezeRequest,
    PortsRequest,
    PublicIpRequest,
    QuotaChangeRequest,
    RenewRequest,
    ResizeRequest,
    RetireRequest,
    SnapshotRequest,
    UnfreezeRequest,
    VolumeRequest,
    body_adapter,
)


class _Sent(Input):
    """`draft` false or absent submits it; `after` names a quota change: then it waits for that, and submits itself."""

    draft: Literal[False] = False
    after: Id | None = None


class SentCreate(_Sent, CreateRequest):
    """申请; `draft` false or absent submits it; `after` names a quota change to wait for."""


class SentRetire(_Sent, RetireRequest):
    """注销; `draft` false or absent submits it."""


class SentResize(_Sent, ResizeRequest):
    """变更; `draft` false or absent submits it; `after` names a quota change to wait for."""


class SentRenew(_Sent, RenewRequest):
    """续期; `draft` false or absent submits it."""


class SentFreeze(_Sent, FreezeRequest):
    """冻结; `draft` false or absent submits it."""


class SentUnfreeze(_Sent, UnfreezeRequest):
    """解冻; `draft` false or absent submits it."""


class SentPorts(_Sent, PortsRequest):
    """端口变更; `draft` false or absent submits it."""


class SentPublicIp(_Sent, PublicIpRequest):
    """公网IP; `draft` false or absent submits it; `after` names a quota change to wait for."""


class SentVolume(_Sent, VolumeRequest):
    """云硬盘; `draft` false or absent submits it; `after` names a quota change to wait for."""


class SentSnapshot(_Sent, SnapshotRequest):
    """快照; `draft` false or absent submits it; `after` names a quota change to wait for."""


class SentQuotaChange(QuotaChangeRequest):
    """配额变更; it has no draft."""

    draft: Literal[False] = False


class SentDraft(DraftRequest):
    """草稿: kept unsent, may be incomplete."""

    draft: Literal[True]


def _which(value: Any) -> str:
    if isinstance(value, dict):
        if value.get("draft") is True:
            return "draft"
        return str(value.get("kind", "create"))
    if isinstance(value, SentDraft):
        return "draft"
    return str(getattr(value, "kind", "create"))


SentRequest = Annotated[
    Annotated[SentCreate, Tag("create")]
    | Annotated[SentRetire, Tag("retire")]
    | Annotated[SentResize, Tag("resize")]
    | Annotated[SentRenew, Tag("renew")]
    | Annotated[SentFreeze, Tag("freeze")]
    | Annotated[SentUnfreeze, Tag("unfreeze")]
    | Annotated[SentPorts, Tag("ports")]
    | Annotated[SentPublicIp, Tag("public_ip")]
    | Annotated[SentVolume, Tag("volume")]
    | Annotated[SentSnapshot, Tag("snapshot")]
    | Annotated[SentQuotaChange, Tag("quota_change")]
    | Annotated[SentDraft, Tag("draft")],
    Discriminator(_which),
]


def drafted(sent: Command | SentDraft) -> Command | DraftRequest:
    """Return the command without the transport's `draft` and `after` marks."""
    plain = sent.model_dump(exclude={"draft", "after"}, exclude_unset=True)
    if isinstance(sent, SentDraft):
        return DraftRequest.model_validate(plain)
    return body_adapter.validate_python(plain)


def awaited(sent: Command | SentDraft) -> uuid.UUID | None:
    """Return the quota change that a request is to wait for."""
    return sent.after if isinstance(sent, _Sent) else None

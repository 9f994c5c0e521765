"""The body of POST and PUT /requests: a whole request, or with `"draft": true` an unfinished one."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from cloudmgr.services.request_inputs import (
    Command,
    CreateRequest,
    DraftRequest,
    PortsRequest,
    PublicIpRequest,
    RetireRequest,
    SnapshotRequest,
    VolumeRequest,
    body_adapter,
)


class SentCreate(CreateRequest):
    """申请; `draft` false or absent submits it."""

    draft: Literal[False] = False


class SentRetire(RetireRequest):
    """注销; `draft` false or absent submits it."""

    draft: Literal[False] = False


class SentPorts(PortsRequest):
    """端口变更; `draft` false or absent submits it."""

    draft: Literal[False] = False


class SentPublicIp(PublicIpRequest):
    """公网IP; `draft` false or absent submits it."""

    draft: Literal[False] = False


class SentVolume(VolumeRequest):
    """云硬盘; `draft` false or absent submits it."""

    draft: Literal[False] = False


class SentSnapshot(SnapshotRequest):
    """快照; `draft` false or absent submits it."""

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
    | Annotated[SentPorts, Tag("ports")]
    | Annotated[SentPublicIp, Tag("public_ip")]
    | Annotated[SentVolume, Tag("volume")]
    | Annotated[SentSnapshot, Tag("snapshot")]
    | Annotated[SentDraft, Tag("draft")],
    Discriminator(_which),
]


def drafted(sent: Command | SentDraft) -> Command | DraftRequest:
    """Return the command without the transport's `draft` mark."""
    plain = sent.model_dump(exclude={"draft"}, exclude_unset=True)
    if isinstance(sent, SentDraft):
        return DraftRequest.model_validate(plain)
    return body_adapter.validate_python(plain)

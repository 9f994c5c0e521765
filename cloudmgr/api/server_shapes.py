"""How a server is told in JSON."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.masking import mask_phone
from cloudmgr.domain.messages import Message, Translator
from cloudmgr.services.servers import ServerRow


class ServerShape(Shape):
    """A server: our `phase`, the backend's `state`. `host` is for operators and auditors; phones are masked for outsiders."""

    id: UUID
    resource_no: str | None = Field(examples=["430102-VM-000001"])
    name: str = Field(examples=["430102-mzj-zhsq-prd-app01"])
    project: UUID
    project_name: str
    organization: UUID
    organization_name: str
    request: UUID
    phase: str = Field(examples=["active"])
    state: str = Field(examples=["running"])
    arch: str = Field(examples=["aarch64"])
    cpu_family: str = Field(examples=["kunpeng"])
    is_xinchuang: bool | None
    zone: str | None
    backend: str | None
    host: str | None
    ipv4: list[str] = Field(examples=[["10.60.0.2"]])
    ipv6: list[str]
    flavor: str | None = Field(examples=["8C32G"])
    image: str | None = Field(examples=["kylin-v10"])
    vcpus: int
    memory_mib: int
    system_disk_gib: int
    data_disk_gib: int
    network_zone: str
    env: str
    purpose_kind: str
    playbook: str
    rehearsed: bool
    guest: dict[str, Any]
    lease_start: date | None
    lease_end: date | None
    lease_long_term: bool
    frozen_by: str | None = Field(examples=[None], description="request, or lease: its lease has ended.")
    frozen_at: datetime | None
    owner: dict[str, str]
    failed_step: str | None
    failure: dict[str, Any] | None
    created_at: At
    activated_at: datetime | None
    released_at: datetime | None
    last_seen_at: datetime | None
    source: str = Field(examples=["built"])
    resource_type: str = Field(examples=["vm"])
    counts_quota: bool
    last_confirmed_at: datetime | None
    stated: dict[str, Any]


def server_shape(row: ServerRow, actor: Actor, translate: Translator) -> dict[str, Any]:
    """Return a server for this reader, in the reader's language."""
    server, project, organization, flavor, image, zone, backend = row
    sees_people = actor.may(Action.PERSONAL_READ, organization.path)
    return {
        "id": server.id,
        "resource_no": server.resource_no,
        "name": server.name,
        "project": project.id,
        "project_name": project.name,
        "organization": organization.id,
        "organization_name": organization.name,
        "request": server.request_id,
        "phase": server.phase,
        "state": server.state,
        "arch": server.arch,
        "cpu_family": server.cpu_family,
        "is_xinchuang": server.is_xinchuang,
        "zone": zone.name if zone else None,
        "backend": backend.name if backend else None,
        "host": server.host if actor.may(Action.HOST_READ, organization.path) else None,
        "ipv4": server.ipv4,
        "ipv6": server.ipv6,
        "flavor": flavor.name if flavor else None,
        "image": image.name if image else None,
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "system_disk_gib": server.system_disk_gib,
        "data_disk_gib": server.data_disk_gib,
        "network_zone": server.network_zone,
        "env": server.env,
        "purpose_kind": server.purpose_kind,
        "playbook": server.playbook,
        "rehearsed": server.rehearsed,
        "guest": server.guest,
        "lease_start": server.lease_start,
        "lease_end": server.lease_end,
        "lease_long_term": server.lease_long_term,
        "frozen_by": server.frozen_by,
        "frozen_at": server.frozen_at,
        "owner": {
            "name": server.owner_name,
            "phone": server.owner_phone if sees_people else mask_phone(server.owner_phone),
        },
        "failed_step": server.failed_step,
        "failure": {
            "code": server.failure["code"],
            "message": Message.from_json(server.failure["message"]).render(translate),
        }
        if server.failure
        else None,
        "created_at": server.created_at,
        "activated_at": server.activated_at,
        "released_at": server.released_at,
        "last_seen_at": server.last_seen_at,
        "source": server.source,
        "resource_type": server.resource_type,
        "counts_quota": server.counts_quota,
        "last_confirmed_at": server.last_confirmed_at,
        "stated": server.stated,
    }

"""A small city for tests: one root, two districts, projects with quota, people with roles, and simulated clouds.

Everything is made through the models and the ledger, on a migrated database; the services under test come after.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, select

import quotas
from cloudmgr.adapters import crypto, migrate
from cloudmgr.domain import clock
from cloudmgr.domain.access import Actor, Grant, Role
from cloudmgr.domain.ids import new_id
from cloudmgr.models import (
    Flavor,
    Image,
    NetworkZone,
    Organization,
    Project,
    RoleGrant,
    User,
)
from cloudmgr.services import approvals, requests
from cloudmgr.services.request_inputs import CreateRequest, Decide, RetireRequest, body_adapter
from cloudmgr.settings import Settings, load_settings
from cloudmgr.store.db import begin_immediate, make_engine, new_session

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1Kq0g2bYpQ5c0Z1Y2vVQe7q3v1m0n2o3p4q5r6s7t8 wang@furong"
ZONE = "政务外网区"
DISTRICT_LIMITS = {"servers": 500, "vcpus": 4000, "memory_mib": 16_384_000, "disk_gib": 650_000}
"""Of each district: half of the city's."""


def simulated_backend(
    name: str = "kp",
    *,
    model: str = "kunpeng-920",
    hosts: int = 2,
    vcpus: int = 64,
    boot_s: float = 0.0,
    tier: str = "city",
    **more: Any,
) -> dict[str, Any]:
    """Return one `[[backends]]` section: a zone of equal hosts, one network, both images."""
    return {
        "name": name,
        "title": f"云 {name}",
        "provider": "simulated",
        "tier": tier,
        "datacenter": "高新区机房",
        "network_zones": {"net": ZONE},
        "zones": [
            {
                "ref": f"{name}-z1",
                "name": f"{name}-zone",
                "hosts": [
                    {
                        "name": f"{name}-host",
                        "model": model,
                        "count": hosts,
                        "vcpus": vcpus,
                        "memory_mib": 262144,
                        "disk_gib": 8000,
                    }
                ],
            }
        ],
        "networks": [
            {
                "ref": "net",
                "name": "net",
                "cidr_v4": "10.60.0.0/16",
                "cidr_v6": "fd00:60::/64",
                "gateway_v4": "10.60.0.1",
            }
        ],
        "images": [
            {"ref": "img-kylin-arm", "name": "kylin-v10", "arch": "aarch64"},
            {"ref": "img-kylin-x86", "name": "kylin-v10", "arch": "x86_64"},
        ],
        "boot_s": boot_s,
        "power_s": 0.0,
        **more,
    }


@dataclass
class World:
    """The city, with the ids tests need."""

    settings: Settings
    engine: sa.Engine
    root: Organization
    furong: Organization
    yuelu: Organization
    minzheng: Organization
    project: Project
    other_project: Project
    people: dict[str, uuid.UUID] = field(default_factory=dict)

    def session(self, *, write: bool = True) -> Session:
        session = new_session(self.engine)
        if write:
            begin_immediate(session)
        return session

    def actor(self, name: str) -> Actor:
        with new_session(self.engine) as session:
            user = session.get_one(User, self.people[name])
            organization = session.get_one(Organization, user.organization_id)
            grants = tuple(
                Grant(
                    Role(grant.role), grant.organization_id, session.get_one(Organization, grant.organization_id).path
                )
                for grant in session.exec(
                    select(RoleGrant).where(RoleGrant.user_id == user.id, RoleGrant.revoked_at.is_(None))
                )
            )
        return Actor(
            user.id, user.username, user.display_name, organization.id, organization.path, grants, source="192.0.2.9"
        )

    def body(self, **changes: Any) -> dict[str, Any]:
        """Return a create request for one 2C4G Kunpeng server."""
        entry = {"name": "srv", "count": 1, "flavor": "2C4G", "image": "kylin-v10", "arch": "aarch64"}
        entry |= {
            key: changes.pop(key)
            for key in list(changes)
            if key
            in (
                "name",
                "count",
                "flavor",
                "image",
                "arch",
                "backend",
                "spread",
                "data_disk_gib",
                "playbook",
                "variables",
            )
        }
        return {
            "kind": "create",
            "project": str(self.project.id),
            "purpose": "业务系统应用服务器",
            "network_zone": ZONE,
            "lease_end": clock.today().replace(year=clock.today().year + 1, day=1).isoformat(),
            "owner": {"name": "王芳", "phone": "13800000000"},
            "ssh_keys": [KEY],
            "servers": [entry],
        } | changes

    def command(self, **changes: Any) -> CreateRequest:
        command = body_adapter.validate_python(self.body(**changes))
        assert isinstance(command, CreateRequest)
        return command

    def submit(self, who: str = "requester", **changes: Any) -> uuid.UUID:
        with self.session() as session:
            request = requests.submit_new(session, self.actor(who), self.command(**changes))
            session.commit()
            return request.id

    def submit_retire(self, server_ids: list[uuid.UUID], who: str = "requester") -> uuid.UUID:
        command = RetireRequest(kind="retire", project=self.project.id, purpose="不再使用", servers=server_ids)
        with self.session() as session:
            request = requests.submit_new(session, self.actor(who), command)
            session.commit()
            return request.id

    def approve(self, request_id: uuid.UUID, who: str = "admin") -> None:
        with self.session() as session:
            approvals.decide(
                session, self.actor(who), request_id, Decide.model_validate({"decision": "approve", "comment": ""})
            )
            session.commit()


def build(
    data_dir: Path,
    database_url: str | None = None,
    *,
    backends: list[Mapping[str, Any]] | None = None,
    limits: Mapping[str, int | None] | None = None,
    **settings: Any,
) -> World:
    """Make the city on an empty database."""
    data_dir.mkdir(parents=True, exist_ok=True)
    worker = {"poll_s": 0.1, "boot_poll_s": 0.05, "health_interval_s": 5}
    worker |= {"full_sync_interval_s": 0, "incremental_sync_interval_s": 0} | settings.pop("worker", {})
    chosen = load_settings(
        data_dir,
        database={"url": database_url, "synchronous": "NORMAL"},
        worker=worker,
        backends=tuple(backends if backends is not None else [simulated_backend()]),
        **settings,
    )
    crypto.make_key_file(chosen.key_file)
    migrate.upgrade(chosen)
    engine = make_engine(chosen.database_url, synchronous="NORMAL")
    with new_session(engine) as session:
        begin_immediate(session)
        world = _populate(session, chosen, engine, limits or {})
        session.commit()
    return world


def reopen(data_dir: Path, engine: sa.Engine) -> World:
    """Find the city again in a database that `build` made."""
    with new_session(engine) as session:
        by_code = {row.code: row for row in session.exec(select(Organization))}
        projects = {row.name: row for row in session.exec(select(Project))}
        people = {row.username: row.id for row in session.exec(select(User))}
    return World(
        load_settings(data_dir),
        engine,
        by_code["CS"],
        by_code["430102"],
        by_code["430104"],
        by_code["430102-mzj"],
        projects["智慧社区综合服务平台"],
        projects["岳麓门户网站"],
        people,
    )


def _populate(session: Session, settings: Settings, engine: sa.Engine, limits: Mapping[str, int | None]) -> World:
    root = _organization(session, None, "CS", "长沙市", "city")
    furong = _organization(session, root, "430102", "芙蓉区", "district")
    yuelu = _organization(session, root, "430104", "岳麓区", "district")
    minzheng = _organization(session, furong, "430102-mzj", "芙蓉区民政局", "department")
    _limit(session, root, {"servers": 1000, "vcpus": 8000, "memory_mib": 32_768_000, "disk_gib": 1_300_000})
    for district in (furong, yuelu):  # quota of their own, as districts have; wide enough to bind in no test
        _limit(session, district, DISTRICT_LIMITS)
    for name, code in ((ZONE, "gov"), ("互联网区", "net")):
        session.add(NetworkZone(name=name, code=code))
    session.add(Flavor(name="2C4G", vcpus=2, memory_mib=4096, system_disk_gib=40))
    session.add(Flavor(name="8C32G", vcpus=8, memory_mib=32768, system_disk_gib=40))
    session.add(
        Image(name="kylin-v10", title="银河麒麟 V10", os_name="Kylin V10", os_version="V10 SP3", os_is_xinchuang=True)
    )
    session.add(Flavor(name="small", vcpus=1, memory_mib=1024, system_disk_gib=4))
    session.add(Image(name="debian-12", title="Debian 12", os_name="Debian", os_version="12"))
    session.flush()
    project = _project(session, minzheng, "智慧社区综合服务平台")
    other = _project(session, yuelu, "岳麓门户网站")
    if limits:
        _limit(session, project, limits)
    world = World(settings, engine, root, furong, yuelu, minzheng, project, other)
    for name, organization, roles in (
        ("requester", minzheng, [(Role.REQUESTER, minzheng)]),
        ("admin", furong, [(Role.DISTRICT_ADMIN, furong)]),
        ("both", furong, [(Role.REQUESTER, furong), (Role.DISTRICT_ADMIN, furong)]),
        ("stranger", yuelu, [(Role.REQUESTER, yuelu), (Role.DISTRICT_ADMIN, yuelu)]),
        ("quota", root, [(Role.QUOTA_ADMIN, root)]),
        ("sysadmin", root, [(Role.SYSTEM_ADMIN, root)]),
        ("secadmin", root, [(Role.SECURITY_ADMIN, root)]),
        ("auditor", root, [(Role.AUDIT_ADMIN, root)]),
        ("external", root, [(Role.EXTERNAL_AUDITOR, root)]),
    ):
        user = User(
            username=name,
            username_key=name,
            display_name=name.title(),
            organization_id=organization.id,
            password_hash="-",
            password_set_at=clock.now(),
        )
        session.add(user)
        session.flush()
        for role, where in roles:
            session.add(RoleGrant(user_id=user.id, role=role.value, organization_id=where.id, granted_by="test"))
        world.people[name] = user.id
    session.flush()
    return world


def _limit(session: Session, owner: Organization | Project, limits: Mapping[str, int | None]) -> None:
    quotas.set_limits(
        session,
        account_id=owner.account_id,
        limits=dict(limits),
        replace=False,
        reason="开局",
        basis_no=None,
        actor="test",
    )


def _organization(session: Session, parent: Organization | None, code: str, name: str, kind: str) -> Organization:
    id_ = new_id()
    account = new_id()
    quotas.create_account(
        session, account_id=account, parent_id=parent.account_id if parent else None, code=code, name=name
    )
    organization = Organization(
        id=id_,
        code=code,
        name=name,
        kind=kind,
        parent_id=parent.id if parent else None,
        path=(parent.path if parent else "/") + f"{id_}/",
        district_id=id_ if kind == "district" else (parent.district_id if parent else None),
        account_id=account,
    )
    session.add(organization)
    session.flush()
    return organization


def _project(session: Session, organization: Organization, name: str) -> Project:
    account = new_id()
    quotas.create_account(session, account_id=account, parent_id=organization.account_id, code=name, name=name)
    project = Project(
        organization_id=organization.id,
        account_id=account,
        name=name,
        mlps_level="二级",
        owner_name="王芳",
        owner_phone="13800000000",
        project_no="长数〔2026〕12号",
    )
    session.add(project)
    session.flush()
    return project

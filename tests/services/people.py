"""Who acts in these tests, and where."""

import uuid

from sqlmodel import Session

from cloudmgr.domain.access import Actor, Grant, Role
from cloudmgr.domain.phases import MlpsLevel, OrganizationKind
from cloudmgr.models import Organization, Project
from cloudmgr.services.network_zones import CreateNetworkZone, create_network_zone
from cloudmgr.services.organizations import CreateOrganization, create_organization
from cloudmgr.services.projects import CreateProject, create_project

LOCAL = Actor(None, "local:tester", "tester", None, "/")


def person(role: Role, organization: Organization, *more: tuple[Role, Organization]) -> Actor:
    """Somebody with a role on an organization (and further ones)."""
    grants = tuple(Grant(each, place.id, place.path) for each, place in ((role, organization), *more))
    return Actor(uuid.uuid4(), f"{role.value}-1", "某人", organization.id, organization.path, grants)


def organization(
    session: Session,
    code: str,
    parent: Organization | None = None,
    kind: OrganizationKind = OrganizationKind.DEPARTMENT,
) -> Organization:
    """An organization named by its code."""
    command = CreateOrganization(code=code, name=f"单位{code}", kind=kind, parent=parent.id if parent else None)
    return create_organization(session, LOCAL, command).organization


def project(session: Session, owner: Organization, name: str = "系统") -> Project:
    """A project of level 2."""
    command = CreateProject(organization=owner.id, name=name, mlps_level=MlpsLevel.LEVEL_2)
    return create_project(session, LOCAL, command).project


def network_zone(session: Session, name: str = "政务外网区", code: str = "WW") -> str:
    """An entry of the dictionary."""
    return create_network_zone(session, LOCAL, CreateNetworkZone(name=name, code=code)).name


class City:
    """A city with two districts and a bureau in the first."""

    def __init__(self, session: Session) -> None:
        self.root = organization(session, "CS", kind=OrganizationKind.CITY)
        self.furong = organization(session, "430102", self.root, OrganizationKind.DISTRICT)
        self.yuelu = organization(session, "430104", self.root, OrganizationKind.DISTRICT)
        self.bureau = organization(session, "430102-01", self.furong)

"""Fills the lab's OpenStack by its own API, and describes it for the tests. Each stage may run again.

Run by the interpreter of the lab's own environment, which has openstacksdk: `content.py STAGE`.
"""

import json
import os
import sys
from pathlib import Path

import openstack

SECRET = os.environ["SECRET"]
PORT = {
    name: int(os.environ[f"{name.upper()}_PORT"])
    for name in ("keystone", "nova", "placement", "glance", "neutron", "cinder")
}
AUTH_URL = f"http://127.0.0.1:{PORT['keystone']}/v3"
SERVICES = (
    ("nova", "compute", f"http://127.0.0.1:{PORT['nova']}/v2.1"),
    ("placement", "placement", f"http://127.0.0.1:{PORT['placement']}"),
    ("glance", "image", f"http://127.0.0.1:{PORT['glance']}"),
    ("neutron", "network", f"http://127.0.0.1:{PORT['neutron']}"),
    ("cinder", "volumev3", f"http://127.0.0.1:{PORT['cinder']}/v3/%(project_id)s"),
)
FLAVORS = ((1, 512, 1), (2, 768, 1), (1, 1024, 2), (1, 2048, 20), (2, 4096, 40), (4, 8192, 40))  # vCPUs, MiB, GiB
IMAGES = (
    ("lab-x86_64", "x86_64"),
    ("lab-aarch64", "aarch64"),
    ("lab-unsaid", None),
    ("lab-loongarch64", "loongarch64"),
)
ADDRESSES = {"lab": ("10.64.0.0/16", "fd64::/64"), "lab-other": ("10.65.0.0/24", None)}


def connect(user, project):
    return openstack.connect(
        auth_url=AUTH_URL,
        username=user,
        password=SECRET,
        project_name=project,
        user_domain_name="Default",
        project_domain_name="Default",
        region_name="RegionOne",
    )


def catalogue():
    """Service accounts and end points; a project with a plain member."""
    identity = connect("admin", "admin").identity
    service = identity.find_project("service") or identity.create_project(name="service", domain_id="default")
    admin, member = identity.find_role("admin"), identity.find_role("member")
    trusted = identity.find_role("service") or identity.create_role(name="service")
    for name, kind, url in SERVICES:
        user = identity.find_user(name) or identity.create_user(name=name, password=SECRET, domain_id="default")
        for role in (admin, trusted):
            identity.assign_project_role_to_user(service, user, role)
        if not (found := next(iter(identity.services(name=name)), None)):
            found = identity.create_service(name=name, type=kind)
        if not list(identity.endpoints(service_id=found.id)):
            for interface in ("public", "internal", "admin"):
                identity.create_endpoint(service_id=found.id, interface=interface, url=url, region_id="RegionOne")
    project = identity.find_project("demo") or identity.create_project(name="demo", domain_id="default")
    user = identity.find_user("demo") or identity.create_user(name="demo", password=SECRET, domain_id="default")
    identity.assign_project_role_to_user(project, user, member)
    identity.assign_project_role_to_user(project, identity.find_user("admin"), admin)


def hypervisors():
    """Fail until every fake host has registered."""
    wanted = int(os.environ["NX86"]) + int(os.environ["NARM"])
    services = [
        s for s in connect("admin", "admin").compute.services() if s.binary == "nova-compute" and s.state == "up"
    ]
    if len(services) < wanted:
        sys.exit(1)


def content():
    admin, demo = connect("admin", "admin"), connect("demo", "demo")
    for vcpus, ram, disk in FLAVORS:
        name = f"lab.{vcpus}c{ram}m{disk}g"
        if not admin.compute.find_flavor(name):
            admin.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
    for name, arch in IMAGES:
        if not admin.image.find_image(name):
            told = {"hw_architecture": arch, "os_distro": "lab"} if arch else {}
            admin.image.create_image(
                name=name,
                disk_format="raw",
                container_format="bare",
                visibility="public",
                data=bytes(1 << 20),
                wait=True,
                validate_checksum=False,
                **told,
            )
    if not [kind for kind in admin.block_storage.types() if kind.name == "lab"]:
        admin.block_storage.create_type(name="lab")
    networks(admin.network, demo.network)
    if not demo.identity.find_application_credential(user_of(demo), "lab"):
        demo.identity.create_application_credential(user_of(demo), name="lab", secret=SECRET * 4)


def networks(admin, demo):
    """Networks of the member's own, so that it may choose addresses on them; one of the outside, behind a router."""
    if not (outside := admin.find_network("outside")):
        outside = admin.create_network(
            name="outside", is_router_external=True, provider_network_type="flat", provider_physical_network="public"
        )
        admin.create_subnet(
            network_id=outside.id, name="outside-v4", ip_version=4, cidr="203.0.113.0/24", is_dhcp_enabled=False
        )
    for name, (v4, v6) in ADDRESSES.items():
        if demo.find_network(name):
            continue
        made = demo.create_network(name=name)
        inside = demo.create_subnet(
            network_id=made.id, name=f"{name}-v4", ip_version=4, cidr=v4, dns_nameservers=["10.64.0.2"]
        )
        if v6:
            demo.create_subnet(network_id=made.id, name=f"{name}-v6", ip_version=6, cidr=v6)
        if name == "lab":
            router = demo.create_router(name="lab", external_gateway_info={"network_id": outside.id})
            demo.add_interface_to_router(router, subnet_id=inside.id)


def ready():
    """Check that every service answers with content, and describe the lab."""
    demo = connect("demo", "demo")
    credential = demo.identity.find_application_credential(user_of(demo), "lab", ignore_missing=False)
    outside = demo.network.find_network("outside", ignore_missing=False)
    next(iter(demo.image.images()))
    list(demo.compute.servers(limit=1))
    list(demo.block_storage.volumes(limit=1))
    here = Path(os.environ["PLACE"])
    for name, value in (("password", SECRET), ("credential-secret", SECRET * 4)):
        (here / name).touch(mode=0o600)
        (here / name).write_text(value)
    described = {
        "auth_url": AUTH_URL,
        "region": "RegionOne",
        "project": "demo",
        "username": "demo",
        "admin": "admin",
        "password_file": str(here / "password"),
        "application_credential_id": credential.id,
        "application_credential_secret_file": str(here / "credential-secret"),
        "project_id": demo.current_project_id,
        "outside": outside.id,
        "networks": {name: demo.network.find_network(name, ignore_missing=False).id for name in ADDRESSES},
        "ports": PORT,
        "vnc_port": int(os.environ["VNC_PORT"]),
        "mysql_socket": str(here / "run" / "mysql.sock"),
        "services": {kind: url.partition("%")[0].rstrip("/") for _, kind, url in SERVICES},
    }
    (here / ".lab.json").write_text(json.dumps(described, indent=1))


def user_of(connection):
    return connection.current_user_id


if __name__ == "__main__":
    {"catalogue": catalogue, "hypervisors": hypervisors, "content": content, "ready": ready}[sys.argv[1]]()

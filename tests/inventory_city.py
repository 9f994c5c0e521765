"""A city whose inventory can be exported: two districts with servers in every phase, by plain rows, as many as asked."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session

import quotas
from cloudmgr.domain.ids import new_id
from cloudmgr.models import (
    Backend,
    Flavor,
    Image,
    Network,
    NetworkZone,
    Organization,
    Project,
    ResourceRequest,
    Server,
    Zone,
)
from tests.support import Tree, add_user

ZONE = "政务外网区"
PHONE = "13812345678"
ACTIVATED = datetime(2026, 11, 22, 2, 15, 7, tzinfo=UTC)


@dataclass
class InventoryCity:
    """What servers hang on; `server(...)` gives one more row."""

    session: Session
    tree: Tree
    project: Project
    other: Project
    rows: dict[str, Any]
    made: int = 0

    def server(self, **changes: Any) -> Server:
        """Add a server in service to 芙蓉区民政局; fields may be given."""
        server = Server(**(self._next() | changes))
        self.session.add(server)
        self.session.flush()
        return server

    def many(self, count: int) -> None:
        """Add so many servers in service; the database makes them from the first."""
        first = self.server()
        numbers = sa.select(sa.literal(self.made + 1).label("n")).cte("numbers", recursive=True)
        numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < self.made + count - 1))
        digits = sa.func.substr(sa.cast(numbers.c.n + 1_000_000, sa.String), 2)
        is_sqlite = self.session.get_bind().dialect.name == "sqlite"
        table = sa.inspect(Server).local_table
        fresh = {
            "id": sa.literal_column("lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"),
            "resource_no": sa.literal("430102-VM-") + digits,
            "name": sa.literal("srv-") + digits,
        }
        rows = sa.select(*(fresh.get(column.name, column) for column in table.c)).select_from(
            table.join(numbers, sa.true())
        )
        if count > 1:
            self.session.flush()
            self.session.connection().execute(
                sa.insert(Server).from_select([column.name for column in table.c], rows.where(table.c.id == first.id))
            )
        self.made += count - 1

    def elsewhere(self, **changes: Any) -> Server:
        """Add a server of 岳麓区."""
        place = {"project_id": self.other.id, "organization_id": self.other.organization_id}
        return self.server(**(place | {"resource_no": f"430104-VM-{self.made + 1:06d}"} | changes))

    def _next(self) -> dict[str, Any]:
        self.made += 1
        return self.rows | {
            "resource_no": f"430102-VM-{self.made:06d}",
            "name": f"srv-{self.made:06d}",
            "reservation_id": new_id(),
            "ipv4": [f"10.{self.made // 65536}.{self.made // 256 % 256}.{self.made % 256}"],
        }


def populate(session: Session, tree: Tree) -> InventoryCity:
    """Add what servers hang on: projects, a flavor, an image, a cloud with a zone and a network, a request."""
    user = add_user(session, "applicant", tree.bureau)
    session.add(NetworkZone(name=ZONE, code="gov"))
    flavor = Flavor(name="8C32G", vcpus=8, memory_mib=32768, system_disk_gib=40)
    image = Image(
        name="kylin-v10", title="银河麒麟 V10", os_name="麒麟V10", os_version="V10 SP3(2403)", os_is_xinchuang=True
    )
    backend = Backend(name="kunpeng-a", provider="simulated", tier="city", datacenter="高新区机房", vendor="市云公司")
    session.add_all((flavor, image, backend))
    session.flush()
    zone = Zone(
        backend_id=backend.id, ref="z1", name="kp-zone-1", arch="aarch64", cpu_family="kunpeng", cpu_model="Kunpeng-920",
        cpu_raw="implementer=0x48 part=0xd01", is_xinchuang=True,
    )  # fmt: skip
    network = Network(
        backend_id=backend.id, ref="net", name="net", network_zone=ZONE, cidr_v4="10.0.0.0/8", cidr_v6="fd00::/64"
    )
    session.add_all((zone, network))
    project = _project(session, tree.bureau, "智慧社区综合服务平台")
    other = _project(session, tree.yuelu, "岳麓门户网站")
    request = ResourceRequest(
        kind="create", number="SQ20261122-0001", project_id=project.id, organization_id=tree.bureau.id,
        requester_id=user.id, phase="fulfilled", purpose="业务系统应用服务器",
    )  # fmt: skip
    session.add(request)
    session.flush()
    rows = {
        "project_id": project.id, "organization_id": tree.bureau.id, "request_id": request.id, "phase": "active",
        "state": "running", "arch": "aarch64", "flavor_id": flavor.id, "image_id": image.id, "vcpus": 8,
        "memory_mib": 32768, "system_disk_gib": 40, "data_disk_gib": 0, "network_zone": ZONE, "purpose_kind": "app",
        "playbook": "configure_server", "owner_name": "王芳", "owner_phone": PHONE, "lease_start": date(2026, 11, 22),
        "lease_end": date(2027, 11, 22), "zone_id": zone.id, "backend_id": backend.id, "network_ref": "net",
        "native_ref": "native", "host": "kp-host-3", "cpu_family": "kunpeng", "cpu_model": "Kunpeng-920",
        "is_xinchuang": True, "ipv6": ["FD00:0:0::000a"], "guest": {"kernel": "4.19.90-89"}, "activated_at": ACTIVATED,
        "last_seen_at": ACTIVATED,
    }  # fmt: skip
    return InventoryCity(session, tree, project, other, rows)


def parts(chunks: Iterator[tuple[bytes, int]]) -> tuple[bytes, int]:
    """Return all bytes and the count of lines."""
    gathered = list(chunks)
    return b"".join(chunk for chunk, _ in gathered), sum(rows for _, rows in gathered)


def _project(session: Session, organization: Organization, name: str) -> Project:
    account = new_id()
    quotas.create_account(session, account_id=account, parent_id=organization.account_id, code=name, name=name)
    project = Project(
        organization_id=organization.id, account_id=account, name=name, mlps_level="二级", system_code="ZHSQ",
        project_no="长数〔2026〕12号", owner_name="李雷", owner_phone="13900001111",
    )  # fmt: skip
    session.add(project)
    session.flush()
    return project

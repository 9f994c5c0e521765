"""The demonstration's address plan: one network of the 鲲鹏 pool whose addresses this system chooses, with what such a plan has."""

from sqlmodel import Session

from cloudmgr.domain.access import Actor
from cloudmgr.domain.addresses import IPV4
from cloudmgr.services import catalogue, subnets
from cloudmgr.services.subnets import CreateSubnet, RangeInput, ReserveAddress, UpdateSubnet
from cloudmgr.store import addresses

BACKEND, NETWORK_ZONE = "cs-hcs-kp", "政务外网区"
_POOL = RangeInput(kind="pool", first="10.11.0.10", last="10.11.3.254")
_EXCLUDED = RangeInput(
    kind="excluded", first="10.11.0.100", last="10.11.0.119", reason="运维堡垒机与监控探针，不得分配"
)
_RESERVED = (("10.11.0.20", "短信网关虚拟IP"), ("10.11.0.21", "负载均衡虚拟IP"))
_SPARE = CreateSubnet(network_zone="管理区", cidr="198.51.100.0/26", name="带外管理（仅登记）", gateway="198.51.100.1")


def seed_networks(session: Session, actor: Actor) -> None:
    """Take the addresses of one network into our own hands, once; a cloud that was not seen yet is left as it is."""
    if addresses.by_cidr(session, _SPARE.network_zone, _SPARE.cidr) is not None:
        return
    subnets.create_subnet(session, actor, _SPARE)
    rows, _ = catalogue.list_networks(session, actor, backend=BACKEND, network_zone=NETWORK_ZONE, limit=1)
    for view in rows:
        found, _ = subnets.list_subnets(session, actor, network_id=view.network.id, family=IPV4)
        for each in found[:1]:
            subnets.update_subnet(
                session, actor, each.subnet.id, UpdateSubnet(is_managed=True, ranges=[_POOL, _EXCLUDED])
            )
            for address, purpose in _RESERVED:
                subnets.reserve_address(
                    session, actor, each.subnet.id, ReserveAddress(address=address, purpose=purpose)
                )

"""EC2's API in full: token by tag and client token, exact disks, addresses, ports, volumes, evidence."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from cloudmgr.domain.messages import N_
from providers.base import (
    AddressObservation,
    CloudQuotaObservation,
    ImageObservation,
    NetworkObservation,
    PortRule,
    PowerState,
    PublicAddressObservation,
    ResourceObservation,
    ServerObservation,
    ServerSpec,
    VolumeObservation,
    VolumeSpec,
    ZoneObservation,
)
from providers.errors import Busy, Unsupported
from providers.libcloud import zones
from providers.libcloud.dialect import Dialect
from providers.libcloud.ec2 import addresses, disks, evidence, images, ports, servers
from providers.libcloud.ec2.objects import Instance, get, instances, observe, subnets, volumes
from providers.libcloud.ec2.wire import Wire, items, text
from providers.libcloud.options import Zone

_QUOTAS = {"max-instances": "servers", "vpc-max-elastic-ips": "public_ips"}


class Ec2(Dialect):
    """Reads everything by `Describe…` pages of its own, and changes by one request at a time."""

    def unable(self) -> frozenset[str]:
        """Return nothing: EC2 has all that the provider's class names."""
        return frozenset()

    def check(self, driver: Any) -> str:
        """Return the API's version, region and number of availability zones."""
        count = len(self._locations(Wire(driver)))
        return f"EC2 API {driver.connection.version}, {driver.region_name or driver.name}, {count} availability zones"

    def list_zones(self, driver: Any) -> list[ZoneObservation]:
        return zones.observe(self.options, self._locations(Wire(driver)))

    def list_images(self, driver: Any) -> list[ImageObservation]:
        return [image.as_observed() for image in images.usable(Wire(driver), self.options)]

    def list_networks(self, driver: Any) -> list[NetworkObservation]:
        """Return every subnet, and last the pool that public addresses come from."""
        wire = Wire(driver)
        known = self._zones(wire)
        found = [
            NetworkObservation(
                ref=subnet.ref,
                name=subnet.name,
                cidr_v4=subnet.cidr_v4,
                cidr_v6=subnet.cidr_v6,
                gateway_v4=subnet.gateway_v4,
                zones=tuple(zone.ref for zone in known if zone.location == subnet.location),
                subnets=subnet.as_observed(),
            )
            for subnet in subnets(wire)
        ]
        served = [network for network in found if network.zones]  # a network of no zone would be taken for one of all
        return [*served, NetworkObservation(addresses.ELASTIC, "Elastic IP", is_external=True)]

    def list_servers(self, driver: Any) -> Iterator[ServerObservation]:
        wire = Wire(driver)
        found = list(instances(wire))
        return self._observe(wire, found, list(volumes(wire)) if found else [])

    def create_server(self, driver: Any, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        wire = Wire(driver)
        image = images.one(wire, self.options, spec.image)
        zone, observed = zones.check(spec, self._zones(wire), [image.as_observed()] if image else [])
        size = self.sizes.match(driver, spec.arch, vcpus=spec.vcpus, memory_mib=spec.memory_mib)
        found = servers.find(wire, token)
        if found is not None and found.state == "shutting-down":
            raise Busy(N_("An earlier server of this request is still being removed; try again shortly."))
        if found is None:
            subnet = servers.subnet_for(wire, spec, zone, self.options)
            servers.check_addresses(wire, subnet, spec.addresses)
            found = servers.launch(
                wire,
                spec,
                token,
                zone=zone,
                image=observed,
                root_device=image.root_device if image else "",
                size=size,
                subnet=subnet,
                options=self.options,
            )
        return self._one(wire, found)

    def find_server(self, driver: Any, token: uuid.UUID) -> ServerObservation | None:
        """Return the instance; without one, what there is of a server as half-built (ERROR)."""
        wire = Wire(driver)
        found = servers.find(wire, token)
        if found is not None:
            return self._one(wire, found)
        return self._left(wire, token)

    def get_server(self, driver: Any, ref: str) -> ServerObservation:
        wire = Wire(driver)
        if ref.startswith(servers.LEFT):
            try:
                left = self._left(wire, uuid.UUID(ref.removeprefix(servers.LEFT)))
            except ValueError:
                left = None
            if left is not None:
                return left
        return self._one(wire, get(wire, ref))

    def delete_server(self, driver: Any, ref: str) -> None:
        servers.remove(Wire(driver), ref)

    def start_server(self, driver: Any, ref: str) -> None:
        wire = Wire(driver)
        if get(wire, ref).state not in ("running", "pending"):
            wire.ask("StartInstances", {"InstanceId.1": ref})

    def stop_server(self, driver: Any, ref: str) -> None:
        wire = Wire(driver)
        if get(wire, ref).state not in ("stopped", "stopping"):
            wire.ask("StopInstances", {"InstanceId.1": ref})

    def reboot_server(self, driver: Any, ref: str) -> None:
        wire = Wire(driver)
        if get(wire, ref).state != "running":
            raise Unsupported(N_("Only a running server can be restarted."))
        wire.ask("RebootInstances", {"InstanceId.1": ref})

    def resize_server(self, driver: Any, ref: str, vcpus: int, memory_mib: int) -> None:
        wire = Wire(driver)
        found = get(wire, ref)
        has = self.sizes.all(driver).get(found.type)
        if has is not None and (has.vcpus, has.memory_mib) == (vcpus, memory_mib):
            return
        if found.state != "stopped":
            raise Unsupported(N_("A server of this cloud changes its size only while it is off."), detail=found.state)
        if found.arch is None:
            raise Unsupported(N_("The cloud does not support this for this object."), detail="unknown architecture")
        size = self.sizes.match(driver, found.arch, vcpus=vcpus, memory_mib=memory_mib)
        wire.ask("ModifyInstanceAttribute", {"InstanceId": ref, "InstanceType.Value": size.ref})

    def create_volume(self, driver: Any, spec: VolumeSpec, token: uuid.UUID) -> VolumeObservation:
        wire = Wire(driver)
        known = self._zones(wire)
        return disks.observe(disks.create(wire, spec, token, known, self.options), known)

    def find_volume(self, driver: Any, token: uuid.UUID) -> VolumeObservation | None:
        wire = Wire(driver)
        found = disks.find(wire, token)
        return None if found is None else disks.observe(found, self._zones(wire))

    def list_volumes(self, driver: Any) -> Iterator[VolumeObservation]:
        wire = Wire(driver)
        known = self._zones(wire)
        return (disks.observe(one, known) for one in list(disks.standing(wire)))

    def attach_volume(self, driver: Any, ref: str, server: str) -> None:
        disks.attach(Wire(driver), ref, server)

    def detach_volume(self, driver: Any, ref: str) -> None:
        disks.detach(Wire(driver), ref)

    def delete_volume(self, driver: Any, ref: str) -> None:
        disks.delete(Wire(driver), ref)

    def list_addresses(self, driver: Any, network: str) -> list[AddressObservation]:
        return addresses.in_use(Wire(driver), network)

    def set_port_rules(self, driver: Any, ref: str, rules: Sequence[PortRule]) -> None:
        ports.set_rules(Wire(driver), ref, rules)

    def list_port_rules(self, driver: Any, ref: str) -> list[PortRule]:
        return ports.list_rules(Wire(driver), ref)

    def assign_public_address(self, driver: Any, ref: str, token: uuid.UUID) -> PublicAddressObservation:
        return addresses.assign(Wire(driver), ref, token)

    def find_public_address(self, driver: Any, token: uuid.UUID) -> PublicAddressObservation | None:
        return addresses.find(Wire(driver), token)

    def release_public_address(self, driver: Any, token: uuid.UUID) -> None:
        addresses.release(Wire(driver), token)

    def list_resources(self, driver: Any, token: uuid.UUID | None) -> list[ResourceObservation]:
        wire = Wire(driver)
        return list(evidence.without_owner(wire) if token is None else evidence.of_token(wire, token))

    def still_there(self, driver: Any, resources: Sequence[ResourceObservation]) -> list[ResourceObservation]:
        return evidence.still_there(Wire(driver), resources)

    def read_quota(self, driver: Any) -> list[CloudQuotaObservation]:
        """Return how many instances and elastic addresses the account may have."""
        wire = Wire(driver)
        limits = {
            _QUOTAS.get(text(one, "attributeName") or ""): text(one, "attributeValueSet/item/attributeValue")
            for one in wire.find("DescribeAccountAttributes", "accountAttributeSet/item")
        }
        used = {"servers": sum(1 for _ in instances(wire)), "public_ips": sum(1 for _ in addresses.elastic(wire))}
        return [
            CloudQuotaObservation(name, count, int(said) if (said := limits.get(name) or "").isdigit() else None)
            for name, count in used.items()
        ]

    def _locations(self, wire: Wire) -> list[str]:
        answer = wire.ask("DescribeAvailabilityZones")
        return [
            text(item, "zoneName") or ""
            for item in items(answer, "availabilityZoneInfo/item")
            if text(item, "zoneState") in ("available", None)
        ]

    def _zones(self, wire: Wire) -> list[Zone]:
        return zones.zones_of(self.options, () if self.options.zones else self._locations(wire))

    def _observe(self, wire: Wire, found: list[Instance], disks_of_them: list[Any]) -> Iterator[ServerObservation]:
        return observe(found, disks_of_them, self._zones(wire), self.sizes.all(wire.driver))

    def _one(self, wire: Wire, found: Instance) -> ServerObservation:
        return next(self._observe(wire, [found], list(volumes(wire, {"attachment.instance-id": found.ref}))))

    def _left(self, wire: Wire, token: uuid.UUID) -> ServerObservation | None:
        left = servers.left(wire, token)
        if not left:
            return None
        return ServerObservation(
            ref=f"{servers.LEFT}{token}",
            name=servers.group_name(token),
            power=PowerState.ERROR,
            native_state=f"no instance, but {', '.join(left)}",
            token=token,
        )

"""Libcloud's standard calls and no other: what every compute driver has, for clouds without a dialect of their own.

The token is the end of the server's name, the one thing that every cloud keeps. There is no client token, so after a create
we look again, and the younger of two takes itself away.
"""

import ipaddress
import uuid
from collections.abc import Iterator
from typing import Any

from libcloud.compute.base import NodeAuthSSHKey
from libcloud.compute.types import NodeState

from cloudmgr.domain.architectures import Architecture, normalise
from cloudmgr.domain.errors import Refusal
from cloudmgr.domain.messages import N_
from providers.base import (
    ImageObservation,
    NetworkObservation,
    PowerState,
    ServerObservation,
    ServerSpec,
    ZoneObservation,
)
from providers.errors import Busy, InvalidSpec, NotFound, Unsupported
from providers.libcloud import zones
from providers.libcloud.connection import accepts, implements
from providers.libcloud.dialect import Dialect, unsupported
from providers.libcloud.errors import translated
from providers.libcloud.options import Zone
from providers.libcloud.userdata import cloud_config

NAME_LIMIT = 63
_POWER = {
    NodeState.RUNNING: PowerState.RUNNING,
    NodeState.STARTING: PowerState.BUILDING,
    NodeState.PENDING: PowerState.BUILDING,
    NodeState.RECONFIGURING: PowerState.BUILDING,
    NodeState.UPDATING: PowerState.BUILDING,
    NodeState.MIGRATING: PowerState.RUNNING,
    NodeState.REBOOTING: PowerState.RUNNING,
    NodeState.STOPPING: PowerState.RUNNING,
    NodeState.STOPPED: PowerState.STOPPED,
    NodeState.SUSPENDED: PowerState.PAUSED,
    NodeState.PAUSED: PowerState.PAUSED,
    NodeState.ERROR: PowerState.ERROR,
}
_USER_DATA = ("ex_userdata", "ex_user_data", "userdata", "user_data", "ex_customdata")


def name_of(spec: ServerSpec, token: uuid.UUID) -> str:
    """Return the name at the cloud: ours, shortened, and the token."""
    return f"{spec.name[: NAME_LIMIT - 33].rstrip('-.')}-{token.hex}"


def token_of(name: str) -> uuid.UUID | None:
    """Return the token at the end of a name."""
    stem, _, end = (name or "").rpartition("-")
    try:
        return uuid.UUID(hex=end) if stem and len(end) == 32 and end == end.lower() else None  # noqa: PLR2004 - hex digits
    except ValueError:
        return None


class Plain(Dialect):
    """A cloud by Libcloud's standard API; power where the driver has start, stop and reboot."""

    def unable(self) -> frozenset[str]:
        """Return all that the standard API has no calls for, or none by which it could be done twice and be once."""
        rest = {"resize", "volumes", "fixed_addresses", "port_rules", "public_ips", "evidence", "cloud_quota"}
        has_power = implements(self.driver_class, "start_node", "stop_node", "reboot_node")
        return frozenset(rest if has_power else rest | {"power"})

    def check(self, driver: Any) -> str:
        return f"{driver.name} by Libcloud, {len(driver.list_locations())} locations"

    def list_zones(self, driver: Any) -> list[ZoneObservation]:
        return zones.observe(self.options, self._locations(driver))

    def list_images(self, driver: Any) -> list[ImageObservation]:
        """Return the images the settings name, as far as the cloud has them."""
        if not self.options.images:
            return []
        there = {str(image.id): image for image in self._native_images(driver)}
        return [
            ImageObservation(
                image.ref, image.name, _arch(there[image.ref], image.arch), image.min_disk_gib, image.digest
            )
            for image in self.options.images
            if image.ref in there
        ]

    def list_networks(self, driver: Any) -> list[NetworkObservation]:  # noqa: ARG002 - the standard API has no networks
        """Return the networks of the settings: the standard API has no word for them."""
        return [
            NetworkObservation(
                ref=one.ref, name=one.name, cidr_v4=one.cidr_v4, gateway_v4=one.gateway_v4, zones=tuple(one.zones)
            )
            for one in self.options.networks
        ]

    def list_servers(self, driver: Any) -> Iterator[ServerObservation]:
        known, sizes = self._zones(driver), self.sizes.all(driver)
        return (self._observe(node, known, sizes) for node in self._nodes(driver))

    def create_server(self, driver: Any, spec: ServerSpec, token: uuid.UUID) -> ServerObservation:
        known = self._zones(driver)
        natives = {str(image.id): image for image in self._native_images(driver)} if self.options.images else {}
        zone, image = zones.check(spec, known, self.list_images(driver))
        if spec.data_disk_gib or spec.addresses:
            raise InvalidSpec(N_("This cloud gives its servers one disk and addresses of its own choice."))
        size = self.sizes.match(
            driver, spec.arch, vcpus=spec.vcpus, memory_mib=spec.memory_mib, disk_gib=spec.system_disk_gib
        )
        arguments = {**self.options.create_arguments, **self._network(spec), **self._login(spec)}
        found = self._find(driver, token)
        if found is None:
            if accepts(self.driver_class.create_node, "location"):  # else the driver knows one location only
                there = driver.list_locations()
                arguments["location"] = next(one for one in there if zone.location in (str(one.name), str(one.id)))
            with translated(write=True):
                found = driver.create_node(
                    name=name_of(spec, token),
                    size=size.native,
                    image=natives[image.ref],
                    **arguments,
                )
            self._yield_to_rivals(driver, token, found)
        return self._observe(found, known, self.sizes.all(driver))

    def find_server(self, driver: Any, token: uuid.UUID) -> ServerObservation | None:
        found = self._find(driver, token)
        return None if found is None else self._observe(found, self._zones(driver), self.sizes.all(driver))

    def get_server(self, driver: Any, ref: str) -> ServerObservation:
        return self._observe(self._get(driver, ref), self._zones(driver), self.sizes.all(driver))

    def delete_server(self, driver: Any, ref: str) -> None:
        try:
            found = self._get(driver, ref)
        except NotFound:
            return
        with translated(write=True):
            driver.destroy_node(found)

    def start_server(self, driver: Any, ref: str) -> None:
        self._power(driver, ref, "start_node", unless=PowerState.RUNNING)

    def stop_server(self, driver: Any, ref: str) -> None:
        self._power(driver, ref, "stop_node", unless=PowerState.STOPPED)

    def reboot_server(self, driver: Any, ref: str) -> None:
        self._power(driver, ref, "reboot_node", unless=None)

    def _power(self, driver: Any, ref: str, method: str, *, unless: PowerState | None) -> None:
        if "power" in self.unable():
            raise unsupported()
        node = self._get(driver, ref)
        power = _POWER.get(node.state, PowerState.UNKNOWN)
        if unless is None and power is not PowerState.RUNNING:
            raise Unsupported(N_("Only a running server can be restarted."))
        if unless is None or power is not unless:
            with translated(write=True):
                getattr(driver, method)(node)

    def _yield_to_rivals(self, driver: Any, token: uuid.UUID, mine: Any) -> None:
        """Take my server away unless it is older than every other of the token: they may be known to somebody already."""
        there = [node for node in self._nodes(driver) if token_of(node.name) == token]
        born = next((node.created_at for node in there if node.id == mine.id), None) or mine.created_at
        others = [node for node in there if node.id != mine.id]
        if any(born is None or node.created_at is None or node.created_at <= born for node in others):
            with translated(write=True):
                driver.destroy_node(mine)
            raise Busy(N_("Another call is building the same server; try again shortly."), detail=f"{mine.id}")

    def _network(self, spec: ServerSpec) -> dict[str, Any]:
        asked = spec.networks or ((self.options.default_network,) if self.options.default_network else ())
        known = {network.ref: network for network in self.options.networks}
        given: dict[str, Any] = {}
        for ref in asked:
            if ref not in known or (known[ref].zones and spec.zone not in known[ref].zones):
                raise InvalidSpec(
                    N_("This cloud does not offer the network asked for in zone {zone}."), detail=ref, zone=spec.zone
                )
            given |= known[ref].arguments
        return given

    def _login(self, spec: ServerSpec) -> dict[str, Any]:
        """Return how the driver is told of the login user and its keys: as user data, or as one key."""
        create = self.driver_class.create_node
        for name in _USER_DATA:
            if accepts(create, name):
                return {name: cloud_config(spec)}
        features = getattr(self.driver_class, "features", {}).get("create_node", [])
        if "ssh_key" in features and len(spec.ssh_keys) == 1:
            return {"auth": NodeAuthSSHKey(spec.ssh_keys[0])}
        if spec.ssh_keys:
            raise InvalidSpec(N_("The public keys of this server are too many for the cloud to pass on."))
        return {}

    def _nodes(self, driver: Any) -> list[Any]:
        return [node for node in driver.list_nodes() if node.state != NodeState.TERMINATED]

    def _find(self, driver: Any, token: uuid.UUID) -> Any | None:
        found = [node for node in self._nodes(driver) if token_of(node.name) == token]
        return min(found, key=lambda node: (str(node.created_at), str(node.id))) if found else None

    def _get(self, driver: Any, ref: str) -> Any:
        found = next((node for node in self._nodes(driver) if str(node.id) == ref), None)
        if found is None:
            raise NotFound(N_("There is no such object in this cloud."), detail=f"node {ref[:100]}")
        return found

    def _native_images(self, driver: Any) -> list[Any]:
        """Return the named images; a driver that can be asked for one is not asked for all."""
        if accepts(driver.list_images, "ex_image_ids"):
            return list(driver.list_images(ex_image_ids=[image.ref for image in self.options.images]))
        return list(driver.list_images())

    def _locations(self, driver: Any) -> list[str]:
        return list(dict.fromkeys(name for one in driver.list_locations() for name in (str(one.name), str(one.id))))

    def _zones(self, driver: Any) -> list[Zone]:
        if self.options.zones:
            return list(self.options.zones)
        return zones.zones_of(self.options, [str(one.name) for one in driver.list_locations()])

    def _observe(self, node: Any, known: list[Zone], sizes: dict[str, Any]) -> ServerObservation:
        extra = node.extra or {}
        told = [
            getattr(node.size, "id", None),
            *(extra.get(key) for key in ("instance_type", "size", "size_id", "type")),
        ]
        size = next((sizes[str(one)] for one in told if str(one) in sizes), None)
        arch = _arch(node, size.arch if size else None)
        places = [extra.get(key) for key in ("availability", "location", "zone", "region", "datacenter", "zone_id")]
        located = [zone for zone in known if zone.location in [str(place) for place in places]]
        if arch is None and len({zone.arch for zone in located}) == 1:
            arch = located[0].arch
        addresses = [ipaddress.ip_address(one) for one in dict.fromkeys((*node.private_ips, *node.public_ips)) if one]
        return ServerObservation(
            ref=str(node.id),
            name=node.name or str(node.id),
            power=_POWER.get(node.state, PowerState.UNKNOWN),
            native_state=str(extra.get("status") or extra.get("state") or node.state),
            token=token_of(node.name),
            arch=arch,
            vcpus=size.vcpus if size else None,
            memory_mib=size.memory_mib if size else None,
            system_disk_gib=size.disk_gib if size else None,
            data_disk_gib=0 if size else None,
            zone=next((zone.ref for zone in located if zone.arch is arch), None),
            image=str(extra.get("image_id") or getattr(node.image, "id", "") or "") or None,
            ipv4=tuple(str(one) for one in addresses if one.version == 4),  # noqa: PLR2004 - IPv4
            ipv6=tuple(str(one) for one in addresses if one.version == 6),  # noqa: PLR2004 - IPv6
            created_at=node.created_at,
        )


def _arch(native: Any, stated: Architecture | None) -> Architecture | None:
    """Return what the cloud says of a node or image; where it says nothing, what the settings say; never both apart."""
    extra = getattr(native, "extra", None) or {}
    said = next((extra[key] for key in ("architecture", "arch", "Architecture") if extra.get(key)), None)
    if said is None:
        return stated
    try:
        told = normalise(str(said))
    except Refusal:
        return None
    return told if stated in (None, told) else None

"""Applying the catalogue: network zones, backends, flavors, images, zones, networks, by the ordinary use cases."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import addresses
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_
from cloudmgr.domain.units import gib_to_mib
from cloudmgr.models import Backend, Flavor, Image
from cloudmgr.services import backends, flavors, images, network_zones, networks, subnets, zones
from cloudmgr.services.apply_file import (
    ApplyFile,
    BackendEntry,
    FlavorEntry,
    ImageEntry,
    NetworkEntry,
    NetworkZoneEntry,
    SubnetEntry,
    ZoneEntry,
)
from cloudmgr.services.apply_report import ApplyReport, Findings, upsert
from cloudmgr.services.apply_tree import TreeApplier
from cloudmgr.services.inputs import Input
from cloudmgr.store import addresses as address_store
from cloudmgr.store import catalogue as store
from cloudmgr.store import zones as zone_store

_Update = Callable[[Session, Actor, uuid.UUID, Any], Any]


@dataclass(slots=True)
class CatalogueApplier:
    """One apply's writes to the catalogue."""

    session: Session
    actor: Actor
    report: ApplyReport
    findings: Findings
    tree: TreeApplier

    def dictionary(self, file: ApplyFile) -> None:
        """Apply network zones, which everything else names."""
        for index, entry in enumerate(file.network_zones):
            with self.findings.at("network_zones", index):
                self._network_zone(entry)

    def run(self, file: ApplyFile) -> None:
        """Apply the other sections, each after those it names."""
        steps: Mapping[str, Callable[[Any], None]] = {
            "backends": self._backend,
            "flavors": self._flavor,
            "images": self._image,
            "zones": self._zone,
            "networks": self._network,
            "subnets": self._subnet,
        }
        for section, step in steps.items():
            for index, entry in enumerate(getattr(file, section)):
                with self.findings.at(section, index):
                    step(entry)

    def _network_zone(self, entry: NetworkZoneEntry) -> None:
        existing = store.network_zone(self.session, entry.name)
        create = entry.model_dump(exclude_unset=True, exclude={"is_active"})
        update = entry.model_dump(exclude_unset=True, exclude={"name"})
        self._upsert(
            "network_zones",
            entry.name,
            existing,
            lambda: network_zones.create_network_zone(
                self.session, self.actor, network_zones.CreateNetworkZone.model_validate(create)
            ),
            (network_zones.update_network_zone, network_zones.UpdateNetworkZone, update),
        )

    def _backend(self, entry: BackendEntry) -> None:
        existing = store.by_name(self.session, Backend, entry.name)
        if existing is not None and existing.provider != entry.provider:
            raise InvalidInput(
                N_("{name} is of the provider {provider} already; that cannot change."),
                field="provider",
                name=entry.name,
                provider=existing.provider,
            )
        given = entry.model_dump(mode="json", exclude_none=True, exclude={"owner", "shared_with"})
        if entry.owner is not None:
            given["owner_organization"] = str(self.tree.organization(entry.owner, "owner").id)
        if entry.shared_with is not None:
            given["shared_with"] = [
                str(self.tree.organization(code, f"shared_with[{at}]").id) for at, code in enumerate(entry.shared_with)
            ]
        self._upsert(
            "backends",
            entry.name,
            existing,
            lambda: backends.create_backend(self.session, self.actor, backends.CreateBackend.model_validate(given)),
            (backends.update_backend, backends.UpdateBackend, _without(given, "name", "provider")),
        )

    def _flavor(self, entry: FlavorEntry) -> None:
        given = entry.model_dump(exclude_none=True, exclude={"memory_gib"})
        if entry.memory_gib is not None:
            given["memory_mib"] = gib_to_mib(entry.memory_gib)
        self._upsert(
            "flavors",
            entry.name,
            store.by_name(self.session, Flavor, entry.name),
            lambda: flavors.create_flavor(self.session, self.actor, flavors.CreateFlavor.model_validate(given)),
            (flavors.update_flavor, flavors.UpdateFlavor, _without(given, "name")),
        )

    def _image(self, entry: ImageEntry) -> None:
        given = entry.model_dump(exclude_none=True)
        self._upsert(
            "images",
            entry.name,
            store.by_name(self.session, Image, entry.name),
            lambda: images.create_image(self.session, self.actor, images.CreateImage.model_validate(given)),
            (images.update_image, images.UpdateImage, _without(given, "name")),
        )

    def _zone(self, entry: ZoneEntry) -> None:
        backend = backends.require_backend(self.session, entry.backend)
        existing = zone_store.by_ref(self.session, backend.id, entry.ref)
        given = entry.model_dump(mode="json", exclude_none=True, exclude={"overcommit"})
        if entry.overcommit is not None:
            given["ratio_pct"] = {resource: round(ratio * 100) for resource, ratio in entry.overcommit.items()}
        if existing is None and entry.arch is None:
            raise InvalidInput(
                N_("{backend} has shown no zone {ref} yet; sync it first, or give the zone's arch to make it now."),
                field="ref",
                backend=backend.name,
                ref=entry.ref,
            )
        self._upsert(
            "zones",
            f"{backend.name}/{entry.ref}",
            existing,
            lambda: zones.create_zone(
                self.session, self.actor, zones.CreateZone.model_validate({"name": entry.ref[:64], **given})
            ),
            (zones.update_zone, zones.UpdateZone, _without(given, "backend", "ref", "name", "arch", "cpu_family")),
        )

    def _network(self, entry: NetworkEntry) -> None:
        backend = backends.require_backend(self.session, entry.backend)
        given = entry.model_dump(exclude_none=True)
        self._upsert(
            "networks",
            f"{backend.name}/{entry.ref}",
            zone_store.network_by_ref(self.session, backend.id, entry.ref),
            lambda: networks.create_network(
                self.session, self.actor, networks.CreateNetwork.model_validate({"name": entry.ref[:100], **given})
            ),
            (networks.update_network, networks.UpdateNetwork, _without(given, "backend", "ref")),
        )

    def _subnet(self, entry: SubnetEntry) -> None:
        given = entry.model_dump(exclude_none=True, exclude={"backend", "network"})
        if entry.network is not None:
            backend = backends.require_backend(self.session, entry.backend or "")
            network = zone_store.network_by_ref(self.session, backend.id, entry.network)
            if network is None:
                raise InvalidInput(
                    N_("{backend} has no network {ref}; name it under networks, or sync it first."),
                    field="network",
                    backend=backend.name,
                    ref=entry.network,
                )
            given["network"] = str(network.id)
        cidr = addresses.parse_subnet(entry.cidr, field="cidr")
        self._upsert(
            "subnets",
            f"{entry.network_zone} {cidr}",
            address_store.by_cidr(self.session, entry.network_zone, str(cidr)),
            lambda: subnets.create_subnet(self.session, self.actor, subnets.CreateSubnet.model_validate(given)),
            (subnets.update_subnet, subnets.UpdateSubnet, _without(given, "network_zone", "cidr")),
        )

    def _upsert(
        self,
        kind: str,
        name: str,
        existing: Any,
        create: Callable[[], Any],
        change: tuple[_Update, type[Input], Mapping[str, Any]],
    ) -> None:
        update, command, fields = change
        upsert(
            self.report,
            kind,
            name,
            exists=existing is not None,
            create=create,
            update=lambda apply: update(
                self.session, self.actor, existing.id, command.model_validate(fields if apply else {})
            ),
        )


def _without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}

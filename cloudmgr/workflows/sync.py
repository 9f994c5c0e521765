"""What a backend says of itself: health, zones, networks, images; seen from outside, written in one transaction."""

import logging
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlmodel import Session, col, select

from cloudmgr.domain import clock, freshness
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import Health, Tier
from cloudmgr.models import (
    Backend,
    BackendShare,
    Image,
    ImageVariant,
    Network,
    NetworkZone,
    Organization,
    Zone,
    ZoneInventory,
    ZoneNetworkZone,
)
from cloudmgr.services import audit
from cloudmgr.store import addresses, discovery
from cloudmgr.workflows import looks, sections
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from providers.base import NetworkObservation
from providers.capabilities import capabilities

logger = logging.getLogger(__name__)

SLOW_S = 5.0
"""A backend that needs longer to answer is degraded."""


def observe(backend: str) -> Outcome:
    """Ask a backend for its version, zones, networks and images, with a deadline; plain JSON."""

    def deed() -> dict[str, Any]:
        began = time.monotonic()
        provider = runtime().provider(backend)
        version = provider.check()
        zones = [
            {
                "ref": zone.ref,
                "name": zone.name,
                "arch": zone.arch.value,
                "cpu_family": zone.cpu.family.value,
                "cpu_model": zone.cpu.model,
                "cpu_raw": zone.cpu.raw,
                "is_xinchuang": zone.cpu.is_xinchuang,
                "totals": {"vcpus": zone.vcpus, "memory_mib": zone.memory_mib, "disk_gib": zone.disk_gib},
                "hosts": zone.hosts,
                "available": zone.available,
            }
            for zone in provider.list_zones()
        ]
        networks = [
            {
                "ref": network.ref,
                "name": network.name,
                "cidr_v4": network.cidr_v4,
                "cidr_v6": network.cidr_v6,
                "gateway_v4": network.gateway_v4,
                "zones": list(network.zones),
                "is_external": network.is_external,
                "subnets": _subnets(network),
            }
            for network in provider.list_networks()
        ]
        images = [
            {
                "ref": image.ref,
                "name": image.name,
                "arch": image.arch.value if image.arch is not None else None,
                "min_disk_gib": image.min_disk_gib,
                "digest": image.digest,
            }
            for image in provider.list_images()
        ]
        return {
            "version": version,
            "zones": zones,
            "networks": networks,
            "images": images,
            "capabilities": capabilities(provider),
            "rehearses": provider.rehearses,
            "seconds": time.monotonic() - began,
        }

    return attempt(lambda: looks.within(backend, runtime().settings.worker.health_timeout_s, deed))


def may_ask(session: Session, name: str) -> bool:
    """Whether a backend that kept failing may be asked again; the one who is told so asks on behalf of all (half open)."""
    row = session.exec(select(Backend).where(Backend.name == name)).first()
    if row is None or row.retry_at is None:
        return True
    now = clock.now()
    if row.retry_at > now:
        return False
    until = now + timedelta(seconds=runtime().settings.worker.health_timeout_s)
    claimed = session.execute(
        sa.update(Backend)
        .where(col(Backend.id) == row.id, col(Backend.retry_at) == row.retry_at)
        .values(retry_at=until)
        .execution_options(synchronize_session=False)
    )
    return int(claimed.rowcount) == 1  # type: ignore[attr-defined]


def _subnets(network: NetworkObservation) -> list[dict[str, Any]]:
    """Return the ranges of a network, from its subnets where the backend tells them."""
    if network.subnets:
        return [
            {"cidr": each.cidr, "gateway": each.gateway, "dns": list(each.dns), "name": each.name}
            for each in network.subnets
        ]
    whole = ((network.cidr_v4, network.gateway_v4), (network.cidr_v6, None))
    return [{"cidr": cidr, "gateway": gateway, "dns": [], "name": ""} for cidr, gateway in whole if cidr]


def declare(session: Session, section: dict[str, Any]) -> Backend:
    """Make or refresh a backend's row from its section of the settings; what people set through the API is left alone.

    A new one whose owner nobody knows takes no servers until somebody names its owner and enables it: without an owner it
    would be the whole city's.

    Raises:
        InvalidInput: the section is not acceptable.
    """
    sections.require_good(section)
    backend = session.exec(select(Backend).where(Backend.name == section["name"])).first()
    if backend is None:
        backend = Backend(
            name=section["name"],
            title=section.get("title", ""),
            provider=section["provider"],
            tier=Tier(section.get("tier", Tier.CITY)).value,
            datacenter=section.get("datacenter", "-"),
            vendor=section.get("vendor"),
            expected_offline_hours=int(section.get("expected_offline_hours", 0)),
            owner_organization_id=_organization(session, section.get("owner")),
        )
        if section.get("owner") is not None and backend.owner_organization_id is None:
            backend.is_enabled = False
            logger.error(
                "cloud %s takes no servers: its owner %s is no organization here", backend.name, section["owner"]
            )
        session.add(backend)
        session.flush()
        for code in section.get("shared_with", ()):
            shared = _organization(session, code)
            if shared is not None:
                session.add(BackendShare(backend_id=backend.id, organization_id=shared))
    backend.provider = section["provider"]
    backend.is_configured = True
    session.add(backend)
    session.flush()
    return backend


def _organization(session: Session, code: str | None) -> uuid.UUID | None:
    if code is None:
        return None
    return session.exec(select(Organization.id).where(Organization.code == code)).first()


def record(session: Session, name: str, seen: Outcome) -> None:
    """Write what was seen. Without an answer everything known is kept, and the backend is marked with time and reason."""
    backend = declare(session, dict(runtime().options(name)))
    checked_before, backend.checked_at = backend.checked_at, clock.now()
    if not seen["ok"]:
        backend.health = Health.DOWN.value
        backend.health_message = seen["message"]
        _count_failure(session, backend, checked_before)
        return
    _forget_failures(session, backend)
    facts = seen["result"]
    slow = facts["seconds"] > SLOW_S
    backend.health = (Health.DEGRADED if slow else Health.OK).value
    backend.health_message = (
        Message(N_("It took {seconds} s to answer."), {"seconds": round(facts["seconds"])}).as_json() if slow else None
    )
    backend.last_seen_at = clock.now()
    backend.version = facts["version"][:200]
    backend.capabilities = facts["capabilities"]
    backend.rehearses = facts["rehearses"]
    session.add(backend)
    _record_zones(session, backend, facts["zones"])
    _record_networks(session, backend, facts["networks"])
    _record_images(session, backend, [image for image in facts["images"] if image["arch"] is not None])
    discovery.note_images(session, backend.id, facts["images"], clock.now())


def _count_failure(session: Session, backend: Backend, checked_before: datetime | None) -> None:
    """Leave a backend that keeps failing in peace for a while, and raise the alarm once, when it should not be away."""
    now = clock.now()
    backend.failures += 1
    rest_s = freshness.rest_s(backend.failures)
    backend.retry_at = now + timedelta(seconds=rest_s) if rest_s is not None else None
    session.add(backend)
    if backend.failures < freshness.PATIENCE:
        return
    was_alarming = backend.failures > freshness.PATIENCE and _is_alarming(backend, checked_before or now)
    if _is_alarming(backend, now) and not was_alarming:
        _tell(session, backend, Event.BACKEND_AWAY, Ended.FAILURE)


def _forget_failures(session: Session, backend: Backend) -> None:
    if backend.failures >= freshness.PATIENCE and _is_alarming(backend, clock.now()):
        _tell(session, backend, Event.BACKEND_BACK, Ended.SUCCESS)
    backend.failures, backend.retry_at = 0, None


def _is_alarming(backend: Backend, at: datetime) -> bool:
    return freshness.is_alarming(backend.last_seen_at, now=at, expected_offline_hours=backend.expected_offline_hours)


def _tell(session: Session, backend: Backend, event: Event, outcome: Ended) -> None:
    owner = session.get(Organization, backend.owner_organization_id) if backend.owner_organization_id else None
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="backend",
        object_id=backend.id,
        object_name=backend.name,
        organization_path=owner.path if owner else None,
        outcome=outcome,
        failures=backend.failures,
    )


def _record_zones(session: Session, backend: Backend, zones: list[dict[str, Any]]) -> None:
    known = {zone.ref: zone for zone in session.exec(select(Zone).where(Zone.backend_id == backend.id))}
    for seen in zones:
        zone = known.pop(seen["ref"], None)
        if zone is None:
            zone = Zone(
                backend_id=backend.id,
                ref=seen["ref"],
                name=seen["name"],
                arch=seen["arch"],
                cpu_family=seen["cpu_family"],
                is_xinchuang=seen["is_xinchuang"],
            )
        if zone.cpu_family != seen["cpu_family"] or zone.last_seen_at is None:
            zone.is_xinchuang = seen["is_xinchuang"]
        zone.arch, zone.cpu_family = seen["arch"], seen["cpu_family"]
        zone.cpu_model, zone.cpu_raw = seen["cpu_model"][:100], seen["cpu_raw"][:500]
        zone.hosts, zone.is_available = seen["hosts"], seen["available"]
        zone.message = None if seen["available"] else Message(N_("The cloud reports it as closed.")).as_json()
        zone.last_seen_at = clock.now()
        session.add(zone)
        session.flush()
        _record_totals(session, zone, seen["totals"])
    for gone in known.values():
        if gone.last_seen_at is not None:
            gone.is_available = False
            gone.message = Message(N_("The cloud does not list it any more.")).as_json()
            session.add(gone)


def _record_totals(session: Session, zone: Zone, totals: dict[str, int]) -> None:
    known = {row.resource: row for row in session.exec(select(ZoneInventory).where(ZoneInventory.zone_id == zone.id))}
    ratios = runtime().options(session.get_one(Backend, zone.backend_id).name).get("overcommit", {})
    for resource, total in totals.items():
        row = known.get(resource) or ZoneInventory(
            zone_id=zone.id, resource=resource, total=total, ratio_pct=int(ratios.get(resource, 100))
        )
        row.total = total
        session.add(row)
    session.flush()


def _record_networks(session: Session, backend: Backend, networks: list[dict[str, Any]]) -> None:
    """Refresh known networks; a new one is taken in when the settings say which network zone it carries."""
    carries: dict[str, str] = dict(runtime().options(backend.name).get("network_zones", {}))
    known = {network.ref: network for network in session.exec(select(Network).where(Network.backend_id == backend.id))}
    dictionary = set(session.exec(select(NetworkZone.name)))
    for seen in networks:
        network = known.get(seen["ref"])
        if network is None:
            if carries.get(seen["ref"]) not in dictionary:
                continue
            network = Network(
                backend_id=backend.id, ref=seen["ref"], name=seen["name"], network_zone=carries[seen["ref"]]
            )
            _serve(session, backend, network.network_zone, seen["zones"])
        network.cidr_v4, network.cidr_v6, network.gateway_v4 = seen["cidr_v4"], seen["cidr_v6"], seen["gateway_v4"]
        network.is_external, network.zone_refs = seen["is_external"], seen["zones"]
        network.last_seen_at = clock.now()
        session.add(network)
        session.flush()
        for subnet in seen["subnets"]:
            addresses.learn(session, network, **subnet)
    session.flush()


def _serve(session: Session, backend: Backend, network_zone: str, zone_refs: list[str]) -> None:
    for zone in session.exec(select(Zone).where(Zone.backend_id == backend.id)):
        served = set(session.exec(select(ZoneNetworkZone.network_zone).where(ZoneNetworkZone.zone_id == zone.id)))
        if network_zone not in served and (not zone_refs or zone.ref in zone_refs):
            session.add(ZoneNetworkZone(zone_id=zone.id, network_zone=network_zone))


def _record_images(session: Session, backend: Backend, images: list[dict[str, Any]]) -> None:
    """Take in a backend's image as the variant of the logical image of the same name; an entry made by hand is kept."""
    logical = {image.name: image for image in session.exec(select(Image))}
    known = {
        (variant.image_id, variant.arch): variant
        for variant in session.exec(select(ImageVariant).where(col(ImageVariant.backend_id) == backend.id))
    }
    for seen in images:
        image = logical.get(seen["name"])
        if image is not None and (image.id, seen["arch"]) not in known:
            session.add(
                ImageVariant(
                    image_id=image.id, arch=seen["arch"], backend_id=backend.id, ref=seen["ref"], digest=seen["digest"]
                )
            )
    session.flush()

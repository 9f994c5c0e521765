"""变更: another flavor for servers that stand, or a further data disk for each. What they grow by is held when it is asked for.

A size is changed of a stopped server: one that runs is switched off and on again, and whoever asks and decides is told so.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

import quotas
from cloudmgr.domain import naming
from cloudmgr.domain.access import Actor
from cloudmgr.domain.errors import Conflict, InvalidInput
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.server_changes import ChangeKind, ChangeState
from cloudmgr.domain.units import MIB_PER_GIB
from cloudmgr.domain.volumes import VolumePhase
from cloudmgr.models import Flavor, Project, ResourceRequest, Server, ServerChange, Volume, Zone
from cloudmgr.services import volumes
from cloudmgr.services.request_inputs import ResizeRequest
from cloudmgr.services.request_kinds.base import project_of, retry_reservation_id, summed
from cloudmgr.services.request_kinds.server_changes import (
    UNCONFIRMED,
    ResolvedChanges,
    ServerChangesKind,
    backend_that,
    changeable,
    failed_of,
    failure_code,
    open_changes,
    ready,
    undoing,
)
from cloudmgr.store import lookups, placement, requests, servers
from cloudmgr.store import server_changes as store
from cloudmgr.store import volumes as volume_store

_DISKS_OF_ONE = 100
"""So many further disks have names of their own."""


class ResizeKind(ServerChangesKind[ResizeRequest]):
    """The rules of changing sizes."""

    name = "resize"
    change = ChangeKind.RESIZE

    def resolve(self, session: Session, actor: Actor, command: ResizeRequest) -> ResolvedChanges:
        if command.flavor is None and command.add_data_disk_gib is None:
            raise InvalidInput(N_("Name the new flavor, or the size of the disk to add."), field="flavor")
        project, organization, found = changeable(session, actor, command.project, command.servers)
        if command.emergency:
            _require_undoable(command, found)
        changes, parts, warnings = [], [], []
        if command.flavor is not None:
            flavor = _flavor(session, command.flavor)
            for index, server in enumerate(found):
                changes.append((server, _change(session, server, flavor, f"servers[{index}]")))
                growth = _growth(session, server, flavor)
                if growth is not None:
                    parts.append(growth)
                warnings += _warnings(session, server, flavor)
        disks = []
        if command.add_data_disk_gib is not None:
            for index, server in enumerate(found):
                disks.append(_disk(session, project, server, command.add_data_disk_gib, f"servers[{index}]"))
            parts += [volumes.part_of(session, volume) for volume in disks]
        return ResolvedChanges(project, organization, changes, parts, disks, warnings)

    def give_up(self, session: Session, request: ResourceRequest) -> None:
        super().give_up(session, request)
        volume_store.remove_of_request(session, request.id)

    def rearm(self, session: Session, actor: Actor, request: ResourceRequest) -> bool:  # noqa: ARG002 - the retry is audited already
        """Make what failed ready again; what gave its share of the quota back must fit again."""
        failed = failed_of(session, request)
        disks = [row for row in volume_store.of_request(session, request.id) if row.phase == VolumePhase.FAILED]
        reservation = retry_reservation_id(request)
        parts = []
        for change in failed:
            if failure_code(change) == UNCONFIRMED:  # what it holds was never given back
                ready(change, change.reservation_id)
                continue
            server = session.get_one(Server, change.server_id)
            growth = _part(session, server, change.wanted)
            ready(change, reservation if growth is not None else None)
            parts += [growth] if growth is not None else []
        for row in disks:
            if failure_code(row) != UNCONFIRMED:
                parts.append(volumes.part_of(session, row))
                row.reservation_id = reservation
            row.phase, row.failure, row.attempt = VolumePhase.REQUESTED.value, None, row.attempt + 1
            requests.add(session, row)
        if parts:
            quotas.reserve(
                session,
                reservation_id=reservation,
                account_id=project_of(session, request).account_id,
                parts=parts,
                reason=request.number or "",
            )
        open_changes(session, failed)
        return bool(failed or volumes.deeds(session, request)[0])

    def undoing(self, session: Session, request: ResourceRequest) -> dict[str, Any] | None:
        """Give the servers the flavor they had, or take the disks from them: those are deleted by a request of their own."""
        disks = [row for row in volume_store.of_request(session, request.id) if row.phase != VolumePhase.FAILED]
        if disks:
            return {"kind": "volume", "detach": [str(row.id) for row in disks]}
        for change in store.of_request(session, request.id):
            if change.state != ChangeState.FAILED:
                before = change.before or size_of(session.get_one(Server, change.server_id))
                flavor = session.get_one(Flavor, uuid.UUID(before["flavor"]))
                return undoing(session, request, kind=self.name, flavor=flavor.name)
        return None

    def changes(self, session: Session, request: ResourceRequest) -> list[Message]:
        disks = [
            Message(
                N_("{server} gets a further disk {name} of {size} GiB"),
                {"server": _name(session, row), "name": row.name, "size": row.size_gib},
            )
            for row in volume_store.of_request(session, request.id)
        ]
        return super().changes(session, request) + disks

    def told_of(self, server: Server, change: ServerChange) -> Message:
        was = change.before or size_of(server)
        params = {"name": server.name, "before": size_text(was), "after": size_text(change.wanted)}
        if change.state in (ChangeState.ASKED, ChangeState.DOING) and server.state == "running":
            return Message(N_("{name}: {before} becomes {after}; it is switched off and on again for it"), params)
        return Message(N_("{name}: {before} becomes {after}"), params)

    def servers(self, session: Session, request: ResourceRequest) -> list[servers.ServerRow]:
        ids = {change.server_id for change in store.of_request(session, request.id)}
        ids |= {row.server_id for row in volume_store.of_request(session, request.id) if row.server_id is not None}
        rows = (servers.wide(session, id_) for id_ in ids)
        return sorted((row for row in rows if row is not None), key=lambda row: row[0].name)

    def amounts(self, session: Session, request: ResourceRequest) -> dict[str, int]:
        grown = [
            {
                name: max(0, change.wanted[name] - (change.before or size_of(server))[name])
                for name in ("vcpus", "memory_mib")
            }
            for change in store.of_request(session, request.id)
            for server in [session.get_one(Server, change.server_id)]
        ]
        made = [volumes.amounts_of(row) for row in volume_store.of_request(session, request.id)]
        return {name: amount for name, amount in summed(*grown, *made).items() if amount}


def size_of(server: Server) -> dict[str, Any]:
    """Return a server's size as a change has it."""
    return {
        "vcpus": server.vcpus,
        "memory_mib": server.memory_mib,
        "flavor": str(server.flavor_id) if server.flavor_id else None,
    }


def size_text(size: dict[str, Any]) -> str:
    """Return a size as people write it: 8C32G."""
    memory = size["memory_mib"] / MIB_PER_GIB
    return f"{size['vcpus']}C{memory:g}G"


def _require_undoable(command: ResizeRequest, found: Sequence[Server]) -> None:
    """Refuse, as an emergency order, what one request could not take back if its approval does not follow.

    Raises:
        InvalidInput: a flavor and a disk at once, or servers of several flavors or of none.
    """
    if command.flavor is None:
        return
    if command.add_data_disk_gib is not None:
        raise InvalidInput(
            N_("In an emergency order ask for a flavor or for a disk: for both, make two orders."),
            field="add_data_disk_gib",
        )
    for index, server in enumerate(found):
        if server.flavor_id is None:
            raise InvalidInput(
                N_("No flavor is on record for {name}, to which an emergency order could be taken back."),
                field=f"servers[{index}]",
                name=server.name,
            )
        if server.flavor_id != found[0].flavor_id:
            raise InvalidInput(
                N_(
                    "{name} has another flavor than {other}; an emergency order is for servers of one flavor: make one each."
                ),
                field=f"servers[{index}]",
                name=server.name,
                other=found[0].name,
            )


def _flavor(session: Session, name: str) -> Flavor:
    names = lookups.Names(session)
    flavor = names.flavor(name)
    if flavor is None:
        raise InvalidInput(
            N_("There is no flavor {given}; choose one of {known}."), field="flavor", given=name, known=names.flavors()
        )
    return flavor


def _change(session: Session, server: Server, flavor: Flavor, at: str) -> ServerChange:
    backend_that(session, server, "resize", N_("The cloud {backend} of server {name} cannot change sizes."), at)
    if server.state != "stopped":
        backend_that(session, server, "power", N_("The cloud {backend} of server {name} offers no power control."), at)
    if (server.vcpus, server.memory_mib) == (flavor.vcpus, flavor.memory_mib):
        raise InvalidInput(N_("Server {name} has that size already."), field=at, name=server.name)
    wanted = {"vcpus": flavor.vcpus, "memory_mib": flavor.memory_mib, "flavor": str(flavor.id)}
    return ServerChange(server_id=server.id, kind=ChangeKind.RESIZE.value, wanted=wanted)


def _growth(session: Session, server: Server, flavor: Flavor) -> quotas.Part | None:
    return _part(session, server, {"vcpus": flavor.vcpus, "memory_mib": flavor.memory_mib})


def _part(session: Session, server: Server, wanted: dict[str, Any]) -> quotas.Part | None:
    """Return what a server grows by, counted exactly where the server itself is; None when it does not grow."""
    amounts = {name: wanted[name] - held for name, held in growing(server).items() if wanted[name] > held}
    if not amounts or not server.counts_quota:
        return None
    reservation = quotas.get_reservation(session, server.reservation_id)
    held = next((part for part in reservation.parts if part.part_id == server.id), None)
    if held is None or held.state is not quotas.PartState.POSTED:
        raise Conflict(N_("Server {name} is not counted as in use; it cannot grow."), name=server.name)
    return quotas.Part(part_id=server.id, amounts=amounts, dims=held.dims, top=held.top)


def growing(server: Server) -> dict[str, int]:
    """Return what of a server changes with its size."""
    return {"vcpus": server.vcpus, "memory_mib": server.memory_mib}


def _warnings(session: Session, server: Server, flavor: Flavor) -> list[Message]:
    found = []
    if server.state != "stopped":
        found.append(
            Message(
                N_("Server {name} is switched off for the change and started again afterwards."), {"name": server.name}
            )
        )
    if flavor.system_disk_gib != server.system_disk_gib:
        found.append(
            Message(
                N_("The system disk of {name} stays at {size} GiB."),
                {"name": server.name, "size": server.system_disk_gib},
            )
        )
    growth = {"vcpus": flavor.vcpus - server.vcpus, "memory_mib": flavor.memory_mib - server.memory_mib}
    if server.zone_id is not None and placement.lacking(session, server.zone_id, growth):
        zone = session.get_one(Zone, server.zone_id)
        found.append(
            Message(
                N_(
                    "Pool {zone} has no room for {name} to grow now; the change fails if that is still so when it is made."
                ),
                {"zone": zone.title or zone.name, "name": server.name},
            )
        )
    return found


def _disk(session: Session, project: Project, server: Server, size_gib: int, at: str) -> Volume:
    backend = backend_that(session, server, "volumes", N_("The cloud {backend} has no volumes."), at)
    stem = server.name[: naming.MAX_LABEL - len("-d99")].rstrip("-")
    names = [f"{stem}-d{number}" for number in range(1, _DISKS_OF_ONE)]
    taken = set(volume_store.taken_names(session, project.id, names))
    free = next((name for name in names if name not in taken), None)
    if free is None:
        raise Conflict(N_("Server {name} has too many disks."), field=at, name=server.name)
    unsent = new_id()
    return Volume(
        request_id=unsent,  # set when the request has its row
        reservation_id=unsent,
        project_id=project.id,
        organization_id=server.organization_id,
        server_id=server.id,
        backend_id=backend.id,
        zone_id=server.zone_id,
        name=free,
        size_gib=size_gib,
    )


def _name(session: Session, volume: Volume) -> str:
    server = session.get(Server, volume.server_id) if volume.server_id else None
    return server.name if server else "-"

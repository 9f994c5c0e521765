"""From the words of a request to servers that could be built: every name is looked up, every rule asked. Writes nothing."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlmodel import Session

from cloudmgr.adapters import catalogue
from cloudmgr.domain import clock, leases, naming, sshkeys
from cloudmgr.domain.access import Action, Actor, require
from cloudmgr.domain.errors import ArchMismatch, ClassificationRefused, Conflict, InvalidInput, Refusal
from cloudmgr.domain.ids import new_id
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.phases import LIVE_SERVERS, REFUSED_LEVELS, ServerPhase
from cloudmgr.domain.port_rules import PortOpeningAsked
from cloudmgr.models import Backend, Flavor, Image, Organization, Project, Server
from cloudmgr.services import addresses as wanted_addresses
from cloudmgr.services import create_rules, openings, playbooks
from cloudmgr.services.policy import playbook_folders, policy_of
from cloudmgr.services.request_inputs import CreateRequest, RetireRequest, ServersEntry
from cloudmgr.store import lookups, placement, server_changes, servers
from quotas import Part


@dataclass(frozen=True, slots=True)
class PlannedServer:
    """One server as asked, every reference looked up."""

    name: str
    entry: int
    arch: str
    flavor: Flavor
    image: Image
    network_zone: str
    backend: Backend | None
    data_disk_gib: int
    purpose_kind: str
    spread: str
    playbook: str
    variables: Mapping[str, Any]
    top_account_id: uuid.UUID | None = None
    """Where the counting of its quota ends, where the backend it names decides that already; None: at the city."""
    wanted_addresses: Mapping[str, str] = field(default_factory=dict)
    """By family, as the server's row has them."""
    ports: tuple[PortOpeningAsked, ...] = ()
    at: str = ""
    """Where its addresses stand in the body."""
    id: uuid.UUID = field(default_factory=new_id)

    @property
    def amounts(self) -> dict[str, int]:
        """What this server costs in quota."""
        return {
            "servers": 1,
            "vcpus": self.flavor.vcpus,
            "memory_mib": self.flavor.memory_mib,
            "disk_gib": self.flavor.system_disk_gib + self.data_disk_gib,
            "ip_addresses": 1,
            "volumes": 1 if self.data_disk_gib else 0,
        }

    @property
    def capacity(self) -> dict[str, int]:
        """What this server takes of a zone."""
        return {key: self.amounts[key] for key in ("vcpus", "memory_mib", "disk_gib")}

    def part(self, env: str) -> Part:
        """Return this server's share of a reservation, with the dimensions that the request itself fixes."""
        dims = {"arch": self.arch, "network_zone": self.network_zone, "environment": env}
        if self.backend is not None:
            dims["backend"] = self.backend.name
        return Part(part_id=self.id, amounts=self.amounts, dims=dims, top=self.top_account_id)


class Concerned(Protocol):
    """Whose a request is; without a project it is about an organization's own quota."""

    @property
    def project(self) -> Project | None: ...
    @property
    def organization(self) -> Organization: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whose a request is; each kind adds what it found."""

    project: Project
    organization: Organization


@dataclass(frozen=True, slots=True)
class ResolvedCreate(Resolved):
    """A create request whose every name was found."""

    servers: list[PlannedServer]
    ssh_keys: list[str]
    owner_name: str
    owner_phone: str
    warnings: list[Message]


@dataclass(frozen=True, slots=True)
class ResolvedRetire(Resolved):
    """A retire request whose servers may go."""

    servers: list[Server]


def own_project(session: Session, actor: Actor, project_id: uuid.UUID, action: Action) -> tuple[Project, Organization]:
    """Return a project the actor may `action` on.

    Raises:
        InvalidInput: there is no such project for this actor (the field is named, as it came in a body).
        Forbidden: the actor sees it but may not do this.
        ClassificationRefused: it is 涉密 or 等保四级 and above.
    """
    found = lookups.project(session, project_id)
    if found is None or not (actor.may(Action.ORGANIZATION_READ, found[1].path) or actor.user_id is None):
        raise InvalidInput(N_("There is no such project among yours."), field="project")
    project, organization = found
    require(actor, action, organization.path)
    if project.is_classified or project.mlps_level in REFUSED_LEVELS:
        raise ClassificationRefused(
            N_(
                "Classified systems and systems of MLPS level 4 and above must not use this platform "
                "(GB/T 22239-2019: a cloud does not carry systems above its own level)."
            )
        )
    if not project.is_active:
        raise InvalidInput(N_("The project is closed."), field="project")
    return project, organization


def resolve_create(session: Session, actor: Actor, command: CreateRequest) -> ResolvedCreate:
    """Look up everything a create request names.

    Raises:
        InvalidInput, ArchMismatch, ClassificationRefused, Conflict, Forbidden: the first rule that is broken.
    """
    project, organization = own_project(session, actor, command.project, Action.REQUEST_MAKE)
    leases.check_lease(
        lease_end=command.lease_end,
        long_term=command.lease_long_term,
        reason=command.lease_reason,
        today=clock.today(),
        max_days=policy_of(session).lease_max_days,
    )
    create_rules.check(session, project, command)
    zone = command.network_zone or project.network_zone
    try:
        planned = _resolve_entries(lookups.Names(session, remembered=True), command, zone, organization.id)
    except Refusal:  # nobody is refused for what was true a second ago
        planned = _resolve_entries(lookups.Names(session), command, zone, organization.id)
    _check_names_once(planned)
    project_keys, taken = lookups.keys_and_taken(session, project.id, [server.name for server in planned])
    if taken:
        raise name_taken(taken)
    wanted_addresses.check_once((server.wanted_addresses, server.at) for server in planned)
    keys = [sshkeys.checked_public_key(key, field=f"ssh_keys[{i}]") for i, key in enumerate(command.ssh_keys)]
    keys += [key for key in project_keys if key not in keys]
    warnings = [
        hint
        for entry in command.servers
        if (hint := naming.convention_warning(naming.numbered(entry.name, entry.count)[0])) is not None
    ]
    if not keys:
        warnings.append(
            Message(N_("No SSH key is given: nobody will be able to log in until a key is put on the project."))
        )
    owner_name = command.owner.name if command.owner else project.owner_name
    owner_phone = command.owner.phone if command.owner else project.owner_phone
    if not owner_name or not owner_phone:
        raise InvalidInput(
            N_("Name who is responsible and a phone number: the project has none on record."), field="owner"
        )
    return ResolvedCreate(project, organization, planned, keys, owner_name, owner_phone, warnings)


def _resolve_entries(
    names: lookups.Names, command: CreateRequest, default_zone: str | None, organization_id: uuid.UUID
) -> list[PlannedServer]:
    planned: list[PlannedServer] = []
    for index, entry in enumerate(command.servers):
        planned += resolve_entry(names, index, entry, default_zone, organization_id)
    return planned


def resolve_entry(
    names: lookups.Names,
    index: int,
    entry: ServersEntry,
    default_zone: str | None,
    organization_id: uuid.UUID,
) -> list[PlannedServer]:
    """Look up what one line names; `index` says where it stands in the body. Writes nothing.

    Raises:
        InvalidInput, ArchMismatch, Forbidden: the first rule that is broken; `field` names it.
    """
    at = f"servers[{index}]"
    flavor = flavor_named(names, entry.flavor, at)
    image = image_named(names, entry.image, at)
    backend = None
    if entry.backend is not None:
        backend = names.backend(entry.backend)
        if backend is None:
            raise InvalidInput(
                N_("There is no cloud {given}; choose one of {known}."),
                field=f"{at}.backend",
                given=entry.backend,
                known=names.backends(),
            )
    zone_name = network_zone_named(names, entry.network_zone, default_zone, at)
    check_arch(names, entry.arch.value, at)
    image_archs = names.image_archs(image)
    if entry.arch.value not in image_archs:
        raise ArchMismatch(
            N_("Image {image} exists for {known}, not for {arch}. Choose another image or architecture."),
            field=f"{at}.image",
            image=image.name,
            arch=entry.arch.value,
            known=", ".join(sorted(image_archs)) or "-",
        )
    if image.min_disk_gib > flavor.system_disk_gib:
        raise InvalidInput(
            N_("Image {image} needs a system disk of {needed} GiB; flavor {flavor} has {given}."),
            field=f"{at}.flavor",
            image=image.name,
            needed=image.min_disk_gib,
            flavor=flavor.name,
            given=flavor.system_disk_gib,
        )
    playbook = entry.playbook or image.playbook
    known = playbooks.known(playbook_folders(names.session))
    if playbook not in known:
        raise InvalidInput(
            N_("There is no playbook {given}; choose one of {known}."),
            field=f"{at}.playbook",
            given=playbook,
            known=", ".join(sorted(known)),
        )
    try:
        catalogue.validate_variables(known[playbook], entry.variables)
    except InvalidInput as error:
        error.field = f"{at}.{error.field or 'variables'}"
        error.errors = [{**finding, "field": f"{at}.{finding.get('field', 'variables')}"} for finding in error.errors]
        raise
    if len(naming.numbered(entry.name, entry.count)[-1]) > naming.MAX_LABEL:
        raise InvalidInput(
            N_("With its number the name is longer than {max} characters; shorten it."),
            field=f"{at}.name",
            max=naming.MAX_LABEL,
        )
    asked = wanted_addresses.asked(names.session, entry, at, zone_name, backend)
    backend = asked.backend
    ports = tuple(openings.checked(port, f"{at}.ports[{i}]") for i, port in enumerate(entry.ports))
    top_account = placement.top_account(names.session, backend, organization_id) if backend else None
    return [
        PlannedServer(
            name=name,
            entry=index,
            arch=entry.arch.value,
            flavor=flavor,
            image=image,
            network_zone=zone_name,
            backend=backend,
            data_disk_gib=entry.data_disk_gib,
            purpose_kind=entry.purpose_kind.value,
            spread=entry.spread.value,
            playbook=playbook,
            variables=entry.variables,
            top_account_id=top_account,
            wanted_addresses=wanted,
            ports=ports,
            at=place,
        )
        for name, (wanted, place) in zip(naming.numbered(entry.name, entry.count), asked.servers, strict=True)
    ]


def flavor_named(names: lookups.Names, code: str, at: str) -> Flavor:
    """Return a flavor of the catalogue; `at` says which line of the body names it.

    Raises:
        InvalidInput: there is none of that name.
    """
    flavor = names.flavor(code)
    if flavor is None:
        raise InvalidInput(
            N_("There is no flavor {given}; choose one of {known}."),
            field=f"{at}.flavor",
            given=code,
            known=names.flavors(),
        )
    return flavor


def image_named(names: lookups.Names, code: str, at: str) -> Image:
    """Return an image of the catalogue.

    Raises:
        InvalidInput: there is none of that name.
    """
    image = names.image(code)
    if image is None:
        raise InvalidInput(
            N_("There is no image {given}; choose one of {known}."),
            field=f"{at}.image",
            given=code,
            known=names.images(),
        )
    return image


def network_zone_named(names: lookups.Names, code: str | None, default: str | None, at: str) -> str:
    """Return the network zone of a line: its own, or the request's.

    Raises:
        InvalidInput: neither is named, or there is none of that name.
    """
    zone = code or default
    if zone is None:
        raise InvalidInput(
            N_("Name the network zone, for the request or for this entry; choose one of {known}."),
            field=f"{at}.network_zone",
            known=names.network_zones(),
        )
    if not names.has_network_zone(zone):
        raise InvalidInput(
            N_("There is no network zone {given}; choose one of {known}."),
            field=f"{at}.network_zone" if code else "network_zone",
            given=zone,
            known=names.network_zones(),
        )
    return zone


def check_arch(names: lookups.Names, arch: str, at: str) -> None:
    """Refuse an architecture that no pool has.

    Raises:
        ArchMismatch: with those there are.
    """
    if not names.zone_archs() or arch not in names.zone_archs():
        raise ArchMismatch(
            N_("No pool has the architecture {arch}; there are {known}."),
            field=f"{at}.arch",
            arch=arch,
            known=", ".join(sorted(names.zone_archs())) or "-",
        )


def _check_names_once(planned: list[PlannedServer]) -> None:
    names = [server.name for server in planned]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise InvalidInput(
            N_("The name {names} stands twice in this request."), field="servers", names=", ".join(twice[:5])
        )


def name_taken(names: list[str]) -> Conflict:
    """Say which names a live server of the project already has."""
    return Conflict(
        N_("The project already has a server named {names}; choose another name."),
        field="servers",
        names=", ".join(sorted(names)[:5]),
    )


def resolve_retire(session: Session, actor: Actor, command: RetireRequest) -> ResolvedRetire:
    """Look up the servers of a retire request.

    Raises:
        InvalidInput: a server is not the project's, or stands twice.
        Conflict: a server is being built, is already going, or is gone.
    """
    project, organization = own_project(session, actor, command.project, Action.REQUEST_MAKE)
    if len(set(command.servers)) < len(command.servers):
        raise InvalidInput(N_("A server stands twice in this request."), field="servers")
    found: list[Server] = []
    for index, server_id in enumerate(command.servers):
        server = servers.get(session, server_id)
        if server is None or server.project_id != project.id:
            raise InvalidInput(N_("The project has no such server."), field=f"servers[{index}]")
        if (
            ServerPhase(server.phase) not in LIVE_SERVERS
            or server.phase == ServerPhase.RETIRING
            or server.retire_request_id is not None
        ):
            raise Conflict(
                N_("Server {name} is already being retired or gone."), field=f"servers[{index}]", name=server.name
            )
        if server.phase not in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED, ServerPhase.FAILED):
            raise Conflict(
                N_("Server {name} is still being built; wait until it stands or has failed."),
                field=f"servers[{index}]",
                name=server.name,
            )
        found.append(server)
    busy = server_changes.asked_of(session, command.servers)
    for index, server in enumerate(found):
        if server.id in busy:
            raise being_changed(server.name, f"servers[{index}]")
    return ResolvedRetire(project, organization, found)


def being_changed(name: str, at: str) -> Conflict:
    """Say that another request changes a server."""
    return Conflict(
        N_("Another request changes server {name} already; wait until it has ended, or withdraw it."),
        field=at,
        name=name,
    )


def standing_server(session: Session, project: Project, server_id: uuid.UUID, *, field: str) -> Server:
    """Return a server of the project that stands and stays.

    Raises:
        InvalidInput: it is not the project's.
        Conflict: it is being built or retired, or is gone.
    """
    server = servers.get(session, server_id)
    if server is None or server.project_id != project.id:
        raise InvalidInput(N_("The project has no such server."), field=field)
    if server.phase not in (ServerPhase.ACTIVE, ServerPhase.SUSPENDED) or server.retire_request_id is not None:
        raise Conflict(N_("Server {name} does not stand, or is being retired."), field=field, name=server.name)
    return server

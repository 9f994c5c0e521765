"""Use cases of subnets: the address plan of a network zone, what of it is handed out, and addresses kept for something."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from sqlmodel import Session

from cloudmgr.domain import access, addresses
from cloudmgr.domain.access import Action, Actor
from cloudmgr.domain.errors import AddressUnavailable, Conflict, InvalidInput, NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.models import Address, AddressRange, Backend, Network, Organization, Server, Subnet
from cloudmgr.services import audit
from cloudmgr.services.addresses import told
from cloudmgr.services.changes import set_changed
from cloudmgr.services.inputs import Code, Id, Input, Text, unset
from cloudmgr.services.network_zones import require_network_zone
from cloudmgr.store import addresses as store
from cloudmgr.store import organizations, zones
from cloudmgr.store.addresses import Taken
from cloudmgr.store.unique import add_unique

AddressText = Annotated[Text, StringConstraints(min_length=2, max_length=64)]
Note = Annotated[Text, StringConstraints(max_length=200)]
Vlan = Annotated[int, Field(ge=1, le=4094)]
Resolvers = Annotated[list[AddressText], Field(max_length=8)]


class RangeInput(Input):
    """Part of a subnet: `pool` is handed out automatically, `excluded` never is. Both ends belong to it."""

    kind: Literal["pool", "excluded"]
    first: AddressText
    last: AddressText
    reason: Note = ""


class CreateSubnet(Input):
    """A subnet of a network zone, on a backend's network or for the ledger only."""

    network_zone: Code
    cidr: AddressText
    network: Id | None = None
    name: Annotated[Text, StringConstraints(max_length=100)] = ""
    gateway: AddressText | None = None
    dns: Resolvers = Field(default_factory=list)
    vlan: Vlan | None = None
    is_managed: bool = True
    is_enabled: bool = True
    ranges: Annotated[list[RangeInput], Field(max_length=200)] = Field(default_factory=list)


class UpdateSubnet(Input):
    """What may change of a subnet; its network zone and range stay. `ranges` is the whole new list."""

    network: Id | None = None
    name: Annotated[Text, StringConstraints(max_length=100)] = unset()
    gateway: AddressText | None = None
    dns: Resolvers = unset()
    vlan: Vlan | None = None
    is_managed: bool = unset()
    is_enabled: bool = unset()
    ranges: Annotated[list[RangeInput], Field(max_length=200)] = unset()


class ReserveAddress(Input):
    """An address to be kept for something; without one, the next that is free."""

    address: AddressText | None = None
    purpose: Annotated[Text, StringConstraints(min_length=1, max_length=200)]
    organization: Id | None = None


@dataclass(frozen=True, slots=True)
class SubnetView:
    """A subnet, where it is, its ranges, and how much of it is taken. `total` counts what servers may have of it."""

    subnet: Subnet
    network: Network | None
    backend: Backend | None
    ranges: list[AddressRange]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AddressView:
    """A taken address. `server` and `organization` are told to those who may read them."""

    address: Address
    server: Server | None
    organization: Organization | None


def list_subnets(
    session: Session,
    actor: Actor,
    *,
    network_zone: str | None = None,
    network_id: uuid.UUID | None = None,
    family: int | None = None,
    limit: int = 50,
    cursor: uuid.UUID | None = None,
) -> tuple[list[SubnetView], uuid.UUID | None]:
    """Return a page of subnets with how full each is."""
    access.require(actor, Action.CATALOGUE_READ)
    rows, following = store.listed(
        session, network_zone=network_zone, network_id=network_id, family=family, limit=limit, after=cursor
    )
    return _views(session, rows), following


def get_subnet(session: Session, actor: Actor, subnet_id: uuid.UUID) -> SubnetView:
    """Return one subnet with how full it is.

    Raises:
        NotFound: there is none.
    """
    access.require(actor, Action.CATALOGUE_READ)
    return _views(session, [_row(session, subnet_id)])[0]


def create_subnet(session: Session, actor: Actor, command: CreateSubnet) -> SubnetView:
    """Add a subnet to the address plan.

    Raises:
        InvalidInput: an address, a range, the network or the network zone does not fit.
        Conflict: it overlaps with another subnet of the network zone.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    require_network_zone(session, command.network_zone)
    cidr = addresses.parse_subnet(command.cidr, field="cidr")
    for other in store.of_zone(session, command.network_zone, to_add=True):
        if addresses.overlap(addresses.parse_subnet(other.cidr), cidr):
            raise Conflict(
                N_("{given} overlaps with {other} of {network_zone}."),
                field="cidr",
                given=str(cidr),
                other=other.cidr,
                network_zone=command.network_zone,
            )
    subnet = Subnet(
        network_zone=command.network_zone,
        network_id=_network_of(session, command.network, command.network_zone),
        name=command.name,
        family=cidr.version,
        cidr=str(cidr),
        gateway=_gateway(cidr, command.gateway),
        dns=_resolvers(command.dns),
        vlan=command.vlan,
        is_managed=command.is_managed,
        is_enabled=command.is_enabled,
    )
    if not add_unique(session, subnet):
        raise Conflict(
            N_("{network_zone} has the subnet {given} already."),
            field="cidr",
            network_zone=command.network_zone,
            given=str(cidr),
        )
    _set_ranges(session, subnet, cidr, command.ranges)
    _record(session, actor, subnet, after=command.model_dump(mode="json"))
    return get_subnet(session, actor, subnet.id)


def update_subnet(session: Session, actor: Actor, subnet_id: uuid.UUID, command: UpdateSubnet) -> SubnetView:
    """Change what was given of a subnet. What servers have already they keep.

    Raises:
        NotFound: there is no such subnet.
        InvalidInput: an address, a range or the network does not fit.
        Conflict: its network would change while servers have addresses of it.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    subnet, *_ = _row(session, subnet_id)
    store.lock(session, subnet.id)
    session.refresh(subnet)
    cidr = addresses.parse_subnet(subnet.cidr)
    wanted: dict[str, Any] = command.changes()
    ranges = wanted.pop("ranges", None)
    if "network" in wanted:
        wanted["network_id"] = _network_of(session, wanted.pop("network"), subnet.network_zone)
        if wanted["network_id"] != subnet.network_id and store.counts(session, [subnet.id])[subnet.id]["allocated"]:
            raise Conflict(N_("Servers have addresses of this subnet; its network stays."), field="network")
    if "gateway" in wanted:
        wanted["gateway"] = _gateway(cidr, wanted["gateway"])
    if "dns" in wanted:
        wanted["dns"] = _resolvers(wanted["dns"])
    changed = set_changed(session, subnet, wanted)
    if ranges is not None:
        _set_ranges(session, subnet, cidr, command.ranges)
    if changed or ranges is not None:
        _record(session, actor, subnet, before=changed.before, after={**changed.after, "ranges": ranges or []})
    return get_subnet(session, actor, subnet.id)


def set_ranges(session: Session, actor: Actor, subnet_id: uuid.UUID, ranges: Sequence[RangeInput]) -> SubnetView:
    """Replace the ranges of a subnet."""
    return update_subnet(session, actor, subnet_id, UpdateSubnet(ranges=list(ranges)))


def add_range(session: Session, actor: Actor, subnet_id: uuid.UUID, added: RangeInput) -> SubnetView:
    """Add one range to a subnet; what others change at the same moment stays.

    Raises:
        NotFound: there is no such subnet.
        InvalidInput: the range does not fit; named as `ranges[n]`, n being how many there are.
    """
    kept = _kept_ranges(session, actor, subnet_id)
    return set_ranges(session, actor, subnet_id, [*map(_as_input, kept), added])


def remove_range(session: Session, actor: Actor, subnet_id: uuid.UUID, range_id: uuid.UUID) -> SubnetView:
    """Take one range from a subnet.

    Raises:
        NotFound: there is no such subnet.
        Conflict: it has no such range any more.
    """
    kept = _kept_ranges(session, actor, subnet_id)
    left = [row for row in kept if row.id != range_id]
    if len(left) == len(kept):
        raise Conflict(N_("The subnet has no such range any more; look at it again."))
    return set_ranges(session, actor, subnet_id, [_as_input(row) for row in left])


def _kept_ranges(session: Session, actor: Actor, subnet_id: uuid.UUID) -> list[AddressRange]:
    """Return the ranges of a subnet that nobody else changes until this transaction ends."""
    access.require(actor, Action.CATALOGUE_WRITE)
    subnet, *_ = _row(session, subnet_id)
    store.lock(session, subnet.id)
    return store.ranges(session, [subnet.id])[subnet.id]


def _as_input(row: AddressRange) -> RangeInput:
    return RangeInput.model_validate({name: getattr(row, name) for name in RangeInput.model_fields})


def delete_subnet(session: Session, actor: Actor, subnet_id: uuid.UUID) -> None:
    """Take a subnet out of the address plan.

    Raises:
        NotFound: there is no such subnet.
        Conflict: an address of it is allocated or reserved.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    subnet, *_ = _row(session, subnet_id)
    store.lock(session, subnet.id)
    held = store.counts(session, [subnet.id])[subnet.id]
    if any(held.values()):
        raise Conflict(
            N_("{subnet} has {allocated} allocated and {reserved} reserved addresses; it must be empty first."),
            subnet=subnet.cidr,
            allocated=held["allocated"],
            reserved=held["reserved"],
        )
    _record(session, actor, subnet, before={"cidr": subnet.cidr, "network_zone": subnet.network_zone})
    store.remove_subnet(session, subnet)


def list_addresses(
    session: Session, actor: Actor, subnet_id: uuid.UUID, *, limit: int = 50, cursor: uuid.UUID | None = None
) -> tuple[list[AddressView], uuid.UUID | None]:
    """Return the addresses that are taken; whose they are is told to those who may read the owner's servers.

    Raises:
        NotFound: there is no such subnet.
    """
    access.require(actor, Action.CATALOGUE_READ)
    _row(session, subnet_id)
    rows, following = store.in_use(session, subnet_id, limit=limit, after=cursor)
    return [
        AddressView(address, server, organization)
        if organization is None or actor.may(Action.SERVER_READ, organization.path)
        else AddressView(address, None, None)
        for address, server, organization in rows
    ], following


def reserve_address(session: Session, actor: Actor, subnet_id: uuid.UUID, command: ReserveAddress) -> AddressView:
    """Keep an address for something, so that no server gets it.

    Raises:
        NotFound: there is no such subnet.
        InvalidInput: not an address of it, or there is no such organization.
        AddressUnavailable: somebody has it, or none is free.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    subnet, *_ = _row(session, subnet_id)
    organization = organizations.get(session, command.organization) if command.organization else None
    if command.organization is not None and organization is None:
        raise InvalidInput(N_("There is no such organization."), field="organization")
    store.lock(session, subnet.id)
    session.refresh(subnet)
    text = (
        addresses.parse_address(command.address, field="address", family=subnet.family)
        if command.address
        else store.next_free(session, subnet)
    )
    if text is None:
        raise AddressUnavailable(N_("{subnet} has no free address."), field="address", subnet=subnet.cidr)
    taken = store.take_exact(
        session,
        subnet,
        text,
        state="reserved",
        server_id=None,
        organization_id=organization.id if organization else None,
        by=actor.username,
        purpose=command.purpose,
    )
    if isinstance(taken, Taken):
        raise AddressUnavailable(
            N_("{reason}. The next free one is {free}."),
            field="address",
            extra={"next_free": store.next_free(session, subnet)},
            reason=told(taken, text),
            free=store.next_free(session, subnet) or "-",
        )
    _record_address(session, actor, taken, after={"purpose": command.purpose})
    return AddressView(taken, None, organization)


def free_address(session: Session, actor: Actor, subnet_id: uuid.UUID, address_id: uuid.UUID) -> None:
    """Let go of an address that was kept for something.

    Raises:
        NotFound: the subnet has no such address.
        Conflict: a server has it, or a request waits for it.
    """
    access.require(actor, Action.CATALOGUE_WRITE)
    row = store.get_address(session, address_id)
    if row is None or row.subnet_id != subnet_id:
        raise NotFound(N_("The subnet has no such address in use."))
    if row.server_id is not None:
        raise Conflict(N_("{address} belongs to a server; it is free when the server is."), address=row.address)
    _record_address(session, actor, row, before={"purpose": row.purpose})
    store.free_reservation(session, row)


def _views(session: Session, rows: Sequence[store.SubnetRow]) -> list[SubnetView]:
    ids = [subnet.id for subnet, _, _ in rows]
    ranges, counts = store.ranges(session, ids), store.counts(session, ids)
    return [
        SubnetView(
            subnet,
            network,
            backend,
            ranges[subnet.id],
            {"total": _size(subnet), **counts[subnet.id], "free": store.count_free(session, subnet)},
        )
        for subnet, network, backend in rows
    ]


def _size(subnet: Subnet) -> int:
    span = addresses.usable(addresses.parse_subnet(subnet.cidr))
    return span.last - span.first + 1


def _row(session: Session, subnet_id: uuid.UUID) -> store.SubnetRow:
    row = store.get(session, subnet_id)
    if row is None:
        raise NotFound(N_("There is no such subnet."))
    return row


def _network_of(session: Session, network_id: uuid.UUID | None, network_zone: str) -> uuid.UUID | None:
    if network_id is None:
        return None
    row = zones.get_network(session, network_id)
    if row is None:
        raise InvalidInput(N_("There is no such network."), field="network")
    network, _ = row
    if network.network_zone != network_zone:
        raise InvalidInput(
            N_("Network {network} carries {there}, not {network_zone}."),
            field="network",
            network=network.name,
            there=network.network_zone,
            network_zone=network_zone,
        )
    return network.id


def _gateway(cidr: addresses.Network, given: str | None) -> str | None:
    if given is None:
        return None
    text = addresses.parse_address(given, field="gateway", family=cidr.version)
    if not addresses.contains(cidr, text):
        raise InvalidInput(N_("The gateway must lie inside {subnet}."), field="gateway", subnet=str(cidr))
    return text


def _resolvers(given: Sequence[str]) -> list[str]:
    return [addresses.parse_address(text, field=f"dns[{index}]") for index, text in enumerate(given)]


def _set_ranges(session: Session, subnet: Subnet, cidr: addresses.Network, given: Sequence[RangeInput]) -> None:
    rows = []
    for index, each in enumerate(given):
        ends = {
            name: addresses.parse_address(getattr(each, name), field=f"ranges[{index}].{name}", family=cidr.version)
            for name in ("first", "last")
        }
        for name, text in ends.items():
            if not addresses.contains(cidr, text):
                raise InvalidInput(
                    N_("{address} lies outside of {subnet}."),
                    field=f"ranges[{index}].{name}",
                    address=text,
                    subnet=str(cidr),
                )
        first, last = addresses.key_of(ends["first"]), addresses.key_of(ends["last"])
        if first > last:
            raise InvalidInput(N_("A range begins with its lower address."), field=f"ranges[{index}].first")
        rows.append(
            AddressRange(
                subnet_id=subnet.id,
                kind=each.kind,
                first=ends["first"],
                last=ends["last"],
                first_key=first,
                last_key=last,
                reason=each.reason,
            )
        )
    kept = store.ranges(session, [subnet.id])[subnet.id]
    if sorted(map(_said, rows)) != sorted(map(_said, kept)):
        store.set_ranges(session, subnet.id, rows)


def _said(row: AddressRange) -> tuple[str, str, str, str]:
    return row.kind, row.first_key, row.last_key, row.reason


def _record(session: Session, actor: Actor, subnet: Subnet, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.NETWORK_WRITE,
        object_type="subnet",
        object_id=subnet.id,
        object_name=subnet.cidr,
        **detail,
    )


def _record_address(session: Session, actor: Actor, row: Address, **detail: Any) -> None:
    audit.record(
        session,
        actor,
        Event.ADDRESS_WRITE,
        object_type="address",
        object_id=row.id,
        object_name=row.address,
        **detail,
    )

"""Addresses that people choose for servers: asked for at plan, reserved at submit, told when they cannot be had."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from cloudmgr.domain import addresses
from cloudmgr.domain.errors import AddressUnavailable, InvalidInput
from cloudmgr.domain.messages import N_, Message
from cloudmgr.models import Address, Backend, Network, Server, Subnet
from cloudmgr.services.request_inputs import ServersEntry, WantedAddresses
from cloudmgr.store import addresses as store
from cloudmgr.store.addresses import Taken

FAMILIES = {"ipv4": addresses.IPV4, "ipv6": addresses.IPV6}
_TOLD = {
    "allocated": N_("{address} belongs to {who}"),
    "reserved": N_("{address} is reserved for {who}"),
    "observed": N_("{address} is in use at the cloud ({who})"),
    "gateway": N_("{address} is the gateway of {who}"),
    "excluded": N_("{address} is kept out of use ({who})"),
    "outside": N_("{address} is not an address for servers of {who}"),
}


def told(taken: Taken, address: str) -> Message:
    """Say why an address cannot be had."""
    return Message(_TOLD[taken.by], {"address": address, "who": taken.who or "-"})


def subnet_for(session: Session, network_zone: str, address: str, *, field: str) -> tuple[Subnet, Backend]:
    """Return the managed subnet of a network zone that an address lies in, and the backend it is at.

    Raises:
        InvalidInput: the zone has no such subnet, or one whose addresses are not ours to choose.
    """
    for subnet in store.of_zone(session, network_zone):
        if not addresses.contains(addresses.parse_subnet(subnet.cidr), address):
            continue
        network = session.get(Network, subnet.network_id) if subnet.network_id else None
        if not subnet.is_managed or not subnet.is_enabled or network is None:
            raise InvalidInput(
                N_("Addresses of {subnet} are not chosen here: leave {address} out."),
                field=field,
                subnet=subnet.cidr,
                address=address,
            )
        return subnet, session.get_one(Backend, network.backend_id)
    raise InvalidInput(
        N_("{address} lies in no subnet of {network_zone}; its subnets are {known}."),
        field=field,
        address=address,
        network_zone=network_zone,
        known=", ".join(subnet.cidr for subnet in store.of_zone(session, network_zone) if subnet.is_managed) or "-",
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """What an entry asks for: the cloud its addresses are at, and each server's addresses with where they stand."""

    backend: Backend | None
    servers: list[tuple[dict[str, str], str]]


def asked(session: Session, entry: ServersEntry, at: str, network_zone: str, backend: Backend | None) -> Asked:
    """Return the addresses an entry asks for, server by server. An address decides the cloud.

    Raises:
        InvalidInput: not an address, of no subnet of ours, at another cloud than asked, or not one line a server.
    """
    wanted = [(line, f"{at}.addresses[{index}]") for index, line in enumerate(entry.addresses)]
    if entry.ipv4 is not None or entry.ipv6 is not None:
        if entry.count != 1 or wanted:
            raise InvalidInput(
                N_("ipv4 and ipv6 are for one server; for more, give addresses with one line for each."),
                field=f"{at}.ipv4" if entry.ipv4 is not None else f"{at}.ipv6",
            )
        wanted = [(WantedAddresses(ipv4=entry.ipv4, ipv6=entry.ipv6), at)]
    if wanted and len(wanted) != entry.count:
        raise InvalidInput(
            N_("addresses has {given} lines for {count} servers; give one for each."),
            field=f"{at}.addresses",
            given=len(wanted),
            count=entry.count,
        )
    found: list[tuple[dict[str, str], str]] = []
    for line, place in wanted:
        texts: dict[str, str] = {}
        for name, family in FAMILIES.items():
            given = getattr(line, name)
            if given is None:
                continue
            field = f"{place}.{name}"
            texts[name] = addresses.parse_address(given, field=field, family=family)
            _, place_of = subnet_for(session, network_zone, texts[name], field=field)
            if backend is not None and place_of.id != backend.id:
                raise InvalidInput(
                    N_("{address} is at {there}, and {here} is asked for."),
                    field=field,
                    address=texts[name],
                    there=place_of.name,
                    here=backend.name,
                )
            backend = place_of
        found.append((texts, place))
    return Asked(backend, found or [({}, at)] * entry.count)


def check_once(wanted: Iterable[tuple[Mapping[str, str], str]]) -> None:
    """Refuse an address that stands twice in one request.

    Raises:
        InvalidInput: names the second place.
    """
    seen: set[str] = set()
    for texts, at in wanted:
        for name, text in texts.items():
            if text in seen:
                raise InvalidInput(N_("{address} stands twice in this request."), field=f"{at}.{name}", address=text)
            seen.add(text)


def refusals(session: Session, network_zone: str, wanted: Mapping[str, str], at: str) -> list[dict[str, Any]]:
    """Return, as a plan tells it, which of a server's addresses cannot be had now."""
    found: list[dict[str, Any]] = []
    for name, text in wanted.items():
        try:
            subnet, _ = subnet_for(session, network_zone, text, field=f"{at}.{name}")
            require_free(session, subnet, text, field=f"{at}.{name}")
        except AddressUnavailable as error:
            found.append({"code": error.code, "field": error.field, "message": error.message, **error.extra})
    return found


def require_free(session: Session, subnet: Subnet, address: str, *, field: str) -> None:
    """Refuse an address that cannot be had now, naming who has it and the next one that is free.

    Raises:
        AddressUnavailable: somebody has it, or nobody may.
    """
    taken = store.why_not(session, subnet, address, server_id=None)
    if taken is not None:
        raise _unavailable(session, subnet, address, taken, field)


def reserve(session: Session, rows: Iterable[tuple[Server, str]], *, purpose: str) -> None:
    """Reserve what was asked for new servers at once; `rows` give each with where it stands in the input.

    Raises:
        AddressUnavailable: somebody was faster.
    """
    asked = [
        (family, subnet, address, server, f"{at}.{name}")
        for server, at in rows
        for name, family in FAMILIES.items()
        if (address := server.wanted_addresses.get(name)) is not None
        for subnet, _ in [subnet_for(session, server.network_zone, address, field=f"{at}.{name}")]
    ]
    for _, subnet, address, server, field in sorted(asked, key=lambda each: (each[0], each[1].id)):
        taken = store.take_exact(
            session,
            subnet,
            address,
            state="reserved",
            server_id=server.id,
            organization_id=server.organization_id,
            by=server.name,
            purpose=purpose,
        )
        if not isinstance(taken, Address):
            raise _unavailable(session, subnet, address, taken, field)


def _unavailable(session: Session, subnet: Subnet, address: str, taken: Taken, field: str) -> AddressUnavailable:
    free = store.next_free(session, subnet)
    reason = told(taken, address)
    extra = {"next_free": free}
    if free is None:
        return AddressUnavailable(
            N_("{reason}; {subnet} has no free address."), field=field, extra=extra, reason=reason, subnet=subnet.cidr
        )
    return AddressUnavailable(
        N_("{reason}. The next free one is {free}."), field=field, extra=extra, reason=reason, free=free
    )

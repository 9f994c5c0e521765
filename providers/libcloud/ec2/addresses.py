"""Addresses in use on a subnet, and elastic addresses that lead to a server."""

import uuid
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from cloudmgr.domain.messages import N_
from providers.base import AddressObservation, PublicAddressObservation
from providers.errors import Busy, NotFound
from providers.libcloud.ec2.objects import ADDRESS, KIND, TOKEN, get, interfaces, is_id, subnets
from providers.libcloud.ec2.servers import of_token
from providers.libcloud.ec2.wire import Wire, tag_params, tags, text

ELASTIC = "elastic-ip"
"""Reference of the network that public addresses come from; EC2 has no other name for it."""


def in_use(wire: Wire, network: str) -> list[AddressObservation]:
    """Return every address in use on a subnet, whoever uses it; of the elastic ones, those the account holds."""
    if network == ELASTIC:
        return [_held(element) for element in elastic(wire)]
    if not is_id(network, "subnet") or next(subnets(wire, {"subnet-id": network}), None) is None:
        raise NotFound(N_("There is no such object in this cloud."), detail=f"subnet {network[:100]}")
    return [
        AddressObservation(
            address=address,
            network=network,
            server=one.server,
            mac=one.mac,
            owner=one.tags.get("Name") or one.description or one.ref,
        )
        for one in interfaces(wire, {"subnet-id": network})
        for address in one.addresses
    ]


def _held(element: Element) -> AddressObservation:
    return AddressObservation(
        address=text(element, "publicIp") or "",
        network=ELASTIC,
        server=text(element, "instanceId"),
        owner=tags(element).get("Name") or text(element, "allocationId") or "",
    )


def elastic(wire: Wire, filters: dict[str, str] | None = None) -> Iterator[Element]:
    """Yield the account's elastic addresses."""
    return wire.find("DescribeAddresses", "addressesSet/item", filters)


def find(wire: Wire, token: uuid.UUID) -> PublicAddressObservation | None:
    """Return the address taken with a token."""
    found = sorted(elastic(wire, of_token(token, ADDRESS)), key=lambda one: text(one, "allocationId") or "")
    return _observe(found[0], token) if found else None


def assign(wire: Wire, ref: str, token: uuid.UUID) -> PublicAddressObservation:
    """Take an address and lead it to the server.

    Raises:
        NotFound: no such server, and nothing was taken. Busy: another call took one with this token at the same moment.
    """
    get(wire, ref)
    found = find(wire, token)
    if found is None:
        given = {"Name": f"cloudmgr-{token}", TOKEN: str(token), KIND: ADDRESS}
        made = text(wire.ask("AllocateAddress", {"Domain": "vpc"} | tag_params("elastic-ip", given)), "allocationId")
        if any(text(one, "allocationId") != made for one in elastic(wire, of_token(token, ADDRESS))):
            wire.ask("ReleaseAddress", {"AllocationId": made})
            raise Busy(N_("Something else is being done to this object; try again shortly."), detail=f"token {token}")
        found = find(wire, token)
    if found is None:
        raise Busy(N_("Something else is being done to this object; try again shortly."), detail="not listed yet")
    if found.server != ref:
        wire.ask("AssociateAddress", {"AllocationId": found.ref, "InstanceId": ref, "AllowReassociation": "true"})
        found = find(wire, token) or found
    return found


def release(wire: Wire, token: uuid.UUID) -> None:
    """Give back every address taken with a token."""
    for one in list(elastic(wire, of_token(token, ADDRESS))):
        if association := text(one, "associationId"):
            wire.ask("DisassociateAddress", {"AssociationId": association})
        wire.ask("ReleaseAddress", {"AllocationId": text(one, "allocationId")})


def _observe(element: Element, token: uuid.UUID) -> PublicAddressObservation:
    return PublicAddressObservation(
        ref=text(element, "allocationId") or "",
        address=text(element, "publicIp") or "",
        token=token,
        server=text(element, "instanceId"),
    )


def token_of_address(element: Element) -> uuid.UUID | None:
    """Return the token an elastic address was taken with."""
    try:
        return uuid.UUID(tags(element).get(TOKEN, ""))
    except ValueError:
        return None

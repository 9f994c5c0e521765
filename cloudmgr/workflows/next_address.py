"""Another address for a server whose backend says that the one we chose is in use. One `write` step."""

from typing import Any

from sqlmodel import Session

from cloudmgr.domain.messages import N_, Message
from cloudmgr.models import Network
from cloudmgr.store import addresses as store
from cloudmgr.workflows import addresses, facts
from providers.errors import Remedy

TRIES = 16
"""How many addresses in a row may turn out to be in use before the zone is given up: then our record is too far off."""


def next_address(session: Session, server_id: str, number: int, failure: dict[str, Any]) -> dict[str, Any]:
    """The backend says that an address is in use: note it and take another, if it was not asked for by a person.

    Returns `{"addresses": …}` to try with, or `{"remedy", "message"}` where there is no other to be had.
    """
    server, request, _ = facts.load(session, server_id)
    held = store.of_server(session, server.id)
    said = str(failure["message"].get("params", {}).get("address", ""))
    in_use = [row for row in held if row[0].address == said] or held
    wanted = set(server.wanted_addresses.values())
    for address, subnet in in_use:
        network = session.get(Network, subnet.network_id) if subnet.network_id else None
        if address.address in wanted or network is None:
            message = Message(
                N_("{address} was asked for, and the cloud says that somebody else uses it. Ask for another."),
                {"address": address.address},
            )
            return {"remedy": Remedy.FAIL.value, "message": message.as_json()}
        text = address.address
        session.delete(address)
        session.flush()
        store.mark_observed(session, backend_id=network.backend_id, network_ref=network.ref, address=text)
        same = [each for each in store.managed_on(session, network.id) if each.family == subnet.family]
        refused = addresses.claim_next(session, server, same)
        if refused is not None:
            return {"remedy": Remedy.NEXT_ZONE.value, "message": refused.as_json()}
        facts.tell(
            session,
            request,
            server,
            f"next_address:{text}",
            number,
            Message(
                N_("{name}: the cloud says that somebody else uses {address}; another address is tried."),
                {"name": server.name, "address": text},
            ),
            kind="warning",
        )
    return {"addresses": addresses.spec_of(session, server.id)}

"""Who uses which address on a network, as far as the vCenter knows: what guests tell, and what ours were told to have."""

from typing import Any

from pyVmomi import vim

from providers.base import AddressObservation
from providers.vsphere import collector, errors, inventory, observe
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection
from providers.vsphere.inventory import id_of
from providers.vsphere.options import VSphereOptions

_PATHS = ("name", "config.instanceUuid", "config.template", "config.extraConfig", "network", "guest.net")


def of_network(connection: Connection, options: VSphereOptions, network: str) -> list[AddressObservation]:
    """Return every address in use on a network, ours or not.

    A guest that is off or has no tools tells nothing; of one of ours the note of what it was told is taken.

    Raises:
        NotFound: there is no such network.
    """
    ports = inventory.ports(connection, options, inventory.read(connection, options.page_size))
    port = next((port for port in ports if port.observation.ref == network), None)
    if port is None:
        raise errors.not_found(f"network {network!r}")
    paths = {vim.VirtualMachine: _PATHS}
    rows = connection.read(
        lambda session: [
            row
            for row in collector.every(session, list(paths), paths, options.page_size)
            if network in {id_of(one) for one in row.get("network") or []}
        ]
    )
    found: dict[str, AddressObservation] = {}
    for row in rows:
        for one in _of_machine(row, network, port.observation.name):
            found.setdefault(one.address, one)
    return list(found.values())


def _of_machine(row: Row, network: str, name: str) -> list[AddressObservation]:
    ref, owner = str(row.get("config.instanceUuid", row.moid)), str(row.get("name", row.moid))
    found = []
    for card in row.get("guest.net") or []:
        if card.network in (None, "", name):
            told = [one for text in card.ipAddress or [] if (one := observe.parsed_address(text)) is not None]
            found += [AddressObservation(str(one), network, ref, _mac(card), owner) for one in told]
    noted = observe.notes_of(row).get(observe.ADDRESSES, "") if observe.token_of(row) is not None else ""
    found += [AddressObservation(address, network, ref, None, owner) for address in noted.split(",") if address]
    return found


def _mac(card: Any) -> str | None:
    return str(card.macAddress) if card.macAddress else None

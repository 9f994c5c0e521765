"""What may stand in the port-opening table: sources, protocols, ports, and what is opened to everybody only with a reason."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import date

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

PROTOCOLS = ("tcp", "udp", "icmp")
LAST_PORT = 65535
MANAGEMENT_PORTS: tuple[tuple[int, int], ...] = (
    (22, 23),
    (445, 445),
    (1433, 1433),
    (1521, 1521),
    (3306, 3306),
    (3389, 3389),
    (5432, 5432),
    (5900, 5910),
    (6379, 6379),
    (27017, 27017),
)
"""Ports of remote administration, file shares and databases: never opened to everybody without a reason."""
_EVERYBODY = {4: 8, 6: 16}
"""A source with a shorter prefix is everybody, however it is cut: 0.0.0.0/1 and 128.0.0.0/1 are two halves of it."""
_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class PortOpeningAsked:
    """One line of the table, checked: `source` is a network, icmp has no ports."""

    source: str
    protocol: str
    port_from: int | None
    port_to: int | None
    purpose: str
    reason: str
    valid_until: date | None


def check(
    *,
    source: str,
    protocol: str,
    port: int | None,
    ports: str | None,
    purpose: str,
    reason: str,
    valid_until: date | None,
    today: date,
    at: str,
) -> PortOpeningAsked:
    """Return a line of the port-opening table in its one written form; `at` is where it stands in the input.

    Raises:
        InvalidInput: names the field that breaks a rule.
    """
    network = _source(source, f"{at}.source")
    if protocol not in PROTOCOLS:
        raise InvalidInput(
            N_("There is no protocol {given}; choose one of {known}."),
            field=f"{at}.protocol",
            given=protocol,
            known=", ".join(PROTOCOLS),
        )
    first, last = _ports(protocol, port, ports, at)
    if valid_until is not None and valid_until < today:
        raise InvalidInput(
            N_("An opening cannot end before today ({today}); {given} is past."),
            field=f"{at}.valid_until",
            today=today.isoformat(),
            given=valid_until.isoformat(),
        )
    if is_everybody(network) and protocol != "icmp" and not reason.strip():
        exposed = exposed_ports(first or 1, last or LAST_PORT)
        if exposed:
            raise InvalidInput(
                N_(
                    "{source} would open management ports ({ports}) to everybody. Name the networks that need them, or give a reason."
                ),
                field=f"{at}.reason",
                source=str(network),
                ports=exposed,
            )
    return PortOpeningAsked(str(network), protocol, first, last, purpose, reason.strip(), valid_until)


def is_everybody(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether a source is so wide that it names nobody."""
    return network.prefixlen < _EVERYBODY[network.version]


def exposed_ports(first: int, last: int) -> str:
    """Return which management ports lie in a range, as text; empty when none does."""
    found = [(max(first, a), min(last, b)) for a, b in MANAGEMENT_PORTS if a <= last and b >= first]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def port_text(protocol: str, first: int | None, last: int | None) -> str:
    """Return an opening as ledgers have it: `tcp/443`, `tcp/8000-8100`, `icmp`."""
    if first is None:
        return protocol
    return f"{protocol}/{first}" if last in (None, first) else f"{protocol}/{first}-{last}"


def _source(text: str, field: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network("" if "%" in text else text)  # no interface names
    except ValueError as error:
        raise InvalidInput(
            N_("{given} is not a source like {v4} or {v6}; bits behind the prefix must be zero."),
            field=field,
            given=text,
            v4="198.51.100.0/24",
            v6="2001:db8::/64",
        ) from error


def _ports(protocol: str, port: int | None, ports: str | None, at: str) -> tuple[int | None, int | None]:
    if protocol == "icmp":
        if port is not None or ports is not None:
            raise InvalidInput(N_("icmp has no ports; leave them out."), field=f"{at}.port")
        return None, None
    if (port is None) == (ports is None):
        raise InvalidInput(N_("Give either port or ports (like 8000-8100)."), field=f"{at}.port")
    if port is not None:
        first = last = port
    else:
        match = _RANGE.fullmatch(ports or "")
        if match is None:
            raise InvalidInput(N_("{given} is not a range of ports like 8000-8100."), field=f"{at}.ports", given=ports)
        first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= LAST_PORT:
        raise InvalidInput(
            N_("Ports are numbers from 1 to {last}, the lower one first."),
            field=f"{at}.port" if port is not None else f"{at}.ports",
            last=LAST_PORT,
        )
    return first, last

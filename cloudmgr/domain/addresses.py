"""Arithmetic of addresses and subnets: text of RFC 5952, keys that sort, spans that may be handed out. No database.

Nothing here asks whether an address is private: inner zones of real clouds use ranges outside RFC 1918.
"""

import ipaddress
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.domain.messages import N_

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPV4, IPV6 = 4, 6
FIRST_WINDOW, LAST_WINDOW = 256, 65536
_WIDEST = {IPV4: 8, IPV6: 32}
_EXAMPLES = {IPV4: ("198.51.100.7", "198.51.100.0/24"), IPV6: ("2001:db8::7", "2001:db8::/64")}


@dataclass(frozen=True, slots=True)
class Span:
    """Addresses as numbers; both ends belong to it."""

    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def cut(self, other: "Span") -> list["Span"]:
        """Return what is left of this span without another."""
        if other.last < self.first or other.first > self.last:
            return [self]
        ends = ((self.first, other.first - 1), (other.last + 1, self.last))
        return [Span(first, last) for first, last in ends if first <= last]


def parse_address(text: str, *, field: str | None = None, family: int | None = None) -> str:
    """Return an address in its one written form (RFC 5952 for IPv6).

    Raises:
        InvalidInput: it is none, is of another family, or names an interface (`%eth0`).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or "%" in text or (family is not None and address.version != family):
        example = _EXAMPLES[family or IPV4][0]
        if family is None:
            raise InvalidInput(
                N_("{given} is not an address like {example}."), field=field, given=text, example=example
            )
        raise InvalidInput(
            N_("{given} is not an IPv{version} address like {example}."),
            field=field,
            given=text,
            version=family,
            example=example,
        )
    return str(address)


def parse_subnet(text: str, *, field: str | None = None) -> Network:
    """Return the network of a subnet; host bits must be zero.

    Raises:
        InvalidInput: it is none, or one that no server can have an address of (loopback, multicast, link-local,
            unspecified), or wider than a subnet can be.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidInput(
            N_("{given} is not a network like {v4} or {v6}; bits behind the prefix must be zero."),
            field=field,
            given=text,
            v4=_EXAMPLES[IPV4][1],
            v6=_EXAMPLES[IPV6][1],
        ) from error
    if network.is_loopback or network.is_multicast or network.is_link_local or network.network_address.is_unspecified:
        raise InvalidInput(N_("Servers cannot have addresses of {given}."), field=field, given=str(network))
    if network.prefixlen < _WIDEST[network.version]:
        raise InvalidInput(
            N_("{given} is wider than a subnet can be; use /{widest} or narrower."),
            field=field,
            given=str(network),
            widest=_WIDEST[network.version],
        )
    return network


def family_of(address: str) -> int:
    """Return 4 or 6."""
    return ipaddress.ip_address(address).version


def key_of(address: str) -> str:
    """Return an address as 32 hexadecimal digits, which sort as the addresses do."""
    return key_of_number(int(ipaddress.ip_address(address)))


def key_of_number(number: int) -> str:
    """Return the key of an address given as a number."""
    return f"{number:032x}"


def text_of(number: int, family: int) -> str:
    """Return the written form of an address given as a number."""
    return str(ipaddress.IPv4Address(number) if family == IPV4 else ipaddress.IPv6Address(number))


def usable(network: Network) -> Span:
    """Return what servers may have of a network: not its own address and, in IPv4, not its broadcast.

    The subnet-router anycast address of IPv6 (RFC 4291, 2.6.1) is the network's own. Point-to-point networks (/31, /127:
    RFC 3021, RFC 6164) and single addresses are used whole.
    """
    first, last = int(network.network_address), int(network.broadcast_address)
    if network.max_prefixlen - network.prefixlen <= 1:
        return Span(first, last)
    return Span(first + 1, last - 1 if network.version == IPV4 else last)


def allowed(network: Network, *, pools: Iterable[Span], excluded: Iterable[Span], gateway: str | None) -> list[Span]:
    """Return what is handed out automatically, in order and disjoint: the pools (without one: everything usable) without
    what is excluded and without the gateway.
    """
    whole = usable(network)
    asked = [Span(max(pool.first, whole.first), min(pool.last, whole.last)) for pool in pools]
    spans = _merged(span for span in asked if span.first <= span.last) if asked else [whole]
    for hole in [*excluded, *([_single(gateway)] if gateway else [])]:
        spans = [left for span in spans for left in span.cut(hole)]
    return spans


def span_of(first: str, last: str) -> Span:
    """Return the span between two addresses."""
    return Span(int(ipaddress.ip_address(first)), int(ipaddress.ip_address(last)))


def walk(spans: Sequence[Span], behind: int | None) -> Iterator[Span]:
    """Yield the spans from the number behind the hint to their end, then those before it: each address once."""
    if behind is None:
        yield from spans
        return
    for span in spans:
        if span.last > behind:
            yield Span(max(span.first, behind + 1), span.last)
    for span in spans:
        if span.first <= behind:
            yield Span(span.first, min(span.last, behind))


def windows(span: Span) -> Iterator[Span]:
    """Cut a span into pieces that are looked at one after another, each larger than the last, up to 65,536 addresses."""
    first, size = span.first, FIRST_WINDOW
    while first <= span.last:
        yield Span(first, min(first + size - 1, span.last))
        first, size = first + size, min(size * 4, LAST_WINDOW)


def free_in(window: Span, taken: Container[str]) -> Iterator[int]:
    """Yield the numbers of a window whose keys are not taken, in order."""
    return (number for number in range(window.first, window.last + 1) if key_of_number(number) not in taken)


def overlap(one: Network, other: Network) -> bool:
    """Whether two networks share addresses; those of two families never do."""
    return one.version == other.version and (
        one.network_address <= other.broadcast_address and other.network_address <= one.broadcast_address  # type: ignore[operator]
    )


def contains(network: Network, address: str) -> bool:
    """Whether an address lies in a network; one of the other family does not."""
    parsed = ipaddress.ip_address(address)
    return parsed.version == network.version and parsed in network


def _single(address: str) -> Span:
    number = int(ipaddress.ip_address(address))
    return Span(number, number)


def _merged(spans: Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for span in sorted(spans, key=lambda each: each.first):
        if merged and span.first <= merged[-1].last + 1:
            merged[-1] = Span(merged[-1].first, max(merged[-1].last, span.last))
        else:
            merged.append(span)
    return merged

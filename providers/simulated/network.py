"""Addresses, opened ports and public addresses of a simulated cloud."""

import uuid
from collections.abc import Sequence
from ipaddress import ip_network

from cloudmgr.domain.messages import N_
from providers.base import AddressObservation, PortRule, PublicAddressObservation
from providers.capabilities import FixedAddresses, PortRules, PublicAddresses
from providers.errors import InvalidSpec, NotFound
from providers.simulated import addresses, limits, servers
from providers.simulated.calls import SimulatedCalls

_HIGHEST_PORT = 65535


class SimulatedNetwork(SimulatedCalls, FixedAddresses, PortRules, PublicAddresses):
    def list_addresses(self, network: str) -> list[AddressObservation]:
        with self._read("list_addresses") as db:
            if network not in self._networks:
                raise NotFound(N_("There is no such network at the cloud."), detail=f"ref {network!r}")
            return addresses.observe_all(db, network)

    # Opened ports

    def set_port_rules(self, ref: str, rules: Sequence[PortRule]) -> None:
        for rule in rules:
            _refuse_malformed(rule)
        with self._write("set_port_rules", ref=ref) as attempt:
            servers.require(attempt.db, ref)
            attempt.db.execute("DELETE FROM port_rules WHERE server = ?", (ref,))
            attempt.db.executemany(
                "INSERT INTO port_rules (server, place, key, source, protocol, port_from, port_to) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (ref, place, rule.key, rule.source, rule.protocol, rule.port_from, rule.port_to)
                    for place, rule in enumerate(rules)
                ],
            )

    def list_port_rules(self, ref: str) -> list[PortRule]:
        with self._read("list_port_rules", ref=ref) as db:
            servers.require(db, ref)
            rows = db.execute("SELECT * FROM port_rules WHERE server = ? ORDER BY place", (ref,))
            return [
                PortRule(row["key"], row["source"], row["protocol"], row["port_from"], row["port_to"]) for row in rows
            ]

    # Public addresses

    def assign_public_address(self, ref: str, token: uuid.UUID) -> PublicAddressObservation:
        with self._write("assign_public_address", ref=ref, token=None) as attempt:
            db = attempt.db
            servers.require(db, ref)
            seen = addresses.find_public(db, token)
            attempt.outcome = "built" if seen is None else "found"
            if seen is None:
                limits.refuse_beyond(db, self._options.cloud_quota, public_ips=1)
                addresses.take_public(db, [one for one in self._options.networks if one.is_external], ref, token)
            elif seen.server != ref:
                db.execute("UPDATE public_addresses SET server = ? WHERE token = ?", (ref, str(token)))
            made = addresses.find_public(db, token)
            assert made is not None, "it was just written"  # noqa: S101 - narrows
            return made

    def find_public_address(self, token: uuid.UUID) -> PublicAddressObservation | None:
        with self._read("find_public_address") as db:
            return addresses.find_public(db, token)

    def release_public_address(self, token: uuid.UUID) -> None:
        with self._write("release_public_address") as attempt:
            attempt.db.execute("DELETE FROM public_addresses WHERE token = ?", (str(token),))


def _refuse_malformed(rule: PortRule) -> None:
    try:
        ip_network(rule.source)
        is_right = True
    except ValueError:
        is_right = False
    if rule.protocol == "icmp":
        is_right &= rule.port_from is None and rule.port_to is None
    else:
        ports = (rule.port_from, rule.port_to)
        is_right &= rule.protocol in {"tcp", "udp"} and all(ports) and 1 <= ports[0] <= ports[1] <= _HIGHEST_PORT  # type: ignore[operator]
    if not is_right:
        raise InvalidSpec(N_("The cloud has no such port rule: {rule}."), rule=_words(rule))


def _words(rule: PortRule) -> str:
    return f"{rule.protocol} {rule.port_from or ''}-{rule.port_to or ''} {rule.source}"

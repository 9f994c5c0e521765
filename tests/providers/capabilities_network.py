"""Tests of addresses that are told, of opened ports, and of public addresses."""

import uuid
from dataclasses import replace

import pytest

from providers.base import PortRule
from providers.capabilities import FixedAddresses, PortRules, PublicAddresses
from providers.errors import AddressTaken, InvalidSpec, NotFound, Remedy
from tests.providers.checks import assert_safe
from tests.providers.hooks import ProviderHooks, capability

SSH = PortRule("opening-1", "192.0.2.0/24", "tcp", 22, 22)
WEB = PortRule("opening-2", "0.0.0.0/0", "tcp", 8000, 8010)
DNS = PortRule("opening-3", "198.51.100.7/32", "udp", 53, 53)
PING = PortRule("opening-4", "192.0.2.0/24", "icmp")


class NetworkContract(ProviderHooks):
    """Inherited through ProviderContract, which gives the fixtures."""

    @capability("fixed_addresses")
    def test_server_gets_the_address_it_was_told_and_nobody_else_does(self, provider, token):
        assert isinstance(provider, FixedAddresses)
        spec = self.spec_for(provider, self.arch)
        (network,) = spec.networks
        addresses = self.free_addresses(provider, network)
        told = {one.address for one in addresses}
        assert told, "give an address nobody has"
        spec = replace(spec, addresses=addresses)
        made = self.build(provider, spec, token)
        if self.shows_fixed_addresses:
            self.wait_for(lambda: provider.get_server(made.ref), lambda seen: told <= {*seen.ipv4, *seen.ipv6})
        listed = self.wait_for(
            lambda: {one.address: one for one in provider.list_addresses(network)}, lambda seen: told <= set(seen)
        )
        assert {listed[address].server for address in told} == {made.ref}
        assert {listed[address].network for address in told} == {network}
        rival = uuid.uuid4()
        for address in addresses:
            with pytest.raises(AddressTaken) as caught:
                provider.create_server(replace(spec, addresses=(address,)), rival)
            assert caught.value.remedy is Remedy.NEXT_ADDRESS
            assert_safe(caught.value, self.secrets, shows=(address.address,))
            assert provider.find_server(rival) is None
            assert self.leftovers(provider, rival) == []
        assert provider.create_server(spec, token).ref == made.ref, "its own address is not taken"
        self.clear_away(provider, token)
        self.wait_for(lambda: {one.address for one in provider.list_addresses(network)}, lambda seen: not told & seen)

    @capability("fixed_addresses")
    def test_address_outside_the_network_is_refused(self, provider):
        assert isinstance(provider, FixedAddresses)
        token, spec = uuid.uuid4(), self.spec_for(provider, self.arch)
        (network,) = spec.networks
        for one in self.free_addresses(provider, network):
            strange = "203.0.113.77" if ":" not in one.address else "2001:db8:7777::77"
            for wrong in (strange, "no-address"):
                with self.refused(InvalidSpec, shows=(wrong,)):
                    provider.create_server(replace(spec, addresses=(replace(one, address=wrong),)), token)
        assert self.leftovers(provider, token) == []

    @capability("fixed_addresses")
    def test_every_network_that_is_listed_tells_its_addresses(self, provider):
        assert isinstance(provider, FixedAddresses)
        for network in provider.list_networks():
            assert {one.network for one in provider.list_addresses(network.ref)} <= {network.ref}

    @capability("fixed_addresses")
    def test_addresses_of_an_absent_network_are_not_found(self, provider):
        assert isinstance(provider, FixedAddresses)
        with self.refused(NotFound):
            provider.list_addresses("no-such-network")

    @capability("port_rules")
    def test_ports_are_opened_exactly_as_told(self, provider, shared):
        assert isinstance(provider, PortRules)
        ref = shared[2].ref
        assert provider.list_port_rules(ref) == []
        for rules in ([SSH, WEB, PING], [SSH, WEB, PING], [WEB, DNS], [replace(WEB, port_to=8001)], []):
            self.insist(lambda rules=rules: provider.set_port_rules(ref, rules))
            seen = provider.list_port_rules(ref)
            assert set(seen) == set(rules)
            assert len(seen) == len(rules)

    @capability("port_rules")
    def test_port_rules_go_with_their_server(self, provider, token):
        assert isinstance(provider, PortRules)
        made = self.build(provider, self.spec_for(provider, self.arch), token)
        self.insist(lambda: provider.set_port_rules(made.ref, [SSH]))
        self.clear_away(provider, token)
        self.wait_for(lambda: self.leftovers(provider, token), lambda seen: seen == [])
        for call in (lambda: provider.set_port_rules(made.ref, [SSH]), lambda: provider.list_port_rules(made.ref)):
            with self.refused(NotFound):
                call()

    @capability("public_ips")
    def test_public_address_is_taken_once_and_given_back(self, provider, shared):
        assert isinstance(provider, PublicAddresses)
        ref, token = shared[2].ref, uuid.uuid4()
        assert provider.find_public_address(token) is None
        try:
            made = [self.insist(lambda: provider.assign_public_address(ref, token)) for _ in range(2)]
            assert made[0].address == made[1].address
            assert made[0].ref == made[1].ref
            found = self.wait_for(
                lambda: provider.find_public_address(token), lambda seen: seen is not None and seen.server == ref
            )
            assert (found.ref, found.address, found.token) == (made[0].ref, made[0].address, token)
        finally:
            for _ in range(2):
                self.insist(lambda: provider.release_public_address(token))
        self.wait_for(lambda: provider.find_public_address(token), lambda seen: seen is None)

    @capability("public_ips")
    def test_public_address_of_the_absent_is_not_found_and_nothing_is_kept(self, provider):
        assert isinstance(provider, PublicAddresses)
        token = uuid.uuid4()
        with self.refused(NotFound):
            provider.assign_public_address("no-such-server", token)
        assert provider.find_public_address(token) is None
        provider.release_public_address(token)

"""What is noted of a server that a cloud shows."""

from cloudmgr.models import Server
from cloudmgr.workflows import facts

SEEN = {"ref": "vm-7", "power": "running", "host": "h1", "ipv4": ["10.64.1.9"], "ipv6": []}


def test_addresses_that_a_cloud_tells_of_running_servers_only_stay_when_it_is_off() -> None:
    server = Server()
    facts.note(server, SEEN)
    facts.note(server, SEEN | {"power": "stopped", "host": None, "ipv4": []})
    assert (server.state, server.ipv4, server.ipv6) == ("stopped", ["10.64.1.9"], [])
    facts.note(server, SEEN | {"ipv4": [], "ipv6": ["fd64::9"]})
    assert (server.ipv4, server.ipv6) == ([], ["fd64::9"])

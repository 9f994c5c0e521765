"""The journeys every real cloud is led through. A cloud's own file inherits them and brings the cloud."""

from datetime import timedelta
from typing import Any

from tests.journeys.peer import BACKEND
from tests.journeys.town import Town

PORT = {"source": "198.51.100.0/24", "protocol": "tcp", "port": 443, "purpose": "门户网站"}
POWERED_OFF = {"power": ("running", "stopped")}


class Journeys:
    """Inherit, and give a `town` fixture. In this order: the last one leaves no server standing at the cloud."""

    def test_a_server_lives_from_its_request_to_its_certificate(self, town: Town) -> None:
        free = town.usage()
        stood = town.peer.everything()
        request = _build(town, name="journey", playbook="configure_server")
        (server,) = request["servers"]
        ref = _check_stands(town, server, request["number"])
        _check_rehearsal(town, server["id"])
        _check_network(town, server["id"])
        assert town.usage()[0]["vcpus"] == free[0].get("vcpus", 0) + town.peer.size[0]
        _retire(town, server["id"])
        _check_certificate(town, server["id"], pieces=town.peer.pieces)
        assert town.peer.seen(ref) is None
        assert town.peer.everything() - stood == set(), "the cloud itself shows nothing more than before"
        assert town.usage() == free
        town.verify()

    def test_what_was_made_by_hand_is_found_imported_switched_and_retired(self, town: Town) -> None:
        free = town.usage()
        (finding,) = town.findings_of(town.found)
        assert (finding["kind"], finding["state"]) == ("unmanaged", "open"), "it stood there before the first look"
        fresh = town.peer.make(f"made-by-hand-{town.tag}")
        assert town.look()["outcome"] == "ok"
        (alarm,) = town.findings_of(fresh)
        assert (alarm["kind"], alarm["name"]) == ("unauthorised", f"made-by-hand-{town.tag}"), "one look is enough"
        server = _import(town, fresh)
        assert town.findings_of(fresh) == []
        assert town.usage()[0]["servers"] == free[0].get("servers", 0) + 1
        for action, power in (("stop", "stopped"), ("start", "running")):
            town.switch(server, action, power)
            assert town.peer.seen(fresh)[0] == power  # type: ignore[index]
        _retire(town, server)
        _check_certificate(town, server, pieces=frozenset({"server"}))
        assert town.peer.seen(fresh) is None
        assert town.usage() == free
        assert town.look()["outcome"] == "ok"
        assert town.findings_of(fresh) == []
        town.verify()

    def test_what_hands_change_is_drift_and_what_they_delete_is_lost_only_when_believed(self, town: Town) -> None:
        free = town.usage()
        server = _build(town, name="handled", playbook="collect_facts", plain=True)["servers"][0]["id"]
        assert town.look()["outcome"] == "ok"
        ref = town.ref_of(server)
        assert town.findings_of(ref) == []
        _switched_off_resized_and_put_back(town, ref)
        _resized_and_accepted(town, ref, server)
        _deleted(town, ref, server)
        assert town.usage() == free
        town.verify()


class Changes(Journeys):
    """What is asked of servers that stand, behind everything else: it steps the clock of the town."""

    def test_servers_that_stand_are_resized_frozen_renewed_and_retired_in_bulk(self, town: Town) -> None:
        """One runs, and one its owner has switched off: each is after every freeze what it was before."""
        free = town.usage()
        lease_end = (town.today + timedelta(days=1)).isoformat()
        request = town.fulfil(town.body(name="office", count=2, playbook="collect_facts") | {"lease_end": lease_end})
        runs, rests = pair = [server["id"] for server in request["servers"]]
        town.switch(rests, "stop", "stopped")
        powers = {runs: "running", rests: "stopped"}
        assert town.look()["outcome"] == "ok"
        standing = Standing(town, {server: town.ref_of(server) for server in pair})
        _resized(town, standing, powers)
        _refused(town, standing, powers, rests)
        town.change("freeze", servers=pair)
        standing.check(dict.fromkeys(pair, "stopped"), phase="suspended", frozen_by="request")
        town.change("unfreeze", servers=pair)
        standing.check(powers)
        town.step(timedelta(days=2))
        town.when(lambda: {town.server(server)["phase"] for server in pair} == {"suspended"})
        standing.check(dict.fromkeys(pair, "stopped"), phase="suspended", frozen_by="lease")
        town.change("renew", servers=pair, lease_end=(town.today + timedelta(days=90)).isoformat())
        standing.check(powers)
        town.change("retire", servers=pair)
        for server, ref in standing.refs.items():
            _check_certificate(town, server, pieces=frozenset({"server"}))
            assert town.peer.seen(ref) is None
        assert town.usage() == free
        town.verify()


class Standing:
    """Servers that are changed and stay the same: their references, addresses and what the cloud keeps for them."""

    def __init__(self, town: Town, refs: dict[str, str]) -> None:
        self.town, self.refs, self.size = town, refs, town.peer.size
        self._addresses = {server: town.server(server)["ipv4"] for server in refs}
        assert all(self._addresses.values())
        self._kept = town.peer.everything()
        self._others = {key: amount - self._counted().get(key, 0) for key, amount in town.usage()[0].items()}

    def _counted(self) -> dict[str, int]:
        vcpus, memory_mib = self.size
        return {"vcpus": len(self.refs) * vcpus, "memory_mib": len(self.refs) * memory_mib}

    def check(self, powers: dict[str, str], *, phase: str = "active", frozen_by: str | None = None) -> None:
        """The cloud itself, our record and the quota say the same."""
        for server, ref in self.refs.items():
            shown = self.town.server(server)
            assert self.town.peer.seen(ref) == (powers[server], *self.size), self.town.live.log()
            assert (shown["phase"], shown["state"], shown["frozen_by"]) == (phase, powers[server], frozen_by)
            assert (shown["vcpus"], shown["memory_mib"]) == self.size
            assert shown["ipv4"] == self._addresses[server]
        used, reserved = self.town.usage()
        assert used == {key: amount + self._counted().get(key, 0) for key, amount in self._others.items()}
        assert reserved == {}
        if not self.town.peer.is_shared:
            assert self.town.peer.everything() == self._kept, "nothing came and nothing went"
        assert self.town.look()["outcome"] == "ok"
        for server, ref in self.refs.items():
            assert self.town.ref_of(server) == ref, "it is the same server"
            assert self.town.findings_of(ref) == []


def _resized(town: Town, standing: Standing, powers: dict[str, str]) -> None:
    """One that runs is switched off and on for it; one that is off stays off."""
    town.change("resize", servers=list(powers), flavor=town.flavor("grown", *town.peer.size_by_hand))
    standing.size = town.peer.size_by_hand
    standing.check(powers)


def _refused(town: Town, standing: Standing, powers: dict[str, str], server: str) -> None:
    """A size that the cloud does not have is refused with the reason, never rounded, and nothing is held for it."""
    body = {"kind": "resize", "project": str(town.world.project.id), "purpose": "联调", "servers": [server]}
    request = town.rest(town.submit(body | {"flavor": town.flavor("odd", *town.peer.size_refused)}))
    told = "\n".join(event["text"] for event in request["events"])
    assert request["phase"] == "failed", told
    assert "could not be changed, it is as before" in told or "has no room" in told, told
    standing.check(powers)


def _build(town: Town, *, plain: bool = False, **entry: Any) -> dict[str, Any]:
    """Have one server made: with `plain` nothing but the server."""
    if not plain:
        entry |= {"data_disk_gib": 1, "ports": [PORT]}
    request = town.fulfil(town.body(**entry))
    assert request["number"].startswith("SQ")
    return request


def _check_stands(town: Town, server: dict[str, Any], number: str) -> str:
    """It runs, is in the ledger and the inventory, and the cloud shows the same; return the cloud's reference."""
    shown = town.server(server["id"])
    assert (shown["phase"], shown["state"], shown["arch"], shown["backend"]) == (
        "active",
        "running",
        town.peer.arch,
        BACKEND,
    )
    assert shown["ipv4"], "it has an address"
    assert town.look()["outcome"] == "ok"
    ref = town.ref_of(server["id"])
    assert town.findings_of(ref) == []
    assert town.peer.seen(ref) == ("running", *town.peer.size)
    rows = {row["resource_id"]: row for row in town.get("auditor", "/inventory", format="json")["items"]}
    row = rows[shown["resource_no"]]
    assert (row["vcpu"], row["ipv4"], row["name"]) == (town.peer.size[0], shown["ipv4"], server["name"])
    assert number in row.values()
    return ref


def _check_rehearsal(town: Town, server: str) -> None:
    """Nobody can log in there, so the playbook was rehearsed, and everything says so."""
    assert town.server(server)["rehearsed"]
    runs = [run for run in town.get("admin", "/playbook-runs")["items"] if run["playbook"] == "configure_server"]
    assert [(run["state"], run["rehearsed"]) for run in runs] == [("succeeded", True)]


def _check_network(town: Town, server: str) -> None:
    """Ports are open and a public address leads to it, where the cloud can; where it cannot it says so."""
    (line,) = town.get("requester", "/port-openings", server=server)["items"]
    assert (line["port"], line["state"]) == ("tcp/443", "active" if town.peer.opens_ports else "recorded")
    if town.peer.leads_public_addresses:
        town.change("public_ip", assign=[{"server": server, "bandwidth_mbps": 10}])
        (led,) = town.get("requester", "/public-ips", server=server)["items"]
        assert (led["phase"], bool(led["address"])) == ("active", True)


def _retire(town: Town, server: str) -> None:
    town.change("retire", servers=[server])
    assert town.server(server)["phase"] == "retired"


def _check_certificate(town: Town, server: str, *, pieces: frozenset[str]) -> None:
    told = town.get("requester", f"/servers/{server}/certificate")
    assert (told["state"], told["number"][:2]) == ("complete", "XH"), told
    kinds = {item["kind"] for item in told["items"]}
    assert kinds >= pieces, told["items"]
    assert {item["state"] for item in told["items"]} == {"gone"}
    assert all(item["gone_at"] for item in told["items"])


def _import(town: Town, ref: str) -> str:
    row = {
        "uuid": ref,
        "system_name": town.world.project.name,
        "env": "prd",
        "purpose": "app",
        "lease_end": "长期",
        "network_zone": "政务外网区",
    }
    rows = town.get("sysadmin", "/observed-servers", backend=BACKEND, managed="false", limit=200)["items"]
    if next(each["system_disk_gib"] for each in rows if each["ref"] == ref) is None:
        row["system_disk_gib"] = "15"  # the cloud does not say, and the ledger must know
    (taken,) = town.post("sysadmin", "/inventory/imports", {"rows": [row]})["servers"]
    assert taken["source"] == "imported"
    return str(taken["id"])


def _drift(town: Town, ref: str) -> dict[str, dict[str, Any]]:
    """Look, and return what differs of a server, by field."""
    assert town.look()["outcome"] == "ok"
    return {finding["field"]: finding for finding in town.findings_of(ref, kind="drift")}


def _values(found: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, Any]]:
    """Return (ours, the cloud's) of each field."""
    return {field: (finding["held"]["value"], finding["observed"]["value"]) for field, finding in found.items()}


def _by_hand(town: Town) -> dict[str, tuple[int, int]]:
    """Return what a size given by hand looks like: ours and the cloud's."""
    return dict(zip(("vcpus", "memory_mib"), zip(town.peer.size, town.peer.size_by_hand, strict=True), strict=True))


def _switched_off_resized_and_put_back(town: Town, ref: str) -> None:
    """Both values are shown; putting it back is done at the cloud, and said only when the cloud shows it."""
    town.peer.stop(ref)
    assert _values(_drift(town, ref)) == POWERED_OFF
    town.peer.resize(ref)
    found = _drift(town, ref)
    assert _values(found) == POWERED_OFF | _by_hand(town)
    assert town.decide("restore", *found.values()) == {"restoring"}
    ids = {finding["id"] for finding in found.values()}

    def settled() -> bool:
        rows = town.findings(kind="drift", state=["open", "restoring", "restored"])
        states = {row["state"] for row in rows if row["id"] in ids}
        assert "open" not in states, (rows, town.live.log())
        return states == {"restored"}

    town.when(settled)
    assert town.peer.seen(ref) == ("running", *town.peer.size)
    assert _drift(town, ref) == {}


def _resized_and_accepted(town: Town, ref: str, server: str) -> None:
    """The ledger follows, and quota with it."""
    used = town.usage()[0]
    town.peer.stop(ref)
    town.peer.resize(ref)
    found = _drift(town, ref)
    assert _values(found).items() >= _by_hand(town).items()
    assert town.decide("accept", found["vcpus"], found["memory_mib"]) == {"accepted"}
    shown = town.server(server)
    assert (shown["vcpus"], shown["memory_mib"]) == town.peer.size_by_hand
    assert town.usage()[0]["vcpus"] == used["vcpus"] + town.peer.size_by_hand[0] - town.peer.size[0]


def _deleted(town: Town, ref: str, server: str) -> None:
    """A list with nothing left is not believed; a person's word is, and the loss ends with a certificate."""
    for each in (ref, town.found):
        town.peer.delete(each)
    if not town.peer.is_shared:
        unbelieved = town.look()
        assert (unbelieved["outcome"], unbelieved["missing"]) == ("suspect", 2), unbelieved
        assert unbelieved["message"], "it says why"
        assert town.findings_of(ref, kind="orphan") == []
    assert town.look(confirm_losses=True)["outcome"] == "ok"
    (orphan,) = town.findings_of(ref, kind="orphan")
    assert orphan["server"] == server
    assert town.server(server)["phase"] == "active", "never silently dropped"
    assert town.findings_of(town.found) == [], "what was nobody's is no longer a finding"
    assert town.decide("confirm_loss", orphan, reason="维护时误删") == {"accepted"}
    town.when(lambda: town.server(server)["phase"] == "retired")
    _check_certificate(town, server, pieces=frozenset({"server"}))

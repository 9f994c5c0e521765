"""The making of one server: place → create → await_running → post; whatever is begun and not finished is undone.

Undo finds the server by its token (its own id), so it is right whether the create happened, half happened or never did.
"""

import time
import uuid
from typing import Any

from dbos import DBOS

from cloudmgr.adapters import ansible
from cloudmgr.domain.architectures import Architecture
from cloudmgr.domain.messages import N_, Message
from cloudmgr.workflows import facts, next_address, openings
from cloudmgr.workflows.locate import locate
from cloudmgr.workflows.outcomes import Outcome, attempt, observed
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause, write
from providers.base import FixedAddress, PowerState, ServerSpec
from providers.errors import Remedy

CREATE_TRIES = 8
"""Calls to create one server in one zone before the zone is given up: with pauses of 1 to 30 s, some two minutes."""
UNDO_TRIES = 12
PLACE_TRIES = 24


@DBOS.workflow(name="provision_server", max_recovery_attempts=1000)
def provision_server(server_id: str, number: int) -> bool:
    """Build one server; True when it stands and its quota is posted, False when it failed and nothing of it is left."""
    while True:
        placed = _place(server_id, number)
        if placed is None:
            return False
        verdict, failure = _build(server_id, number, placed)
        if verdict == "stands":
            return True
        gone = _undo(server_id, placed)
        if not gone:
            write("strand", facts.strand, server_id, number, failure)
            return False
        if verdict == "next_zone":
            write("unplace", facts.unplace, server_id, number, failure)
            continue
        write("fail", facts.fail, server_id, number, failure)
        return False


def _place(server_id: str, number: int) -> dict[str, Any] | None:
    """Find a place; while only an outage stands in the way, look again for some ten minutes."""
    for tries in range(PLACE_TRIES):
        placed: dict[str, Any] | None = write("place", facts.place, server_id, number, tries < PLACE_TRIES - 1)
        if placed is None or placed:
            return placed
        pause(tries)
    return None


def _build(server_id: str, number: int, placed: dict[str, Any]) -> tuple[str, Outcome | None]:
    """Create the server and wait for it; return what became of it and, if it does not stand, why."""
    made = _create(server_id, number, placed)
    if not made["ok"]:
        return ("next_zone" if made["remedy"] == Remedy.NEXT_ZONE else "failed"), {**made, "step": "create"}
    write("created", facts.created, server_id, number, made["result"])
    seen = _await_running(server_id, number, placed)
    if not seen["ok"]:
        return ("next_zone" if seen["remedy"] == Remedy.NEXT_ZONE else "failed"), {**seen, "step": "await_running"}
    write("post", facts.post, server_id, number, seen["result"])
    if placed["has_ports"]:
        openings.put(server_id)  # what cannot be opened says so in the table; the server stands all the same
    return "stands", None


def _create(server_id: str, number: int, placed: dict[str, Any]) -> Outcome:
    made: Outcome = {}
    tries = moves = 0
    while tries < CREATE_TRIES and moves < next_address.TRIES:
        made = call("create", create, server_id, placed)
        if made["ok"]:
            return made
        if made["remedy"] == Remedy.NEXT_ADDRESS:
            refused = _readdress(server_id, number, placed, made)
            if refused is not None:
                return refused
            moves += 1
        elif made["remedy"] in (Remedy.RETRY, Remedy.RECONCILE):
            # RETRY: nothing happened. RECONCILE: it may have; create finds it by its token. Both: the same call again.
            pause(tries)
            tries += 1
        else:
            return made
    is_elsewhere = made["remedy"] in (Remedy.RETRY, Remedy.NEXT_ADDRESS)
    return {**made, "remedy": Remedy.NEXT_ZONE.value} if is_elsewhere else made


def _readdress(server_id: str, number: int, placed: dict[str, Any], taken: Outcome) -> Outcome | None:
    """Put another address into the spec for one that is in use at the backend; a failure: there is none to be had."""
    other = write("next_address", next_address.next_address, server_id, number, taken)
    if "addresses" not in other:
        return {**taken, **other}
    placed["spec"]["addresses"] = other["addresses"]
    return None


def create(server_id: str, placed: dict[str, Any]) -> Outcome:
    """Ask the backend for the server; the same token gives the same server."""
    spec = placed["spec"]
    provider_name = placed["backend"]
    return attempt(
        lambda: observed(
            runtime()
            .provider(provider_name)
            .create_server(
                ServerSpec(
                    name=spec["name"],
                    arch=Architecture(spec["arch"]),
                    vcpus=spec["vcpus"],
                    memory_mib=spec["memory_mib"],
                    system_disk_gib=spec["system_disk_gib"],
                    data_disk_gib=spec["data_disk_gib"],
                    zone=spec["zone"],
                    image=spec["image"],
                    image_digest=spec["image_digest"],
                    networks=tuple(spec["networks"]),
                    addresses=tuple(
                        FixedAddress(each["address"], each["prefix_len"], each["gateway"], tuple(each["dns"]))
                        for each in spec["addresses"]
                    ),
                    login_user=spec["login_user"],
                    ssh_keys=tuple(spec["ssh_keys"]),
                    spread_group=uuid.UUID(spec["spread_group"]) if spec["spread_group"] else None,
                    labels=spec["labels"],
                ),
                uuid.UUID(server_id),
            )
        )
    )


def _await_running(server_id: str, number: int, placed: dict[str, Any]) -> Outcome:
    """Ask until the server runs and has an address, for as long as the settings allow; the waiting survives a restart."""
    settings = runtime().settings.worker
    deadline = DBOS.run_step({"name": "deadline"}, lambda: time.time() + settings.boot_timeout_s)
    misses = moves = 0
    while True:
        seen: Outcome = call("await_running", look, server_id, placed["backend"])
        if seen["ok"]:
            server = seen["result"]
            if server is None:
                return _failed(N_("The server vanished from the cloud while it was being built."))
            if server["power"] == PowerState.ERROR:
                return _failed(
                    N_("The cloud reports that the server could not be built ({state})."), state=server["native_state"]
                )
            if server["unfinished"]:  # the backend works in the background, and waits to be told what comes next
                more: Outcome = call("create", create, server_id, placed)
                if not more["ok"] and more["remedy"] == Remedy.NEXT_ADDRESS:
                    moves += 1
                    if moves == next_address.TRIES:
                        return {**more, "remedy": Remedy.NEXT_ZONE.value}
                    if (refused := _readdress(server_id, number, placed, more)) is not None:
                        return refused
                elif not more["ok"] and more["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
                    return more
            elif server["power"] == PowerState.RUNNING and (server["ipv4"] or server["ipv6"]):
                return seen
        elif seen["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            return seen
        misses += 1
        if DBOS.run_step({"name": "clock"}, time.time) > deadline:
            return _failed(
                N_("The server did not come up with an address within {minutes} minutes."),
                minutes=round(settings.boot_timeout_s / 60),
            )
        DBOS.sleep(min(settings.boot_poll_s * (1 + misses // 20), 15))


def look(server_id: str, backend: str, ref: str | None = None) -> Outcome:
    """Return the server as the backend sees it, found by its token, or an imported one by its reference."""
    return attempt(lambda: observed(locate(runtime().provider(backend), server_id, ref)))


def _undo(server_id: str, placed: dict[str, Any]) -> bool:
    """Remove whatever the backend has under the token; True when it says that there is nothing left."""
    return remove(server_id, placed["backend"], UNDO_TRIES)


def remove(server_id: str, backend: str, tries: int) -> bool:
    """Delete by token until the backend has nothing under it; False when it would not say so in `tries` tries."""
    for number in range(tries):
        gone = call("delete", delete, server_id, backend)
        if gone["ok"] and gone["result"]:
            return True
        if not gone["ok"] and gone["remedy"] in (Remedy.OPERATOR, Remedy.FAIL):
            return False
        pause(number, first_s=runtime().settings.worker.boot_poll_s / 2, most_s=20)
    return False


def delete(server_id: str, backend: str, ref: str | None = None) -> Outcome:
    """Delete what has the token (of an imported server: the reference), here too what playbook runs remember of it.

    The result says whether nothing is left.
    """

    def deed() -> bool:
        provider = runtime().provider(backend)
        found = locate(provider, server_id, ref)
        if found is not None:
            provider.delete_server(found.ref)
        is_gone = found is None or locate(provider, server_id, ref) is None
        if is_gone:
            ansible.forget_server(runtime().work_dir, uuid.UUID(server_id))
        return is_gone

    return attempt(deed)


def _failed(template: str, **params: Any) -> Outcome:
    return {
        "ok": False,
        "remedy": Remedy.FAIL.value,
        "code": "build_failed",
        "message": Message(template, params).as_json(),
    }

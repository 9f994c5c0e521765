"""Assigning and giving back public addresses. The address's own id is the token the backend knows it by."""

import uuid
from typing import Any

from dbos import DBOS
from sqlmodel import Session

import quotas
from cloudmgr.domain.events import Event
from cloudmgr.domain.events import Outcome as Ended
from cloudmgr.domain.messages import N_, Message
from cloudmgr.domain.openings import PublicIpPhase
from cloudmgr.models import Backend, Organization, PublicIp, ResourceRequest
from cloudmgr.services import audit, public_ips
from cloudmgr.services.request_kinds.public_ip import releasing_of
from cloudmgr.store import openings as store
from cloudmgr.store import requests, servers
from cloudmgr.workflows.facts import SYSTEM
from cloudmgr.workflows.outcomes import Outcome, attempt
from cloudmgr.workflows.runtime import runtime
from cloudmgr.workflows.steps import call, pause, write
from cloudmgr.workflows.work import Tally, item
from providers.base import PublicAddressObservation
from providers.capabilities import PublicAddresses
from providers.errors import Remedy, Unsupported

TRIES = 8
UNDO_TRIES = 12


@DBOS.workflow(name="assign_public_ip", max_recovery_attempts=1000)
def assign_public_ip(ip_id: str, number: int) -> bool:
    """Take an address and lead it to its server; True when it does, False when nothing of it is left."""
    where = write("ip_begin", begin, ip_id)
    if where is None:
        return False
    done = _until(TRIES, lambda: call("ip_assign", _assign, where["backend"], where["ref"], ip_id))
    if done["ok"]:
        write("ip_assigned", assigned, ip_id, number, done["result"])
        return True
    is_gone = release(ip_id, where["backend"])["ok"]
    write("ip_failed", failed, ip_id, number, done, is_gone)
    return False


@DBOS.workflow(name="release_public_ip", max_recovery_attempts=1000)
def release_public_ip(ip_id: str, number: int) -> bool:
    """Give an address back; True when the backend has nothing of it any more."""
    backend = write("ip_release_begin", where_of, ip_id)
    done: Outcome = {"ok": True} if backend is None else release(ip_id, backend)
    write("ip_released", released, ip_id, number, done)
    return bool(done["ok"])


def release(ip_id: str, backend: str) -> Outcome:
    """Give an address back by its token until the backend says that there is none, inside a workflow."""
    return _until(UNDO_TRIES, lambda: call("ip_release", _release, backend, ip_id))


def _until(tries: int, deed: Any) -> Outcome:
    done: Outcome = deed()
    for number in range(tries - 1):
        if done["ok"] or done["remedy"] not in (Remedy.RETRY, Remedy.RECONCILE):
            break
        pause(number)
        done = deed()
    return done


def begin(session: Session, ip_id: str) -> dict[str, str] | None:
    """Return where the address is to lead; None when its server does not stand any more, and its quota is given back."""
    address = _load(session, ip_id)
    server = servers.get(session, address.server_id)
    if address.phase != PublicIpPhase.REQUESTED or server is None:
        return None
    if server.phase not in ("active", "suspended") or server.native_ref is None or server.backend_id is None:
        message = Message(N_("Server {name} does not stand any more."), {"name": server.name})
        _give_up(session, address, 0, "gone", message)
        return None
    return {"backend": servers.backend_name(session, server.backend_id), "ref": server.native_ref}


def assigned(session: Session, ip_id: str, number: int, seen: dict[str, Any]) -> None:
    """The address leads to its server: its quota is used now."""
    address = _load(session, ip_id)
    quotas.post(session, reservation_id=address.reservation_id, part_id=address.id)
    address.address, address.native_ref = seen["address"], seen["ref"]
    address.phase, address.failure = PublicIpPhase.ACTIVE.value, None
    requests.add(session, address)
    message = Message(
        N_("{address} leads to {name}."), {"address": seen["address"], "name": _server_name(session, address)}
    )
    _told(session, address, number, message, Event.PUBLIC_IP_ASSIGN)
    limited = seen["bandwidth_mbps"]
    if limited is not None and limited != address.bandwidth_mbps:
        difference = Message(
            N_("{address}: {asked} Mbit/s were asked for; the cloud gives {given}."),
            {"address": seen["address"], "asked": address.bandwidth_mbps, "given": limited},
        )
        _say(session, address, number, "bandwidth", difference, kind="warning")


def failed(session: Session, ip_id: str, number: int, done: Outcome, is_gone: bool) -> None:
    """It came to nothing; quota is given back where the backend confirms that nothing of it is left."""
    address = _load(session, ip_id)
    message = Message.from_json(done["message"])
    if is_gone:
        _give_up(session, address, number, str(done["code"]), message)
        return
    address.failure = {"code": "undo_unconfirmed", "message": message.as_json()}
    address.phase = PublicIpPhase.RELEASING.value
    requests.add(session, address)
    _told(session, address, number, message, Event.PUBLIC_IP_ASSIGN, failure="undo_unconfirmed")


def where_of(session: Session, ip_id: str) -> str | None:
    """Return the backend an address is at; None when it is at none."""
    address = _load(session, ip_id)
    if address.phase != PublicIpPhase.RELEASING or address.backend_id is None:
        return None
    return session.get_one(Backend, address.backend_id).name


def released(session: Session, ip_id: str, number: int, done: Outcome) -> None:
    """Note that an address is given back, or why it is not yet."""
    address = _load(session, ip_id)
    if address.phase != PublicIpPhase.RELEASING:
        return
    if not done["ok"]:
        address.failure = {"code": done["code"], "message": done["message"]}
        requests.add(session, address)
        message = Message.from_json(done["message"])
        _told(session, address, number, message, Event.PUBLIC_IP_RELEASE, failure=str(done["code"]))
        return
    text = address.address or "-"
    public_ips.settle(session, address, PublicIpPhase.RELEASED)
    message = Message(N_("{address} is given back; its quota is free."), {"address": text})
    _told(session, address, number, message, Event.PUBLIC_IP_RELEASE)


def tokens_of(session: Session, server_id: uuid.UUID) -> list[str]:
    """Return the public addresses that the backend may have for a server, for its end."""
    return [str(address.id) for address in store.ips_of_server(session, server_id)]


def items(session: Session, request: ResourceRequest) -> list[dict[str, Any]]:
    """Return what a request for public addresses is to do, an address each."""
    asked = [row for row in store.ips_of_request(session, request.id) if row.phase == PublicIpPhase.REQUESTED]
    mine = [*store.ips_of_request(session, request.id), *releasing_of(session, request)]
    ending = [row for row in mine if row.phase == PublicIpPhase.RELEASING]
    return [
        item(workflow, f"{row.id}:{request.id}:{request.attempt}", str(row.id), request.attempt)
        for workflow, rows in (("assign_public_ip", asked), ("release_public_ip", ending))
        for row in rows
    ]


def tally(session: Session, request: ResourceRequest) -> Tally:
    """Count the addresses of a request that are as they were asked."""
    asked = [row.phase == PublicIpPhase.ACTIVE for row in store.ips_of_request(session, request.id)]
    ended = [row.phase == PublicIpPhase.RELEASED for row in releasing_of(session, request)]
    return Tally(good=sum(asked) + sum(ended), all=len(asked) + len(ended))


def _assign(backend: str, ref: str, ip_id: str) -> Outcome:
    def deed() -> dict[str, Any]:
        seen: PublicAddressObservation = _able(backend).assign_public_address(ref, uuid.UUID(ip_id))
        return {"ref": seen.ref, "address": seen.address, "bandwidth_mbps": seen.bandwidth_mbps}

    return attempt(deed)


def _release(backend: str, ip_id: str) -> Outcome:
    return attempt(lambda: _able(backend).release_public_address(uuid.UUID(ip_id)))


def _able(backend: str) -> PublicAddresses:
    provider = runtime().provider(backend)
    if not isinstance(provider, PublicAddresses):
        raise Unsupported(N_("The cloud {backend} has no public addresses to give."), backend=backend)
    return provider


def _give_up(session: Session, address: PublicIp, number: int, code: str, message: Message) -> None:
    address.failure = {"code": code, "message": message.as_json()}
    public_ips.settle(session, address, PublicIpPhase.FAILED)
    _told(session, address, number, message, Event.PUBLIC_IP_ASSIGN, failure=code)


def _told(
    session: Session, address: PublicIp, number: int, message: Message, event: Event, *, failure: str = ""
) -> None:
    """Say it in the request's progress, in the server's history and in the log."""
    server = servers.get(session, address.server_id, lock=True)
    _say(session, address, number, event.value, message, kind="warning" if failure else "step")
    if server is not None and not failure:
        servers.keep(session, server, actor=SYSTEM.username, change=event.value)
    audit.record(
        session,
        SYSTEM,
        event,
        object_type="public_ip",
        object_id=address.id,
        object_name=address.address or "",
        organization_path=session.get_one(Organization, address.organization_id).path,
        outcome=Ended.FAILURE if failure else Ended.SUCCESS,
        reason=failure,
        server=server.name if server else "",
        bandwidth_mbps=address.bandwidth_mbps,
    )


def _say(session: Session, address: PublicIp, number: int, what: str, message: Message, *, kind: str) -> None:
    requests.tell(
        session,
        address.request_id,
        kind=kind,
        message=message,
        server_id=address.server_id,
        dedupe=f"{what}:{address.id}:{number}",
    )


def _server_name(session: Session, address: PublicIp) -> str:
    server = servers.get(session, address.server_id)
    return server.name if server else "-"


def _load(session: Session, ip_id: str) -> PublicIp:
    address = store.get_ip(session, uuid.UUID(ip_id), lock=True)
    if address is None:
        raise LookupError(f"public address {ip_id} is gone from the database")
    return address

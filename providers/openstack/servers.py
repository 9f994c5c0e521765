"""Power, size and console of one server. Each call is idempotent and returns at once; Nova finishes behind it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cloudmgr.domain.messages import N_
from providers.base import ConsoleAddress
from providers.errors import Unsupported
from providers.openstack import errors, lookup
from providers.openstack.catalogue import Catalogue
from providers.openstack.connection import Cloud
from providers.openstack.observe import TASK

_RESTARTING = {"REBOOT", "HARD_REBOOT"}
_PASSING = {"BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "REVERT_RESIZE", "MIGRATING", "PASSWORD"}
_WAKE = {
    "SHUTOFF": "os-start",
    "PAUSED": "unpause",
    "SUSPENDED": "resume",
    "SHELVED": "unshelve",
    "SHELVED_OFFLOADED": "unshelve",
}
_DEFAULT_PORT = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def start(cloud: Cloud, ref: str) -> None:
    """Power on, or wake from a pause; what runs is left running."""
    row = lookup.server(cloud, ref)
    status, task = _resting(row)
    if status in _RESTARTING or (status == "ACTIVE" and task is None):
        return
    if task is not None or status in _PASSING:
        raise errors.busy(f"server {ref} is {status} ({task})")
    if status not in _WAKE:
        raise _not_now(status)
    act(cloud, ref, _WAKE[status])


def stop(cloud: Cloud, ref: str) -> None:
    """Ask the guest to shut down; Nova cuts the power after its own time-out."""
    row = lookup.server(cloud, ref)
    status, task = _resting(row)
    if (status == "SHUTOFF" and task is None) or task == "powering-off":
        return
    if task is not None or status in _PASSING | _RESTARTING:
        raise errors.busy(f"server {ref} is {status} ({task})")
    if status not in {"ACTIVE", "RESCUE", "ERROR"}:
        raise _not_now(status)
    act(cloud, ref, "os-stop")


def reboot(cloud: Cloud, ref: str) -> None:
    """Restart a running server by its own operating system."""
    row = lookup.server(cloud, ref)
    status, task = _resting(row)
    if status in _RESTARTING:
        return
    if task is not None or status in _PASSING:
        raise errors.busy(f"server {ref} is {status} ({task})")
    if status != "ACTIVE":
        raise _not_now(status)
    act(cloud, ref, "reboot", {"type": "SOFT"})


def resize(cloud: Cloud, catalogue: Catalogue, ref: str, *, vcpus: int, memory_mib: int) -> None:
    """Go one step towards a size: begin, let Nova work, confirm. Called again until the server shows it and rests.

    Raises:
        Unsupported: it is running. InvalidSpec: there is no flavor of that size and this system disk.
    """
    row = lookup.server(cloud, ref)
    status, task = _resting(row)
    now = catalogue.flavor((row.get("flavor") or {}).get("id") or "")
    is_reached = now is not None and (now.vcpus, now.memory_mib) == (vcpus, memory_mib)
    if status == "VERIFY_RESIZE":
        # Refused where an earlier call has confirmed already: the next look shows it.
        cloud.call(
            "compute",
            "POST",
            f"/servers/{ref}/action",
            body={"confirmResize": None},
            write=True,
            absent=True,
            gone=(400, 404, 409),
        )
        return
    if status == "RESIZE" or (is_reached and task is None):
        return
    if status in _RESTARTING or (status == "ACTIVE" and task != "powering-off"):
        raise _not_now(status)
    if status != "SHUTOFF" or task is not None:
        raise errors.busy(f"server {ref} is {status} ({task})")
    if now is None:
        raise Unsupported(N_("The cloud no longer knows this server's flavor; it cannot be resized."))
    wanted = catalogue.choose_flavor(vcpus=vcpus, memory_mib=memory_mib, disk_gib=now.disk_gib)
    act(cloud, ref, "resize", {"flavorRef": wanted.ref})


def consoles(cloud: Cloud, ref: str) -> list[ConsoleAddress]:
    """Return where noVNC's WebSocket of a running server listens; none while it is off.

    The one-time token that opens it is the password, and belongs at the end of the path.
    """
    row = lookup.server(cloud, ref)
    if row.get("status") not in {"ACTIVE", "RESCUE", "REBOOT", "HARD_REBOOT"}:
        return []
    url = urlsplit(act(cloud, ref, "os-getVNCConsole", {"type": "novnc"})["console"]["url"])
    query = parse_qs(url.query)
    inner = parse_qs(urlsplit(query["path"][0]).query) if "path" in query else query
    return [
        ConsoleAddress(
            kind="vnc",
            host=url.hostname or "",
            port=url.port or _DEFAULT_PORT.get(url.scheme, 80),
            path="/?token=",
            password=inner.get("token", [""])[0],
        )
    ]


def act(cloud: Cloud, ref: str, action: str, body: Any = None) -> Any:
    """Ask Nova to do something to a server; what it answers."""
    return cloud.change("compute", "POST", f"/servers/{ref}/action", {action: body})


def _resting(row: Mapping[str, Any]) -> tuple[str, str | None]:
    return str(row.get("status") or ""), row.get(TASK)


def _not_now(status: str) -> Unsupported:
    return Unsupported(N_("The server's state {state} does not allow this."), state=status)

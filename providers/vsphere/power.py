"""Power: asked of the guest where its tools run, taken and given by force where they do not."""

import threading
import time
from typing import Any

from pyVmomi import vim

from cloudmgr.domain.messages import N_
from providers.base import PowerState
from providers.errors import Unsupported
from providers.vsphere import observe, tasks
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection

PATHS = (
    "config.instanceUuid",
    "config.template",
    "config.extraConfig",
    "runtime.powerState",
    "runtime.connectionState",
    "guest.toolsRunningStatus",
)
_TOOLS_RUN = "guestToolsRunning"


class Patience:
    """When a guest was first asked to shut down; forgotten with the process, which gives it the grace anew."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._asked: dict[str, float] = {}

    def is_over(self, moid: str, grace_s: float) -> bool:
        """Tell whether the grace since the first asking is over, and note the asking."""
        with self._guard:
            now = time.monotonic()
            return now - self._asked.setdefault(moid, now) >= grace_s

    def forget(self, moid: str) -> None:
        """Begin anew with the next asking."""
        with self._guard:
            self._asked.pop(moid, None)


def start(connection: Connection, row: Row) -> None:
    """Power on; running already is success."""
    if _power(row) is not PowerState.RUNNING:
        _run(connection, lambda session: session.bound(row.obj).PowerOnVM_Task())


def stop(connection: Connection, row: Row, patience: Patience, grace_s: float) -> None:
    """Ask the guest; cut the power where it cannot be asked, or was asked longer ago than the grace."""
    if _power(row) is PowerState.STOPPED:
        patience.forget(row.moid)
        return
    asks = row.get("guest.toolsRunningStatus") == _TOOLS_RUN and _power(row) is PowerState.RUNNING
    if asks and not patience.is_over(row.moid, grace_s):
        connection.write(lambda session: session.bound(row.obj).ShutdownGuest())
        return
    _run(connection, lambda session: session.bound(row.obj).PowerOffVM_Task())
    patience.forget(row.moid)


def reboot(connection: Connection, row: Row) -> None:
    """Ask the guest to restart, reset it where it cannot be asked.

    Raises:
        Unsupported: the server is off.
    """
    if _power(row) is not PowerState.RUNNING:
        raise Unsupported(N_("The server is off; start it instead."))
    if row.get("guest.toolsRunningStatus") == _TOOLS_RUN:
        connection.write(lambda session: session.bound(row.obj).RebootGuest())
        return
    _run(connection, lambda session: session.bound(row.obj).ResetVM_Task())


def _run(connection: Connection, call: Any) -> None:
    """Begin a task; one that fails because the state is the wanted one already has succeeded."""
    task = connection.write(call)
    progress, fault = tasks.look(connection, task)
    if progress is tasks.Progress.FAILED and not isinstance(fault, vim.fault.InvalidPowerState):
        raise tasks.failure(fault)


def _power(row: Row) -> PowerState:
    return observe.power_of(row.get("runtime.powerState"), None)[0]

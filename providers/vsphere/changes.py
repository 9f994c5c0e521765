"""What changed since a look, by WaitForUpdatesEx in a session of its own: asked without waiting, never by polling.

The vCenter is given a filter over every virtual machine with a few small properties; `changeVersion` among them moves with
every reconfiguration. What it names is then read whole, as in a full list. A cursor is good for the next call of the same
process; any other, and any fault on the way, means everything again: changes are an economy and nothing else.
"""

import contextlib
import threading
import uuid
from dataclasses import dataclass, field
from typing import Any

from pyVmomi import vim, vmodl

from providers.base import Changes, ServerObservation
from providers.errors import ProviderError
from providers.vsphere import collector, observe, servers
from providers.vsphere.connection import Connection, Session
from providers.vsphere.options import VSphereOptions

WATCHED = (
    "name",
    "config.instanceUuid",
    "config.changeVersion",
    "config.template",
    "config.hardware.numCPU",
    "config.hardware.memoryMB",
    "runtime.powerState",
    "runtime.connectionState",
    "runtime.host",
    "resourcePool",
    "network",
    "guest.net",
    "guest.ipAddress",
)
_MOST_ANSWERS = 10_000
"""A limit on parts of one answer, far above what an inventory can fill."""


@dataclass(slots=True)
class _Watch:
    session: Session
    collector: Any
    view: Any
    version: str = ""
    refs: dict[str, str] = field(default_factory=dict)
    """Instance UUID by the vCenter's own id: what is gone tells its id only."""
    cursor: str = ""


class Watcher:
    """The filter of one backend; calls come one after another."""

    def __init__(self, connection: Connection, options: VSphereOptions) -> None:
        self._main = connection
        self._own = Connection(options)
        self._options = options
        self._guard = threading.Lock()
        self._watch: _Watch | None = None

    def close(self) -> None:
        """Forget the filter and end its session."""
        with self._guard:
            self._watch = None
            self._own.close()

    def changes(self, cursor: str | None) -> Changes:
        """Return what changed since the cursor, or everything with a new one.

        Raises:
            ProviderError
        """
        with self._guard:
            watch = self._watch
            if watch is not None and cursor and cursor == watch.cursor:
                with contextlib.suppress(ProviderError):
                    return self._since(watch)
            return self._everything()

    def _everything(self) -> Changes:
        """Begin to watch, then read: what changes in between is told twice and never missed."""
        self._watch = None
        watch = self._own.read(self._begin)
        found = tuple(servers.every(self._main, self._options))
        watch.cursor = _cursor()
        self._watch = watch
        return Changes(found, (), watch.cursor, is_full=True)

    def _begin(self, session: Session) -> _Watch:
        kind = vmodl.query.PropertyCollector
        own = session.content.propertyCollector.CreatePropertyCollector()
        view = session.content.viewManager.CreateContainerView(session.content.rootFolder, [vim.VirtualMachine], True)
        own.CreateFilter(
            kind.FilterSpec(
                objectSet=[collector.in_view(view)],
                propSet=[kind.PropertySpec(type=vim.VirtualMachine, all=False, pathSet=list(WATCHED))],
                reportMissingObjectsInResults=True,
            ),
            True,
        )
        watch = _Watch(session, own, view)
        _told(watch, self._options.page_size)
        return watch

    def _since(self, watch: _Watch) -> Changes:
        self._watch = None  # set again when all is told; whatever fails on the way makes the next call begin anew
        changed, left = self._own.read(lambda session: _more(watch, session, self._options.page_size))
        world = servers.world_of(self._main, self._options) if changed else None
        objects = [vim.VirtualMachine(moid, None) for moid in changed]
        rows = self._main.read(
            lambda session: collector.these(
                session, objects, {vim.VirtualMachine: observe.PATHS}, self._options.page_size
            )
        )
        found: list[ServerObservation] = []
        there = set()
        for row in rows:
            seen = None if world is None else observe.observe(row, world)
            if seen is not None:
                there.add(seen.ref)
                found.append(seen)
                watch.refs[row.moid] = seen.ref
        vanished = set(left) | {watch.refs[moid] for moid in changed if moid in watch.refs}
        watch.cursor = _cursor()
        self._watch = watch
        return Changes(tuple(found), tuple(sorted(vanished - there)), watch.cursor)


def _more(watch: _Watch, session: Session, page: int) -> tuple[set[str], set[str]]:
    if session is not watch.session:  # the session ended, and the filter with it
        raise vmodl.fault.ManagedObjectNotFound
    return _told(watch, page)


def _told(watch: _Watch, page: int) -> tuple[set[str], set[str]]:
    """Take what the vCenter has to tell now, in as many parts as it likes; the ids of what changed, the UUIDs of what left."""
    kind = vmodl.query.PropertyCollector
    changed: set[str] = set()
    left: set[str] = set()
    is_first = watch.version == ""
    for _ in range(_MOST_ANSWERS):
        answer = watch.collector.WaitForUpdatesEx(
            watch.version, kind.WaitOptions(maxWaitSeconds=0, maxObjectUpdates=page)
        )
        if answer is None:
            break
        watch.version = answer.version
        for update in (update for one in answer.filterSet or [] for update in one.objectSet or []):
            moid = str(update.obj._moId)  # noqa: SLF001 - the SDK's own name for it
            if update.kind == "leave":
                changed.discard(moid)
                if (ref := watch.refs.pop(moid, None)) is not None:
                    left.add(ref)
                continue
            changed.add(moid)
            for change in update.changeSet or []:
                if change.name == "config.instanceUuid" and change.val:
                    watch.refs[moid] = str(change.val)
        if not answer.truncated and is_first:
            break
    return changed, left


def _cursor() -> str:
    return str(uuid.uuid4())

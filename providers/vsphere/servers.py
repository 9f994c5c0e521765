"""Finding servers: by instance UUID, which is the token of ours and the reference of all, and by the mark of a beginning.

A clone is findable only when the vCenter has made it, which may be minutes after it was asked for. So before that an empty
folder named by the token is made beside it, the *claim*, and removed when the server stands: whoever looks for the token
in between finds the claim, and an undo knows that something may still come.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

from pyVmomi import vim

from cloudmgr.domain.messages import N_
from providers.base import PowerState, ServerObservation
from providers.errors import InvalidSpec, Unsupported
from providers.vsphere import collector, errors, inventory, observe
from providers.vsphere.collector import Row
from providers.vsphere.connection import Connection, Session
from providers.vsphere.observe import World
from providers.vsphere.options import VSphereOptions

CLAIM = "cloudmgr-"
CLAIMED = "claimed, not cloned yet"


def world_of(connection: Connection, options: VSphereOptions) -> World:
    """Read what servers are seen against."""
    found = inventory.read(connection, options.page_size)
    return World(found, found.places(options), options)


def row_of(connection: Connection, ref: str, paths: tuple[str, ...] = observe.PATHS) -> Row | None:
    """Return a virtual machine that is no template, by its instance UUID."""
    instance = parsed(ref)
    if instance is None:
        return None

    def deed(session: Session) -> list[Row]:
        found = session.content.searchIndex.FindByUuid(None, str(instance), True, True)
        return [] if found is None else collector.these(session, [found], {vim.VirtualMachine: paths})

    rows = connection.read(deed)
    return rows[0] if rows and not rows[0].get("config.template") else None


def require(connection: Connection, ref: str, paths: tuple[str, ...] = observe.PATHS) -> Row:
    """Return a virtual machine.

    Raises:
        NotFound
    """
    row = row_of(connection, ref, paths)
    if row is None:
        raise errors.not_found(f"instance UUID {ref!r}")
    return row


def require_ours(connection: Connection, ref: str, paths: tuple[str, ...] = observe.PATHS) -> Row:
    """Return a virtual machine of ours.

    Raises:
        NotFound, Unsupported: it is not ours.
    """
    row = require(connection, ref, paths)
    if observe.token_of(row) is None:
        raise Unsupported(
            N_("This server was not made by cloudmgr, which neither builds on it nor deletes it."),
            detail=f"{ref} {row.moid}",
        )
    return row


def every(connection: Connection, options: VSphereOptions) -> Iterator[ServerObservation]:
    """Yield every server, ours or not, and the claims of servers that are not there yet; page by page, none kept.

    A session that ends between pages ends the list with Unavailable: half a list is none.
    """
    world = world_of(connection, options)
    paths = {vim.VirtualMachine: observe.PATHS, vim.Folder: ("name",)}
    claimed, seen = set(), set()
    rows = _unbroken(connection, lambda session: collector.every(session, list(paths), paths, options.page_size))
    for row in rows:
        if isinstance(row.obj, vim.Folder):
            token = parsed(str(row.get("name", "")).removeprefix(CLAIM))
            if token is not None:
                claimed.add(token)
            continue
        found = observe.observe(row, world)
        if found is not None:
            if found.token is not None:
                seen.add(found.token)
            yield found
    yield from (claimed_only(token) for token in sorted(claimed - seen, key=str))


def claim_of(connection: Connection, options: VSphereOptions, token: uuid.UUID) -> Any | None:
    """Return the claim's folder, None where there is none."""

    def deed(session: Session) -> Any | None:
        found = inventory.folder_of(session, options)
        return None if found is None else session.content.searchIndex.FindChild(found[1], f"{CLAIM}{token}")

    return connection.read(deed)


def home_of(connection: Connection, options: VSphereOptions) -> tuple[Any, Any]:
    """Return the data centre and the folder for servers.

    Raises:
        InvalidSpec: they are not there.
    """
    found = connection.read(lambda session: inventory.folder_of(session, options))
    if found is None:
        raise InvalidSpec(
            N_("The data centre or folder of this backend's settings is not in the vCenter."),
            detail=f"datacenter {options.vcenter_datacenter!r} folder {options.folder!r}",
        )
    return found


def claimed_only(token: uuid.UUID) -> ServerObservation:
    """Return what is known of a server that is claimed and not made."""
    return ServerObservation(
        ref=str(token),
        name=f"{CLAIM}{token}",
        power=PowerState.BUILDING,
        native_state=CLAIMED,
        token=token,
        unfinished=True,
    )


def parsed(ref: str) -> uuid.UUID | None:
    """Return a reference's UUID; what is none names nothing."""
    try:
        return uuid.UUID(ref) if len(ref) == 36 else None  # noqa: PLR2004 - the usual form and no other, because it is compared as text
    except ValueError:
        return None


def _unbroken(connection: Connection, open_rows: Callable[[Session], Iterator[Row]]) -> Iterator[Row]:
    """Iterate inside the translation of errors: a generator goes on after the call that made it."""
    first, rest = connection.read(lambda session: _begun(open_rows(session)))
    if first is None:
        return
    yield first
    while True:
        try:
            row = next(rest, None)
        except errors.SDK_ERRORS as error:
            raise errors.from_call(error, write=False) from error
        if row is None:
            return
        yield row


def _begun(rows: Iterator[Row]) -> tuple[Row | None, Iterator[Row]]:
    return next(rows, None), rows

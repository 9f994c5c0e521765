"""Hold still what a move or a merge will write, without ever standing in the way of those who wait for the quota tree.

Everybody else locks their request or server first and the tree after it. A move holds the tree when it comes to change the
requests and servers of what moves; waiting for one of them then would be a deadlock. So it never waits for a row while it
holds the tree: it lets go of the tree and comes again. Decides nothing.
"""

import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

import quotas
from cloudmgr.models import (
    Backend,
    Organization,
    PortOpening,
    Project,
    PublicIp,
    ResourceRequest,
    Server,
    Snapshot,
    Volume,
)
from cloudmgr.store.db import is_sqlite

OF_A_PROJECT = (ResourceRequest, Server, PublicIp, Snapshot, Volume)
"""Tables that name a project and, so that a subtree is one condition, its organization beside it."""

PATIENCE_S, LEAST_TRIES = 5.0, 20
"""A move comes again for this long, and this often where every try waits long for the tree."""
_FIRST_S, _MOST_S = 0.005, 0.1
_LOCK_NOT_AVAILABLE = "55P03"


def hold_still(session: Session, account_id: uuid.UUID, *, merges: bool = False) -> None:
    """Lock the quota tree, and every row that a move of this account (with `merges`: its merger) writes.

    To be called before anything is written. Where somebody always holds one of the rows, only the tree is locked in the
    end: what follows waits for the rows, and the database ends one of two that wait for each other. On SQLite there is one
    writer at a time and nothing to wait for.

    Raises:
        NotFound: no such account.
    """
    if is_sqlite(session):
        quotas.lock_tree(session, account_id)
        return
    end = time.monotonic() + PATIENCE_S
    tries, wait_s = 0, _FIRST_S
    while time.monotonic() < end or tries < LEAST_TRIES:
        tries += 1
        with session.begin_nested() as savepoint:
            quotas.lock_tree(session, account_id)
            if _lock_rows(session, account_id, merges=merges):
                return
            savepoint.rollback()  # the tree's lock goes with it
        time.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret
        wait_s = min(wait_s * 2, _MOST_S)
    quotas.lock_tree(session, account_id)


def _lock_rows(session: Session, account_id: uuid.UUID, *, merges: bool) -> bool:
    try:
        quotas.lock_accounts(session, account_id)
        for table, condition in _rows(session, account_id, merges=merges):
            # a project's organization is part of a key, so that row is wanted alone; the others change beside their keys
            query = select(table.id).where(condition)
            session.exec(query.with_for_update(nowait=True, key_share=table is not Project)).all()
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


def _rows(
    session: Session, account_id: uuid.UUID, *, merges: bool
) -> Iterator[tuple[type[Any], sa.ColumnElement[bool]]]:
    """Yield what is written, table by table: all of a project that is handed over; of what only hangs elsewhere, its path."""
    organization = session.exec(select(Organization.id, Organization.path).where(Organization.account_id == account_id))
    if found := organization.first():
        owner_id, path = found
        inside = sa.select(col(Organization.id)).where(col(Organization.path).startswith(path, autoescape=True))
        below = sa.select(col(Project.id)).where(col(Project.organization_id).in_(inside))
        yield Organization, col(Organization.id).in_(inside)
        if not merges:
            yield Server, col(Server.project_id).in_(below)  # they get a line in their history
            return
        yield Backend, col(Backend.owner_organization_id) == owner_id
        yield Project, col(Project.organization_id) == owner_id
    else:
        below = sa.select(col(Project.id)).where(col(Project.account_id) == account_id)
        yield Project, col(Project.account_id) == account_id
    for table in OF_A_PROJECT:
        yield table, col(table.project_id).in_(below)
    servers = sa.select(col(Server.id)).where(col(Server.project_id).in_(below))
    yield PortOpening, col(PortOpening.server_id).in_(servers)

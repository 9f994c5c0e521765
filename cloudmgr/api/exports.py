"""The register of exports."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from cloudmgr.api.shapes import At, ItemPage, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.deps import ActorDep, PageDep, SessionDep, encode_cursor
from cloudmgr.http.routes import api_router, rule
from cloudmgr.models import Export
from cloudmgr.services import exports
from cloudmgr.services.exports import CreateExport

router = api_router("/exports", "inventory")


class ExportShape(Shape):
    """One export: who took what out, and the digest of every byte that left."""

    id: UUID
    ledger: str = Field(examples=["inventory"])
    format: str = Field(examples=["csv"])
    view: str = Field(examples=["audit"])
    encoding: str = Field(examples=["utf-8-sig"])
    filters: dict[str, Any]
    reveal_reason: str
    actor: str = Field(examples=["audit-admin"])
    actor_id: UUID | None
    state: str = Field(examples=["done"], description="`running`, `done`, or `broken`: the reader went away.")
    rows: int | None
    size_bytes: int | None
    sha256: str | None = Field(description="SHA-256 of the bytes sent, once the export is done.")
    created_at: At
    finished_at: At | None


class ExportBegun(Shape):
    """An export that is being made."""

    id: UUID


def _shape(export: Export) -> ExportShape:
    values = {name: getattr(export, name) for name in ExportShape.model_fields if name != "state"}
    return ExportShape(state=exports.state_of(export), **values)


@router.get("", openapi_extra=rule(Action.AUDIT_READ_OWN, object_type="export"))
def list_exports(
    session: SessionDep,
    actor: ActorDep,
    page: PageDep,
    sha256: Annotated[
        exports.Sha256 | None, Query(description="Digest of a file: which export it came from.", examples=[None])
    ] = None,
) -> ItemPage[ExportShape]:
    """List exports, newest first: your own, and those of the subtrees whose records you may read."""
    rows, following = exports.list_exports(session, actor, sha256=sha256, limit=page.limit, cursor=page.cursor)
    return ItemPage(items=[_shape(row) for row in rows], next_cursor=encode_cursor(following))


@router.get("/{export_id}", openapi_extra=rule(Action.AUDIT_READ_OWN, object_type="export"))
def get_export(session: SessionDep, actor: ActorDep, export_id: UUID) -> ExportShape:
    """Read one export."""
    return _shape(exports.get_export(session, actor, export_id))


@router.post(
    "",
    status_code=202,
    openapi_extra=rule(Action.INVENTORY_EXPORT, event=Event.INVENTORY_EXPORT, object_type="export"),
)
def create_export(session: SessionDep, actor: ActorDep, command: CreateExport) -> ExportBegun:
    """Ask for an export made in the background. This release refuses all: csv, json and jsonl stream from /inventory."""
    return ExportBegun(id=exports.create_export(session, actor, command).id)

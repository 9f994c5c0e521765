"""The published recounts of the quota ledger: ask for one, and what came of the last."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response, status
from pydantic import Field

from cloudmgr.api.shapes import At, Shape
from cloudmgr.domain.access import Action
from cloudmgr.domain.errors import NotFound
from cloudmgr.domain.events import Event
from cloudmgr.domain.messages import N_
from cloudmgr.http.deps import ActorDep, SessionDep
from cloudmgr.http.routes import api_router, rule
from cloudmgr.services import quota_proofs
from cloudmgr.services.quota_proofs import Published

router = api_router("/quotas/verifications", "quotas")


class AskedShape(Shape):
    """A recount that was asked for; look at `/quotas/verifications/{id}` until its state is done."""

    id: UUID
    state: str = Field(examples=["waiting"])


class VerificationShape(AskedShape):
    """One recount. `mismatches` counts the wrong numbers; `rows` names them to who reads the whole tree, else null."""

    ok: bool | None = Field(description="null while it has not ended.")
    asked_by: str = Field(examples=["system"])
    asked_at: At
    finished_at: datetime | None
    age_s: int = Field(examples=[14], description="Seconds since it ended.")
    duration_ms: int | None
    accounts: int | None
    entries: int | None
    things: int | None = Field(description="Servers, volumes, snapshots and public addresses that were compared.")
    mismatches: int | None
    rows: list[dict[str, Any]] | None


def _shape(found: Published) -> VerificationShape:
    row = found.verification
    return VerificationShape(
        id=row.id,
        state=row.state,
        ok=None if row.mismatch_count is None else row.mismatch_count == 0,
        asked_by=row.asked_by,
        asked_at=row.created_at,
        finished_at=row.finished_at,
        age_s=found.age_s,
        duration_ms=row.duration_ms,
        accounts=row.accounts,
        entries=row.entries,
        things=row.things,
        mismatches=row.mismatch_count,
        rows=row.mismatches if found.shows_rows and row.state == "done" else None,
    )


@router.post(
    "",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=AskedShape,
    openapi_extra=rule(Action.QUOTA_READ, event=Event.QUOTA_VERIFY, object_type="quota_verification"),
)
def ask(actor: ActorDep, session: SessionDep, response: Response) -> AskedShape:
    """Have the ledger recounted by a worker; whoever asks while one waits is given the same."""
    row = quota_proofs.ask(session, actor)
    response.headers["Location"] = f"/api/v1/quotas/verifications/{row.id}"
    return AskedShape(id=row.id, state=row.state)


@router.get(
    "/latest",
    response_model=VerificationShape,
    openapi_extra=rule(Action.QUOTA_READ, object_type="quota_verification"),
)
def read_latest(actor: ActorDep, session: SessionDep) -> VerificationShape:
    """Tell what the last recount found; 404 before the first has ended."""
    found = quota_proofs.latest(session, actor)
    if found is None:
        raise NotFound(N_("The ledger has not been recounted yet."))
    return _shape(found)


@router.get(
    "/{verification}",
    response_model=VerificationShape,
    openapi_extra=rule(Action.QUOTA_READ, object_type="quota_verification"),
)
def read(verification: UUID, actor: ActorDep, session: SessionDep) -> VerificationShape:
    """Tell of one recount."""
    return _shape(quota_proofs.get(session, actor, verification))

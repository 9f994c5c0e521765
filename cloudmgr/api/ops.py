"""For those who run the system: is it alive, is it ready, what has it done; and the API's documentation, offline."""

import orjson
import sqlalchemy.exc
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from sqlmodel import Session

from cloudmgr.domain.messages import N_, Message
from cloudmgr.http import metrics
from cloudmgr.http.context import settings_of
from cloudmgr.http.deps import open_session
from cloudmgr.http.errors import STATUS
from cloudmgr.http.problem import Problem
from cloudmgr.http.routes import PageRoute, rule
from cloudmgr.services import approval_policy, deadlines, health, quota_loans, quota_proofs

router = APIRouter(tags=["operations"], route_class=PageRoute)

_DOCS = """<!doctype html>
<html lang="zh-CN"><head><meta charset="utf-8"><title>cloudmgr API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/static/img/favicon.svg">
<link rel="stylesheet" href="/static/vendor/swagger-ui/swagger-ui.css"></head>
<body><div id="api"></div>
<script src="/static/vendor/swagger-ui/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></body></html>
"""
_START = """window.ui = SwaggerUIBundle({
  url: "/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null, persistAuthorization: false,
  presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout"
});
"""


_REASONS = {"not_paused": "paused"}
"""What is missing, where the check's name does not say it."""


@router.get("/healthz", openapi_extra=rule("public"))
async def healthz() -> JSONResponse:
    """Tell that the process answers; says nothing of the database."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", openapi_extra=rule("public"))
def readyz(request: Request) -> Response:
    """Tell whether requests can be served: database, schema, a worker seen in the last 30 s, work not paused, demo seeded."""
    state = request.app.state
    try:
        with open_session(request) as session:
            checks = _checks(session, request)
            warnings = ["approval_policy_expired"] if all(checks.values()) and _policy_expired(session) else []
    except sqlalchemy.exc.SQLAlchemyError:
        checks = {"database": False}
    state.is_schema_known = checks.get("schema", False)
    if all(checks.values()):
        return JSONResponse({"status": "ready", "checks": checks} | ({"warnings": warnings} if warnings else {}))
    missing = [_REASONS.get(name, name) for name, is_ready in checks.items() if not is_ready]
    message = Message(N_("Not ready: {missing}."), {"missing": ", ".join(missing)})
    return Problem(STATUS["not_ready"], "not_ready", message, extra={"checks": checks}).response(request)


def _policy_expired(session: Session) -> bool:
    return approval_policy.in_force(session).is_expired


def _checks(session: Session, request: Request) -> dict[str, bool]:
    is_schema_known = getattr(request.app.state, "is_schema_known", False)
    return health.readiness(session, settings_of(request), is_schema_known=is_schema_known)


@router.get("/metrics", response_class=PlainTextResponse, openapi_extra=rule("public"))
def read_metrics(request: Request) -> PlainTextResponse:
    """Give this process's counters to Prometheus, the last recount of the quota ledger, loans, and which decisions are late."""
    try:
        with open_session(request) as session:
            gauges = {
                **quota_proofs.gauges(session),
                **quota_loans.gauges(session),
                **approval_policy.gauges(session),
                **deadlines.gauges(session),
            }
    except sqlalchemy.exc.SQLAlchemyError:  # counters are most wanted when the database is away
        gauges = {}
    return PlainTextResponse(request.app.state.metrics.render(gauges), media_type=metrics.MEDIA_TYPE)


@router.get("/openapi.json", include_in_schema=False, openapi_extra=rule("public"))
def read_schema(request: Request) -> Response:
    """Describe the API (OpenAPI 3.1)."""
    return Response(orjson.dumps(request.app.openapi()), media_type="application/json")


@router.get("/docs", include_in_schema=False, openapi_extra=rule("public"))
async def docs() -> HTMLResponse:
    """Show the API's documentation; every file of it comes from this server."""
    return HTMLResponse(_DOCS)


@router.get("/docs/start.js", include_in_schema=False, openapi_extra=rule("public"))
async def docs_script() -> Response:
    """Start the documentation page: a file of its own, because inline scripts are forbidden."""
    return Response(_START, media_type="text/javascript")

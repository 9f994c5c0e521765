"""The console's routers, and what it adds to the application: its pages for errors."""

from fastapi import APIRouter, FastAPI

from web.errors import error_page
from web.pages import (
    approval_policy,
    approvals,
    audit,
    backends,
    by_hand,
    catalogue,
    certificates,
    change_freezes,
    events,
    findings,
    home,
    imports,
    inventory,
    login,
    networks,
    notices,
    openings,
    projects,
    public_ips,
    quota_history,
    quota_moves,
    quota_proofs,
    quota_requests,
    quota_shares,
    quotas,
    remarks,
    request_form,
    request_sheet,
    requests,
    server_changes,
    servers,
    users,
    volumes,
    zones,
)

ROUTERS: tuple[APIRouter, ...] = (
    login.router,
    home.router,
    request_form.router,
    request_sheet.router,
    requests.router,
    events.router,
    notices.router,
    approvals.router,
    approval_policy.router,
    remarks.router,
    change_freezes.router,
    servers.router,
    server_changes.router,
    volumes.router,
    imports.router,
    by_hand.router,
    certificates.router,
    quota_history.router,
    quota_requests.router,
    quota_moves.router,
    quota_proofs.router,
    quota_shares.router,
    quotas.router,
    backends.router,
    findings.router,
    networks.router,
    openings.router,
    public_ips.router,
    zones.router,
    catalogue.router,
    inventory.router,
    projects.router,
    users.router,
    audit.router,
)
"""Every page. `request_form` stands before `requests`: its /requests/new is no id; so does `request_sheet`."""


def install(app: FastAPI) -> None:
    """Let errors be told as pages where a browser asks for one."""
    app.state.error_page = error_page

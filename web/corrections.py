"""Correcting a returned request for ports, addresses, volumes or snapshots on the form of its server. Decides nothing itself.

These forms hold what one server's page can ask for; a request made through the API may hold more (several servers, several new
volumes): that one is sent again as it is, or corrected there.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import Response

from cloudmgr.domain.errors import NotFound
from cloudmgr.domain.messages import N_
from cloudmgr.domain.phases import RequestKind, RequestPhase
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import PortsRequest, PublicIpRequest, SnapshotRequest, VolumeRequest
from cloudmgr.services.request_view import RequestView
from web.desk import Desk, go
from web.pages.server_changes import correctable

PAGES: Mapping[str, str] = {
    RequestKind.PORTS: "openings",
    RequestKind.PUBLIC_IP: "public-ip",
    RequestKind.VOLUME: "volumes",
    RequestKind.SNAPSHOT: "snapshots",
}
"""The page of a server that a kind is asked for on."""
_LINES = ("open", "create", "attach", "assign", "revert")
_TYPED = (
    "source",
    "protocol",
    "purpose",
    "valid_until",
    "reason",
    "name",
    "size_gib",
    "count",
    "bandwidth_mbps",
    "server",
)


@dataclass(frozen=True, slots=True)
class Correction:
    """What is corrected on a form; without an id it is a new request."""

    request_id: uuid.UUID | None = None
    body: Mapping[str, Any] = field(default_factory=dict)
    returned: str = ""
    """The last decider's comment."""

    @property
    def shown(self) -> dict[str, Any]:
        """Return what the form's template needs of it."""
        return {"correcting": self.request_id, "returned": self.returned}

    def chosen(self, name: str) -> list[str]:
        """Return the ids of standing things that the request names under one key."""
        found = self.body.get(name, ())
        return [
            str(each.get("volume", each.get("snapshot"))) if isinstance(each, dict) else str(each) for each in found
        ]

    def values(self) -> dict[str, str]:
        """Return what stands in the form's fields."""
        found = {"purpose": str(self.body.get("purpose", ""))}
        for name in _LINES:
            for at, line in enumerate(_lines(self.body, name)):
                found |= {f"{name}[{at}].{key}": str(line[key]) for key in _TYPED if line.get(key) is not None}
                if name == "open":
                    found[f"open[{at}].port"] = str(line.get("port") or line.get("ports") or "")
        return found

    def hand_in(self, desk: Desk, wanted: PortsRequest | PublicIpRequest | SnapshotRequest | VolumeRequest) -> Response:
        """Submit the request: a new one, or the corrected one again."""
        if self.request_id is None:
            made = requests.submit_new(desk.session, desk.actor, wanted)
            return go(f"/requests/{made.id}", done="submitted")
        requests.update_request(desk.session, desk.actor, self.request_id, wanted)
        requests.submit(desk.session, desk.actor, self.request_id)
        return go(f"/requests/{self.request_id}", done="submitted")


def page_of(view: RequestView) -> str | None:
    """Return where a request is corrected on the page of its server; None: no such form holds all of it."""
    body, kind = view.request.body, view.request.kind
    if kind not in PAGES or view.request.phase != RequestPhase.RETURNED or not _fits(kind, body):
        return None
    servers = {str(row[0].id) for row in view.servers}
    servers |= {
        str(line.get("server")) for name in ("open", "create", "attach", "assign") for line in _lines(body, name)
    }
    if len(servers) != 1:
        return None
    return f"/servers/{servers.pop()}/{PAGES[kind]}?request={view.request.id}"


def named(desk: Desk, kind: str, server_id: uuid.UUID, text: str) -> Correction:
    """Return the correction of the request that a form names; none is named: a new request.

    Raises:
        NotFound: no such request of this server. Forbidden: it is another person's. Conflict: it is past correcting.
    """
    if not text:
        return Correction()
    try:
        request_id = uuid.UUID(text)
    except ValueError as error:
        raise NotFound(N_("There is no such request.")) from error
    _, body, returned = correctable(desk, request_id, {kind})
    page = page_of(requests.get_request(desk.session, desk.actor, request_id))
    if page is None or not page.startswith(f"/servers/{server_id}/"):
        raise NotFound(N_("There is no such request."))
    return Correction(request_id, body, returned)


def _fits(kind: str, body: Mapping[str, Any]) -> bool:
    """Whether the form of one server has room for all of a request."""
    count = {name: len(_lines(body, name)) for name in _LINES} | {"release": len(body.get("release", ()))}
    if kind == RequestKind.PUBLIC_IP:
        return count["assign"] + count["release"] == 1
    return count["create"] <= 1 and count["revert"] <= 1


def _lines(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    return [line for line in body.get(name, ()) if isinstance(line, dict)]

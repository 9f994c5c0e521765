"""Cloud platforms: how each is and how old that is, what it can do, what is left of it, every look, and looking now."""

import uuid

from fastapi import Request
from starlette.responses import Response

from cloudmgr.domain import access
from cloudmgr.domain.access import Action
from cloudmgr.domain.events import Event
from cloudmgr.http.routes import page_router, rule
from cloudmgr.services import catalogue, discovery
from cloudmgr.services.catalogue import ZoneFilter
from cloudmgr.services.discovery import AskSync
from web.desk import Desk, DeskDep, FormDep, go, texts
from web.forms import Form
from web.lists import PAGE, cursor_of, every, pages
from web.presenters import backends as lines

router = page_router()

_RUNS = 20


@router.get("/backends", openapi_extra=rule(Action.CATALOGUE_READ))
def show_list(request: Request, desk: DeskDep) -> Response:
    """List cloud platforms with how each is now."""
    rows, following = catalogue.list_backends(desk.session, desk.actor, limit=PAGE, cursor=cursor_of(request))
    return desk.page(
        "pages/backends.html",
        lines=[lines.line(desk.words, view) for view in rows],
        **pages(request, {}, following),
    )


@router.get("/backends/{backend_id}", openapi_extra=rule(Action.CATALOGUE_READ))
def show(request: Request, desk: DeskDep, backend_id: uuid.UUID) -> Response:
    """Show one cloud platform."""
    return _Room(request, desk, backend_id).page(Form(), 200)


@router.post(
    "/backends/{backend_id}/look",
    openapi_extra=rule(Action.CATALOGUE_WRITE, event=Event.BACKEND_SYNC, object_type="backend", remembers=False),
)
def look(request: Request, desk: DeskDep, backend_id: uuid.UUID, sent: FormDep) -> Response:
    """Ask a worker to look at a cloud platform now."""
    access.require(desk.actor, Action.CATALOGUE_WRITE)
    desk.on_refusal(_Room(request, desk, backend_id).page, {}, ())
    wanted = AskSync(confirm_losses=texts(sent).get("confirm_losses") == "1")
    discovery.ask_sync(desk.session, desk.actor, backend_id, wanted)
    return go(f"/backends/{backend_id}", done="looked")


class _Room:
    """The page of one cloud platform, read before anything is asked of it."""

    def __init__(self, request: Request, desk: Desk, backend_id: uuid.UUID) -> None:
        view = catalogue.get_backend(desk.session, desk.actor, backend_id)
        backend = view.backend
        self._desk = desk
        self._backend = lines.line(desk.words, view)
        self._abilities = lines.abilities(desk.words, backend.capabilities)
        self._architectures = lines.by_architecture(
            every(
                lambda at: catalogue.list_zones(
                    desk.session, desk.actor, ZoneFilter(backend=backend.name), limit=PAGE, cursor=at
                )
            )
        )
        path = view.owner.path if view.owner else None
        self._own_quota = lines.own_quota(backend.cloud_quota) if desk.may(Action.CAPACITY_READ, path) else []
        self._may_look = desk.may(Action.CATALOGUE_WRITE)
        self._shows_runs = desk.may(Action.FINDING_READ)
        self._runs: list[lines.RunLine] = []
        self._pages = pages(request, {}, None)
        if self._shows_runs:
            rows, following = discovery.list_syncs(
                desk.session, desk.actor, backend_id, limit=_RUNS, cursor=cursor_of(request)
            )
            self._runs = [lines.run(desk.words, row) for row in rows]
            self._pages = pages(request, {}, following)

    def page(self, form: Form, status: int) -> Response:
        """Draw it."""
        return self._desk.page(
            "pages/backend.html",
            status,
            backend=self._backend,
            abilities=self._abilities,
            architectures=self._architectures,
            own_quota=self._own_quota,
            placed_here=lines.placed_here(self._architectures),
            may_look=self._may_look,
            shows_runs=self._shows_runs,
            runs=self._runs,
            form=form,
            **self._pages,
        )

"""The web process: one application from settings, and the server that runs it."""

import gc
import ipaddress
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio.to_thread
import sqlalchemy as sa
import uvicorn
from fastapi import APIRouter, FastAPI
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import cloudmgr
import cloudmgr.api.approvals
import cloudmgr.api.audit
import cloudmgr.api.catalogue
import cloudmgr.api.certificates
import cloudmgr.api.change_freezes
import cloudmgr.api.deadlines
import cloudmgr.api.decisions
import cloudmgr.api.exports
import cloudmgr.api.findings
import cloudmgr.api.imports
import cloudmgr.api.inventory
import cloudmgr.api.notices
import cloudmgr.api.openings
import cloudmgr.api.ops
import cloudmgr.api.organizations
import cloudmgr.api.plans
import cloudmgr.api.playbooks
import cloudmgr.api.projects
import cloudmgr.api.quota_history
import cloudmgr.api.quota_moves
import cloudmgr.api.quota_plans
import cloudmgr.api.quota_proofs
import cloudmgr.api.quota_shares
import cloudmgr.api.quotas
import cloudmgr.api.remarks
import cloudmgr.api.request_sheets
import cloudmgr.api.requests
import cloudmgr.api.servers
import cloudmgr.api.sessions
import cloudmgr.api.subnets
import cloudmgr.api.users
import cloudmgr.api.volumes
from cloudmgr.adapters import migrate, occupancy
from cloudmgr.api import examples
from cloudmgr.http import errors, logging, schema
from cloudmgr.http.edge import EdgeMiddleware
from cloudmgr.http.limits import AdmissionMiddleware, BodyLimitMiddleware
from cloudmgr.http.metrics import Metrics
from cloudmgr.settings import Settings
from cloudmgr.store.db import make_engine
from cloudmgr.worker import Worker
from web import app as console
from web.assets import Assets

ROUTERS: tuple[APIRouter, ...] = (
    cloudmgr.api.plans.router,
    cloudmgr.api.request_sheets.router,
    cloudmgr.api.requests.router,  # asked most, and routes are looked through in this order
    cloudmgr.api.ops.router,
    cloudmgr.api.sessions.router,
    cloudmgr.api.users.router,
    cloudmgr.api.organizations.router,
    cloudmgr.api.projects.router,
    cloudmgr.api.catalogue.router,
    cloudmgr.api.subnets.router,
    cloudmgr.api.openings.router,
    cloudmgr.api.quota_proofs.router,
    cloudmgr.api.quota_history.router,
    cloudmgr.api.quota_plans.router,
    cloudmgr.api.quota_shares.router,
    cloudmgr.api.quotas.router,
    cloudmgr.api.quota_moves.router,
    cloudmgr.api.audit.router,
    cloudmgr.api.servers.router,
    cloudmgr.api.volumes.router,
    cloudmgr.api.certificates.router,
    cloudmgr.api.decisions.router,
    cloudmgr.api.remarks.router,
    cloudmgr.api.approvals.router,
    cloudmgr.api.deadlines.router,
    cloudmgr.api.change_freezes.router,
    cloudmgr.api.notices.router,
    cloudmgr.api.playbooks.router,
    cloudmgr.api.inventory.router,
    cloudmgr.api.imports.router,
    cloudmgr.api.exports.router,
    cloudmgr.api.findings.router,
    *console.ROUTERS,
)
"""Everything that answers. The guard test walks these with every role."""

_GRACE_S = 10
"""How long requests may finish after SIGTERM; event streams are cut then."""

_SPARE_THREADS = 4
"""For static files and probes, which hold no place among `threads`."""


class ListenerRefused(Exception):  # noqa: N818 - says what happened
    """The address to listen on would carry passwords in clear; the message says what to set."""


def create_app(settings: Settings, *, engine: sa.Engine | None = None) -> FastAPI:
    """Return the application. It opens no connection until the first request and starts no worker.

    `engine` shares a database engine that the caller disposes of; otherwise the application makes and disposes its own.
    """
    own = engine or make_engine(
        settings.database_url, pool_size=settings.database.pool_size, synchronous=settings.database.synchronous
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.web.threads + _SPARE_THREADS
        yield
        if engine is None:
            own.dispose()

    app = FastAPI(
        title="cloudmgr",
        version=cloudmgr.__version__,
        lifespan=lifespan,
        openapi_url=None,  # ours is built in a thread, once: api/ops.py
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.settings = settings
    app.state.engine = own
    app.state.metrics = Metrics()
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", Assets(), name="static")
    errors.install(app)
    schema.install(app, examples.BODIES)
    console.install(app)
    _add_layers(app, settings)
    return app


def _add_layers(app: FastAPI, settings: Settings) -> None:
    """Add the middleware, innermost first: admission, body limit, edge, and the proxy whose word on the client is taken."""
    metrics = app.state.metrics
    places = min(settings.web.threads, settings.database.pool_size * 2 - 1)  # never more workers than connections
    app.add_middleware(
        AdmissionMiddleware,
        threads=places,
        changes=min(settings.web.changes, places),
        max_waiting=settings.web.max_waiting,
        metrics=metrics,
    )
    app.add_middleware(BodyLimitMiddleware, limit=settings.web.body_limit_bytes)
    app.add_middleware(
        EdgeMiddleware, metrics=metrics, is_secure=bool(settings.web.tls_cert or settings.web.trusted_proxies)
    )
    if settings.web.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=list(settings.web.trusted_proxies))


def check_listener(settings: Settings) -> None:
    """Refuse to listen in clear where others could hear.

    Off loopback it takes a certificate, or a proxy in front that ends TLS and is named in `[web] trusted_proxies`:
    without, browsers would silently drop the secure cookie and logins would fail without a word.

    Raises:
        ListenerRefused: says which setting is missing.
    """
    listen = settings.web
    if (listen.tls_cert is None) != (listen.tls_key is None):
        raise ListenerRefused("[web] tls_cert and tls_key come together: set both or neither")
    for path in (listen.tls_cert, listen.tls_key):
        if path is not None and not path.is_file():
            raise ListenerRefused(f"[web] {path} does not exist")
    if not _is_loopback(listen.host) and listen.tls_cert is None and not listen.trusted_proxies:
        raise ListenerRefused(
            f"refusing to listen on {listen.host} without TLS: set [web] tls_cert and tls_key, "
            "or name the TLS-ending proxy in [web] trusted_proxies, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(settings: Settings, *, with_worker: bool = True, alongside: Callable[[], None] | None = None) -> None:
    """Answer HTTP until SIGTERM or SIGINT; with a worker inside unless told otherwise.

    After a restore pages and API answer, /readyz says `paused`, and the worker waits until work is resumed. `alongside` runs once in a thread of its own as soon as the worker takes work (the demonstration seeds its city so).

    Raises:
        ListenerRefused: passwords would travel in clear.
        SchemaRefused: the database is not at this release's schema.
        Conflict: another worker runs on this database, or a restore is under way.
    """
    check_listener(settings)
    logging.configure(settings.log)
    migrate.check(settings)
    with occupancy.sharing(settings.data_dir):
        _serve(settings, with_worker=with_worker, alongside=alongside)


def _serve(settings: Settings, *, with_worker: bool, alongside: Callable[[], None] | None) -> None:
    listen = settings.web
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            host=listen.host,
            port=listen.port,
            ssl_certfile=listen.tls_cert,
            ssl_keyfile=listen.tls_key,
            log_config=None,
            access_log=False,  # EdgeMiddleware writes the access line, with user and request id
            proxy_headers=False,  # create_app does it, so that tests see the same
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
            ws="none",
        )
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)  # uvicorn raises the signal again when it has shut down: the worker must stop too
    worker = Worker(settings) if with_worker else None
    if worker is not None:
        worker.start()
    try:
        gc.collect()
        gc.freeze()  # modules and models stay for good: looking them over again and again costs requests their time
        if alongside is not None:
            threading.Thread(target=alongside, name="alongside", daemon=True).start()
        server.run()
    finally:
        if worker is not None:
            worker.stop()


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)

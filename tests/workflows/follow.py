"""Cities in which one request after another was fulfilled, and the last one waits: made once, copied for every case."""

import itertools
import json
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlmodel import Session, select

from cloudmgr.domain.messages import Message
from cloudmgr.models import RequestEvent, Server, Snapshot, Volume
from cloudmgr.services import requests
from cloudmgr.services.request_inputs import body_adapter
from cloudmgr.settings import load_settings
from cloudmgr.store.db import new_session
from cloudmgr.workflows.runtime import open_provider
from providers.base import Provider
from tests import world
from tests.workflows.proofs import Case, Stage

Body = Callable[[Session], dict[str, Any]]
_numbers = itertools.count()


def ask(case: Case, body: dict[str, Any], *, approve: bool = True) -> uuid.UUID:
    """Submit a request in a case's city as the requester, have it approved, and make it the one the case is about."""
    engine = case.engine
    city = world.reopen(case.data_dir, engine)
    whole = {"project": str(city.project.id), "purpose": "测试", **body}
    with city.session() as session:
        request = requests.submit_new(session, city.actor("requester"), body_adapter.validate_python(whole))
        session.commit()
        case.request = request.id
    if approve:
        city.approve(case.request)
    engine.dispose()
    return case.request


def read(case: Case, look: Callable[[Session], Any]) -> Any:
    """Return what `look` finds in a case's city."""
    engine = case.engine
    with new_session(engine) as session:
        found = look(session)
    engine.dispose()
    return found


def cloud(case: Case, backend: str = "kp") -> Provider:
    """Open a simulated cloud of a case; whoever opens it closes it."""
    return open_provider(load_settings(case.data_dir, **case.settings), backend)


def told(case: Case) -> str:
    """Return everything that was told of requests."""
    return read(
        case,
        lambda session: "\n".join(
            str(Message.from_json(event.message)) for event in session.exec(select(RequestEvent))
        ),
    )


def server(session: Session) -> Server:
    return session.exec(select(Server)).one()


def volume(session: Session) -> Volume:
    return session.exec(select(Volume)).one()


def snapshot(session: Session) -> Snapshot:
    return session.exec(select(Snapshot)).one()


class Stories:
    """Makes cases of cities in which a server was built and then `bodies` were asked for; all but the last are fulfilled."""

    def __init__(self, stages: Callable[..., Stage], home: Path) -> None:
        self._stages, self._home = stages, home
        self._made: dict[str, Stage] = {}

    def case(self, dialect: str, data_dir: Path, bodies: Sequence[Body], **what: Any) -> Case:
        """Return a case of its own."""
        key = f"{dialect} {[body.__name__ for body in bodies]} {sorted(what.items())}"
        if key not in self._made:
            one = self._stages(dialect, **what).case(self._home / f"story{next(_numbers)}")
            for body in bodies:
                one.finish()
                assert one.phase() == "fulfilled", (told(one), one.log())
                ask(one, read(one, body))
            (one.data_dir / "worker.log").unlink(missing_ok=True)
            self._made[key] = Stage(
                one.zygote, one.data_dir, json.loads(json.dumps(one.settings)), one.url, one.request
            )
        return self._made[key].case(data_dir)

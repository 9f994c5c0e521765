"""`cloudmgr server start|stop|reboot` against a running API: what they say to people, and to programs."""

import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from sqlmodel import select

from cloudmgr.models import Server, User
from cloudmgr.services import requests
from tests import support
from tests.cli.conftest import Run
from tests.stocked import small_world, stand, world_templates
from tests.world import World

__all__ = ["small_world", "world_templates"]


@pytest.fixture
def server_id(small_world: World, monkeypatch: pytest.MonkeyPatch, run: Run) -> Iterator[str]:
    """A server that stands, in a city whose API is served; the commands speak to it as its administrator."""
    del run  # it forgets the environment: ours comes after
    with small_world.session() as session:
        request = requests.submit_new(session, small_world.actor("requester"), small_world.command())
        server = session.exec(select(Server).where(Server.request_id == request.id)).one()
        stand(session, server.id)
        token = support.open_token(session, session.get_one(User, small_world.people["sysadmin"]))
        session.commit()
        found = str(server.id)
    app = support.make_app(small_world.settings.database_url)
    served = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=served.run)
    thread.start()
    while not served.started:
        time.sleep(0.02)
    port = served.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("CLOUDMGR_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("CLOUDMGR_TOKEN", token)
    yield found
    served.should_exit = True
    thread.join()
    app.state.engine.dispose()


@pytest.mark.parametrize("action", ["start", "stop", "reboot"])
def test_an_action_is_told_to_people_and_to_programs(run: Run, server_id: str, action: str) -> None:
    name = run("server", "show", server_id, "--json").json["name"]
    told = run("server", action, name, "--json")
    assert (told.status, told.json) == (0, {"server": server_id, "action": action}), told.err
    assert run("server", action, name).out == f"{action} was asked of {name}.\n"


def test_an_action_that_is_refused_prints_no_data(run: Run, server_id: str) -> None:
    told = run("server", "stop", "nobody", "--json")
    assert (told.status, told.out) == (1, "")
    assert "nobody" in told.err

"""The hub of live streams: a place is taken when a stream is opened and free again however it ends."""

import asyncio
import uuid
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from cloudmgr.domain.errors import Overloaded
from cloudmgr.http.streams import EventStream, hub_of
from tests.http.town import Town

SCOPE: dict[str, Any] = {"type": "http", "asgi": {"spec_version": "2.4"}}


async def _nothing() -> dict[str, Any]:
    await asyncio.sleep(3600)
    return {}


async def _gone(_message: Any) -> None:
    raise OSError("the reader left")


def test_a_reader_who_left_before_the_first_byte_holds_no_place(town: Town) -> None:
    hub = hub_of(town.app)
    limit = town.app.state.settings.web.event_streams

    async def leave() -> None:
        for _ in range(limit + 1):
            stream = EventStream(hub, hub.open(uuid.uuid4(), 0), lambda _event: b"")
            with pytest.raises(ClientDisconnect):
                await stream(SCOPE, _nothing, _gone)

    asyncio.run(leave())


def test_one_more_than_the_settings_allow_is_refused(town: Town) -> None:
    hub = hub_of(town.app)
    readers = [hub.open(uuid.uuid4(), 0) for _ in range(town.app.state.settings.web.event_streams)]
    with pytest.raises(Overloaded):
        hub.open(uuid.uuid4(), 0)
    hub.close(readers[0])
    hub.open(uuid.uuid4(), 0)

"""Live progress: each line arrives as the HTML the page is made of, resumes where it was, and ends."""

import threading
import time

from cloudmgr.domain import clock
from cloudmgr.domain.messages import Message
from cloudmgr.models import ResourceRequest
from cloudmgr.store import requests as store
from tests.web.conftest import Console
from tests.web.html import Page


def tell(console: Console, request_id: object, text: str, *, kind: str = "step", **data: object) -> None:
    with console.world.session() as session:
        store.tell(session, request_id, kind=kind, message=Message(text), dedupe=text, data=data)
        session.commit()


def finish(console: Console, request_id: object) -> None:
    with console.world.session() as session:
        request = session.get_one(ResourceRequest, request_id)
        request.phase, request.finished_at = "fulfilled", clock.now()
        session.add(request)
        session.commit()


def test_new_lines_arrive_as_html_and_the_stream_ends_with_the_request(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    console.world.approve(request_id)
    reader = console.reader("requester")
    page = reader.client.get(f"/requests/{request_id}")
    assert 'data-stream="/requests/' in page.text
    tell(console, request_id, "first <b>", kind="task", state="changed", rehearsed=True)

    def later() -> None:
        time.sleep(0.8)
        tell(console, request_id, "second")
        time.sleep(0.8)
        finish(console, request_id)

    thread = threading.Thread(target=later)
    thread.start()
    answer = reader.client.get(f"/requests/{request_id}/events?after=0")
    thread.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: <li")]
    assert len(lines) >= 4
    assert all(Page(line).faults == [] for line in lines)
    assert "first &lt;b&gt;" in answer.text
    assert "已变更" in answer.text
    assert "模拟执行" in answer.text
    assert answer.text.rstrip().endswith("event: end\ndata: {}")


def test_a_stream_resumes_behind_the_last_event(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    tell(console, request_id, "later")
    finish(console, request_id)
    reader = console.reader("requester")
    whole = reader.client.get(f"/requests/{request_id}/events").text
    ids = [int(line[4:]) for line in whole.splitlines() if line.startswith("id: ")]
    rest = reader.client.get(f"/requests/{request_id}/events", headers={"Last-Event-ID": str(ids[0])}).text
    assert [int(line[4:]) for line in rest.splitlines() if line.startswith("id: ")] == ids[1:]


def test_the_part_that_follows_the_work_is_a_fragment(console: Console) -> None:
    request_id = console.world.submit(name="srv")
    answer = console.reader("requester").client.get(f"/requests/{request_id}/state")
    assert "<html" not in answer.text
    assert "srv" in answer.text
    assert Page(f"<main>{answer.text}</main>").faults == []

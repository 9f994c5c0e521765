"""A submission on PostgreSQL goes to the database at once: quota, number and rows, or nothing of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import select

import quotas
from cloudmgr.domain.errors import Conflict
from cloudmgr.models import AuditEvent, Happening, Project, RequestEvent, ResourceRequest, Server
from cloudmgr.services import requests, submissions
from cloudmgr.store.db import new_session
from tests.services.requesting import held, submit
from tests.stocked import Desk, copied, dropped
from tests.world import World


@pytest.fixture
def desk(world_templates: Callable[[str], World], tmp_path: Path) -> Iterator[Desk]:
    world = copied(world_templates("postgresql"), tmp_path / "city")
    with new_session(world.engine) as session:
        yield Desk(world, session)
    dropped(world)


@contextmanager
def changes_of(engine: sa.Engine) -> Iterator[list[str]]:
    """Collect the statements that change something and go through SQLAlchemy, one by one."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_rest):
        if not statement.lstrip().startswith(("SELECT", "WITH RECURSIVE")):
            seen.append(statement)

    sa.event.listen(engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(engine, "before_cursor_execute", note)


def test_quota_number_and_rows_are_one_round_trip(desk: Desk) -> None:
    with changes_of(desk.world.engine) as seen:
        request = submit(desk, count=2, data_disk_gib=10)
    assert seen == []
    assert request.number.endswith("-0001")
    desk.session.commit()
    assert held(desk) == [(0, 2)] * 4
    assert quotas.verify(desk.session).mismatches == []


def test_the_number_stands_wherever_it_is_told(desk: Desk) -> None:
    request = submit(desk, purpose="它叫 @number@")
    desk.session.commit()
    desk.session.expunge_all()
    read = desk.session.get_one(ResourceRequest, request.id)
    line = desk.session.exec(select(RequestEvent).where(RequestEvent.request_id == request.id)).one()
    event = desk.session.exec(select(AuditEvent).where(AuditEvent.object_id == str(request.id))).one()
    notice = desk.session.exec(select(Happening).where(Happening.object_id == str(request.id))).one()
    assert read.number == request.number == line.message["params"]["number"] == event.object_name
    assert (notice.object_name, notice.message["params"]["number"]) == (read.number, read.number)
    assert read.purpose == "它叫 @number@"


def test_the_last_statement_may_commit_and_nobody_waits_for_the_answer(desk: Desk) -> None:
    view = requests.submit_and_read(desk.session, desk.actor("requester"), desk.world.command(), is_last=True)
    with new_session(desk.world.engine) as other:
        assert other.get_one(ResourceRequest, view.request.id).number == view.request.number
        assert quotas.account_usage(other, desk.world.root.account_id).reserved["servers"] == 1
    desk.session.commit()
    assert desk.session.get_one(ResourceRequest, view.request.id).phase == "in_review"


def test_without_leave_to_commit_it_is_the_callers_transaction(desk: Desk) -> None:
    number = submit(desk).number
    desk.session.rollback()
    assert desk.session.exec(select(ResourceRequest)).all() == []
    assert held(desk) == [(0, 0)] * 4
    assert submit(desk).number == number, "a number that was rolled back is taken again"


def test_a_project_that_moves_meanwhile_takes_its_request_along(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = submissions._stages

    def move_first(*args):
        with new_session(desk.world.engine) as other:
            other.get_one(Project, desk.world.project.id).organization_id = desk.world.yuelu.id
            other.commit()
        return plain(*args)

    monkeypatch.setattr(submissions, "_stages", move_first)
    request = submit(desk)
    desk.session.commit()
    desk.session.expire_all()
    assert request.organization_id == desk.world.yuelu.id
    server = desk.session.exec(select(Server).where(Server.request_id == request.id)).one()
    assert server.organization_id == desk.world.yuelu.id
    assert request.number.endswith("-0001"), "what came to nothing took no number"


def test_a_name_taken_meanwhile_is_refused_in_words_and_holds_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = submissions._stages

    def be_second(*args):
        monkeypatch.setattr(submissions, "_stages", plain)
        with new_session(desk.world.engine) as other:
            requests.submit_new(other, desk.actor("requester"), desk.world.command(name="taken"))
            other.commit()
        return plain(*args)

    monkeypatch.setattr(submissions, "_stages", be_second)
    with pytest.raises(Conflict, match="taken"):
        submit(desk, name="taken")
    desk.session.rollback()
    assert held(desk) == [(0, 1)] * 4


def test_over_quota_it_explains_as_ever(desk: Desk) -> None:
    submit(desk)
    desk.session.commit()
    with pytest.raises(quotas.QuotaExceeded) as refused:
        submit(desk, name="b", count=25)
    assert {each["name"] for each in refused.value.errors} == {"芙蓉区", "智慧社区综合服务平台"}
    desk.session.rollback()
    assert held(desk) == [(0, 1)] * 4

"""Moves beside those who hold a request or a server and want the quota tree: on PostgreSQL nobody waits for each other."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlmodel import Session, select

import quotas
from cloudmgr.models import Organization, Project, ResourceRequest, Server
from cloudmgr.services import quota_moves
from cloudmgr.services import requests as service
from cloudmgr.services.quota_moves import MergeAccounts, MoveAccount
from cloudmgr.services.request_inputs import DraftRequest, QuotaChangeRequest
from cloudmgr.store import projects, requests, servers, standstill
from tests.stocked import stock
from tests.world import World, build

DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


@pytest.fixture
def city(tmp_path: Path, pg_database: str) -> Iterator[World]:
    made = build(tmp_path / "city", pg_database)
    stock(made)
    made.submit(name="waits")
    yield made
    made.engine.dispose()


def hold_server(session: Session, city: World) -> Callable[[], None]:
    """As a worker does that has built it."""
    row = session.exec(select(Server)).one()
    held = servers.get(session, row.id, lock=True)
    assert held is not None
    return lambda: quotas.post(session, reservation_id=held.reservation_id, part_id=held.id)


def hold_request(session: Session, city: World) -> Callable[[], None]:
    """As somebody does who withdraws it."""
    row = session.exec(select(ResourceRequest)).one()
    held = requests.get(session, row.id, lock=True)
    assert held is not None
    reservation = session.exec(select(Server.reservation_id)).one()
    return lambda: quotas.void(session, reservation_id=reservation) and None


def hold_project(session: Session, city: World) -> Callable[[], None]:
    """As somebody does who keeps a draft for it, and takes up quota of it then."""
    session.exec(
        select(Project.id).where(Project.id == city.project.id).with_for_update(key_share=True, read=True)
    ).one()
    return lambda: quotas.lock_tree(session, city.project.account_id)


def project_to_yuelu(session: Session, city: World) -> object:
    command = MoveAccount(account=city.project.account_id, parent=city.yuelu.account_id, reason="机构改革")
    return quota_moves.move(session, city.actor("quota"), command)


def bureau_to_yuelu(session: Session, city: World) -> object:
    command = MoveAccount(account=city.minzheng.account_id, parent=city.yuelu.account_id, reason="机构改革")
    return quota_moves.move(session, city.actor("quota"), command)


def bureau_into_yuelu(session: Session, city: World) -> object:
    command = MergeAccounts(source=city.minzheng.account_id, target=city.yuelu.account_id, reason="机构改革")
    return quota_moves.merge(session, city.actor("quota"), command)


@pytest.mark.parametrize("move", [project_to_yuelu, bureau_to_yuelu, bureau_into_yuelu])
@pytest.mark.parametrize("hold", [hold_server, hold_request, hold_project])
def test_a_move_and_one_who_holds_a_row_it_writes_both_come_through(
    city: World,
    hold: Callable[[Session, World], Callable[[], None]],
    move: Callable[[Session, World], object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standstill, "PATIENCE_S", 120.0)  # a busy machine is no deadlock
    has_tree, failures = threading.Event(), []
    sa.event.listen(city.engine, "after_cursor_execute", _tells_update_of_tree(has_tree))

    def moving() -> None:
        with city.session() as session:
            try:
                move(session, city)
                session.commit()
            except Exception as error:  # noqa: BLE001 - a thread's failure must reach the test
                failures.append(error)

    with city.session() as session:
        go_on = hold(session, city)
        mover = threading.Thread(target=moving, name="mover")
        mover.start()
        assert has_tree.wait(60)
        go_on()  # waits for the tree, while the mover wants what is held here
        session.commit()
    mover.join(150)
    assert not mover.is_alive(), "the mover waits for ever"
    assert failures == []
    with city.session() as session:
        assert session.connection().exec_driver_sql(DEADLOCKS).scalar_one() == 0
        assert quotas.verify(session).ok
        project = session.get_one(Project, city.project.id)
        place = session.get_one(Organization, project.organization_id)
        assert city.yuelu.id in map(uuid.UUID, place.path.strip("/").split("/"))
        assert {row.organization_id for row in session.exec(select(ResourceRequest))} == {place.id}
        assert {row.organization_id for row in session.exec(select(Server))} == {place.id}


def _tells_update_of_tree(has_tree: threading.Event) -> Callable[..., None]:
    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if threading.current_thread().name == "mover" and "generation" in statement:
            has_tree.set()

    return tell


def test_a_move_that_is_never_let_in_waits_like_everybody_else(city: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its patience at an end it holds the tree and waits; whoever held the row did not want the tree, and both end well."""
    monkeypatch.setattr(standstill, "PATIENCE_S", 0.05)
    monkeypatch.setattr(standstill, "LEAST_TRIES", 1)
    done = threading.Event()

    def moving() -> None:
        with city.session() as session:
            project_to_yuelu(session, city)
            session.commit()
            done.set()

    with city.session() as session:
        hold_request(session, city)
        mover = threading.Thread(target=moving)
        mover.start()
        assert not done.wait(0.5)
        session.commit()
    mover.join(60)
    assert done.is_set()
    with city.session() as session:
        assert projects.get(session, city.project.id).organization_id == city.yuelu.id


def submits(session: Session, city: World) -> uuid.UUID:
    return service.submit_new(session, city.actor("requester"), city.command(name="late")).id


def keeps_a_draft(session: Session, city: World) -> uuid.UUID:
    draft = DraftRequest(kind="create", project=city.project.id)
    return service.save_draft(session, city.actor("requester"), draft).id


def keeps_waiting(session: Session, city: World) -> uuid.UUID:
    change = session.exec(select(ResourceRequest.id).where(ResourceRequest.kind == "quota_change")).one()
    return service.save_waiting(session, city.actor("requester"), city.command(name="late"), change).id


@pytest.mark.parametrize(
    ("asks", "before"),
    [
        (submits, "project_ssh_keys"),
        (keeps_a_draft, "INSERT INTO resource_requests"),
        (keeps_waiting, "INSERT INTO resource_requests"),
    ],
)
def test_a_request_that_read_its_project_before_a_move_goes_along_with_it(
    city: World, asks: Callable[[Session, World], uuid.UUID], before: str
) -> None:
    movers: list[threading.Thread] = []

    def moving() -> None:
        with city.session() as another:
            project_to_yuelu(another, city)
            another.commit()

    def move_first(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if before in statement and not movers and threading.current_thread() is threading.main_thread():
            movers.append(threading.Thread(target=moving))
            movers[0].start()
            movers[0].join(3)  # where the project is held, the move comes after

    with city.session() as session:
        limits = QuotaChangeRequest(
            kind="quota_change", account=city.minzheng.account_id, limits={"vcpus": 59}, purpose="扩容"
        )
        service.submit_new(session, city.actor("requester"), limits)
        session.commit()
    with city.session() as session:
        sa.event.listen(city.engine, "before_cursor_execute", move_first)
        made = asks(session, city)
        session.commit()
    assert movers
    movers[0].join(60)
    with city.session() as session:
        assert session.get_one(ResourceRequest, made).organization_id == city.yuelu.id
        rows = session.exec(select(Server).where(Server.request_id == made)).all()
        assert {row.organization_id for row in rows} <= {city.yuelu.id}
        assert quotas.verify(session).ok

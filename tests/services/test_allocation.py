"""Capacity is claimed by generation: two never take the same last slot, on either database."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.models import Allocation, Image, Server, Zone, ZoneInventory
from cloudmgr.services import requests
from cloudmgr.store import placement
from tests.stocked import Desk
from tests.world import World

AMOUNTS = {"vcpus": 2, "memory_mib": 4096, "disk_gib": 40}


def used(session: sa.orm.Session, zone: Zone) -> dict[str, int]:
    rows = session.exec(
        select(ZoneInventory).where(ZoneInventory.zone_id == zone.id).execution_options(populate_existing=True)
    )
    return {row.resource: row.used for row in rows}


def pool(desk: Desk, **vcpus: int) -> Zone:
    zone = desk.session.exec(select(Zone).where(Zone.name == "kp-zone")).one()
    row = desk.session.exec(
        select(ZoneInventory).where(ZoneInventory.zone_id == zone.id, ZoneInventory.resource == "vcpus")
    ).one()
    for name, value in vcpus.items():
        setattr(row, name, value)
    desk.session.flush()
    return zone


def server(desk: Desk, name: str = "srv") -> Server:
    request = requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name=name))
    return desk.session.exec(select(Server).where(Server.request_id == request.id)).one()


def claim(desk: Desk, zone: Zone, each: Server, generation: int) -> bool:
    return placement.claim(desk.session, zone_id=zone.id, generation=generation, server_id=each.id, amounts=AMOUNTS)


def test_a_claim_takes_and_giving_back_frees_and_each_raises_the_generation(desk: Desk) -> None:
    zone, one = pool(desk), server(desk)
    start = zone.generation
    assert claim(desk, zone, one, start)
    assert used(desk.session, zone) == AMOUNTS
    placement.give_back(desk.session, one.id)
    placement.give_back(desk.session, one.id)
    assert used(desk.session, zone) == {"vcpus": 0, "memory_mib": 0, "disk_gib": 0}
    desk.session.refresh(zone)
    assert zone.generation == start + 2


def test_who_saw_an_older_generation_takes_nothing(desk: Desk) -> None:
    zone, first, second = pool(desk), server(desk, "a"), server(desk, "b")
    seen = zone.generation
    assert claim(desk, zone, first, seen)
    assert not claim(desk, zone, second, seen)
    assert used(desk.session, zone) == AMOUNTS


@pytest.mark.parametrize(
    ("total", "reserved", "ratio_pct", "fits"),
    [
        (2, 0, 100, True),
        (1, 0, 100, False),
        (2, 1, 100, False),
        (1, 0, 200, True),
        (3, 1, 100, True),
        (1, 0, 199, False),
    ],
)
def test_room_counts_what_is_kept_back_and_what_is_sold_twice(
    desk: Desk, total: int, reserved: int, ratio_pct: int, fits: bool
) -> None:
    zone = pool(desk, total=total, reserved=reserved, ratio_pct=ratio_pct)
    image = desk.session.exec(select(Image).where(Image.name == "kylin-v10")).one()
    seen = {facts.name: facts for facts in placement.zone_facts(desk.session, image_id=image.id)}["kp-zone"]
    assert (seen.room["vcpus"] >= AMOUNTS["vcpus"]) is fits, "what is shown and what is guarded are one rule"
    with desk.session.begin_nested() as savepoint:
        assert claim(desk, zone, server(desk), zone.generation) is fits
        if not fits:
            savepoint.rollback()


def test_one_server_holds_one_place(desk: Desk) -> None:
    zone, one = pool(desk), server(desk)
    assert claim(desk, zone, one, zone.generation)
    with pytest.raises(sa.exc.IntegrityError), desk.session.begin_nested():
        claim(desk, zone, one, zone.generation + 1)


def test_many_at_once_fill_a_pool_to_the_last_slot_and_not_beyond(any_world: World) -> None:
    slots, askers = 5, 12
    any_world.submit(name="app", count=askers)
    with any_world.session() as session:
        zone = session.exec(select(Zone).where(Zone.name == "kp-zone")).one()
        row = session.exec(
            select(ZoneInventory).where(ZoneInventory.zone_id == zone.id, ZoneInventory.resource == "vcpus")
        ).one()
        row.total = slots * AMOUNTS["vcpus"] + 1
        ids = session.exec(select(Server.id)).all()
        image = session.exec(select(Image).where(Image.name == "kylin-v10")).one()
        session.commit()
    together = threading.Barrier(askers)

    def ask(server_id: object) -> bool:
        together.wait(30)
        while True:
            with any_world.session() as session:
                seen = {each.name: each for each in placement.zone_facts(session, image_id=image.id)}["kp-zone"]
                if seen.room["vcpus"] < AMOUNTS["vcpus"]:
                    return False
                took = placement.claim(
                    session, zone_id=seen.id, generation=seen.generation, server_id=server_id, amounts=AMOUNTS
                )
                if took:
                    session.commit()
                    return True
                session.rollback()  # another was faster: look again

    with ThreadPoolExecutor(askers) as pool_of_askers:
        assert sum(pool_of_askers.map(ask, ids)) == slots
    with any_world.session(write=False) as session:
        assert len(session.exec(select(Allocation)).all()) == slots
        assert used(session, zone) == {key: amount * slots for key, amount in AMOUNTS.items()}

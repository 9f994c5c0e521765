"""What is remembered for a second: never older, never over one's own change, and never the reason of a refusal."""

import pytest
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.domain.errors import InvalidInput
from cloudmgr.models import Flavor
from cloudmgr.services import requests
from cloudmgr.store import recent as recent_
from cloudmgr.store.db import make_engine, new_session
from cloudmgr.store.lookups import Names
from cloudmgr.store.recent import recent
from tests.world import World


def names(world: World) -> set[str]:
    with world.session(write=False) as session:
        return set(recent(session, "names", lambda: set(session.exec(select(Flavor.name)))))


def add(engine: sa.Engine, name: str) -> None:
    with new_session(engine) as session:
        session.add(Flavor(name=name, vcpus=1, memory_mib=1024, system_disk_gib=40))
        session.commit()


def test_a_change_of_this_process_is_seen_at_once(any_world: World) -> None:
    assert "new" not in names(any_world)
    add(any_world.engine, "new")
    assert "new" in names(any_world)


def test_a_change_of_another_process_is_seen_within_a_second(any_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "new" not in names(any_world)
    elsewhere = make_engine(any_world.settings.database_url)
    add(elsewhere, "new")
    elsewhere.dispose()
    assert "new" not in names(any_world), "remembered"
    monkeypatch.setattr(recent_, "MAX_AGE_S", 0.0)
    assert "new" in names(any_world)


def test_a_transaction_sees_what_it_changed_itself(any_world: World) -> None:
    names(any_world)
    with any_world.session() as session:
        session.add(Flavor(name="mine", vcpus=1, memory_mib=1024, system_disk_gib=40))
        session.flush()
        assert "mine" in recent(session, "names", lambda: set(session.exec(select(Flavor.name))))
        session.rollback()
    assert "mine" not in names(any_world)


def test_nobody_is_refused_for_what_was_true_a_second_ago(any_world: World) -> None:
    with any_world.session() as session:
        Names(session, remembered=True).flavors()
    elsewhere = make_engine(any_world.settings.database_url)
    add(elsewhere, "brand-new")
    elsewhere.dispose()
    with any_world.session() as session:
        made = requests.submit_new(session, any_world.actor("requester"), any_world.command(flavor="brand-new"))
        assert made.number is not None
        with pytest.raises(InvalidInput, match="no flavor"):
            requests.submit_new(session, any_world.actor("requester"), any_world.command(flavor="never", name="b"))

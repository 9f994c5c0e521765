"""What the settings' policy decides: longest lease, preference for 信创 pools, lease reminders, further playbooks."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from cloudmgr.domain import clock
from cloudmgr.domain.errors import InvalidInput
from cloudmgr.main import create_app
from cloudmgr.models import Server, User
from cloudmgr.services import plans, playbooks, policy, requests, servers
from cloudmgr.settings import Settings
from tests import stocked, support
from tests.world import World

Change = Callable[..., Settings]


@pytest.fixture
def changed(small_world: World) -> Change:
    """Return the city's settings with another policy."""

    def get(**values: Any) -> Settings:
        chosen = small_world.settings.policy.model_copy(update=values)
        return small_world.settings.model_copy(update={"policy": chosen})

    return get


@pytest.fixture
def session(small_world: World) -> Iterator[Session]:
    with small_world.session() as found:
        yield found
        found.rollback()


def _standing(world: World, session: Session, *days: int) -> list[Server]:
    """Stand servers whose leases end so many days from today."""
    command = world.command(count=len(days))
    request = requests.submit_new(session, world.actor("requester"), command)
    found = list(session.exec(select(Server).where(Server.request_id == request.id)))
    for server, left in zip(found, days, strict=True):
        stocked.stand(session, server.id)
        server.lease_end = clock.today() + timedelta(days=left)
        session.add(server)
    session.flush()
    return found


def test_the_longest_lease_is_the_settings(small_world: World, session: Session, changed: Change) -> None:
    command = small_world.command(lease_end=(clock.today() + timedelta(days=40)).isoformat())
    policy.attach(session, changed(lease_max_days=30))
    with pytest.raises(InvalidInput) as refused:
        plans.plan(session, small_world.actor("requester"), command)
    assert refused.value.field == "lease_end"
    policy.attach(session, changed(lease_max_days=60))
    assert plans.plan(session, small_world.actor("requester"), command).would_be_accepted


@pytest.mark.parametrize(("preferred", "first"), [(True, "kp-zone"), (False, "early-zone")])
def test_the_preference_for_domestic_pools_is_the_settings(
    preferred: bool, first: str, small_world: World, session: Session, changed: Change
) -> None:
    stocked._backend(session, "early", "aarch64", "kunpeng", xinchuang=False, capabilities=[], vcpus=96)
    policy.attach(session, changed(prefer_xinchuang=preferred))
    plan = plans.plan(session, small_world.actor("requester"), small_world.command())
    candidates = [verdict.zone.name for verdict in plan.entries[0].verdicts if verdict.is_candidate]
    assert (candidates[0], len(candidates)) == (first, 2)


def test_leases_are_reminded_of_at_the_settings_steps(small_world: World, session: Session, changed: Change) -> None:
    _standing(small_world, session, 61, 60, 31, 30, 8, 7, 0, -2)
    reader = small_world.actor("requester")
    assert [(each.days, each.step) for each in servers.ending_soon(session, reader)] == [
        (-2, 7), (0, 7), (7, 7), (8, 30), (30, 30), (31, 60), (60, 60),
    ]  # fmt: skip
    policy.attach(session, changed(lease_reminder_days=(10, 3)))
    assert [(each.days, each.step) for each in servers.ending_soon(session, reader)] == [
        (-2, 3),
        (0, 3),
        (7, 10),
        (8, 10),
    ]
    policy.attach(session, changed(lease_reminder_days=()))
    assert servers.ending_soon(session, reader) == []


def test_nobody_is_reminded_of_strangers_servers(small_world: World, session: Session) -> None:
    _standing(small_world, session, 5)
    assert servers.ending_soon(session, small_world.actor("stranger")) == []


def test_the_list_is_narrowed_by_the_leases_end_over_http(small_world: World, changed: Change) -> None:
    with small_world.session() as session:
        _standing(small_world, session, 100, 20, 5)
        session.commit()
    app = create_app(changed(lease_reminder_days=(10, 3)), engine=small_world.engine)
    with small_world.session(write=False) as session:
        client = support.client_for(app, session.get_one(User, small_world.people["requester"]))
    for within, count in ((4, 0), (5, 1), (20, 2), (100, 3)):
        assert len(client.get(f"/api/v1/servers?ending_within={within}").json()["items"]) == count
    for wrong in ("-1", "soon", "4000"):
        assert client.get(f"/api/v1/servers?ending_within={wrong}").status_code == 422
    page = client.get("/", headers={"accept": "text/html"})
    assert page.status_code in {200, 303}


def test_playbooks_of_further_folders_are_offered_and_run_by_name(
    small_world: World,
    session: Session,
    tmp_path: Path,
) -> None:
    content = tmp_path / "ours"
    (content / "catalog").mkdir(parents=True)
    packaged = Path(playbooks.known()["collect_facts"].path)
    (content / "ours.yml").write_text(packaged.read_text())
    entry = (packaged.parent / "catalog" / "collect_facts.yml").read_text()
    (content / "catalog" / "ours.yml").write_text(entry.replace("collect_facts", "ours"))
    policy.attach(session, small_world.settings.model_copy(update={"playbooks_dirs": (content,)}))
    actor = small_world.actor("requester")
    assert "ours" in [each.name for each in playbooks.list_playbooks(session, actor)]
    plan = plans.plan(session, actor, small_world.command(playbook="ours"))
    assert plan.would_be_accepted
    policy.attach(session, small_world.settings)
    with pytest.raises(InvalidInput, match="no playbook ours"):
        plans.plan(session, actor, small_world.command(playbook="ours"))

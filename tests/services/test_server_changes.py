"""Asking for other sizes, later leases and freezing: what is held, what is refused and why, what is told beforehand."""

from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

import quotas
from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, InvalidInput, Unsupported
from cloudmgr.models import Flavor, Server, ServerChange
from cloudmgr.services import approvals, requests, servers
from cloudmgr.services.request_inputs import Decide, PowerAction, body_adapter
from quotas import QuotaExceeded, set_limits
from tests.services.test_volumes import able, held, standing
from tests.stocked import Desk


def flavor(desk: Desk, server: Server, times: int = 2) -> str:
    made = Flavor(
        name=f"x{times}", vcpus=server.vcpus * times, memory_mib=server.memory_mib * times, system_disk_gib=40
    )
    desk.session.add(made)
    desk.session.flush()
    return made.name


def ready(desk: Desk, **changes: Any) -> Server:
    able(desk, "resize", "volumes")
    server = standing(desk)
    server.state, server.native_ref = "running", server.native_ref or "ref-1"
    for name, value in changes.items():
        setattr(server, name, value)
    desk.session.add(server)
    desk.session.flush()
    return server


def command(desk: Desk, kind: str, server: Server, **body: Any) -> Any:
    whole = {
        "kind": kind,
        "project": str(desk.world.project.id),
        "purpose": "测试",
        "servers": [str(server.id)],
        **body,
    }
    return body_adapter.validate_python(whole)


def submit(desk: Desk, kind: str, server: Server, **body: Any) -> Any:
    return requests.submit_new(desk.session, desk.actor("requester"), command(desk, kind, server, **body))


def decide(desk: Desk, request: Any, decision: str) -> None:
    said = Decide.model_validate({"decision": decision, "comment": "不同意"})
    approvals.decide(desk.session, desk.actor("admin"), request.id, said)


def test_growth_is_held_at_once_and_given_back_when_it_is_rejected(desk: Desk) -> None:
    server = ready(desk)
    used, reserved = held(desk, "vcpus")
    request = submit(desk, "resize", server, flavor=flavor(desk, server))
    assert request.number.startswith("BG")
    assert held(desk, "vcpus") == (used, reserved + server.vcpus)
    decide(desk, request, "reject")
    assert held(desk, "vcpus") == (used, reserved)
    assert desk.session.exec(select(ServerChange)).all() == []


def test_a_returned_size_change_can_be_sent_again(desk: Desk) -> None:
    server = ready(desk)
    before = held(desk, "vcpus")
    request = submit(desk, "resize", server, flavor=flavor(desk, server))
    decide(desk, request, "return")
    assert held(desk, "vcpus") == before
    requests.submit(desk.session, desk.actor("requester"), request.id)
    assert held(desk, "vcpus") == (before[0], before[1] + server.vcpus)


def test_growth_above_the_quota_is_refused_with_nothing_held(desk: Desk) -> None:
    server = ready(desk)
    set_limits(
        desk.session,
        account_id=desk.world.project.account_id,
        limits={"vcpus": server.vcpus},
        reason="测试",
        actor="admin",
        basis_no="1",
        replace=False,
    )
    with pytest.raises(QuotaExceeded):
        submit(desk, "resize", server, flavor=flavor(desk, server))
    plan = requests.plan(desk.session, desk.actor("requester"), command(desk, "resize", server, flavor="x2"))
    assert not plan.would_be_accepted


def test_the_plan_says_that_it_is_switched_off(desk: Desk) -> None:
    server = ready(desk)
    told = requests.plan(
        desk.session, desk.actor("requester"), command(desk, "resize", server, flavor=flavor(desk, server))
    )
    assert any("switched off" in str(warning) for warning in told.warnings)
    assert told.totals == {"vcpus": server.vcpus, "memory_mib": server.memory_mib}


def test_a_disk_and_a_size_are_held_together(desk: Desk) -> None:
    server = ready(desk)
    disks = held(desk, "disk_gib")
    request = submit(desk, "resize", server, flavor=flavor(desk, server), add_data_disk_gib=100)
    assert held(desk, "disk_gib") == (disks[0], disks[1] + 100)
    told = [str(each) for each in requests.get_request(desk.session, desk.actor("requester"), request.id).changes]
    assert len(told) == 2
    assert "100" in told[1]


def test_a_cloud_that_cannot_change_sizes_says_so(desk: Desk) -> None:
    server = ready(desk)
    able(desk)
    with pytest.raises(Unsupported, match="cannot change sizes"):
        submit(desk, "resize", server, flavor=flavor(desk, server))


def test_nothing_asked_is_refused_by_name(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as refused:
        submit(desk, "resize", ready(desk))
    assert refused.value.field == "flavor"


def test_one_open_change_a_server(desk: Desk) -> None:
    server = ready(desk)
    submit(desk, "freeze", server)
    for kind, body in (("freeze", {}), ("resize", {"flavor": flavor(desk, server)}), ("retire", {})):
        with pytest.raises(Conflict, match="Another request changes"):
            submit(desk, kind, server, **body)


def test_a_frozen_server_is_not_started_in_words_that_help(desk: Desk) -> None:
    server = ready(desk, phase="suspended", frozen_by="request", frozen_at=clock.now())
    with pytest.raises(Conflict, match="unfreeze"):
        servers.act(desk.session, desk.actor("admin"), server.id, PowerAction(action="start"))
    server.frozen_by = "lease"
    with pytest.raises(Conflict, match="renew"):
        servers.act(desk.session, desk.actor("admin"), server.id, PowerAction(action="start"))


def test_a_server_whose_lease_is_over_is_renewed_and_not_unfrozen(desk: Desk) -> None:
    yesterday = clock.today() - timedelta(days=1)
    server = ready(desk, phase="suspended", frozen_by="lease", frozen_at=clock.now(), lease_end=yesterday)
    with pytest.raises(Conflict, match="renew it"):
        submit(desk, "unfreeze", server)
    later = (clock.today() + timedelta(days=30)).isoformat()
    assert submit(desk, "renew", server, lease_end=later).number.startswith("XQ")


def test_a_lease_is_renewed_for_three_years_at_most(desk: Desk) -> None:
    server = ready(desk)
    late = (clock.today() + timedelta(days=4 * 366)).isoformat()
    with pytest.raises(InvalidInput) as refused:
        submit(desk, "renew", server, lease_end=late)
    assert refused.value.field == "lease_end"


def test_books_balance_after_all_of_it(desk: Desk) -> None:
    server = ready(desk)
    submit(desk, "resize", server, flavor=flavor(desk, server))
    assert quotas.verify(desk.session).mismatches == []


@pytest.mark.parametrize(
    ("body", "field"), [({"exclusive": True}, "exclusive_reason")], ids=["exclusive needs a reason"]
)
def test_rules_of_a_request_for_new_servers(desk: Desk, body: dict[str, Any], field: str) -> None:
    whole = desk.world.body() | {"project": str(desk.world.project.id)} | body
    with pytest.raises(InvalidInput) as refused:
        requests.submit_new(desk.session, desk.actor("requester"), body_adapter.validate_python(whole))
    assert refused.value.field == field


def test_a_project_that_is_being_closed_gets_no_new_servers(desk: Desk) -> None:
    project = desk.session.merge(desk.world.project)
    project.stage = "closing"
    desk.session.add(project)
    desk.session.flush()
    with pytest.raises(Conflict, match="being closed"):
        requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name="srv"))


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"project_no_required": True}, "project number"),
        ({"funding_source_required": True}, "money"),
        ({"attachments_required": 2}, "2 attachments"),
    ],
)
def test_what_the_policy_asks_of_new_servers(desk: Desk, policy: dict[str, Any], words: str) -> None:
    from cloudmgr.services import policy as policies  # noqa: PLC0415
    from cloudmgr.settings import Policy  # noqa: PLC0415

    settings = desk.world.settings.model_copy(update={"policy": Policy(**policy)})
    policies.attach(desk.session, settings)
    project = desk.session.merge(desk.world.project)
    project.project_no = None
    desk.session.add(project)
    desk.session.flush()
    with pytest.raises((Conflict, InvalidInput), match=words):
        requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(name="srv"))

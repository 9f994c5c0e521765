"""A server is retired when nothing of it is left, with a certificate; until then it waits, and only what is gone is free."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

import quotas
from cloudmgr.models import Backend, CertificateItem, DeletionCertificate, ResourceRequest, ServerVersion
from cloudmgr.store.db import begin_immediate, new_session
from cloudmgr.workflows import certify
from providers.base import ResourceKind
from providers.simulated import drill
from providers.simulated.faults import Fault
from tests.workflows.follow import read, server, told
from tests.workflows.proofs import Case, check_slate

SOON = {"retire_recheck_s": 0.3}


def certificate(case: Case) -> DeletionCertificate:
    return read(case, lambda session: session.exec(select(DeletionCertificate)).one())


def pieces(case: Case) -> dict[str, str]:
    return read(case, lambda session: {f"{item.kind}": item.state for item in session.exec(select(CertificateItem))})


def used(case: Case) -> dict[str, int]:
    def look(session: Session) -> dict[str, int]:
        usage = {row.code: row for row in quotas.tree(session, root_id=None, depth=None)}["CS"]
        return {key: amount for key, amount in usage.used.items() if amount}

    return read(case, look)


def leave(case: Case, kind: ResourceKind, name: str, **more: Any) -> str:
    """Let the cloud keep something of the server whatever is deleted."""
    token = read(case, lambda session: server(session).id)
    return drill.add_leftover(case.state_dir("kp"), kind, name, token=token, **more)


def run_until_it_waits(case: Case) -> None:
    """Let a worker work until the server's end waits for something: the request must not come to rest meanwhile."""
    for _ in range(10):
        assert case.run(timeout_s=15)["status"] == 3, case.log()
        if read(case, server).failure is not None:
            return
    raise AssertionError(case.log())


def test_the_certificate_lists_every_piece_as_gone(case: Callable[..., Case]) -> None:
    one = case(retire=True)
    one.finish()
    issued = certificate(one)
    assert issued.state == "complete"
    assert issued.evidence == "asked"
    assert issued.number is not None
    assert issued.number.startswith("XH")
    assert issued.issued_at is not None
    assert issued.server["name"] == "srv"
    assert issued.server["ipv4"]
    assert {"server", "disk", "nic", "address"} <= pieces(one).keys()
    assert set(pieces(one).values()) == {"gone"}
    assert read(one, lambda session: all(item.gone_at for item in session.exec(select(CertificateItem))))
    check_slate(one, standing=0)


def test_a_look_that_comes_late_leaves_an_issued_certificate_alone(case: Callable[..., Case]) -> None:
    """A cloud may be so slow that the next look begins before the last has ended."""
    one = case(retire=True)
    one.finish()
    issued, told_of = certificate(one), pieces(one)
    id_ = str(read(one, server).id)
    piece = {"kind": "disk", "ref": "late", "name": "late", "size_gib": 40}
    engine = one.engine
    with new_session(engine) as session:
        begin_immediate(session)
        assert certify.list_pieces(session, id_, {"evidence": "asked", "pieces": [piece]}) == []
        for seen in ({"ok": True, "result": []}, {"ok": True, "result": [piece]}, {"ok": False}):
            assert certify.checked(session, id_, seen) == []
        certify.retired(session, id_, 2)
        session.commit()
    engine.dispose()
    assert (certificate(one).state, certificate(one).number) == ("complete", issued.number)
    assert pieces(one) == told_of
    check_slate(one, standing=0)


def test_a_disk_that_stays_keeps_its_quota_and_the_server_retiring(case: Callable[..., Case]) -> None:
    one = case(retire=True)
    one.settings["worker"] |= {"retire_recheck_s": 600}
    left = leave(one, ResourceKind.DISK, "srv-system", size_gib=40)
    run_until_it_waits(one)
    assert one.phase() == "fulfilling", told(one)
    held = read(one, server)
    assert held.phase == "retiring"
    assert held.failure is not None
    assert held.failure["code"] == "delete_unconfirmed"
    assert used(one) == {"disk_gib": 40}, "only the disk's share is held; the rest is free"
    assert certificate(one).state == "incomplete"
    assert certificate(one).number is None
    assert pieces(one)["server"] == "gone"
    assert "the cloud still has disk srv-system" in told(one)
    drill.remove_leftover(one.state_dir("kp"), left)
    engine = one.engine
    with new_session(engine) as session:
        waiting = session.exec(select(DeletionCertificate)).one()
        waiting.due_at = waiting.created_at
        session.add(waiting)
        session.commit()
    engine.dispose()
    one.settings["worker"] |= SOON
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    assert certificate(one).state == "complete"
    assert used(one) == {}
    check_slate(one, standing=0)


def test_an_address_that_stays_keeps_only_the_address(case: Callable[..., Case]) -> None:
    one = case(retire=True)
    one.settings["worker"] |= {"retire_recheck_s": 600}
    leave(one, ResourceKind.NIC, "srv-port")
    run_until_it_waits(one)
    assert used(one) == {"ip_addresses": 1}


def test_a_cloud_that_is_away_is_waited_for_and_it_goes_on_by_itself(case: Callable[..., Case]) -> None:
    one = case(retire=True)
    one.settings["worker"] |= SOON
    drill.inject(one.state_dir("kp"), Fault(call="*", kind="unavailable", times=None))
    assert one.run(timeout_s=20)["status"] == 3, one.log()
    held = read(one, server)
    assert held.phase == "retiring"
    assert held.failure is not None
    assert held.failure["code"] == "backend_unavailable"
    assert used(one)["servers"] == 1, "nothing is free while nobody knows"
    assert "cannot be retired yet: The simulated cloud does not answer." in told(one)
    versions = read(one, lambda session: [row.change for row in session.exec(select(ServerVersion))])
    assert versions.count("retire_waits") == 1, "a reason is kept once, not at every look"
    drill.clear_faults(one.state_dir("kp"))
    one.finish()
    assert one.phase() == "fulfilled", told(one)
    check_slate(one, standing=0)


def test_a_cloud_seen_again_is_asked_before_its_turn(case: Callable[..., Case]) -> None:
    one = case(retire=True)
    one.settings["worker"] |= {"retire_recheck_s": 2}
    drill.inject(one.state_dir("kp"), Fault(call="*", kind="unavailable", times=None))
    one.run(timeout_s=12)
    drill.clear_faults(one.state_dir("kp"))
    engine = one.engine
    with new_session(engine) as session:
        waiting = session.exec(select(DeletionCertificate)).one()
        assert waiting.unanswered_at is not None
        waiting.due_at = waiting.created_at.replace(year=2100)
        session.add(waiting)
        session.commit()
    engine.dispose()
    one.finish()  # the worker sees the cloud at its start, and that is enough
    assert one.phase() == "fulfilled", told(one)
    assert read(one, lambda session: session.exec(select(Backend)).one().health) == "ok"


@pytest.mark.parametrize("kill_at", ["retire_begin:inside", "checked:inside", "retired:inside", "settle:inside"])
def test_a_kill_in_a_look_of_the_schedule_leaves_nothing(case: Callable[..., Case], kill_at: str) -> None:
    one = case(retire=True)
    one.settings["worker"] |= {"retire_recheck_s": 600}
    left = leave(one, ResourceKind.DISK, "srv-system", size_gib=40)
    one.run(timeout_s=12)
    drill.remove_leftover(one.state_dir("kp"), left)
    engine = one.engine
    with new_session(engine) as session:
        waiting = session.exec(select(DeletionCertificate)).one()
        waiting.due_at = waiting.created_at
        session.add(waiting)
        session.commit()
    engine.dispose()
    one.settings["worker"] |= SOON
    died = one.run(kill_at=kill_at)
    assert died["died_by"] == signal.SIGKILL, (died, one.log())
    one.finish()
    assert one.phase() == "fulfilled"
    check_slate(one, standing=0)
    assert read(one, lambda session: len(list(session.exec(select(ResourceRequest))))) == 2


def test_each_certificate_has_a_number_of_its_own(case: Callable[..., Case], tmp_path: Path) -> None:
    one = case(retire=True, count=3)
    one.finish()
    numbers = read(one, lambda session: sorted(row.number or "" for row in session.exec(select(DeletionCertificate))))
    assert [number[-4:] for number in numbers] == ["0001", "0002", "0003"]
    check_slate(one, standing=0)

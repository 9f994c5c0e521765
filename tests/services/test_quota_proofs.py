"""Recounts published: from the entries, the parts and the servers themselves; once a period, and loudly where wrong."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict
from cloudmgr.models import AuditEvent, Happening, QuotaVerification, ResourceRequest, Server
from cloudmgr.services import quota_proofs, requests
from quotas.holdings import PARTS
from quotas.tables import BalanceRow
from tests.services.people import LOCAL
from tests.stocked import Desk, stand


def submit(desk: Desk, **changes: Any) -> ResourceRequest:
    return requests.submit_new(desk.session, desk.actor("requester"), desk.world.command(**changes))


def servers(desk: Desk, request: ResourceRequest) -> list[Server]:
    return list(desk.session.exec(select(Server).where(Server.request_id == request.id).order_by(Server.name)))


def rows(desk: Desk) -> list[tuple[Any, ...]]:
    desk.session.flush()
    found = quota_proofs.recount(desk.session)
    return [(row["name"], row["key"], row["recorded"], row["recounted"], row["source"]) for row in found.rows]


def test_servers_waiting_standing_and_gone_are_borne_out(desk: Desk) -> None:
    for server in servers(desk, submit(desk, count=2)):
        stand(desk.session, server.id)
    submit(desk, count=1, name="other", data_disk_gib=100)
    requests.withdraw(desk.session, desk.actor("requester"), submit(desk, count=1, name="third").id)
    assert rows(desk) == []


def test_a_server_larger_than_its_share_is_found(desk: Desk) -> None:
    (server,) = servers(desk, submit(desk, count=1))
    stand(desk.session, server.id).vcpus += 6
    assert rows(desk) == [(server.name, "vcpus", server.vcpus - 6, server.vcpus, "server")]


def test_a_standing_server_without_a_share_is_found(desk: Desk) -> None:
    (server,) = servers(desk, submit(desk, count=1))
    server.phase = "active"
    desk.session.add(server)
    assert [row[0] for row in rows(desk)] == [server.name]


def test_what_is_held_for_a_server_that_is_gone_is_a_leak(desk: Desk) -> None:
    (server,) = servers(desk, submit(desk, count=1))
    stand(desk.session, server.id).phase = "retired"
    found = rows(desk)
    assert {row[0] for row in found} == {server.name}


def test_what_is_held_for_nothing_at_all_is_a_leak(desk: Desk) -> None:
    (server,) = servers(desk, submit(desk, count=1))
    desk.session.execute(sa.delete(Server).where(Server.id == server.id))  # type: ignore[arg-type]
    assert [(row[0], row[4]) for row in rows(desk)] == [(str(server.id), "nothing")]


def test_what_is_held_for_growth_after_its_request_has_ended_is_a_leak(desk: Desk) -> None:
    request = submit(desk, count=1)
    (server,) = servers(desk, request)
    stand(desk.session, server.id)
    stale = clock.now()
    desk.session.execute(
        sa.insert(PARTS).values(
            reservation_id=_reservation(desk, server),
            part_id=server.id,
            account_id=desk.world.project.account_id,
            state="pending",
            placed="",
            created_at=stale,
            changed_at=stale,
        )
    )
    assert (server.name, "*", None, None, "server") in rows(desk)


def _reservation(desk: Desk, server: Server) -> Any:
    other = submit(desk, count=1, name="other")
    identity = servers(desk, other)[0].reservation_id
    other.phase, other.finished_at = "failed", clock.now()
    for each in servers(desk, other):
        each.phase, each.failed_step = "failed", "undo"
    desk.session.flush()
    return identity


def test_a_period_is_recounted_once_whoever_asks(desk: Desk) -> None:
    with clock.stepped(datetime(2026, 11, 23, 4, 0, 1, tzinfo=UTC)) as advance:
        assert [quota_proofs.schedule(desk.session, 300) for _ in range(3)] == [True, False, False]
        advance(timedelta(seconds=298))
        assert not quota_proofs.schedule(desk.session, 300)
        advance(timedelta(seconds=2))
        assert quota_proofs.schedule(desk.session, 300)


def test_who_asks_while_one_waits_gets_the_same(desk: Desk) -> None:
    first = quota_proofs.ask(desk.session, desk.actor("requester"))
    assert quota_proofs.ask(desk.session, desk.actor("admin")).id == first.id


def test_a_wrong_number_is_an_alarm_with_its_row_and_is_not_repaired(desk: Desk) -> None:
    submit(desk, count=1)
    balance = desk.session.get_one(BalanceRow, (desk.world.root.account_id, "servers"))
    balance.reserved = 5
    row = quota_proofs.verify_now(desk.session, LOCAL)
    assert row.mismatch_count == 2
    assert {each["key"] for each in row.mismatches} == {"servers"}
    alarm = desk.session.exec(select(AuditEvent).where(AuditEvent.event == "quota.alarm")).one()
    assert (alarm.outcome, alarm.detail["mismatches"]) == ("failure", 2)
    quota_proofs.verify_now(desk.session, LOCAL)
    notice = desk.session.exec(select(Happening).where(Happening.event == "quota.mismatch")).one()
    assert notice.message["params"] == {"count": 2}, "the same numbers are told once a day"
    assert quota_proofs.gauges(desk.session)["cloudmgr_quota_mismatches"] == 2
    assert (
        desk.session.get_one(BalanceRow, (desk.world.root.account_id, "servers"), populate_existing=True).reserved == 5
    )
    told = quota_proofs.latest(desk.session, desk.actor("requester"))
    assert told is not None
    assert not told.shows_rows, "whose numbers are wrong is for those who read the whole tree"
    assert quota_proofs.latest(desk.session, desk.actor("auditor")).shows_rows  # type: ignore[union-attr]


def test_repair_is_explicit_and_on_record(desk: Desk) -> None:
    submit(desk, count=1)
    desk.session.get_one(BalanceRow, (desk.world.root.account_id, "servers")).reserved = 5
    desk.session.flush()
    repaired = quota_proofs.repair(desk.session, LOCAL, reason="磁盘故障")
    assert [(each.key, each.recorded, each.recounted) for each in repaired] == [("servers", 5, 1)]
    event = desk.session.exec(select(AuditEvent).where(AuditEvent.event == "quota.repair")).one()
    assert event.detail["reason_given"] == "磁盘故障"
    desk.session.expire_all()
    assert rows(desk) == []


def test_repair_refuses_where_nothing_can_be_trusted(desk: Desk) -> None:
    request = submit(desk, count=1)
    (server,) = servers(desk, request)
    desk.session.execute(sa.update(PARTS).where(PARTS.c.part_id == server.id).values(state="voided"))
    with pytest.raises(Conflict, match="nothing was repaired"):
        quota_proofs.repair(desk.session, LOCAL, reason="x")


def test_old_recounts_are_forgotten_but_findings_and_the_last_are_kept(desk: Desk) -> None:
    with clock.stepped(datetime(2026, 11, 1, tzinfo=UTC)) as advance:
        for wrong in (0, 1, 0):
            row = quota_proofs.verify_now(desk.session, LOCAL)
            row.mismatch_count = wrong
            desk.session.add(row)
            advance(timedelta(days=1))
        desk.session.flush()
        assert quota_proofs.forget(desk.session, clock.now(), at_once=100) == 1
    left = desk.session.exec(select(QuotaVerification).order_by(QuotaVerification.finished_at)).all()  # type: ignore[arg-type]
    assert [each.mismatch_count for each in left] == [1, 0]

"""Servers and playbook runs: who sees them, who may switch them, what is asked of the worker and recorded."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa
from sqlmodel import select

from cloudmgr.domain import clock
from cloudmgr.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unsupported
from cloudmgr.models import AuditEvent, Backend, PlaybookRun, Server
from cloudmgr.services import approvals, playbooks, requests, servers
from cloudmgr.services.playbooks import StartRun
from cloudmgr.services.request_inputs import Decide, PowerAction
from tests.stocked import Desk, project_named, stand


def waiting(desk: Desk, name: str = "srv", count: int = 1, **changes: str) -> list[Server]:
    request = requests.submit_new(
        desk.session, desk.actor("requester"), desk.world.command(name=name, count=count, **changes)
    )
    approvals.decide(desk.session, desk.actor("admin"), request.id, Decide.model_validate({"decision": "approve"}))
    return list(desk.session.exec(select(Server).where(Server.request_id == request.id).order_by(Server.name)))


def standing(desk: Desk, name: str = "srv", **changes: str) -> Server:
    return stand(desk.session, waiting(desk, name, **changes)[0].id)


def power(desk: Desk, who: str, server: Server, action: str = "reboot") -> Server:
    return servers.act(desk.session, desk.actor(who), server.id, PowerAction.model_validate({"action": action}))


def enqueued(desk: Desk) -> set[str]:
    table = "workflow_status" if desk.world.settings.is_sqlite else "dbos.workflow_status"
    found = {row[0] for row in desk.session.execute(sa.text(f"SELECT workflow_uuid FROM {table}"))}
    return {each for each in found if not each.startswith("fulfil_request")}


class TestPower:
    @pytest.mark.parametrize("action", ["start", "stop", "reboot"])
    def test_an_action_is_enqueued_under_a_new_id_each_time_and_recorded(self, desk: Desk, action: str) -> None:
        server = standing(desk)
        power(desk, "admin", server, action)
        power(desk, "sysadmin", server, action)
        assert enqueued(desk) == {f"power_{action}:{server.id}:1", f"power_{action}:{server.id}:2"}
        events = desk.session.exec(select(AuditEvent).where(AuditEvent.event == f"vm.{action}")).all()
        assert sorted(event.actor for event in events) == ["admin", "sysadmin"]
        assert {(event.object_id, event.organization_path) for event in events} == {
            (str(server.id), desk.world.minzheng.path)
        }

    @pytest.mark.parametrize("who", ["requester", "colleague", "reviewer", "quota", "auditor", "external"])
    def test_who_may_only_read_is_forbidden(self, desk: Desk, who: str) -> None:
        with pytest.raises(Forbidden):
            power(desk, who, standing(desk))

    @pytest.mark.parametrize("who", ["stranger", "secadmin"])
    def test_for_others_there_is_no_such_server(self, desk: Desk, who: str) -> None:
        server = standing(desk)
        for deed in (
            lambda: power(desk, who, server),
            lambda: servers.get_server(desk.session, desk.actor(who), server.id),
        ):
            with pytest.raises(NotFound):
                deed()

    def test_a_cloud_without_power_control_says_so(self, desk: Desk) -> None:
        server = standing(desk)
        server.backend_id = desk.session.exec(select(Backend).where(Backend.name == "x86")).one().id
        with pytest.raises(Unsupported, match="x86"):
            power(desk, "admin", server)

    @pytest.mark.parametrize(
        "phase", ["requested", "placed", "creating", "configuring", "suspended", "retiring", "retired"]
    )
    def test_only_a_server_that_stands_is_switched(self, desk: Desk, phase: str) -> None:
        server = standing(desk)
        server.phase = phase
        with pytest.raises(Conflict):
            power(desk, "admin", server)
        assert enqueued(desk) == set()


class TestLists:
    def test_each_sees_the_servers_of_their_subtree(self, desk: Desk) -> None:
        server = standing(desk)
        for who, expected in (("requester", 1), ("admin", 1), ("auditor", 1), ("external", 1), ("stranger", 0)):
            rows, cursor = servers.list_servers(desk.session, desk.actor(who))
            assert ([row[0].id for row in rows], cursor) == ([server.id] * expected, None)
        with pytest.raises(Forbidden):
            servers.list_servers(desk.session, desk.actor("secadmin"))

    def test_pages_follow_each_other_without_gaps(self, desk: Desk) -> None:
        made = {server.id for server in waiting(desk, "app", count=5)}
        seen: list[uuid.UUID] = []
        cursor = None
        for _ in range(5):
            rows, cursor = servers.list_servers(desk.session, desk.actor("admin"), limit=2, cursor=cursor)
            seen += [row[0].id for row in rows]
            if cursor is None:
                break
        assert len(seen) == 5
        assert set(seen) == made

    def test_filters_are_by_phase_project_architecture_and_part_of_a_name(self, desk: Desk) -> None:
        first, other = standing(desk, "app-one"), waiting(desk, "db_two".replace("_", "-"))[0]
        admin = desk.actor("admin")

        def found(**filters: object) -> set[uuid.UUID]:
            return {row[0].id for row in servers.list_servers(desk.session, admin, **filters)[0]}

        assert found(phases=["active"]) == {first.id}
        assert found(name="two") == {other.id}
        assert found(name="%") == set()
        assert found(arch="x86_64") == set()
        assert found(project_id=project_named(desk.session, "另一项目").id) == set()

    def test_the_retired_are_shown_when_asked_for(self, desk: Desk) -> None:
        server = standing(desk)
        server.phase = "retired"
        desk.session.flush()
        admin = desk.actor("admin")
        assert servers.list_servers(desk.session, admin)[0] == []
        assert len(servers.list_servers(desk.session, admin, include_retired=True)[0]) == 1
        assert len(servers.list_servers(desk.session, admin, phases=["retired"])[0]) == 1

    def test_leases_that_end_soon_are_listed_soonest_first(self, desk: Desk) -> None:
        for name, days in (("a", 61), ("b", 60), ("c", 7), ("d", -1)):
            server = standing(desk, name)
            server.lease_end = clock.today() + timedelta(days=days)
        desk.session.flush()
        found = servers.ending_soon(desk.session, desk.actor("requester"))
        assert [(each.row[0].name, each.days) for each in found] == [("d", -1), ("c", 7), ("b", 60)]


class TestHandover:
    def test_the_sheet_has_what_stands_and_names_what_does_not(self, desk: Desk) -> None:
        first, second = waiting(desk, "app", count=2)
        with pytest.raises(Conflict, match="Nothing of this request"):
            servers.handover(desk.session, desk.actor("requester"), first.request_id)
        stand(desk.session, first.id)
        sheet = servers.handover(desk.session, desk.actor("requester"), first.request_id)
        assert [line.row[0].name for line in sheet.lines] == ["app01"]
        assert [row[0].name for row in sheet.pending] == [second.name]
        assert sheet.lines[0].login_user == "ops"
        with pytest.raises(NotFound):
            servers.handover(desk.session, desk.actor("stranger"), first.request_id)


class TestPlaybooks:
    def start(
        self, desk: Desk, *ids: uuid.UUID, who: str = "admin", playbook: str = "collect_facts", **variables: object
    ) -> PlaybookRun:
        command = StartRun(playbook=playbook, servers=list(ids), variables=variables)
        return playbooks.start_run(desk.session, desk.actor(who), command)

    def test_a_run_is_enqueued_with_its_digest_and_defaults_and_recorded(self, desk: Desk) -> None:
        server = standing(desk)
        run = self.start(desk, server.id, playbook="configure_server", login_failures=3)
        assert (run.state, run.rehearsed, run.started_by) == ("queued", True, "admin")
        assert run.digest == playbooks.known()["configure_server"].digest
        assert (run.variables["login_failures"], run.variables["time_zone"]) == (3, "Asia/Shanghai")
        assert enqueued(desk) == {f"run_playbook:{run.id}:1"}
        event = desk.session.exec(select(AuditEvent).where(AuditEvent.event == "playbook.start")).one()
        assert (event.object_id, event.actor) == (str(run.id), "admin")

    def test_what_cannot_be_run_is_refused_by_field(self, desk: Desk) -> None:
        server, unbuilt = standing(desk), waiting(desk, "new")[0]
        for ids, playbook, variables, field in (
            ([server.id], "no-such", {}, "playbook"),
            ([server.id], "configure_server", {"login_failures": 99}, "variables.login_failures"),
            ([server.id, server.id], "collect_facts", {}, "servers"),
            ([uuid.uuid4()], "collect_facts", {}, "servers[0]"),
        ):
            with pytest.raises(InvalidInput) as refused:
                self.start(desk, *ids, playbook=playbook, **variables)
            assert refused.value.field == field
        with pytest.raises(Conflict) as conflict:
            self.start(desk, server.id, unbuilt.id)
        assert conflict.value.field == "servers[1]"

    def test_servers_of_two_projects_are_not_run_together(self, desk: Desk) -> None:
        other = project_named(desk.session, "另一项目")
        with pytest.raises(InvalidInput, match="one project"):
            self.start(desk, standing(desk).id, standing(desk, "other", project=str(other.id)).id)

    def test_who_may_not_run_is_told_so_and_strangers_see_nothing(self, desk: Desk) -> None:
        server = standing(desk)
        with pytest.raises(Forbidden):
            self.start(desk, server.id, who="requester")
        with pytest.raises(InvalidInput) as refused:
            self.start(desk, server.id, who="stranger")
        assert refused.value.field == "servers[0]"
        run = self.start(desk, server.id)
        assert playbooks.list_runs(desk.session, desk.actor("stranger")) == ([], None)
        for deed in (playbooks.get_run, playbooks.cancel_run):
            with pytest.raises(NotFound):
                deed(desk.session, desk.actor("stranger"), run.id)

    def test_cancelling_asks_the_worker_and_an_ended_run_is_left(self, desk: Desk) -> None:
        run = self.start(desk, standing(desk).id)
        with pytest.raises(Forbidden):
            playbooks.cancel_run(desk.session, desk.actor("requester"), run.id)
        playbooks.cancel_run(desk.session, desk.actor("admin"), run.id)
        assert run.cancel_asked
        run.finished_at = clock.now()
        with pytest.raises(Conflict):
            playbooks.cancel_run(desk.session, desk.actor("admin"), run.id)

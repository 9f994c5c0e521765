"""Returned requests for ports, addresses, volumes and snapshots, corrected on the form of their server and submitted again."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from cloudmgr.models import ResourceRequest
from cloudmgr.services import requests as service
from cloudmgr.services.request_inputs import body_adapter
from tests.web.conftest import Console, Reader
from tests.web.html import Page
from tests.web.test_networks import _opening
from tests.web.test_server_changes import _newest, _return
from tests.web.test_server_page import _change, _disks

ALL = ["power", "volumes", "snapshots", "public_ips", "port_rules"]


@pytest.fixture
def server_id(console: Console, standing: Callable[..., uuid.UUID]) -> uuid.UUID:
    found = standing()
    _change(console, found, ALL, native_ref="r-1", state="running")
    return found


def returned(console: Console, reader: Reader, kind: str, at: str) -> tuple[ResourceRequest, Page]:
    """Return the request that was just made, and the form that it is corrected on."""
    made = _newest(console, kind)
    _return(console, made, "请按规范填写")
    assert f"/requests/{made.id}/submit" not in reader.client.get(f"/requests/{made.id}").text, "it has a form"
    address = reader.client.get(f"/requests/{made.id}/edit").headers["location"]
    assert address == f"{at}?request={made.id}"
    page = reader.page(address)
    assert "请按规范填写" in page.text
    return made, page


def shown(page: Page, name: str) -> str | None:
    """Return what stands in a field."""
    (field,) = [each for _, each in page.fields if each.get("name") == name]
    return field.get("value")


def checked(page: Page) -> set[tuple[str | None, str | None]]:
    return {(each.get("name"), each.get("value")) for _, each in page.fields if "checked" in each}


def again(console: Console, made: ResourceRequest) -> dict[str, Any]:
    """Return the body of a request, which is the same one and under review a second time."""
    found = _newest(console, made.kind)
    assert (found.id, found.number, found.phase, found.submission) == (made.id, made.number, "in_review", 2)
    return found.body


def test_volumes(console: Console, server_id: uuid.UUID) -> None:
    disks = {name: str(id_) for name, id_ in _disks(console, server_id).items()}
    reader, at = console.reader("requester"), f"/servers/{server_id}/volumes"
    new = {"create[0].name": "logs", "create[0].size_gib": "20", "create[0].count": "2"}
    reader.post(at, purpose="扩容", attach=disks["spare-1"], detach=disks["data-1"], **new)
    made, page = returned(console, reader, "volume", at)
    assert {name: shown(page, name) for name in new} == new
    assert checked(page) == {("attach", disks["spare-1"]), ("detach", disks["data-1"])}
    fields = {"request": str(made.id), "purpose": "扩容", "detach": disks["data-1"]}
    refused = reader.post(at, 422, **fields | new | {"create[0].size_gib": "many"})
    assert (shown(refused, "request"), "请按规范填写" in refused.text) == (str(made.id), True)
    reader.post(at, **fields | new | {"create[0].size_gib": "40"})
    body = again(console, made)
    assert (body["create"][0]["size_gib"], body.get("attach") or [], body["detach"]) == (40, [], [disks["data-1"]])
    reader.post(at, 409, **fields)
    console.reader("both").post(at, 403, **fields)


def test_snapshots(console: Console, server_id: uuid.UUID) -> None:
    snapshot = str(_disks(console, server_id)["before-upgrade"])
    reader, at = console.reader("requester"), f"/servers/{server_id}/snapshots"
    reader.post(at, purpose="升级失败", revert=snapshot, **{"revert[0].server": "srv"})
    made, page = returned(console, reader, "snapshot", at)
    assert (checked(page), shown(page, "revert[0].server")) == ({("revert", snapshot)}, "srv")
    reader.post(at, request=str(made.id), purpose="先留底", **{"create[0].name": "safe"})
    body = again(console, made)
    assert ([each["name"] for each in body["create"]], body.get("revert") or []) == (["safe"], [])


def test_public_addresses(console: Console, server_id: uuid.UUID) -> None:
    reader, at = console.reader("requester"), f"/servers/{server_id}/public-ip"
    reader.post(at, purpose="对外", **{"assign[0].bandwidth_mbps": "200"})
    made, page = returned(console, reader, "public_ip", at)
    assert shown(page, "assign[0].bandwidth_mbps") == "200"
    reader.post(at, request=str(made.id), purpose="对外", **{"assign[0].bandwidth_mbps": "20"})
    assert again(console, made)["assign"][0]["bandwidth_mbps"] == 20


def test_ports(console: Console, server_id: uuid.UUID) -> None:
    open_id = str(_opening(console, server_id))
    reader, at = console.reader("requester"), f"/servers/{server_id}/openings"
    lines = [
        {"source": "203.0.113.0/24", "protocol": "tcp", "port": "8000-8100", "purpose": "接口"},
        {"source": "198.51.100.0/24", "protocol": "udp", "port": "53", "purpose": "域名"},
    ]
    typed = {f"open[{at}].{name}": value for at, line in enumerate(lines) for name, value in line.items()}
    reader.post(at, purpose="对外接口", close=open_id, **typed)
    made, page = returned(console, reader, "ports", at)
    fields = [name for name in typed if not name.endswith("protocol")]
    assert {name: shown(page, name) for name in fields} == {name: typed[name] for name in fields}
    assert checked(page) == {("close", open_id)}
    more = reader.post(at, 200, request=str(made.id), action="add-row", **typed)
    assert shown(more, "request") == str(made.id), "another line is still of the same request"
    reader.post(
        at,
        request=str(made.id),
        purpose="对外接口",
        **typed | {"open[0].port": "8443", "open[1].source": "", "open[1].port": "", "open[1].purpose": ""},
    )
    body = again(console, made)
    assert ([each["port"] for each in body["open"]], body.get("close") or []) == ([8443], [])


def test_what_no_form_holds_is_sent_again_as_it_is(console: Console, server_id: uuid.UUID) -> None:
    with console.world.session() as session:
        project = str(console.world.project.id)
        lines = [{"name": name, "size_gib": 5, "server": str(server_id)} for name in ("one", "two")]
        body = {"kind": "volume", "project": project, "purpose": "数据盘", "create": lines}
        service.submit_new(session, console.world.actor("requester"), body_adapter.validate_python(body))
        session.commit()
    made = _newest(console, "volume")
    _return(console, made, "请再说明")
    reader = console.reader("requester")
    assert f"/requests/{made.id}/submit" in reader.client.get(f"/requests/{made.id}").text
    reader.page(f"/servers/{server_id}/volumes?request={made.id}", 404)
    reader.page(f"/servers/{server_id}/snapshots?request={made.id}", 409)
    reader.page(f"/servers/{server_id}/volumes?request=x", 404)
    reader.post(f"/requests/{made.id}/submit")
    again(console, made)

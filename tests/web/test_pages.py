"""Every page for every role that may see it, in both languages: it answers, is well-formed and fully translated."""

import uuid
from collections.abc import Callable

import pytest

from cloudmgr.i18n import catalogue
from tests.web.conftest import Console
from web.assets import asset

PAGES = [
    "/",
    "/account",
    "/account/password",
    "/requests",
    "/requests?phase=in_review&mine=1",
    "/requests/new",
    "/approvals",
    "/servers",
    "/servers?phase=active&arch=aarch64&name=zz",
    "/volumes",
    "/volumes?phase=available",
    "/quotas",
    "/quotas?depth=3",
    "/catalogue/zones",
    "/catalogue/backends",
    "/catalogue/flavors",
    "/catalogue/images",
    "/backends",
    "/findings",
    "/networks",
    "/networks?family=6",
    "/networks/subnets/new",
    "/openings",
    "/public-ips",
    "/zones",
    "/zones?arch=aarch64",
    "/inventory",
    "/certificates",
    "/imports",
    "/imports/by-hand",
    "/projects",
    "/users",
    "/audit",
    "/audit?outcome=denied&from=2026-01-01&to=2027-01-01",
]
PEOPLE = ["requester", "admin", "both", "quota", "sysadmin", "secadmin", "auditor", "external"]
UNTRANSLATED = {msgid for msgid, text in catalogue("zh_CN").items() if msgid != text and len(msgid) > 2}
CLOSED = {
    "requester": {"/users", "/findings", "/networks/subnets/new", "/imports", "/imports/by-hand"},
    "admin": {"/requests/new", "/networks/subnets/new"},
    "both": {"/networks/subnets/new"},
    "quota": {"/requests/new", "/users", "/findings", "/networks/subnets/new"},
    "sysadmin": {"/requests/new"},
    "secadmin": {
        "/requests",
        "/requests/new",
        "/approvals",
        "/servers",
        "/volumes",
        "/quotas",
        "/inventory",
        "/findings",
        "/certificates",
        "/imports",
        "/imports/by-hand",
        "/networks/subnets/new",
        "/openings",
        "/public-ips",
    },
    "auditor": {"/requests/new", "/networks/subnets/new", "/imports", "/imports/by-hand"},
    "external": {
        "/requests/new",
        "/users",
        "/findings",
        "/networks/subnets/new",
        "/imports",
        "/imports/by-hand",
    },
}


@pytest.mark.parametrize("person", PEOPLE)
def test_every_page_opens_for_who_may_and_only_for_them(
    console: Console, standing: Callable[..., uuid.UUID], person: str
) -> None:
    standing()
    console.world.submit(name="waiting")
    for language in ("zh_CN", "en") if person in {"both", "sysadmin", "auditor"} else ("zh_CN",):
        reader = console.reader(person, language)
        for address in PAGES:
            closed = address.partition("?")[0] in CLOSED[person]
            page = reader.page(address, 403 if closed else 200)
            if language == "zh_CN":
                assert UNTRANSLATED.isdisjoint(page.words), (address, UNTRANSLATED & set(page.words))


def test_the_menu_offers_only_what_opens(console: Console) -> None:
    for person in PEOPLE:
        reader = console.reader(person)
        for address in reader.page("/").links:
            if address.startswith("/") and "static" not in address:
                reader.page(address)


def test_every_list_is_designed_empty(console: Console) -> None:
    reader = console.reader("admin")
    for address, words in (
        ("/requests", "暂无申请单"),
        ("/servers", "暂无云主机"),
        ("/approvals", "没有待您审批的申请单"),
        ("/", "没有待处理事项"),
    ):
        assert words in reader.page(address).text


def test_a_long_list_has_a_next_page(console: Console) -> None:
    for number in range(51):
        console.world.submit(name=f"srv{number}")
    reader = console.reader("requester")
    first = reader.page("/requests")
    following = next(link for link in first.links if "cursor=" in link)
    second = reader.page(following)
    assert "SQ" in second.text
    assert "/requests" in second.links


def test_a_bad_filter_is_told_and_is_no_fault(console: Console) -> None:
    reader = console.reader("requester")
    for address in (
        "/requests?phase=nonsense",
        "/servers?arch=vax",
        "/requests?cursor=zzz",
        "/quotas?depth=-1",
        "/quotas?root=x",
        "/audit?from=yesterday",
        "/audit?action=nonsense",
    ):
        reader.page(address, 422)


def test_another_organizations_things_do_not_exist(console: Console, standing: Callable[..., uuid.UUID]) -> None:
    server_id = standing()
    request_id = console.world.submit(name="mine")
    stranger = console.reader("stranger")
    for address in (
        f"/servers/{server_id}",
        f"/servers/{server_id}/retire",
        f"/requests/{request_id}",
        f"/requests/{request_id}/state",
        f"/requests/{request_id}/edit",
        f"/requests/{request_id}/events",
        f"/requests/{request_id}/handover",
        f"/approvals/{request_id}",
        f"/quotas/{console.world.minzheng.account_id}",
        f"/requests/{uuid.uuid4()}",
        "/requests/not-an-id",
        "/nowhere",
    ):
        stranger.page(address, 404)


def test_nobody_signed_in_is_sent_to_the_door_and_back(console: Console) -> None:
    nobody = console.reader(None)
    answer = nobody.client.get("/requests?mine=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/requests%3Fmine%3D1")
    assert nobody.client.get("/quotas", headers={"HX-Request": "true"}).headers["hx-redirect"] == "/login"


def test_static_files_are_kept_for_ever_by_their_digest(console: Console) -> None:
    nobody = console.reader(None)
    answer = nobody.client.get(asset("css/base.css"))
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert "no-cache" in nobody.client.get("/static/css/base.css").headers["cache-control"]
    assert nobody.client.get("/static/v.000/../../app.py").status_code == 404

"""The journey of a request through a real browser: asked for, weighed, approved, watched, handed over, counted."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Visitor
from tests.browser.site import PASSWORD
from tests.world import KEY, ZONE

pytestmark = pytest.mark.lab("chromium")

WORDS = {
    "zh_CN": {
        "can": "此申请可以提交",
        "submitted": "已提交，等待审批",
        "done": "已开通",
        "rehearsal": "模拟执行",
        "account": "账号",
        "left": "剩余",
        "wrong": "用户名或密码",
    },
    "en": {
        "can": "This request can be submitted",
        "submitted": "It is now waiting for approval",
        "done": "Provisioned",
        "rehearsal": "Rehearsal",
        "account": "Account",
        "left": "left of",
        "wrong": "user name or the password",
    },
}
MINUTE = 60_000


@pytest.mark.parametrize(("language", "width"), [("zh_CN", "desktop"), ("en", "phone")])
def test_from_a_request_to_a_server(visitor: Callable[..., Visitor], language: str, width: str) -> None:
    words = WORDS[language]
    requester, approver = visitor(width), visitor(width)
    requester.sign_in("requester", language)
    requester.open("/requests/new")
    fill(requester.page, f"430102-mzj-{language[:2]}-{width}")
    expect(requester.page.locator("#plan")).to_contain_text(words["can"], timeout=3 * MINUTE)
    expect(requester.page.locator("#plan")).to_contain_text("kp-zone")
    requester.look()
    requester.page.locator("button[value=submit]").click()
    expect(requester.page.locator(".notice.ok")).to_contain_text(words["submitted"])
    requester.look()
    number = requester.page.locator("h1").inner_text()

    approver.sign_in("admin", language)
    approver.open("/approvals")
    approver.page.get_by_role("link", name=number).click()
    expect(approver.page.locator(".aside")).to_contain_text(words["left"])
    approver.look()
    approver.page.locator("button[value=approve]").click()
    approver.look()

    state = requester.page.locator("#request-state")
    expect(state.locator(".card-head")).to_contain_text(words["done"], timeout=5 * MINUTE)
    expect(state).to_contain_text(re.compile(r"10\.60\.0\.\d+"))
    expect(requester.page.locator(".events .task")).not_to_have_count(0)
    expect(requester.page.locator(".events")).to_contain_text(words["rehearsal"])
    requester.look()

    requester.page.reload()
    requester.page.locator("a[href$='/handover']").click()
    expect(requester.page.locator(".sheet")).to_contain_text("ssh ops@10.60.0.")
    requester.look()
    requester.open("/quotas")
    expect(requester.page.locator("main")).to_contain_text(words["left"])
    requester.open("/inventory")
    with requester.page.expect_download() as download:
        requester.page.locator("form[action='/inventory/file'] button").click()
    assert requester.page.locator("h1").is_visible()
    text = download.value.path().read_text(encoding="utf-8-sig")
    assert f"430102-mzj-{language[:2]}-{width}01" in text


@pytest.mark.parametrize("width", ["desktop", "phone"])
@pytest.mark.parametrize("language", ["zh_CN", "en"])
def test_every_room_fits_the_screen(visitor: Callable[..., Visitor], language: str, width: str) -> None:
    for person, addresses in (
        ("requester", ("/", "/requests", "/requests/new", "/servers", "/quotas", "/catalogue/zones", "/account")),
        ("admin", ("/", "/approvals", "/quotas?depth=3", "/users", "/projects", "/audit", "/inventory")),
        ("sysadmin", ("/users", "/projects", "/catalogue/backends", "/catalogue/images", "/catalogue/flavors")),
    ):
        window = visitor(width)
        window.sign_in(person, language)
        for address in addresses:
            window.open(address)


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_a_word_without_an_end_pushes_no_page_aside(visitor: Callable[..., Visitor], width: str) -> None:
    person, word = visitor(width), "x" * 400
    person.sign_in("requester", "zh_CN")
    person.open("/requests/new")
    fill(person.page, f"430102-mzj-long-{width}")
    person.page.locator("[name=purpose]").fill(word)
    person.page.locator("button[value=submit]").click()
    expect(person.page.locator(".notice.ok")).to_contain_text("已提交")
    person.look()
    person.page.locator("[name=text]").fill(word)
    person.page.locator("form[action$='/comments'] button").click()
    expect(person.page.locator("main")).to_contain_text(word)
    person.look()
    here = person.page.url.removeprefix(person.site).partition("?")[0]
    for address in (f"{here}/form", "/requests"):
        person.open(address)


def test_a_whole_request_without_scripts(visitor: Callable[..., Visitor]) -> None:
    requester = visitor("desktop", scripts=False)
    requester.page.goto(requester.site + "/login")
    requester.page.locator("[name=username]").fill("requester")
    requester.page.locator("[name=password]").fill("wrong")
    requester.page.locator("form[action='/login'] button").click()
    expect(requester.page.locator("[role=alert]")).to_contain_text(WORDS["zh_CN"]["wrong"])
    requester.page.locator("[name=password]").fill(PASSWORD)
    requester.page.locator("form[action='/login'] button").click()
    requester.page.goto(requester.site + "/requests/new")
    fill(requester.page, "430102-mzj-noscript")
    requester.page.locator("button[value=plan]").click()
    expect(requester.page.locator("#plan")).to_contain_text("此申请可以提交")
    requester.page.locator("button[value=add-row]").click()
    expect(requester.page.locator("fieldset.row-box")).to_have_count(2)
    requester.page.locator("button[value=remove-1]").click()
    requester.page.locator("button[value=submit]").click()
    expect(requester.page.locator(".notice.ok")).to_contain_text("已提交")


def test_everything_is_reached_by_keyboard(visitor: Callable[..., Visitor]) -> None:
    person = visitor()
    person.sign_in("requester", "zh_CN")
    person.page.keyboard.press("Tab")
    assert person.page.evaluate("document.activeElement.className") == "skip"
    person.page.keyboard.press("Tab")
    outline = person.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


def test_the_phone_menu_opens_without_scripts(visitor: Callable[..., Visitor]) -> None:
    person = visitor("phone")
    person.sign_in("requester", "zh_CN")
    person.page.locator("details.menu summary").click()
    person.page.locator("details.menu a[href='/servers']").click()
    person.page.wait_for_url(re.compile("/servers$"))
    person.look()


def fill(page: Page, name: str, flavor: str = "2C4G") -> None:
    """Fill in the form as somebody would."""
    page.locator("[name=project]").select_option(index=1)
    page.locator("[name=purpose]").fill("智慧社区业务应用服务器，面向社区居民，计划年内上线")
    page.locator("[name=network_zone]").select_option(ZONE)
    page.locator("[name='servers[0].name']").fill(name)
    page.locator("[name='servers[0].count']").fill("2")
    page.locator("[name='servers[0].flavor']").select_option(flavor)
    page.locator("[name='servers[0].arch']").select_option("aarch64")
    page.locator("[name='servers[0].image']").select_option("kylin-v10")
    page.locator("[name='servers[0].data_disk_gib']").fill("100")
    page.locator("[name=lease_end]").fill("2027-06-30")
    page.locator("[name=ssh_keys]").fill(KEY)
    page.locator("[name=ssh_keys]").blur()

"""The rooms of clouds and networks through a real browser, in both languages, on a desk and on a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor
from tests.browser.site import PASSWORD

pytestmark = pytest.mark.lab("chromium")

BOTH = pytest.mark.parametrize(("language", "width"), [("zh_CN", "desktop"), ("en", "phone")])
WORDS = {
    "zh_CN": {"look": "立即同步", "complete": "完成"},
    "en": {"look": "Look now", "complete": "Complete"},
}


@BOTH
def test_a_platform_is_looked_at_when_somebody_asks(visitor: Callable[..., Visitor], language: str, width: str) -> None:
    words = WORDS[language]
    keeper = visitor(width)
    keeper.sign_in("sysadmin", language)
    keeper.open("/backends")
    keeper.page.locator("tbody a", has_text="市级鲲鹏云").click()
    expect(keeper.page.locator("main")).to_contain_text("simulated")
    keeper.look()
    keeper.page.locator("summary", has_text=words["look"]).click()
    keeper.look()
    keeper.page.locator(".confirm-box button").click()
    expect(keeper.page.locator(".notice.ok")).to_be_visible()
    looks = keeper.page.locator("section.card").last
    for _ in range(60):
        if looks.locator("tbody tr").count():
            break
        keeper.page.wait_for_timeout(500)
        keeper.page.reload()
    expect(looks).to_contain_text(words["complete"])
    keeper.look()


@BOTH
def test_an_address_is_kept_without_scripts_and_every_room_fits(
    visitor: Callable[..., Visitor], language: str, width: str
) -> None:
    keeper = visitor(width, scripts=False)
    keeper.page.goto(keeper.site + "/login")
    if language == "en":
        keeper.page.get_by_role("button", name="English").click()
    keeper.page.locator("[name=username]").fill("sysadmin")
    keeper.page.locator("[name=password]").fill(PASSWORD)
    keeper.page.locator("form[action='/login'] button").click()
    keeper.page.wait_for_url(keeper.site + "/")
    keeper.page.goto(keeper.site + "/networks")
    keeper.page.locator("tbody th a", has_text="10.60.0.0/16").click()
    keeper.page.locator("#purpose").fill("短信网关")
    keeper.page.locator("form[action$='/addresses'] button").click()
    expect(keeper.page.locator(".notice.ok")).to_be_visible()
    expect(keeper.page.locator("tbody", has_text="短信网关").last).to_be_visible()
    reader = visitor(width)
    reader.sign_in("both", language)
    for address in ("/networks", "/networks?family=6", "/openings", "/public-ips", "/zones", "/requests/new"):
        reader.open(address)

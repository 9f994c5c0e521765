"""The rooms of clouds and networks through a real browser, in both languages, on a desk and on a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visitor

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

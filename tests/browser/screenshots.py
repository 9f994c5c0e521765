"""Make the pictures of docs/screenshots from a fresh installation: `python -m tests.browser.screenshots [FOLDER]`."""

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import FLAGS, WIDTHS
from tests.browser.site import PASSWORD, running
from tests.browser.test_journey import MINUTE, fill

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"


def main(folder: Path) -> None:
    """Walk the journey of one request and keep what is seen on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        running(Path(home) / "city") as site,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS, headless=True
        )
        requester = _window(chromium, site)
        requester.goto(site + "/login")
        _keep(requester, folder, "login")
        _sign_in(requester, site, "requester")
        requester.goto(site + "/requests/new")
        fill(requester, "430102-mzj-zhsq-prd-app")
        expect(requester.locator("#plan .candidate").first).to_be_visible(timeout=MINUTE)
        _keep(requester, folder, "request-form")
        requester.locator("button[value=submit]").click()

        approver = _window(chromium, site)
        _sign_in(approver, site, "admin")
        _keep(approver, folder, "home")
        approver.goto(site + "/approvals")
        approver.locator("tbody a.button").first.click()
        _keep(approver, folder, "approval")
        approver.locator("button[value=approve]").click()

        expect(requester.locator(".events .task").nth(6)).to_be_visible(timeout=2 * MINUTE)
        _keep(requester, folder, "progress")
        expect(requester.locator("#request-state .card-head")).to_contain_text("已开通", timeout=2 * MINUTE)
        requester.reload()
        _keep(requester, folder, "request")
        requester.locator("a[href$='/handover']").click()
        _keep(requester, folder, "delivery-sheet")
        for name, address in (("home-requester", "/"), ("servers", "/servers"), ("pools", "/catalogue/zones")):
            requester.goto(site + address)
            _keep(requester, folder, name)
        requester.locator("a[href*='/servers']").first.click()
        requester.locator("tbody th a").first.click()
        _keep(requester, folder, "server")
        quota = _window(chromium, site)
        _sign_in(quota, site, "quota")
        quota.goto(site + "/quotas?depth=3")
        _keep(quota, folder, "quota-tree")
        quota.locator("tbody th a").first.click()
        _keep(quota, folder, "quota")
        auditor = _window(chromium, site)
        _sign_in(auditor, site, "auditor")
        auditor.goto(site + "/audit")
        _keep(auditor, folder, "audit")
        _phone(chromium, site, folder)
        chromium.close()


def _phone(chromium: Browser, site: str, folder: Path) -> None:
    phone = _window(chromium, site, "phone", dark=True)
    phone.goto(site + "/login")
    phone.get_by_role("button", name="English").click()
    _sign_in(phone, site, "requester")
    for name, address in (
        ("phone-home", "/"),
        ("phone-request-form", "/requests/new"),
        ("phone-servers", "/servers"),
        ("phone-quotas", "/quotas"),
    ):
        phone.goto(site + address)
        _keep(phone, folder, name)


def _window(chromium: Browser, site: str, width: str = "desktop", *, dark: bool = False) -> Page:
    across, down = WIDTHS[width]
    context = chromium.new_context(
        base_url=site, viewport={"width": across, "height": down}, color_scheme="dark" if dark else "light"
    )
    return context.new_page()


def _sign_in(page: Page, site: str, username: str) -> None:
    page.goto(site + "/login")
    page.locator("[name=username]").fill(username)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("form[action='/login'] button").click()
    page.wait_for_url(site + "/")


def _keep(page: Page, folder: Path, name: str) -> None:
    page.screenshot(path=folder / f"{name}.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

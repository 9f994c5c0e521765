"""Make the pictures of docs/screenshots from a fresh demo: `python -m tests.browser.screenshots [FOLDER]`."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import FLAGS, WIDTHS
from tests.browser.test_journey import MINUTE, fill
from tests.ports import free_port

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
_START_S = 300


@dataclass
class Demo:
    """A running demo and the passwords of its people."""

    address: str
    passwords: dict[str, str]


@contextmanager
def demo(home: Path) -> Iterator[Demo]:
    """Start `cloudmgr demo` and wait until its city is there."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("cloudmgr")), "demo", "--port", str(port), "--data-dir", str(home)]
    with (home.parent / "demo.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/readyz", process)
            accounts = json.loads((home / "demo-accounts.json").read_text())
            yield Demo(f"http://127.0.0.1:{port}", {each["username"]: each["password"] for each in accounts})
        finally:
            process.terminate()


def _wait(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    raise TimeoutError(address)


def main(folder: Path) -> None:
    """Walk the journey of one request and keep what is seen on the way."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        demo(Path(home) / "demo") as site,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS, headless=True
        )
        requester = _window(chromium, site)
        requester.goto("/login")
        _keep(requester, folder, "login")
        _sign_in(requester, site, "frq-req1")
        requester.goto("/requests/new")
        fill(requester, "430102-mzj-zhsq-prd-app", flavor="8C32G")
        expect(requester.locator("#plan .candidate").first).to_be_visible(timeout=MINUTE)
        _keep(requester, folder, "request-form")
        requester.locator("button[value=submit]").click()
        expect(requester.locator(".notice.ok")).to_be_visible()
        number = requester.locator("h1").inner_text()

        approver = _window(chromium, site)
        _sign_in(approver, site, "frq-admin")
        _keep(approver, folder, "home")
        approver.goto("/approvals")
        approver.get_by_role("link", name=number).click()
        _keep(approver, folder, "approval")
        approver.locator("button[value=approve]").click()

        expect(requester.locator(".events .task").nth(6)).to_be_visible(timeout=2 * MINUTE)
        _keep(requester, folder, "progress")
        expect(requester.locator("#request-state .card-head")).to_contain_text("已开通", timeout=2 * MINUTE)
        requester.locator("a[href$='/handover']").click()
        _keep(requester, folder, "delivery-sheet")
        for name, address in (("servers", "/servers"), ("requests", "/requests")):
            requester.goto(address)
            _keep(requester, folder, name)
        requester.goto("/servers?phase=active")
        requester.locator("tbody th a").first.click()
        _keep(requester, folder, "server")
        for person, name, address in (
            ("quota", "quota-tree", "/quotas"),
            ("sysadmin", "pools", "/catalogue/zones"),
            ("sysadmin", "backends", "/catalogue/backends"),
            ("secadmin", "users", "/users"),
            ("auditadmin", "audit", "/audit"),
            ("auditadmin", "inventory", "/inventory"),
        ):
            window = _window(chromium, site)
            _sign_in(window, site, person)
            window.goto(address)
            _keep(window, folder, name)
        _phone(chromium, site, folder)
        chromium.close()


def _phone(chromium: Browser, site: Demo, folder: Path) -> None:
    phone = _window(chromium, site, "phone", dark=True)
    phone.goto("/login")
    phone.get_by_role("button", name="English").click()
    _sign_in(phone, site, "frq-req1")
    for name, address in (
        ("phone-home", "/"),
        ("phone-request-form", "/requests/new"),
        ("phone-servers", "/servers"),
        ("phone-quotas", "/quotas"),
    ):
        phone.goto(address)
        _keep(phone, folder, name)


def _window(chromium: Browser, site: Demo, width: str = "desktop", *, dark: bool = False) -> Page:
    across, down = WIDTHS[width]
    context = chromium.new_context(
        base_url=site.address, viewport={"width": across, "height": down}, color_scheme="dark" if dark else "light"
    )
    return context.new_page()


def _sign_in(page: Page, site: Demo, username: str) -> None:
    page.goto("/login")
    page.locator("[name=username]").fill(username)
    page.locator("[name=password]").fill(site.passwords[username])
    page.locator("form[action='/login'] button").click()
    page.wait_for_url(site.address + "/")


def _keep(page: Page, folder: Path, name: str) -> None:
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=folder / f"{name}.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

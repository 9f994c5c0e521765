"""Chromium, an installation to visit, and pages that are watched for errors and for things that do not fit."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.site import PASSWORD, running

expect.set_options(timeout=60_000)  # of a machine that is busy with others; what is there at once is not waited for

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"desktop": (1366, 900), "phone": (360, 760)}


@pytest.fixture(scope="session")
def site_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the installation to visit keeps its data, its simulated clouds among them."""
    return tmp_path_factory.mktemp("site") / "city"


@pytest.fixture(scope="session")
def site(site_home: Path) -> Iterator[str]:
    with running(site_home) as found:
        yield found


@pytest.fixture(scope="module")  # while it runs, this thread has an event loop, which tests of the engine must not have
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS, headless=True
        )
        yield chromium
        chromium.close()


@dataclass
class Visitor:
    """One person at one browser window."""

    page: Page
    site: str
    faults: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        answer = self.page.goto(self.site + address)
        assert answer is not None
        assert answer.ok, f"{address}: {answer.status}"
        self.look()

    def sign_in(self, username: str, language: str) -> None:
        self.open("/login")
        if language == "en":
            self.page.get_by_role("button", name="English").click()
        self.page.locator("[name=username]").fill(username)
        self.page.locator("[name=password]").fill(PASSWORD)
        self.page.locator("form[action='/login'] button").click()
        self.page.wait_for_url(self.site + "/")
        self.look()

    def look(self) -> None:
        """What is on the screen fits its width, and the browser complains of nothing."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{self.page.url} is {wide} px too wide"
        assert self.faults == [], f"{self.page.url}: {self.faults}"


@pytest.fixture
def visitor(browser: Browser, site: str) -> Iterator[Callable[..., Visitor]]:
    """Open a window: `visitor("phone", scripts=False)`."""
    contexts: list[Any] = []

    def arrive(width: str = "desktop", *, scripts: bool = True) -> Visitor:
        across, down = WIDTHS[width]
        context = browser.new_context(
            viewport={"width": across, "height": down}, java_script_enabled=scripts, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        person = Visitor(page, site)
        page.on("pageerror", lambda error: person.faults.append(str(error)))
        page.on("console", lambda said: person.faults.append(said.text) if said.type == "error" else None)
        return person

    yield arrive
    for context in contexts:
        context.close()

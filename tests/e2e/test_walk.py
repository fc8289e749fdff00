"""The walks of a person who is new here, in a browser, on the service as `manage.py up` starts it.

From nothing by the sample project to a green run, through a failure and back; with scripts and
without; and what somebody sees of it who may only look.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.e2e.stack import EXAMPLE, commit, free_port, wait_until
from tests.installation import Installation, installation

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.browser,
    pytest.mark.xdist_group("e2e walk"),  # one browser, and one service after the other
]

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
RUN_MS = 240_000  # for a run of the sample to end
PAGE_MS = 30_000  # for a page to say something, beside builds on a busy machine
START_SECONDS, STOP_SECONDS = 240, 120
PASSWORD = "coffee-beans-7"
MODEL = "models/marts/busy_hours.sql"
MAKE_VIEWER = """
from accounts.models import Account, Membership, User
user = User.objects.create_user("viewer@example.com", "coffee-beans-7")
Membership.objects.create(account=Account.objects.get(), user=user, permission_set="job_viewer")
"""

Open = Callable[..., Page]


@dataclass(frozen=True)
class Service:
    """An installation that nobody has set up yet, and what it said when it was up."""

    service: Installation
    url: str
    said: str

    @property
    def repository(self) -> Path:
        """The sample's, once it is in use."""
        return self.service.data / "repositories" / "coffee_shop"


@contextmanager
def up(data: Path) -> Iterator[Service]:
    with installation("sqlite", data) as service:
        output = data / "output.txt"
        with output.open("wb") as said:
            process = service.start(
                *("manage.py", "up", "--port", str(free_port())),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

        def ready() -> bool | None:
            return "Ctrl-C stops everything" in output.read_text() or None

        try:
            wait_until("it is up", ready, START_SECONDS)
            url = json.loads((data / "up.json").read_text())["url"]
            yield Service(service, url, output.read_text())
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with up(tmp_path / "data") as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PAGE_MS)
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)


@pytest.fixture
def opened(browser: Browser, service: Service) -> Iterator[Open]:
    """``opened(path)`` is that page; whatever the browser complains of fails the walk."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_page(path: str, **options: Any) -> Page:
        context = browser.new_context(base_url=service.url, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: complaints.append(f"{page.url}: {said.text}"))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def set_up(page: Page) -> None:
    """From the address that was printed to a job, by the sample project."""
    expect(page.get_by_role("heading", level=1)).to_have_text("Welcome to jobsvc")
    page.get_by_label("Your name").fill("Ana Ferreira")
    page.get_by_label("E-mail address").fill("ana@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("Account").fill("Coffee shops")
    page.get_by_role("button", name="Make the owner and go on").click()
    expect(page.get_by_text("1 of 6 steps are done")).to_be_visible()
    page.reload()
    page.get_by_role("button", name="Use the sample project").click()
    expect(page.get_by_text("5 of 6 steps are done")).to_be_visible()
    page.get_by_role("button", name="Test").click()
    expect(page.get_by_text("The settings are complete")).to_be_visible()


def becomes(page: Page, status: str) -> None:
    """The run on this page ends so, and says so by itself."""
    expect(page.locator("h1")).to_contain_text(status, timeout=RUN_MS)


def reloaded_until(page: Page, status: str) -> None:
    """As ``becomes``, of a page that nothing moves."""
    page.wait_for_url(re.compile(r"/runs/\d+/?$"))
    address = page.url

    def look() -> bool | None:
        page.goto(address)
        return status in page.locator("h1").inner_text() or None

    wait_until(f"the run is {status}", look, RUN_MS / 1000)


def tab(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Parts of this run").get_by_role(
        "link", name=re.compile(f"^{name}")
    ).click()


def test_from_nothing_to_green_and_through_a_failure_back_to_green(
    service: Service, opened: Open
) -> None:
    assert f"{service.url}/setup/" in service.said
    page = opened("/")
    set_up(page)

    # A first run: its log and its picture while it works.
    page.get_by_role("button", name="Run it", exact=True).click()
    expect(page.locator("#log")).to_contain_text("Running with dbt", timeout=60_000)
    expect(page.locator(".steps")).to_contain_text("dbt build", timeout=60_000)
    expect(page.locator("#step-6")).to_have_attribute("aria-current", "true", timeout=RUN_MS)
    tab(page, "Timing")
    expect(page.locator(".gantt .node").first).to_be_visible(timeout=RUN_MS)
    expect(page.locator("#timing")).not_to_have_attribute("hx-get", re.compile("."), timeout=RUN_MS)
    becomes(page, "Success")
    tab(page, "Results")
    expect(page.locator("main")).to_contain_text("fct_orders")
    page.goto("/")
    expect(page.locator("main")).to_contain_text("Nothing needs you")
    setup_url = f"{page.url}setup/"
    page.goto(setup_url)
    expect(page.get_by_text("6 of 6 steps are done")).to_be_visible()

    # A commit that breaks a model.
    text = (EXAMPLE / MODEL).read_text()
    commit(service.repository, "Break it", **{MODEL: text.replace("shop_id,", "nope,", 1)})
    page.locator("#step-job").get_by_role("link", name="Nightly build").click()
    page.get_by_role("button", name="Run now").click()
    becomes(page, "Error")
    expect(page.locator(".failure")).to_contain_text("nope")
    expect(page.locator(".failure")).to_contain_text("first seen in this run")
    failed = page.url
    tab(page, "Logs")
    expect(page.locator("main")).to_contain_text("nope")
    page.goto("/")
    expect(page.locator("main")).to_contain_text("Nightly build failed")

    # The fix, and a retry of what failed alone.
    commit(service.repository, "Mend it", **{MODEL: text})
    page.goto(failed)
    page.get_by_role("link", name="Retry from failure").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("the newest commit of the branch")
    expect(dialog).to_contain_text(re.compile(r"the \d+ nodes? that failed or w"))
    dialog.get_by_role("button", name="Retry the run").click()
    becomes(page, "Success")
    retried = page.url
    tab(page, "Results")
    expect(page.locator("main")).to_contain_text("busy_hours")

    only_looks(service, opened, [setup_url, failed, retried])


def only_looks(service: Service, opened: Open, seen: list[str]) -> None:
    """The same for a viewer: all that can be read, and nothing that can be done."""
    service.service.manage("shell", "-c", MAKE_VIEWER)
    setup_url, failed, retried = seen
    page = opened("/")
    page.get_by_label("Email").fill("viewer@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator("main")).to_contain_text("Nothing needs you")
    home = page.url
    jobs = str(page.get_by_role("link", name="Jobs", exact=True).get_attribute("href"))
    page.goto(jobs)
    job = str(page.locator("main").get_by_role("link", name="Nightly build").get_attribute("href"))
    for path in (
        *(home, jobs, job, f"{home}runs/", f"{home}schedule/", f"{home}queue/", failed, retried),
        *(f"{failed}{part}/" for part in ("logs", "timing", "results", "artifacts", "config")),
    ):
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        # A calendar of one's own is everybody's to have.
        forms = page.locator('main form[method=post]:not([action$="/calendar/"])')
        assert forms.count() == 0, path
        for forbidden in ("Run now", "Retry from failure", "Settings", "New job", "Delete"):
            found = page.locator("main").get_by_role("button", name=forbidden, exact=True)
            assert found.count() == 0, (path, forbidden)
            found = page.locator("main").get_by_role("link", name=forbidden, exact=True)
            assert found.count() == 0, (path, forbidden)

    asked = page.context.request
    project = jobs.removesuffix("jobs/")
    for path in (
        *(setup_url, f"{failed}retry/", f"{job}settings/", f"{job}launch/", f"{job}delete/"),
        *(f"{jobs}new/", f"{project}environments/new/", f"{project}variables/new/"),
        *(f"{home}settings/{kind}/new/" for kind in ("projects", "connections", "webhooks")),
    ):
        assert asked.get(path).status == 403, path
    token = next(one["value"] for one in page.context.cookies() if one["name"] == "csrftoken")
    for path in (f"{job}run/", f"{failed}retry/"):
        answer = asked.post(path, headers={"X-CSRFToken": token})
        assert answer.status == 403, path
    for path in ("/deploy/999/", "/deploy/999/runs/", f"{project}runs/999/", f"{jobs}999"):
        assert asked.get(path).status == 404, path


def test_without_scripts_a_run_is_followed_cancelled_and_brought_to_green(
    service: Service, opened: Open
) -> None:
    page = opened("/setup/", java_script_enabled=False)
    set_up(page)

    page.get_by_role("button", name="Run it", exact=True).click()
    reloaded_until(page, "Running")
    page.get_by_role("link", name="Cancel run").click()
    page.get_by_role("button", name="Cancel the run").click()
    reloaded_until(page, "Cancelled")

    page.get_by_role("button", name="Run the job again").click()

    page.wait_for_url(re.compile(r"/runs/2/?$"))
    second = page.url

    def log_has_begun() -> bool | None:
        page.goto(second)
        return "Running with dbt" in page.locator("main").inner_text() or None

    wait_until("the log begins", log_has_begun, RUN_MS / 1000)
    reloaded_until(page, "Success")
    tab(page, "Logs")
    expect(page.locator("main")).to_contain_text("Completed")
    tab(page, "Timing")
    expect(page.locator(".gantt .node").first).to_be_visible()

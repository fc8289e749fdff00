"""Photographs the pages people use most, light and dark, wide and narrow: `make screenshots`.

Starts the service on example data of its own (SQLite, in a folder that is gone afterwards) and
writes the pictures to ``.screenshots/``, for a person to look at.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / ".screenshots"
RUNS = 3000
START_SECONDS = 60
THEMES = ("light", "dark")
WIDTHS = (1440, 390)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def manage(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return done.stdout


@contextmanager
def service(folder: Path) -> Iterator[tuple[str, str, str]]:
    """The web process alone on new example data; its address, and an owner's sign-in."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JOBSVC_")},
        "JOBSVC_DATA_DIR": str(folder),
        "JOBSVC_SITE_URL": url,
        "JOBSVC_LOG_LEVEL": "WARNING",
    }
    manage("migrate", "--verbosity=0", environment=environment)
    manage("collectstatic", "--noinput", "--verbosity=0", environment=environment)
    said = manage("seed_example_data", f"--runs={RUNS}", environment=environment)
    email, password = re.findall(r"^(?:Sign in|Password) +(\S+)", said, re.MULTILINE)
    web = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "jobsvc.wsgi", f"--bind=127.0.0.1:{port}"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield url, email, password
    finally:
        web.send_signal(signal.SIGTERM)
        web.wait(15)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as caller:
            if caller.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"The service did not answer within {START_SECONDS} seconds.")


def sign_in(page: Page, url: str, email: str, password: str) -> None:
    page.goto(f"{url}/accounts/login/")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.wait_for_url(re.compile("/deploy/"))


def pages_of(page: Page) -> dict[str, str]:
    """Addresses by their names, found as a visitor would find them. Begins at home."""

    def href(css: str) -> str:
        return str(page.locator(css).first.get_attribute("href"))

    home = page.url
    site = home.partition("/deploy")[0]
    account = "/".join(home.removeprefix(site).split("/")[:3])
    lists = ("runs", "schedule", "jobs", "pulls", "environments", "variables")
    found = {name: href(f'nav a[href$="/{name}/"]') for name in lists}
    page.goto(f"{site}{found['jobs']}")
    job = href('main tbody a[href*="/jobs/"]')
    page.goto(f"{site}{found['runs']}?status=error")
    failed = href('main tbody a[href*="/runs/"]').rstrip("/")
    page.goto(f"{site}{found['runs']}?status=running")
    running = href('main tbody a[href*="/runs/"]')
    page.goto(f"{site}{found['pulls']}")
    pull = href('main tbody a[href*="/pulls/"]')
    page.goto(f"{site}{found['environments']}")
    environment = href('main tbody a[href*="/environments/"]')
    page.goto(f"{site}{failed}/results/")
    node = href('main tbody a[href*="node="]').partition("#")[0]
    pages = {
        "home": home,
        "jobs": found["jobs"],
        "job": job,
        "job-editor": f"{job.rstrip('/')}/settings/",
        "launch": f"{job.rstrip('/')}/launch/",
        "changes": f"{job.rstrip('/')}/changes/",
        "runs": found["runs"],
        "run": f"{failed}/",
        "run-running": running,
        "logs": f"{failed}/logs/",
        "timing": f"{failed}/timing/",
        "lineage": f"{failed}/lineage/",
        "results": f"{failed}/results/",
        "result-of-a-node": node if node.startswith("/") else f"{failed}/results/{node}",
        "artifacts": f"{failed}/artifacts/",
        "configuration": f"{failed}/config/",
        "schedule": found["schedule"],
        "queue": f"{account}/queue/",
        "pull-requests": found["pulls"],
        "pull-request": pull,
        "environments": found["environments"],
        "environment": environment,
        "variables": found["variables"],
    }
    settings = (
        *("connections", "repositories", "notifications", "webhooks", "tokens", "members"),
        *("groups", "audit", "system"),
    )
    pages |= {f"settings-{name}": f"{account}/settings/{name}/" for name in settings}
    pages["profile"] = "/profile/"
    return {f"{place:02}-{name}": url for place, (name, url) in enumerate(pages.items(), start=1)}


def photograph(browser: Browser, url: str, email: str, password: str) -> None:
    """Every page in every look; what was there from before goes."""
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir()
    for theme, width in product(THEMES, WIDTHS):
        screen = {"width": width, "height": 900}
        with browser.new_context(
            base_url=url, color_scheme=theme, viewport=screen, reduced_motion="reduce"
        ) as context:
            page = context.new_page()
            sign_in(page, url, email, password)
            pages = pages_of(page)
            for name, address in pages.items():
                answer = page.goto(address)
                if answer is None or not answer.ok:
                    sys.exit(f"There is no page at {address}.")
                page.screenshot(path=PICTURES / f"{name}-{theme}-{width}.png", full_page=True)
            print(f"  {theme}, {width} wide: {len(pages)} pages", flush=True)


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("There is no chromium on the PATH. Install it: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        print("Making example data ...", flush=True)
        with service(Path(folder)) as (url, email, password):
            browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
            photograph(browser, url, email, password)
            browser.close()
    print(f"The pictures are in {PICTURES}.")


if __name__ == "__main__":
    main()

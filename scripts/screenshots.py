"""Photographs ten pages, light and dark, wide and narrow: `make screenshots`.

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
    """Ten addresses by their names, found as a visitor would find them. Begins at home."""

    def href(css: str) -> str:
        return str(page.locator(css).first.get_attribute("href"))

    home = page.url
    runs, jobs = href('nav a[href$="/runs/"]'), href('nav a[href$="/jobs/"]')
    schedule, pulls = href('nav a[href$="/schedule/"]'), href('nav a[href$="/pulls/"]')
    environments = href('nav a[href$="/environments/"]')
    page.goto(f"{page.url.partition('/deploy')[0]}{jobs}")
    job = href('main tbody a[href*="/jobs/"]')
    page.goto(f"{page.url.partition('/deploy')[0]}{runs}?status=error")
    failed = href('main tbody a[href*="/runs/"]')
    return {
        "01-home": home,
        "02-jobs": jobs,
        "03-job": job,
        "04-runs": runs,
        "05-run": failed,
        "06-timing": f"{failed.rstrip('/')}/timing/",
        "07-results": f"{failed.rstrip('/')}/results/",
        "08-schedule": schedule,
        "09-pull-requests": pulls,
        "10-environments": environments,
    }


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
            for name, address in pages_of(page).items():
                page.goto(address)
                page.screenshot(path=PICTURES / f"{name}-{theme}-{width}.png", full_page=True)
            print(f"  {theme}, {width} wide: ten pages", flush=True)


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

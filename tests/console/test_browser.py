"""What only a browser shows: live movement, both themes, narrow screens, the security policy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import axe_playwright_python
import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)
from playwright.sync_api import Error as PlaywrightError
from pytest_django.live_server_helper import LiveServer

from accounts.feeds import issue_badge_key
from accounts.invitations import invite
from accounts.models import Group, Token, User
from jobsvc.jobs.define import define_job
from jobsvc.jobs.models import Job
from jobsvc.management.example_data.seed import seed
from jobsvc.runs.models import LogChunk, Run, RunStep
from jobsvc.statuses import RunStatus
from tests.console.seeded import addresses
from tests.console.states import (
    OF_A_RUN,
    SCRIPT,
    make_hostile,
    pages_in_states,
    pages_of_nothing,
    pages_that_are_refused,
)
from tests.console.told_pages import told_pages
from tests.factories import (
    ArtifactFactory,
    CompletionTriggerFactory,
    EnvironmentVariableFactory,
    JobFactory,
    MembershipFactory,
    NodeResultFactory,
    RunFactory,
    RunStepFactory,
)
from tests.manifests import entry, left, manifest_of
from tests.warehouses import DBT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),  # one browser is enough
]

# Half of the time here is theirs, so that they go to another process.
WALKS = pytest.mark.xdist_group("browser walks")

ARGUMENTS = [
    "--headless",
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

AXE = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text()
HOSTILE = "<script>document.title='owned'</script> " + "long " * 20 + "שלום"

Open = Callable[..., Page]


@pytest.fixture(scope="module", autouse=True)
def browser() -> Iterator[Browser]:
    """A headless Chromium, this module's own.

    Playwright runs an event loop in this thread, beside which Django must be told to work; it
    ends with the module, so that no other test meets it.
    """
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)


@pytest.fixture
def person() -> User:
    return MembershipFactory(account__name="Coffee shop").user


@pytest.fixture
def opened(browser: Browser, live_server: LiveServer, person: User) -> Iterator[Open]:
    """``opened(path)`` is that page for ``person``; whatever the browser complains of fails."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    client = Client()
    client.force_login(person)

    def open_page(path: str, **options: Any) -> Page:
        context = browser.new_context(base_url=live_server.url, **options)
        contexts.append(context)
        context.add_cookies(
            [
                {
                    "name": "sessionid",
                    "value": client.cookies["sessionid"].value,
                    "url": live_server.url,
                }
            ]
        )
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def life(person: User) -> dict[str, Run]:
    """A run in each state, with all that a page can show of it."""
    job = JobFactory(
        environment__project__account=person.memberships.get().account,
        name="Nightly build",
        scheduled=True,
        generate_docs=True,
    )
    CompletionTriggerFactory(job=JobFactory(environment=job.environment), upstream=job)
    awkward = JobFactory(environment=job.environment, name=HOSTILE)
    runs = {
        "success": RunFactory(job=job, succeeded=True, git_branch="main", git_sha="1027c4d9e0"),
        "error": RunFactory(job=job, failed=True, status_message=HOSTILE),
        "cancelled": RunFactory(job=awkward, cancelled=True),
        "running": RunFactory(job=job, running=True),
        "queued": RunFactory(job=job),
    }
    for state in ("success", "error", "running"):
        for index in range(1, 6):
            went = RunStatus.SUCCESS
            if index == 5:
                went = Run.objects.get(pk=runs[state].pk).status
            step = RunStepFactory(run=runs[state], index=index, status=went, started_at=now())
            says(step, f"{HOSTILE}\n\x1b[32mOK\x1b[0m {'=' * 200}\n" * 40)
            event = {"ts": f"{now():%FT%TZ}", "level": "warn", "name": "Said", "text": HOSTILE}
            LogChunk.objects.create(
                step=step, stream="events", offset=0, text=f"{json.dumps(event)}\n" * 3
            )
    for state in ("success", "running"):
        step = runs[state].steps.get(index=5)
        for place, status in enumerate(("success", "error", "warn", "skipped", state)):
            NodeResultFactory(
                step=step, name=f"{HOSTILE[:30]}{place}", status=status, thread=f"Thread-{place}"
            )
    step = runs["success"].steps.get(index=5)
    nodes = [node.unique_id for node in step.nodes.order_by("pk")]
    left(step, of_these(nodes) | {HOSTILE: {"deep": [HOSTILE]}})
    ArtifactFactory(step=runs["success"].steps.get(index=5), path=f"compiled/{'deep/' * 30}a.sql")
    return runs


def of_these(ids: list[str]) -> dict[str, Any]:
    """A manifest in which each node needs the one before; the first has a test."""
    nodes = [
        entry(one, *ids[max(place - 1, 0) : place], raw_code=f"select '{HOSTILE}'\n" * 3)
        for place, one in enumerate(ids)
    ]
    return manifest_of(*nodes, entry("test.shop.of_the_first", ids[0]))


def says(step: RunStep, words: str, offset: int = 0) -> None:
    LogChunk.objects.create(step=step, stream="console", offset=offset, text=words)


def url(run: Run, name: str = "run") -> str:
    return reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk])


def every_page(life: dict[str, Run]) -> list[str]:
    one = life["success"]
    of_project = [one.account_id, one.project_id]
    return [
        reverse("console:account", args=[one.account_id]),
        reverse("console:setup", args=[one.account_id]),
        f"{reverse('console:go', args=[one.account_id])}?q=e",
        reverse("console:runs", args=[one.account_id]),
        f"{reverse('console:runs', args=[one.account_id])}?status=error&q=nothing+like+it",
        reverse("console:cancel_queued", args=[one.account_id]),
        reverse("console:queue", args=[one.account_id]),
        reverse("console:schedule", args=[one.account_id]),
        reverse("console:job_pause", args=[one.account_id, one.project_id, one.job_id]),
        reverse("console:launch", args=[one.account_id, one.project_id, one.job_id]),
        reverse("console:jobs", args=[one.account_id, one.project_id]),
        f"{reverse('console:jobs', args=of_project)}?q=nothing+like+it",
        f"{reverse('console:job_new', args=of_project)}?template=pull-request",
        reverse("console:job_settings", args=[one.account_id, one.project_id, one.job_id]),
        reverse("console:job_delete", args=[one.account_id, one.project_id, one.job_id]),
        *job_pages(one.job),
        reverse("console:job", args=[one.account_id, one.project_id, one.job_id]),
        *(url(run) for run in life.values()),
        url(one, "artifacts"),
        url(one, "run_timing"),
        url(life["running"], "run_timing"),
        f"{url(one, 'run_timing')}?path=1&by=type",
        f"{url(one, 'run_timing')}?path=1&by=folder&q=2",
        f"{url(one, 'run_timing')}?q=nothing+like+it",
        *(url(one, name) for name in ("run_logs", "run_results", "run_config", "run_docs")),
        f"{url(one, 'run_logs')}?q=long",
        f"{url(one, 'run_logs')}?q=long&hit=3&wrap=off",
        f"{url(one, 'run_logs')}?stream=debug&level=warn",
        f"{url(one, 'run_logs')}?stream=events",
        url(life["running"], "run_logs"),
        f"{url(one, 'run_results')}?{urlencode({'node': one.nodes.earliest('pk').unique_id})}",
        f"{url(one, 'artifacts')}?step=5",
        *lineage_pages(one),
        f"{url(one, 'artifacts')}?in=compiled",
        url(life["error"], "artifacts"),
        f"{url(one, 'artifacts')}manifest.json?view=json",
        url(life["running"], "run_cancel"),
        *settings_pages(one),
        *told_pages(life, HOSTILE),
        reverse("console:docs", args=of_project),
        reverse("account_change_password"),
        reverse("console:profile"),
        reverse("mfa_index"),
        reverse("usersessions_list"),
        reverse("account_logout"),
    ]


def lineage_pages(run: Run) -> list[str]:
    """What depends on what: nodes, folders, one node beside them, none, and a node's own page."""
    ids = [run.account_id, run.project_id]
    some = run.nodes.earliest("pk").unique_id
    return [
        url(run, "run_lineage"),
        f"{url(run, 'run_lineage')}?{urlencode({'whole': 1, 'node': some})}",
        f"{url(run, 'run_lineage')}?{urlencode({'select': 'state:new', 'only': 1})}",
        f"{url(run, 'run_lineage')}?select=nothing_like_it",
        f"{url(run, 'run_timing')}?{urlencode({'node': some})}",
        reverse("console:environment_lineage", args=[*ids, run.environment_id]),
        reverse("console:node", args=[*ids, some]),
    ]


def job_pages(job: Job) -> list[str]:
    """What is told of a job and done with several, after it was changed."""
    job.threads, job.name, job.execute_steps = 9, HOSTILE, ["dbt build", "dbt test"]
    define_job(job, completion=None)
    issue_badge_key(job.account, job.pk)
    of_project, of_job = [job.account_id, job.project_id], [job.account_id, job.project_id, job.pk]
    return [
        reverse("console:job_changes", args=of_job),
        reverse("console:job_restore", args=[*of_job, 1]),
        reverse("console:job_badge_page", args=of_job),
        f"{reverse('console:job', args=of_job)}?scale=log",
        f"{reverse('console:job_bulk', args=of_project)}?do=pause&job={job.pk}",
        reverse("console:job_import", args=of_project),
    ]


def settings_pages(run: Run) -> list[str]:
    """Where it runs, with what and as whom, and who may say so."""
    project, environment, account = run.project, run.environment, run.account
    EnvironmentVariableFactory(project=project, name="DBT_REGION", secrets={"value": HOSTILE})
    token, _text = Token.issue(account, HOSTILE, permission_set="owner")
    member = account.memberships.get()
    group = Group.objects.create(account=account, name=HOSTILE)
    group.members.add(member)
    group.grants.create(permission_set="owner", project=project, environment=environment)
    of_project = {
        "environment": environment.pk,
        "environment_edit": environment.pk,
        "environment_credentials": environment.pk,
        "environment_delete": environment.pk,
        "variable": "DBT_REGION",
        "variable_delete": "DBT_REGION",
    }
    of_account = {
        "project_settings": project.pk,
        "project_delete": project.pk,
        "connection": environment.connection_id,
        "connection_edit": environment.connection_id,
        "connection_delete": environment.connection_id,
        "token_revoke": token.pk,
        "member_edit": member.pk,
        "member_remove": member.pk,
        "group": group.pk,
        "group_delete": group.pk,
    }
    lists = ("environments", "environment_new", "variables", "variable_new", "variable_import")
    settings = ("settings", "projects", "project_new", "connections", "connection_new", "tokens")
    invite(account, "bo@example.com", "job_viewer", groups=[group])
    others = (
        "member_invite",
        "token_new",
        "service_token_new",
        "members",
        "member_new",
        "groups",
        "group_new",
    )
    return [
        *(reverse(f"console:{name}", args=[account.pk, project.pk]) for name in lists),
        *(
            reverse(f"console:{name}", args=[account.pk, project.pk, more])
            for name, more in of_project.items()
        ),
        *(reverse(f"console:{name}", args=[account.pk]) for name in settings + others),
        *(reverse(f"console:{name}", args=[account.pk, more]) for name, more in of_account.items()),
        f"{reverse('console:connection_new', args=[account.pk])}?adapter=snowflake_v0",
        f"{reverse('console:connection_new', args=[account.pk])}?adapter=custom_v0",
        reverse("console:audit", args=[account.pk]),
        f"{reverse('console:audit', args=[account.pk])}?q=nothing+like+it&since=nonsense",
        reverse("console:system", args=[account.pk]),
        f"{reverse('console:system', args=[account.pk])}?count=1",
    ]


def faults(page: Page) -> list[str]:
    """What axe finds wrong with a page, after the policy has kept added scripts out."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [f"{page.url}: {fault['id']} {fault['nodes'][0]['target']}" for fault in found]


@WALKS
@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 320)])
def test_every_page_can_be_read_by_everybody(
    opened: Open, life: dict[str, Run], theme: str, width: int
) -> None:
    found = []
    screen = {"color_scheme": theme, "viewport": {"width": width, "height": 900}}
    page = opened("/", **screen)
    for path in every_page(life):
        page.goto(path)
        found += faults(page)

    assert found == []


def test_no_page_is_wider_than_a_narrow_phone(opened: Open, life: dict[str, Run]) -> None:
    page = opened("/", viewport={"width": 320, "height": 700})
    found = []
    for path in every_page(life):
        found += too_wide(page, path)

    assert found == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_signing_in_leads_to_the_page_that_was_asked_for(
    browser: Browser, live_server: LiveServer, person: User, theme: str
) -> None:
    person.set_password("coffee-beans-7")
    person.save()
    runs = reverse("console:runs", args=[person.memberships.get().account_id])
    with browser.new_context(base_url=live_server.url, color_scheme=theme) as context:
        page = context.new_page()
        page.goto(f"{runs}?job=")
        assert faults(page) == []
        page.get_by_label("Email").fill(person.email)
        page.get_by_label("Password").fill("coffee-beans-7")
        page.get_by_role("button", name="Sign in", exact=True).click()

        expect(page).to_have_url(f"{live_server.url}{runs}?job=")


def test_a_log_grows_as_the_step_speaks_and_the_page_settles_when_the_run_ends(
    opened: Open, person: User
) -> None:
    run = RunFactory(
        running=True, job__environment__project__account=person.memberships.get().account
    )
    step = RunStepFactory(run=run, status=RunStatus.RUNNING, started_at=now())
    says(step, "one\n")
    page = opened(url(run))
    expect(page.locator("#icon")).to_have_attribute("href", re.compile("icon-run"))
    expect(page.locator("#log")).to_have_text("one\n")

    says(step, "two <b>\n", offset=4)
    expect(page.locator("#log")).to_have_text("one\ntwo <b>\n")

    RunStep.objects.filter(pk=step.pk).update(status=RunStatus.SUCCESS, finished_at=now())
    following = RunStepFactory(
        run=run, index=5, status=RunStatus.RUNNING, started_at=now(), command="dbt test"
    )
    says(following, "three\n")
    expect(page.locator("#log")).to_have_text("three\n")
    expect(page.locator("#step-5")).to_have_attribute("aria-current", "true")

    RunStep.objects.filter(pk=following.pk).update(status=RunStatus.ERROR, finished_at=now())
    run.move_to(RunStatus.ERROR, message="It did not work.")
    expect(page.locator("h1")).to_contain_text("Error")
    expect(page.locator("#announcer")).to_contain_text(f"Run {run.pk}: Error")
    expect(page).to_have_title(f"✕ #{run.pk} {run.job} · jobsvc")
    expect(page.locator("#icon")).to_have_attribute("href", re.compile("icon-err"))
    expect(page.locator("main [hx-get]")).to_have_count(0)


def test_a_refresh_leaves_the_focus_where_it_was(opened: Open, person: User) -> None:
    run = RunFactory(
        running=True, job__environment__project__account=person.memberships.get().account
    )
    RunStepFactory(run=run, status=RunStatus.RUNNING, started_at=now())
    page = opened(url(run))
    page.locator("#step-4").focus()

    with page.expect_response(lambda answer: answer.url.endswith(url(run))):
        pass
    RunStepFactory(run=run, index=5)
    expect(page.locator("#step-5")).to_be_visible()

    expect(page.locator("#step-4")).to_be_focused()


def test_cancelling_asks_in_a_dialog_that_can_be_left(opened: Open, life: dict[str, Run]) -> None:
    page = opened(url(life["running"]))
    page.get_by_role("link", name="Cancel run").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Models already built stay as they are")
    assert faults(page) == []

    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert Run.objects.get(pk=life["running"].pk).cancel_requested_at is None

    page.get_by_role("link", name="Cancel run").click()
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(page.get_by_role("status").first).to_contain_text("is being stopped")


def test_a_run_can_be_seen_and_cancelled_without_scripts(
    opened: Open, life: dict[str, Run]
) -> None:
    page = opened("/", java_script_enabled=False)
    page.get_by_role("link", name=f"#{life['running'].pk}").click()
    expect(page.locator("#log")).to_contain_text("OK")
    page.get_by_role("link", name="Cancel run").click()
    page.get_by_role("button", name="Cancel the run").click()

    expect(page.locator("h1")).to_contain_text("Running")
    assert Run.objects.get(pk=life["running"].pk).cancel_requested_by


def test_a_theme_is_chosen_and_stays(opened: Open, life: dict[str, Run]) -> None:
    page = opened("/", color_scheme="light")
    page.locator(".me summary").click()
    assert faults(page) == []
    page.get_by_role("button", name="Dark").click()

    page.goto(url(life["success"]))

    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_an_old_link_with_a_fragment_finds_its_run(opened: Open, life: dict[str, Run]) -> None:
    run = life["success"]
    page = opened(f"/#/accounts/{run.account_id}/projects/{run.project_id}/runs/{run.pk}/")

    expect(page.locator("h1")).to_contain_text(f"#{run.pk}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_first_page_of_all_can_be_read_by_everybody(
    browser: Browser, live_server: LiveServer, settings: Any, theme: str
) -> None:
    settings.EMBEDDED = False  # so that the setup key is asked for, too
    screen = {"viewport": {"width": 320, "height": 800}, "color_scheme": theme}
    with browser.new_context(base_url=live_server.url, **screen) as context:
        page = context.new_page()
        page.goto("/setup/")
        assert faults(page) == []
        root = "document.documentElement"
        assert not page.evaluate(f"{root}.scrollWidth > {root}.clientWidth")
        page.get_by_label("Setup key").fill("a guess")
        page.get_by_label("E-mail address").fill("ana@example.com")
        page.get_by_label("Password").fill("coffee-beans-7")
        page.get_by_role("button", name="Make the owner and go on").click()

        expect(page.get_by_role("alert")).to_be_focused()
        assert faults(page) == []


def test_the_palette_finds_and_opens_and_gives_the_focus_back(
    opened: Open, life: dict[str, Run]
) -> None:
    page = opened(url(life["success"]))
    page.locator("#step-1").focus()
    page.keyboard.press("Control+k")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("link", name="Schedule")).to_be_visible()
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page.locator("#step-1")).to_be_focused()

    page.keyboard.press("Control+k")
    page.keyboard.type(f"#{life['error'].pk}")
    expect(dialog.locator(".found a")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_contain_text(f"#{life['error'].pk}")


def test_keys_move_about_and_do_nothing_in_fields(opened: Open, life: dict[str, Run]) -> None:
    page = opened("/")
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.locator("h1")).to_have_text("Runs")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator("#run-head")).to_be_visible()
    page.keyboard.press("3")
    expect(page.locator(".tabs [aria-current='page']")).to_have_text("Timing")

    page.goto(reverse("console:runs", args=[life["success"].account_id]))
    page.keyboard.press("/")
    page.keyboard.type("?gjg1")
    expect(page.locator("main input[type=search]")).to_have_value("?gjg1")
    expect(page.locator("dialog[open]")).to_have_count(0)


def test_keys_of_a_run_copy_its_link_and_lead_to_the_runs_beside_it(
    opened: Open, life: dict[str, Run]
) -> None:
    page = opened(url(life["success"]))
    page.keyboard.press("]")
    expect(page.locator("h1")).to_contain_text(f"#{life['error'].pk}")
    page.keyboard.press("[")
    expect(page.locator("h1")).to_contain_text(f"#{life['success'].pk}")
    page.keyboard.press("y")
    expect(page.locator("#announcer")).to_contain_text("link")


def test_single_keys_can_be_switched_off_and_their_list_says_so(
    opened: Open, life: dict[str, Run], person: User
) -> None:
    page = opened("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next and previous row")
    assert faults(page) == []
    User.objects.filter(pk=person.pk).update(shortcuts=False)
    page.reload()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog")).to_be_visible()


@pytest.mark.parametrize(
    ("style", "shown"), [("iso", "2021-01-02 03:04"), ("local", "Jan 2, 2021")]
)
def test_moments_are_written_as_somebody_likes_them(
    opened: Open, life: dict[str, Run], person: User, style: str, shown: str
) -> None:
    moment = datetime(2021, 1, 2, 3, 4, tzinfo=UTC)
    Run.objects.filter(pk=life["success"].pk).update(created_at=moment)
    User.objects.filter(pk=person.pk).update(date_style=style, time_zone="UTC")
    page = opened(url(life["success"]), locale="en-US")

    expect(page.locator('#run-head time[datetime^="2021"]')).to_contain_text(shown)


def settings_of(run: Run) -> str:
    return reverse("console:job_settings", args=[run.account_id, run.project_id, run.job_id])


def test_a_jobs_commands_move_and_are_checked_as_one_edits(
    opened: Open, life: dict[str, Run]
) -> None:
    run = life["success"]
    page = opened(settings_of(run))
    page.get_by_label("Command 1", exact=True).fill("dbt build")
    page.get_by_role("button", name="Add a command").click()
    expect(page.get_by_label("Command 2", exact=True)).to_be_focused()
    page.keyboard.type("dbt tset")
    page.keyboard.press("Tab")
    expect(page.locator("#said-2")).to_contain_text("tset")
    assert faults(page) == []

    page.get_by_label("Command 2", exact=True).fill("dbt seed")
    with page.expect_response(lambda answer: answer.url.endswith("/check/")):
        page.keyboard.press("Alt+ArrowUp")
    expect(page.get_by_label("Command 1", exact=True)).to_have_value("dbt seed")
    expect(page.get_by_label("Command 1", exact=True)).to_be_focused()
    expect(page.locator("#said-2")).to_be_empty()
    page.keyboard.press("Control+s")

    expect(page.get_by_role("status").first).to_contain_text("is saved")
    assert Job.objects.get(pk=run.job_id).execute_steps == ["dbt seed", "dbt build"]


def test_a_schedule_is_told_while_it_is_typed(opened: Open, life: dict[str, Run]) -> None:
    page = opened(settings_of(life["success"]))
    page.get_by_label("Cron", exact=True).check()
    page.get_by_label("Cron expression").fill("30 6 * * 1")
    expect(page.locator("#schedule-preview")).to_contain_text("At 06:30 on Monday")
    page.get_by_label("Cron expression").fill("30 6 *")
    expect(page.locator("#schedule-preview")).to_contain_text("is not a cron expression")
    expect(page.get_by_label("At these hours")).to_be_hidden()


def test_what_is_wrong_with_a_job_takes_the_focus(opened: Open, life: dict[str, Run]) -> None:
    page = opened(settings_of(life["success"]))
    page.locator("#id_name").fill("")
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.locator("#problems")).to_be_focused()
    assert faults(page) == []
    page.locator("#problems").get_by_role("link", name="Name").click()
    assert page.url.endswith("#id_name")


def test_a_job_is_edited_without_scripts(opened: Open, life: dict[str, Run]) -> None:
    run = life["success"]
    page = opened(settings_of(run), java_script_enabled=False)
    page.get_by_role("button", name="Add a command").click()
    page.get_by_label("Command 2", exact=True).fill("dbt test")
    page.get_by_role("button", name="Move command 2 up").click()
    page.get_by_role("button", name="Save", exact=True).click()

    expect(page.get_by_role("status").first).to_contain_text("is saved")
    assert Job.objects.get(pk=run.job_id).execute_steps == ["dbt test", "dbt build"]


# --- Logs ----------------------------------------------------------------------------------


@pytest.fixture
def speaking(person: User) -> RunStep:
    """A step that is being run, of which 300 lines are known."""
    run = RunFactory(
        running=True, job__environment__project__account=person.memberships.get().account
    )
    step: RunStep = RunStepFactory(run=run, status=RunStatus.RUNNING, started_at=now())
    says(step, "".join(f"word {n:03}\n" for n in range(1, 301)))
    return step


@pytest.mark.parametrize("name", ["run_logs", "run"])
def test_a_log_is_followed_until_one_scrolls_up(opened: Open, speaking: RunStep, name: str) -> None:
    log = "#log" if name == "run" else f"#lines-{speaking.index}"
    page = opened(url(speaking.run, name))
    follow = page.get_by_role("button", name="Follow")
    left = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"
    expect(follow).to_have_attribute("aria-pressed", "true")
    assert page.locator(log).evaluate(left) < 40

    page.locator(log).evaluate("log => { log.scrollTop = 0; }")
    expect(follow).to_have_attribute("aria-pressed", "false")
    says(speaking, "more\nand more\n", offset=2700)
    chip = page.get_by_role("button", name="↓ 2 new lines")
    expect(chip).to_be_visible()
    assert page.locator(log).evaluate("log => log.scrollTop") == 0
    assert faults(page) == []

    chip.click()
    expect(chip).to_be_hidden()
    expect(follow).to_have_attribute("aria-pressed", "true")
    assert page.locator(log).evaluate(left) < 40
    says(speaking, "the end\n", offset=2714)
    expect(page.locator(log)).to_contain_text("the end")
    assert page.locator(log).evaluate(left) < 40


def test_logs_go_on_with_the_next_step(opened: Open, speaking: RunStep) -> None:
    page = opened(url(speaking.run, "run_logs"))
    expect(page.locator("#step-4-L300")).to_be_visible()
    RunStep.objects.filter(pk=speaking.pk).update(status=RunStatus.SUCCESS, finished_at=now())
    following = RunStepFactory(
        run=speaking.run, index=5, status=RunStatus.RUNNING, started_at=now()
    )
    says(following, "the next step\n")

    expect(page.locator("#step-5-L1")).to_contain_text("the next step")


def test_lines_are_chosen_and_their_address_leads_back(opened: Open, life: dict[str, Run]) -> None:
    page = opened(f"{url(life['error'], 'run_logs')}?open=5")
    page.locator("#step-5-L12 > a").click()
    expect(page).to_have_url(re.compile("#step-5-L12$"))
    page.locator("#step-5-L15 > a").click(modifiers=["Shift"])
    expect(page).to_have_url(re.compile("#step-5-L12-L15$"))
    expect(page.locator(".line.picked")).to_have_count(4)

    other = opened(page.url)
    expect(other.locator(".line.picked")).to_have_count(4)
    expect(other.locator("#step-5-L12")).to_be_in_viewport()


def test_text_that_is_selected_over_lines_gives_their_address(
    opened: Open, life: dict[str, Run]
) -> None:
    page = opened(f"{url(life['error'], 'run_logs')}?open=5")
    page.locator("#step-5-L2").scroll_into_view_if_needed()
    ends = [page.locator(f"#step-5-L{n} > span").bounding_box() for n in (2, 4)]
    assert ends[0]
    assert ends[1]
    page.mouse.move(ends[0]["x"] + 5, ends[0]["y"] + 5)
    page.mouse.down()
    page.mouse.move(ends[1]["x"] + 20, ends[1]["y"] + 5)
    page.mouse.up()

    expect(page).to_have_url(re.compile("#step-5-L2-L4$"))


def test_an_address_of_lines_that_are_left_out_shows_them(opened: Open, person: User) -> None:
    run = RunFactory(
        failed=True, job__environment__project__account=person.memberships.get().account
    )
    step = RunStepFactory(run=run, status=RunStatus.ERROR, started_at=now())
    says(step, "".join(f"word {n}\n" for n in range(1, 10_001)))
    page = opened(f"{url(run, 'run_logs')}#step-4-L5000-L5004")

    expect(page.locator(".line.picked")).to_have_count(5)
    expect(page.locator("#step-4-L5000")).to_be_in_viewport()
    assert page.locator(".gap a").all_inner_texts() == [
        "4,599 lines are between: show 2,000 more",
        "2,400 lines are between: show 2,000 more",
    ]


HOSTILE_LINES = [
    HOSTILE,
    "x" * 1024**2,
    "<img src=x onerror=\"document.title='owned'\"> & ",
    "\x1b]8;;javascript:alert(1)\x07link\x1b]8;;\x07",
    "\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1Hmoved \x1b[?25l hidden\x07",
    "\u202egnp.exe\u202c \u2066turned\u2069 שלום עולם مرحبا",
    "tab\tbell\x07 back\x08\x08 null form\x0c feed \x85 \x9b31m c1",
    "{% raw %}{{ settings.SECRET_KEY }}</pre></div></main>",
]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 320])
def test_whatever_a_log_holds_is_text(opened: Open, person: User, theme: str, width: int) -> None:
    run = RunFactory(
        failed=True,
        status_message=" ".join(HOSTILE_LINES[2:]),
        job__environment__project__account=person.memberships.get().account,
    )
    step = RunStepFactory(run=run, status=RunStatus.ERROR, started_at=now())
    text = "\n".join(HOSTILE_LINES) + "\n"
    says(step, text)
    event = json.dumps({"level": "error", "name": text[:80], "node": text[:90], "text": text})
    LogChunk.objects.create(step=step, stream="debug", offset=0, text=text)
    LogChunk.objects.create(step=step, stream="events", offset=0, text=f"{event}\n")
    for place, line in enumerate(HOSTILE_LINES):
        NodeResultFactory(
            step=step, name=f"{line[:60]}{place}", status="error", message=line[:20_000]
        )
    page = opened("/", color_scheme=theme, viewport={"width": width, "height": 900})
    found = []
    logs = url(run, "run_logs")
    addresses = (url(run), logs, f"{logs}?wrap=off", f"{logs}?q=e&hit=2", f"{logs}?stream=events")
    for address in (*addresses, f"{logs}?q=e", url(run, "run_results")):
        page.goto(address)
        found += faults(page)
        assert page.title().endswith("jobsvc"), address
        shown = page.locator("main").inner_text()
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown), (
            address
        )
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), address
    page.goto(logs)
    expect(page.locator("#step-4-L5 .ansi-red")).to_have_text("red")
    expect(page.locator("#step-4-L2")).to_contain_text("more characters")

    assert found == []


# --- Documentation -------------------------------------------------------------------------


@pytest.fixture
def documented(person: User, tmp_path: Path) -> Run:
    """A run of production with the page that a real dbt made of a project of two models."""
    (tmp_path / "models").mkdir()
    profile = {"type": "duckdb", "path": str(tmp_path / "shop.duckdb")}
    files = {
        "dbt_project.yml": "name: shop\nversion: '1.0'\nprofile: shop\n",
        "profiles.yml": json.dumps({"shop": {"target": "here", "outputs": {"here": profile}}}),
        "models/orders.sql": "select 1 as id",
        "models/items.sql": "select * from {{ ref('orders') }}",
        "models/about.yml": "models: [{name: orders, description: Every order there was.}]",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    command = [str(DBT), "docs", "generate", "--static", "--quiet", "--profiles-dir", "."]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)
    account = person.memberships.get().account
    run: Run = RunFactory(
        succeeded=True,
        job__environment__project__account=account,
        job__environment__deployment_type="production",
    )
    step = RunStepFactory(run=run, index=5, kind="docs", command="dbt docs generate")
    page = (tmp_path / "target" / "static_index.html").read_bytes()
    ArtifactFactory(step=step, path="static_index.html", content=page)
    return run


def test_documentation_that_dbt_made_works_in_its_sandbox(
    browser: Browser, live_server: LiveServer, person: User, documented: Run
) -> None:
    client = Client()
    client.force_login(person)
    session = {"name": "sessionid", "value": client.cookies["sessionid"].value}
    said: list[ConsoleMessage] = []
    broken: list[str] = []
    at = [documented.account_id, documented.project_id]
    with browser.new_context(base_url=live_server.url) as context:
        context.add_cookies([{**session, "url": live_server.url}])
        page = context.new_page()
        page.on("console", lambda one: said.append(one))  # noqa: PLW0108 - it sets a name on it
        page.on("pageerror", lambda error: broken.append(str(error)))
        for address in (reverse("console:docs", args=at), url(documented, "run_docs")):
            page.goto(address)
            docs = page.frame_locator("iframe")
            expect(docs.get_by_role("heading", name="Welcome!")).to_be_visible()
            frame = page.frames[-1]
            frame.evaluate("location.hash = '#!/model/model.shop.orders'")
            expect(docs.get_by_text("Every order there was.").first).to_be_visible()
            # An origin of its own: no cookies, nothing of ours.
            assert frame.evaluate("window.origin") == "null"
            with pytest.raises(PlaywrightError, match="SecurityError"):
                frame.evaluate("document.cookie")

    # What dbt's page asks for and does not get: its tracker, its icon, its templates' pictures.
    ours = [one.text for one in said if "/docs/page/" not in one.text + one.location["url"]]
    unwanted = [one for one in ours if not re.search("favicon|cloudfront|getIcon", one)]
    assert unwanted == []
    assert broken == []


def test_a_lineage_is_drawn_walked_by_keys_and_moves_while_the_run_does(
    opened: Open, life: dict[str, Run]
) -> None:
    run = life["running"]
    step = run.steps.get(index=5)
    nodes = list(step.nodes.order_by("pk"))
    left(step, of_these([node.unique_id for node in nodes]))
    page = opened(url(run, "run_lineage"), viewport={"width": 1440, "height": 900})
    picture = page.locator("#lineage-picture svg")
    expect(picture.locator("a.node")).to_have_count(len(nodes))
    expect(page.locator("#lineage-text")).not_to_have_attribute("open", "")
    expect(picture.locator("a.node.skipped")).to_have_count(1)

    last = picture.locator("a.node.run")
    last.focus()
    step.nodes.filter(pk=nodes[-1].pk).update(status="success", finished_at=now())
    expect(picture.locator("a.node.run")).to_have_count(0)
    assert page.evaluate("document.activeElement.getAttribute('class')") == "node ok"

    page.keyboard.press("Enter")
    expect(page.locator("#node")).to_contain_text("Success")
    expect(picture.locator("a.here")).to_have_count(1)
    page.locator("#node").get_by_role("button", name="Copy").click()
    expect(page.locator("#source-code code")).to_have_count(3)


def test_on_a_phone_lineage_is_a_list(opened: Open, life: dict[str, Run]) -> None:
    page = opened(url(life["success"], "run_lineage"), viewport={"width": 390, "height": 800})

    expect(page.locator("#lineage-picture")).to_be_hidden()
    expect(page.locator(".lineage-list li").first).to_be_visible()


def test_lineage_is_there_without_scripts(opened: Open, life: dict[str, Run]) -> None:
    page = opened(url(life["success"], "run_lineage"), java_script_enabled=False)
    page.get_by_label("Selector").fill("resource_type:model")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".lineage-list li").first).to_be_visible()
    page.locator(".lineage-list li [data-name]").first.click()

    expect(page.locator("#node h2")).to_be_visible()


def troubles(page: Page, path: str) -> list[str]:
    """What is wrong with the page at ``path``: for axe, and as wide as it is."""
    return [*too_wide(page, path), *faults(page)]


def too_wide(page: Page, path: str) -> list[str]:
    """The page at ``path``, if it has to be moved sideways."""
    page.goto(path)
    root = "document.documentElement"
    wide = page.evaluate(f"{root}.scrollWidth > {root}.clientWidth")
    return [f"{path} is too wide"] if wide else []


def test_words_that_mean_harm_are_only_ever_text(opened: Open, life: dict[str, Run]) -> None:
    paths = [*every_page(life), *(url(life["error"], name) for name in OF_A_RUN)]
    make_hostile(life)
    page = opened("/", color_scheme="dark", viewport={"width": 390, "height": 900})
    asked: list[str] = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    found = []
    for path in paths:
        found += too_wide(page, path)

    assert found == []
    assert asked == []
    assert troubles(page, url(life["error"], "run")) == []
    page.goto(
        reverse("console:jobs", args=[life["success"].account_id, life["success"].project_id])
    )
    expect(page.locator(f"#job-{life['success'].job_id}")).to_have_text(SCRIPT)


@WALKS
@pytest.mark.parametrize(("theme", "width"), [("light", 390), ("dark", 1440)])
def test_pages_of_nothing_and_of_every_state_can_be_read_by_everybody(
    opened: Open, life: dict[str, Run], person: User, theme: str, width: int
) -> None:
    page = opened("/", color_scheme=theme, viewport={"width": width, "height": 900})
    found = []
    for path in [*pages_in_states(life), *pages_of_nothing(person)]:
        found += troubles(page, path)

    assert found == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_refusal_can_be_read_by_everybody(
    browser: Browser, live_server: LiveServer, life: dict[str, Run], theme: str
) -> None:
    reader = MembershipFactory(account=life["success"].account, permission_set="job_viewer").user
    client = Client()
    client.force_login(reader)
    cookie = {"name": "sessionid", "value": client.cookies["sessionid"].value}
    screen = {"width": 390, "height": 700}
    found = []
    with browser.new_context(
        base_url=live_server.url, color_scheme=theme, viewport=screen
    ) as context:
        context.add_cookies([{**cookie, "url": live_server.url}])
        page = context.new_page()
        for path, status in pages_that_are_refused(life).items():
            answer = page.goto(path)
            found += [] if answer and answer.status == status else [f"{path} is not {status}"]
            found += troubles(page, path)

    assert found == []


@WALKS
def test_every_address_there_is_fits_a_phone(opened: Open, person: User) -> None:
    made = seed(now(), account_name="Example data", runs=150)
    MembershipFactory(account=made.account, user=person)
    client = Client()
    client.force_login(person)
    page = opened("/", color_scheme="dark", viewport={"width": 390, "height": 844})
    found = []
    number = 0
    for _name, path in addresses():
        answer = client.get(path)
        if answer.status_code == 200 and b"<html" in getattr(answer, "content", b""):
            number += 1
            found += too_wide(page, path)

    assert number > 100
    assert found == []


# --- The list of runs ------------------------------------------------------------------------


def test_runs_are_chosen_by_dragging_over_their_picture(opened: Open, person: User) -> None:
    account = person.memberships.get().account
    job = JobFactory(environment__project__account=account)
    begun = now() - timedelta(hours=10)
    runs = [
        RunFactory(job=job, succeeded=True, created_at=begun + timedelta(hours=hour))
        for hour in range(8)
    ]
    page = opened(reverse("console:runs", args=[account.pk]))
    bars = [page.locator(f".strip a[href$='/runs/{runs[n].pk}/'] .bar") for n in (2, 4)]
    ends = [bar.bounding_box() for bar in bars]
    assert ends[0]
    assert ends[1]

    page.mouse.move(ends[0]["x"] - 1, ends[0]["y"])
    page.mouse.down()
    page.mouse.move(ends[1]["x"] + ends[1]["width"] + 1, ends[1]["y"], steps=4)
    expect(page.locator(".brushed")).to_have_count(3)
    page.mouse.up()

    expect(page).to_have_url(re.compile("since=.*until="))
    expect(page.locator("tbody tr")).to_have_count(3)
    expect(page.locator(f"#run-{runs[2].pk}")).to_be_visible()

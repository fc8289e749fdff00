"""The list of runs, and the page of one as it goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account
from jobsvc.runs.models import LogChunk, Run, RunStep
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, RunStatus
from tests.factories import JobFactory, RunFactory, RunStepFactory

VisitorOf = Callable[..., Client]
HTMX = {"HX-Request": "true"}


def url(run: Run, name: str = "run") -> str:
    return reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk])


def runs_of(account: Account) -> str:
    return reverse("console:runs", args=[account.pk])


def text(client: Client, address: str, **options: object) -> str:
    response = client.get(address, **options)
    assert response.status_code == 200
    return response.content.decode()


def says(step: RunStep, words: str, offset: int = 0) -> None:
    LogChunk.objects.create(step=step, stream="console", offset=offset, text=words)


# --- The list ----------------------------------------------------------------------------


def test_a_run_is_listed_with_its_status_in_words(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, git_branch="main", git_sha="1027c4d9e0")

    page = text(visitor_of(run.account), runs_of(run.account))

    assert "✕</span> Error" in page
    assert "main@1027c4d" in page
    assert "1 m 20 s" in page


def test_older_runs_are_one_link_away(visitor_of: VisitorOf) -> None:
    job = JobFactory()
    runs = RunFactory.create_batch(52, job=job, succeeded=True)
    visitor = visitor_of(job.account)

    newest = text(visitor, runs_of(job.account))
    older = text(visitor, f"{runs_of(job.account)}?before={runs[2].pk}")

    assert f'href="?before={runs[2].pk}"' in newest
    assert f'id="run-{runs[1].pk}"' not in newest
    assert f'id="run-{runs[1].pk}"' in older
    assert "50 newer runs" in older


def test_a_list_that_refreshes_itself_keeps_its_rows(visitor_of: VisitorOf) -> None:
    running = RunFactory(running=True)
    visitor = visitor_of(running.account)
    before = running.pk + 1
    assert f"?before={before}" in text(visitor, runs_of(running.account))
    newer = RunFactory(job=running.job)

    rows = text(visitor, f"{runs_of(running.account)}?before={before}", headers=HTMX)

    assert f'id="run-{newer.pk}"' not in rows
    assert "1 newer run<" in rows


def test_a_list_of_finished_runs_does_not_refresh_itself(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)

    assert 'hx-trigger="every' not in text(visitor_of(run.account), runs_of(run.account))


def test_an_empty_list_says_what_to_do_next(visitor_of: VisitorOf) -> None:
    job = JobFactory()

    page = text(visitor_of(job.account), runs_of(job.account))

    assert "Nothing has run yet" in page
    assert reverse("console:jobs", args=[job.account_id, job.project_id]) in page


def test_the_runs_of_one_job_are_listed_alone(visitor_of: VisitorOf) -> None:
    one, other = RunFactory(), None
    other = RunFactory(job=JobFactory(environment=one.environment))

    page = text(visitor_of(one.account), f"{runs_of(one.account)}?job={one.job_id}")

    assert f'id="run-{one.pk}"' in page
    assert f'id="run-{other.pk}"' not in page


def test_the_list_takes_as_many_queries_however_long_it_is(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory()
    RunFactory.create_batch(20, job=job)
    visitor = visitor_of(job.account)

    with django_assert_max_num_queries(15):
        text(visitor, runs_of(job.account))


# --- One run -----------------------------------------------------------------------------


def test_a_running_run_keeps_asking_for_itself(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    page = text(visitor_of(run.account), url(run), headers=HTMX)

    assert 'hx-trigger="every 2s"' in page
    assert "<!doctype" not in page


def test_a_finished_run_stops_asking(visitor_of: VisitorOf) -> None:
    run = RunStepFactory(run=RunFactory(succeeded=True), status=RunStatus.SUCCESS).run
    visitor = visitor_of(run.account)

    assert 'hx-trigger="every' not in text(visitor, url(run))
    assert 'hx-trigger="every' not in text(visitor, url(run), headers=HTMX)


def test_the_page_and_the_fragment_say_the_same(visitor_of: VisitorOf) -> None:
    run = RunStepFactory(run=RunFactory(failed=True), status=RunStatus.ERROR, message="No.").run
    visitor = visitor_of(run.account)
    fragment = text(visitor, url(run), headers=HTMX)

    part = fragment[fragment.index('<section class="panel failure') :].strip()

    assert part in text(visitor, url(run))


def test_a_failed_run_shows_its_message_and_the_log_of_the_step_that_failed(
    visitor_of: VisitorOf,
) -> None:
    run = RunFactory(failed=True, status_message='column "amount" does not exist')
    says(RunStepFactory(run=run, index=4, status=RunStatus.ERROR), "the fourth step's words")
    says(RunStepFactory(run=run, index=5, status=RunStatus.SUCCESS), "the fifth step's words")

    page = text(visitor_of(run.account), url(run))

    assert "column &quot;amount&quot; does not exist" in page
    assert "the fourth step&#x27;s words" in page
    assert "the fifth step&#x27;s words" not in page


def test_a_successful_run_shows_the_log_of_what_it_built_not_of_its_docs(
    visitor_of: VisitorOf,
) -> None:
    run = RunFactory(succeeded=True)
    build = RunStepFactory(run=run, index=4, status=10, builds=True, started_at=run.started_at)
    says(build, "built")
    RunStepFactory(run=run, index=5, status=10, kind="docs", started_at=run.started_at)

    assert ">built</pre>" in text(visitor_of(run.account), url(run))


def test_what_failed_is_said_once(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True, status_message="Step 4 failed: dbt build. No such column.")
    RunStepFactory(run=run, status=RunStatus.ERROR, message="No such column.")

    assert text(visitor_of(run.account), url(run)).count("No such column.") == 1


def test_the_log_of_another_step_has_an_address(visitor_of: VisitorOf) -> None:
    run = RunFactory(succeeded=True)
    says(RunStepFactory(run=run, index=4, status=RunStatus.SUCCESS), "four")
    RunStepFactory(run=run, index=5, status=RunStatus.SUCCESS)

    assert ">four</pre>" in text(visitor_of(run.account), f"{url(run)}?step=4")


def test_a_step_that_was_passed_over_is_shown_as_skipped(visitor_of: VisitorOf) -> None:
    run = RunFactory(failed=True)
    RunStepFactory(run=run, status=RunStatus.CANCELLED, skipped=True)

    assert '<span class="unseen">Skipped</span>' in text(visitor_of(run.account), url(run))


def test_a_queued_run_says_which_run_it_waits_for(visitor_of: VisitorOf) -> None:
    holder = RunFactory(running=True)
    waiting = RunFactory(job=holder.job)

    page = text(visitor_of(holder.account), url(waiting))

    assert f"Waits for run {holder.pk} of the same job to end." in page
    assert reverse("console:short_run", args=[holder.pk]) in page


def test_a_queued_run_says_that_another_job_holds_its_key(visitor_of: VisitorOf) -> None:
    queue = {"queue": {"concurrency_key": "prod marts"}}
    job = JobFactory(extensions=queue)
    trigger = Trigger(cause="x", cause_category=CauseCategory.API)
    holder = Run.objects.claim(trigger_run(job, trigger).pk, worker="w1")
    assert holder is not None
    other = JobFactory(environment=job.environment, extensions=queue)
    waiting = trigger_run(other, trigger)

    page = text(visitor_of(job.account), url(waiting))

    assert "both jobs share the concurrency key" in page
    assert reverse("console:short_run", args=[holder.pk]) in page


def test_a_queued_run_says_that_all_slots_are_taken(visitor_of: VisitorOf) -> None:
    holder = RunFactory(running=True, takes_slot=True, slot=1, account__run_slots=1)
    Account.objects.filter(pk=holder.account_id).update(run_slots=1)
    waiting = RunFactory(job=JobFactory(environment=holder.environment))

    page = text(visitor_of(holder.account), url(waiting))

    assert "The account&#x27;s run slot is taken" in page


def test_text_of_a_run_is_never_markup(visitor_of: VisitorOf) -> None:
    job = JobFactory(name="<script>alert('job')</script>")
    run = RunFactory(job=job, failed=True, status_message="<script>alert('why')</script>")
    says(RunStepFactory(run=run, status=RunStatus.ERROR), "<script>alert('log')</script>")
    visitor = visitor_of(job.account)

    for address in (url(run), runs_of(job.account)):
        assert "<script>alert" not in text(visitor, address)


# --- The log -----------------------------------------------------------------------------


def test_a_log_goes_on_where_the_reader_stopped(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(running=True), status=RunStatus.RUNNING)
    says(step, "first\n")
    says(step, "second <b>\n", offset=6)
    visitor = visitor_of(step.run.account)

    piece = text(visitor, f"{url(step.run, 'log_tail')}?step=4&after=6", headers=HTMX)

    assert piece.startswith("second &lt;b&gt;\n<span")
    assert "after=17" in piece


def test_a_log_of_a_finished_step_stops_asking(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(running=True), status=RunStatus.SUCCESS)
    says(step, "all of it\n")
    visitor = visitor_of(step.run.account)

    piece = text(visitor, f"{url(step.run, 'log_tail')}?step=4&after=0", headers=HTMX)

    assert piece == "all of it\n"


def test_a_followed_log_turns_to_the_next_step_once_the_last_word_is_read(
    visitor_of: VisitorOf,
) -> None:
    run = RunFactory(running=True)
    done = RunStepFactory(run=run, index=4, status=RunStatus.SUCCESS, started_at=run.started_at)
    says(done, "done\n")
    following = RunStepFactory(
        run=run, index=5, status=RunStatus.RUNNING, started_at=run.started_at
    )
    says(following, "the next\n")
    visitor = visitor_of(run.account)
    tail = url(run, "log_tail")

    last_words = text(visitor, f"{tail}?step=4&after=0&follow=1", headers=HTMX)
    turned = visitor.get(f"{tail}?step=4&after=5&follow=1", headers=HTMX)

    assert last_words.startswith("done\n<span")
    assert turned["HX-Retarget"] == "#log-panel"
    assert "the next" in turned.content.decode()


def test_a_log_can_be_read_as_plain_text(visitor_of: VisitorOf) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), status=RunStatus.SUCCESS)
    says(step, "<b>all</b> of it\n")

    response = visitor_of(step.run.account).get(f"{url(step.run, 'log_tail')}?step=4")

    assert response["Content-Type"] == "text/plain; charset=utf-8"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response.content == b"<b>all</b> of it\n"


def test_the_log_of_a_step_that_is_not_there_is_no_page(visitor_of: VisitorOf) -> None:
    run = RunFactory()

    assert visitor_of(run.account).get(f"{url(run, 'log_tail')}?step=7").status_code == 404


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;javascript:alert(1)\x1b\\here\x1b]8;;\x1b\\", "here"),
        ("\x1b]0;a new title\x07after", "after"),
        ("50 %\r100 %\r\n", "50 %\n100 %\n"),
        ("safe\u202etxt.exe", "safetxt.exe"),
    ],
)
def test_codes_for_terminals_are_not_shown(visitor_of: VisitorOf, said: str, shown: str) -> None:
    step = RunStepFactory(run=RunFactory(succeeded=True), status=RunStatus.SUCCESS)
    says(step, said)

    page = text(visitor_of(step.run.account), url(step.run))

    assert f'tabindex="0">{shown}</pre>' in page


# --- Cancelling --------------------------------------------------------------------------


def test_a_queued_run_is_cancelled_at_once(visitor_of: VisitorOf, published: list[object]) -> None:
    run = RunFactory()

    response = visitor_of(run.account).post(url(run, "run_cancel"), follow=True)

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert f"Run #{run.pk} is cancelled." in response.content.decode()


def test_an_active_run_is_asked_to_stop_by_name(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    response = visitor_of(run.account).post(url(run, "run_cancel"), follow=True)

    run.refresh_from_db()
    assert run.cancel_requested_by.endswith("@example.com")
    assert f"Stopping, as {run.cancel_requested_by} asked" in response.content.decode()


def test_cancelling_asks_first_where_there_are_no_scripts(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)
    visitor = visitor_of(run.account)
    assert f'href="{url(run, "run_cancel")}"' in text(visitor, url(run))

    question = text(visitor, url(run, "run_cancel"))

    assert "Models already built stay as they are" in question
    assert Run.objects.get(pk=run.pk).cancel_requested_at is None


def test_who_may_only_look_finds_no_button_to_cancel(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    assert "Cancel run" not in text(visitor_of(run.account, "job_viewer"), url(run))


def test_who_may_only_look_cannot_cancel(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)

    response = visitor_of(run.account, "job_viewer").post(url(run, "run_cancel"))

    assert response.status_code == 403
    assert "Your role here, Job viewer, does not let you start and cancel runs" in (
        response.content.decode()
    )
    assert Run.objects.get(pk=run.pk).cancel_requested_at is None


def test_a_cancel_from_another_site_is_refused(visitor_of: VisitorOf) -> None:
    run = RunFactory(running=True)
    visitor = visitor_of(run.account)
    careful = Client(enforce_csrf_checks=True)
    careful.cookies = visitor.cookies

    assert careful.post(url(run, "run_cancel")).status_code == 403

"""The states that pages have beside the usual one, and words that mean harm, for the browser."""

from __future__ import annotations

from django.urls import reverse

from accounts.models import Account, User
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Artifact, Run
from tests.factories import JobFactory, MembershipFactory, NodeResultFactory, ProjectFactory

SCRIPT = "<script>alert(1)</script>"
RIGHT_TO_LEFT = "משימת לילה \u202e تقرير المبيعات"
BRANCH = "feature/with spaces & emoji 🚀 <b>bold</b>"
ERROR = (
    "Database Error in model \x1b[31mfct_orders\x1b[0m (models/fct_orders.sql)\n"
    "  see https://example.com/<img src=x onerror=alert(1)>?a=1&b=2\n"
    f"  \x1b]8;;https://evil.example.com\x07press here\x1b]8;;\x07 {'x' * 1_000_000}"
)
OF_A_RUN = (
    *("run", "run_logs", "run_timing", "run_lineage", "run_results"),
    *("artifacts", "run_docs", "run_config"),
)
OF_AN_ACCOUNT = (
    *("account", "setup", "runs", "schedule", "queue", "settings", "projects", "connections"),
    *("repositories", "notifications", "webhooks", "tokens", "members", "groups", "audit"),
)
OF_A_PROJECT = (
    *("jobs", "job_new", "pulls", "environments", "environment_new", "variables", "docs"),
    *("project_settings",),
)


def make_hostile(life: dict[str, Run]) -> None:
    """Give what people name, and what dbt says, words that mean harm."""
    one, failed = life["success"], life["error"]
    job, project, environment = one.job, one.project, one.environment
    Job.objects.filter(pk=job.pk).update(name=SCRIPT, description=RIGHT_TO_LEFT)
    type(project).objects.filter(pk=project.pk).update(name=RIGHT_TO_LEFT, description=SCRIPT)
    type(environment).objects.filter(pk=environment.pk).update(name=f"{RIGHT_TO_LEFT} 🚀")
    Account.objects.filter(pk=one.account_id).update(name=f"{SCRIPT} {RIGHT_TO_LEFT}")
    User.objects.filter(memberships__account=one.account_id).update(
        first_name=RIGHT_TO_LEFT, last_name=SCRIPT
    )
    Run.objects.filter(job=job).update(git_branch=BRANCH)
    JobFactory(environment=environment, name=RIGHT_TO_LEFT, description=SCRIPT, ci=True)
    step = failed.steps.get(index=5)
    NodeResultFactory(step=step, name=SCRIPT, status="error", message=ERROR)
    NodeResultFactory(step=step, name=RIGHT_TO_LEFT, status="warn", message=SCRIPT)
    for run in life.values():
        run.refresh_from_db()
        run.trigger.cause = f"{SCRIPT} {RIGHT_TO_LEFT}"
        run.trigger.save(update_fields=["cause"])


def pages_in_states(life: dict[str, Run]) -> list[str]:
    """Each part of a run queued, running, failed and cancelled, and of one whose files are gone."""
    expired = life["expired"] = _expired(life["success"])
    runs = [life[state] for state in ("queued", "running", "error", "cancelled")]
    return [
        reverse(f"console:{name}", args=[run.account_id, run.project_id, run.pk])
        for run in (*runs, expired)
        for name in OF_A_RUN
    ]


def _expired(like: Run) -> Run:
    """A run that had files, which have been kept long enough."""
    run = Run.objects.get(pk=like.pk)
    run.pk, run.has_docs_generated = None, True
    run.save(force_insert=True)
    trigger = like.trigger
    trigger.pk, trigger.run, trigger.deduplication_key = None, run, None
    trigger.save(force_insert=True)
    assert not Artifact.objects.filter(step__run=run).exists()
    return run


def pages_of_nothing(person: User) -> list[str]:
    """What there is to see of an account without a project, and of a project without anything."""
    empty = MembershipFactory(user=person, account__name="Nothing yet").account
    bare = ProjectFactory(account=MembershipFactory(user=person, account__name="Bare").account)
    return [
        *(reverse(f"console:{name}", args=[empty.pk]) for name in OF_AN_ACCOUNT),
        *(reverse(f"console:{name}", args=[bare.account_id]) for name in OF_AN_ACCOUNT),
        *(reverse(f"console:{name}", args=[bare.account_id, bare.pk]) for name in OF_A_PROJECT),
    ]


def pages_that_are_refused(life: dict[str, Run]) -> dict[str, int]:
    """Addresses that a member who may only read is refused, and ones that are not there."""
    one = life["success"]
    ids = [one.account_id, one.project_id]
    return {
        reverse("console:member_new", args=[one.account_id]): 403,
        reverse("console:job_settings", args=[*ids, one.job_id]): 403,
        reverse("console:environment_edit", args=[*ids, one.environment_id]): 403,
        reverse("console:launch", args=[*ids, one.job_id]): 403,
        reverse("console:run", args=[*ids, one.pk + 1_000_000]): 404,
        reverse("console:jobs", args=[one.account_id, one.project_id + 1_000_000]): 404,
    }

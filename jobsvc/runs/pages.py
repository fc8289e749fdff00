"""Where people look at runs and jobs: addresses of pages, which are known here by name alone."""

from __future__ import annotations

from django.conf import settings
from django.urls import reverse

from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run


def page_of_account(account_id: int) -> str:
    return _page("console:account", account_id)


def page_of_invitation(key: str) -> str:
    return _page("console:invitation_accept", key)


def page_of_job(job: Job) -> str:
    return _page("console:job", job.account_id, job.project_id, job.pk)


def page_of_run(run: Run) -> str:
    return _page("console:run", run.account_id, run.project_id, run.pk)


def page_of_retry(run: Run) -> str:
    return _page("console:run_retry", run.account_id, run.project_id, run.pk)


def _page(name: str, *ids: int | str) -> str:
    return f"{settings.SITE_URL}{reverse(name, args=ids)}"

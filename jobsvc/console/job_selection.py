"""The jobs that somebody ticked in the list."""

from __future__ import annotations

from django.http import QueryDict

from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import seen
from jobsvc.jobs.models import Job
from jobsvc.statuses import State

MOST = 200  # jobs that are acted on at once


def selected(
    data: QueryDict,
    membership: Membership,
    project_id: int,
    *,
    action: Action = Action.READ,
    all_if_none: bool = False,
) -> list[Job]:
    """The active jobs of a project that ``job=1&job=2`` names and the visitor may do ``action`` to.

    What is no such job is passed over.
    """
    asked = [text for text in data.getlist("job")[:MOST] if text.isascii() and text.isdigit()]
    ids = {int(text) for text in asked if len(text) < 19}
    jobs = (
        seen(membership, Job.objects.of_account(membership.account_id), action)
        .filter(project=project_id, state=State.ACTIVE)
        .select_related("project", "environment", "account")
        .prefetch_related("completion_triggers__upstream")
        .order_by("name", "pk")
    )
    if not ids and all_if_none:
        return list(jobs)
    return list(jobs.filter(pk__in=ids))

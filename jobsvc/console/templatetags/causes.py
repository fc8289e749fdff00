"""What kind of thing started a run, in words."""

from __future__ import annotations

from django import template

from jobsvc.runs.models import Run
from jobsvc.statuses import CauseCategory

register = template.Library()

WORDS = {
    CauseCategory.SCHEDULED: "Schedule",
    CauseCategory.UI: "Person",
    CauseCategory.API: "API token",
    CauseCategory.CI: "Pull request",
    CauseCategory.MERGE: "Merge",
    CauseCategory.JOB_COMPLETION: "After another job",
    CauseCategory.RERUN: "Retry",
}


@register.filter
def kind_of_cause(run: Run) -> str:
    """``Pull request #7``; asks the database for nothing but the run's trigger."""
    category = CauseCategory(run.trigger.cause_category)
    words, number = {
        CauseCategory.CI: ("Pull request{}", run.trigger.pull_request_id),
        CauseCategory.JOB_COMPLETION: ("After run{}", run.trigger.caused_by_run_id),
        CauseCategory.RERUN: ("Retry of{}", run.retrying_run_id),
    }.get(category, (WORDS[category], None))
    return words.format(f" #{number}") if number else WORDS[category]

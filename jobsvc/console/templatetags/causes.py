"""What kind of thing started a run, as a glyph and a word."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobsvc.runs.models import Run
from jobsvc.statuses import CauseCategory

register = template.Library()

GLYPHS = {
    CauseCategory.SCHEDULED: "◷",
    CauseCategory.UI: "☺",
    CauseCategory.API: "⚿",
    CauseCategory.CI: "⑂",
    CauseCategory.MERGE: "⑃",
    CauseCategory.JOB_COMPLETION: "→",
    CauseCategory.RERUN: "↻",
}

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
def kind_of_cause(run: Run) -> SafeString:
    """``⑂ Pull request #7``; asks the database for nothing but the run's trigger."""
    category = CauseCategory(run.trigger.cause_category)
    return format_html(
        '<span aria-hidden="true">{}</span> {}', GLYPHS[category], _words(run, category)
    )


def _words(run: Run, category: CauseCategory) -> str:
    words, number = {
        CauseCategory.CI: ("Pull request{}", run.trigger.pull_request_id),
        CauseCategory.JOB_COMPLETION: ("After run{}", run.trigger.caused_by_run_id),
        CauseCategory.RERUN: ("Retry of{}", run.retrying_run_id),
    }.get(category, (WORDS[category], None))
    return words.format(f" #{number}") if number else WORDS[category]

"""The job editor's form: a job's settings as people see them, and what they come to.

It writes what it shows and nothing else: what a job's ``extensions`` hold beside that stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from functools import reduce
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.utils.dateparse import parse_datetime
from django.utils.timezone import override

from environments.models import Environment, EnvironmentType
from jobsvc.console.forms.job_steps import (
    BACKOFFS,
    STEP_POLICIES,
    StepLine,
    check_line,
    in_words,
    lines_in,
    lines_of,
    put_steps,
)
from jobsvc.console.forms.schedule import ScheduleForm, initial_schedule
from jobsvc.engine.names import check_target
from jobsvc.engine.plan import Backoff
from jobsvc.jobs import extensions
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.extensions import (
    HIGHEST_PRIORITY,
    MOST_RETRIES,
    Extensions,
    Forks,
    FreshnessPolicy,
    MergeOn,
    Misfire,
    Mode,
    OnOverlap,
    PullRequestAction,
    SchemaGuard,
    WhenNoState,
)
from jobsvc.jobs.models import DEFAULT_COMPARE_FLAGS, Job, JobType
from jobsvc.runs import toolchains
from jobsvc.statuses import RunStatus, State

LARGEST = 2**31 - 1  # what a column of whole numbers holds

DEPLOY = "deploy"
KIND_WORDS = {
    DEPLOY: "Deploy: builds an environment",
    JobType.CI.value: "Pull-request check: builds what a pull request changes",
    JobType.MERGE.value: "Merge: builds what was just merged",
    JobType.ADAPTIVE.value: "Adaptive",
}
NONE, ITSELF, A_JOB, AN_ENVIRONMENT = "none", "self", "job", "environment"
DEFERRALS = [
    (NONE, "Nothing"),
    (ITSELF, "Its own last success"),
    (A_JOB, "Another job"),
    (AN_ENVIRONMENT, "An environment"),
]
ENDINGS = [
    (RunStatus.SUCCESS.value, "Success"),
    (RunStatus.ERROR.value, "Error"),
    (RunStatus.CANCELLED.value, "Cancelled"),
]
YES_NO = [("", "As its kind of job does"), ("true", "Yes"), ("false", "No")]

# What the form calls what the API calls otherwise.
API_NAMES = {
    "kind": "job_type",
    "environment": "environment_id",
    "deferring_job": "deferring_job_definition_id",
    "deferring_environment": "deferring_environment_id",
    "defers_to": "deferring_job_definition_id",
    "timeout_seconds": "execution.timeout_seconds",
    "threads": "settings.threads",
    "target_name": "settings.target_name",
    "triggers_schedule": "triggers.schedule",
    "triggers_github_webhook": "triggers.github_webhook",
    "triggers_git_provider_webhook": "triggers.git_provider_webhook",
    "triggers_custom_branch_only": "triggers.custom_branch_only",
    "triggers_on_merge": "triggers.on_merge",
    "schedule_kind": "schedule.date.type",
    "hours": "schedule.time.hours",
    "interval": "schedule.time.interval",
    "minute": "schedule.time.minutes",
    "days": "schedule.date.days",
    "cron": "schedule.cron",
    "timezone": "schedule.timezone",
}
# Where in ``extensions`` a field of the form is kept.
EXTENDED = {
    "active_from": "schedule.active_from",
    "active_until": "schedule.active_until",
    "misfire": "schedule.misfire",
    "on_overlap": "queue.on_overlap",
    "concurrency_key": "queue.concurrency_key",
    "priority": "queue.priority",
    "mode": "upstream.mode",
    "favor_state": "deferral.favor_state",
    "when_no_state": "deferral.when_no_state",
    "max_retries": "retry.max_retries",
    "delay_seconds": "retry.delay_seconds",
    "backoff": "retry.backoff",
    "freshness": "freshness.on_error",
    "deactivate_after": "deactivate_after",
    "actions": "ci.actions",
    "paths": "ci.paths",
    "paths_ignore": "ci.paths_ignore",
    "head_branches": "ci.head_branches",
    "labels_any": "ci.labels_any",
    "labels_none": "ci.labels_none",
    "forks": "ci.forks",
    "schema_guard": "ci.schema_guard",
    "comment": "ci.comment",
    "merge_on": "merge.on",
    "keep_rows": "compare.keep_rows",
    "tags": "tags",
    "owners": "owners",
}


def api_name_of(name: str) -> str:
    """What the API calls a field of the form."""
    return f"extensions.{EXTENDED[name]}" if name in EXTENDED else API_NAMES.get(name, name)


# Fields that are columns of the same name.
COLUMNS = (
    "name",
    "description",
    "generate_docs",
    "run_generate_sources",
    "run_lint",
    "errors_on_lint_failure",
    "run_compare_changes",
    "compare_changes_flags",
    "threads",
    "target_name",
    "timeout_seconds",
    "triggers_schedule",
    "triggers_github_webhook",
    "triggers_git_provider_webhook",
    "triggers_custom_branch_only",
    "triggers_on_draft_pr",
    "triggers_on_merge",
)
MOMENTS = ("active_from", "active_until")
DEFAULTS = Extensions()


# --- Fields ------------------------------------------------------------------------------


class ListField(forms.CharField):
    """Several texts, one a line; commas part them, too, where ``commas`` says so."""

    def __init__(self, *, commas: bool = False, **options: Any) -> None:
        self.separator = re.compile(r"[\n,]" if commas else r"\n")
        rows = 2 if commas else 3
        widget = forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})
        super().__init__(required=False, max_length=10_000, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        return value if isinstance(value, str) or value is None else "\n".join(value)

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override] # a list of CharField's own
        words = (word.strip() for word in self.separator.split(super().to_python(value) or ""))
        return [word for word in words if word]

    def validate(self, value: Any) -> None:
        """Each word is judged with the rest of ``extensions``."""

    def run_validators(self, value: Any) -> None:
        super().run_validators("\n".join(value))

    def has_changed(self, initial: Any, data: Any) -> bool:
        return list(initial or ()) != self.to_python(data)


class LocalMomentField(forms.DateTimeField):
    """A moment of the job's own zone, or none; ``JobForm.clean`` says which that is in full."""

    FORMAT = "%Y-%m-%dT%H:%M"

    def __init__(self, **options: Any) -> None:
        widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format=self.FORMAT)
        super().__init__(
            required=False,
            widget=widget,
            input_formats=[self.FORMAT, "%Y-%m-%dT%H:%M:%S"],
            help_text="In the schedule's time zone. Empty: no such limit.",
            **options,
        )

    def to_python(self, value: Any) -> datetime | None:
        # Without a zone: DateTimeField would take it for one of the service's own.
        with override(UTC):
            moment = super().to_python(value)
        return moment.replace(tzinfo=None) if moment else None


def _checked(check: Callable[[str], None]) -> Callable[[str], None]:
    """A validator out of a check that raises ValueError."""

    def validate(value: str) -> None:
        try:
            check(value)
        except ValueError as refused:
            raise ValidationError(str(refused)) from refused

    return validate


def _choices(words: Mapping[str, str], empty: str = "") -> list[tuple[str, str]]:
    return [*([("", empty)] if empty else []), *words.items()]


def _number(lowest: int, highest: int, **options: Any) -> forms.IntegerField:
    return forms.IntegerField(min_value=lowest, max_value=highest, **options)


def _tick(label: str, **options: Any) -> forms.BooleanField:
    return forms.BooleanField(required=False, label=label, **options)


def number_choice(**options: Any) -> forms.TypedChoiceField:
    """One of some rows, by its id; None where none is chosen."""
    return forms.TypedChoiceField(coerce=int, empty_value=None, required=False, **options)


# --- The form ----------------------------------------------------------------------------


class JobForm(ScheduleForm):
    """All settings of one job.

    Args:
        job: what is edited: as it is saved now, or new with its account and project.
        like: what the form is filled with where nothing was sent; ``job`` itself if None.
    """

    step_policies, step_backoffs = STEP_POLICIES, BACKOFFS
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    name = forms.CharField(max_length=255, strip=False, label="Name")
    description = forms.CharField(max_length=255, required=False, strip=False, label="Description")
    environment = number_choice(label="Environment")
    kind = forms.ChoiceField(label="Kind of job", widget=forms.RadioSelect)
    tags = ListField(
        commas=True, label="Tags", help_text="Your own words, by which people ask to be told."
    )

    generate_docs = _tick("Generate documentation after the commands")
    run_generate_sources = _tick("Check the freshness of sources first")
    freshness = forms.ChoiceField(
        label="Where a source is stale",
        choices=_choices(
            {
                FreshnessPolicy.CONTINUE.value: "Go on",
                FreshnessPolicy.SKIP_RUN.value: "Skip the run",
                FreshnessPolicy.FAIL.value: "Fail the run",
            }
        ),
    )
    run_lint = _tick("Lint the SQL first")
    errors_on_lint_failure = _tick("A finding of the linter fails the run")
    run_compare_changes = _tick("Compare what was changed with what it defers to")
    compare_changes_flags = forms.CharField(
        max_length=1000, required=False, label="What is compared", help_text="Selection flags."
    )
    keep_rows = _tick("Keep values of some rows that differ")

    misfire = forms.ChoiceField(
        label="Times missed while the service was down",
        choices=_choices(
            {
                Misfire.LATEST.value: "Make up for the newest",
                Misfire.SKIP.value: "Leave out",
                Misfire.ALL.value: "Make up for all",
            }
        ),
    )

    active_from = LocalMomentField(label="Not before")
    active_until = LocalMomentField(label="Not after")

    triggers_github_webhook = _tick("Run on pull requests")
    triggers_git_provider_webhook = _tick("Run on pull requests, by the API's other switch")
    actions = forms.MultipleChoiceField(
        label="When a pull request is",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        choices=_choices(
            {
                PullRequestAction.OPENED.value: "Opened",
                PullRequestAction.SYNCHRONIZE.value: "Pushed to",
                PullRequestAction.REOPENED.value: "Reopened",
                PullRequestAction.READY_FOR_REVIEW.value: "Ready for review",
                PullRequestAction.EDITED.value: "Given another base",
                PullRequestAction.LABELED.value: "Labelled",
            }
        ),
    )
    triggers_on_draft_pr = _tick("Drafts, too")
    triggers_custom_branch_only = _tick("Only against the environment's own branch")
    paths = ListField(
        label="Only if one of these files changed",
        help_text="Globs from the repository's root, one a line. None: the project's folder.",
    )
    paths_ignore = ListField(label="These files do not count", help_text="Globs, one a line.")
    head_branches = ListField(
        label="Only from these branches", help_text="Globs, one a line. None: all."
    )
    labels_any = ListField(commas=True, label="Only with one of these labels")
    labels_none = ListField(commas=True, label="Never with one of these labels")
    forks = forms.ChoiceField(
        label="Pull requests from forks",
        help_text="A stranger's code, with your credentials.",
        choices=_choices(
            {Forks.NEVER.value: "Never", Forks.WITH_APPROVAL.value: "After somebody approves"}
        ),
    )
    schema_guard = forms.ChoiceField(
        label="A run that would build outside the pull request's schema",
        choices=_choices({SchemaGuard.STOP.value: "Is stopped", SchemaGuard.OFF.value: "Goes on"}),
    )
    comment = _tick("Tell the results in a comment of the pull request")

    triggers_on_merge = _tick("Run after a merge")
    merge_on = forms.ChoiceField(
        label="What counts as one",
        choices=_choices(
            {
                MergeOn.PUSH.value: "Every push to the branch",
                MergeOn.MERGED_PR.value: "Only a merged pull request",
            }
        ),
    )
    mode = forms.ChoiceField(
        label="It starts",
        choices=_choices(
            {
                Mode.ANY.value: "After any one of them",
                Mode.ALL.value: "When all of them have ended so",
            }
        ),
    )

    threads = _number(1, LARGEST, label="Threads")
    target_name = forms.CharField(
        max_length=255, strip=False, label="Target name", validators=[_checked(check_target)]
    )
    dbt_version = forms.ChoiceField(required=False, label="dbt version")
    timeout_seconds = _number(
        0, LARGEST, required=False, label="Time limit", help_text="Seconds; 0 is no limit."
    )
    defers_to = forms.ChoiceField(
        choices=DEFERRALS, widget=forms.RadioSelect, label="Defers and compares to"
    )
    deferring_job = number_choice(label="The job")
    deferring_environment = number_choice(label="The environment")
    when_no_state = forms.ChoiceField(
        required=False,
        label="While that has no successful run",
        choices=_choices(
            {
                WhenNoState.FAIL.value: "Fail",
                WhenNoState.BUILD_ALL.value: "Build all",
                WhenNoState.SKIP.value: "Skip the run",
            },
            empty="As its kind of job does",
        ),
    )
    favor_state = forms.ChoiceField(
        required=False, label="Prefer what it defers to over what is built", choices=YES_NO
    )
    on_overlap = forms.ChoiceField(
        required=False,
        label="Where a run of it is not over yet",
        choices=_choices(
            {
                OnOverlap.QUEUE.value: "Wait",
                OnOverlap.SKIP.value: "Skip the new run",
                OnOverlap.CANCEL_QUEUED.value: "Take the place of one that waits",
                OnOverlap.CANCEL_RUNNING.value: "Cancel the one that runs",
            },
            empty="Wait; a scheduled run takes the place of one that waits",
        ),
    )
    priority = _number(
        -HIGHEST_PRIORITY,
        HIGHEST_PRIORITY,
        required=False,
        label="Priority",
        help_text="Of runs that wait, a higher one has its turn first. 0 is usual.",
    )
    concurrency_key = forms.CharField(
        required=False,
        max_length=255,
        label="Never beside jobs with the same word",
        help_text="Jobs that share a word run one after the other.",
    )
    max_retries = _number(0, MOST_RETRIES, label="Retries of a failed run")
    delay_seconds = _number(
        0, extensions.LONGEST_DELAY, label="Wait before each", help_text="Seconds."
    )
    backoff = forms.ChoiceField(
        label="That wait",
        choices=_choices(
            {
                Backoff.NONE.value: "Stays the same",
                Backoff.LINEAR.value: "Grows steadily",
                Backoff.EXPONENTIAL.value: "Doubles",
            }
        ),
    )
    deactivate_after = _number(
        1, 10_000, label="Switched off after", help_text="Runs that fail in a row."
    )

    owners = ListField(
        commas=True,
        label="Owners",
        help_text="E-mail addresses of who is told when it fails and when it works again.",
    )

    def __init__(
        self,
        data: Any = None,
        *,
        job: Job,
        environments: Sequence[Environment],
        writable: Collection[int],
        jobs: Sequence[Job],
        like: Job | None = None,
    ) -> None:
        self.job, source = job, like or job
        self.by_environment = {one.pk: one for one in environments}
        self.by_job = {one.pk: one for one in jobs}
        super().__init__(data, initial=_initial(job, source))
        self.lines = lines_of(source) if data is None else lines_in(data)
        self.fields["kind"].choices = _kinds(job)  # type: ignore[attr-defined] # a ChoiceField has them
        self.fields["environment"].required = True
        here = [one for one in environments if one.pk in writable]
        self._offer("environment", _places(here, job.project_id), "Choose one")
        self._offer("deferring_environment", _places(environments), "Choose one")
        others = [one for one in jobs if one.pk != job.pk]
        self._offer("deferring_job", _deferrable(others, source), "Choose one")
        self._offer("dbt_version", _versions(source), "")
        self.after = _rows(AfterForm, "after", data, _after_of(source), choices=_jobs(others, job))

    def _offer(self, name: str, choices: Iterable[tuple[Any, str]], empty: str) -> None:
        offered = [("", empty), *choices] if empty else list(choices)
        self.fields[name].choices = offered  # type: ignore[attr-defined] # a ChoiceField has them

    # --- Reading -------------------------------------------------------------------------

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if not name.strip():
            raise ValidationError("Give the job a name.")
        return name

    def clean_compare_changes_flags(self) -> str:
        return self.cleaned_data["compare_changes_flags"] or DEFAULT_COMPARE_FLAGS

    def clean_dbt_version(self) -> str | None:
        version: str = self.cleaned_data["dbt_version"]
        if version and version != self.job.dbt_version:
            _checked(toolchains.check)(version)
        return version or None

    def clean_favor_state(self) -> bool | None:
        return {"true": True, "false": False}.get(self.cleaned_data["favor_state"])

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        values["timeout_seconds"] = values.get("timeout_seconds") or 0
        if "priority" in values:
            values["priority"] = values["priority"] or 0
        self._check_steps()
        chosen = {A_JOB: "deferring_job", AN_ENVIRONMENT: "deferring_environment"}
        name = chosen.get(values.get("defers_to", ""))
        if name and not values.get(name):
            self.add_error(name, "Choose what the job defers to.")
        for name in MOMENTS:
            moment = values.get(name)
            if isinstance(moment, datetime):
                values[name] = moment.replace(tzinfo=ZoneInfo(self.zone)).isoformat()
        builds_pulls = values.get("triggers_github_webhook") or values.get(
            "triggers_git_provider_webhook"
        )
        if builds_pulls and not values.get("actions"):
            self.add_error("actions", "Choose one or more.")
        return values

    def _check_steps(self) -> None:
        number = 0
        for line in self.lines:
            if line.command.strip():
                number += not line.is_off
                line.problem = check_line(line, number)

    def is_valid(self) -> bool:
        rows_too = self.after.is_valid()
        return super().is_valid() and rows_too and not any(line.problem for line in self.lines)

    @property
    def said(self) -> list[StepLine]:
        """The lines that say something."""
        return [line for line in self.lines if line.command.strip()]

    @property
    def steps(self) -> list[StepLine]:
        """The lines that are run."""
        return [line for line in self.said if not line.is_off]

    @property
    def defers_to_itself(self) -> bool:
        return bool(self.cleaned_data.get("defers_to") == ITSELF)

    @property
    def differences(self) -> list[tuple[str, str, str]]:
        """What differs from the job as it is: the words for it, as it is, as it was sent."""
        there, here = lines_of(self.job), self.said
        found = [
            (str(self[name].label), _in_words(self[name].initial), _in_words(self[name].data))
            for name in self.changed_data
            if name != "seen"
        ]
        before, after = ([in_words(line) for line in lines] for lines in (there, here))
        if before != after:
            found.append(("Commands", "; ".join(before), "; ".join(after)))
        if self.after.has_changed():
            found.append(("After other jobs", "as they were saved", "as they are below"))
        return found

    @property
    def as_read_at(self) -> Any:
        """The ``updated_at`` of the job that was shown; None where that cannot be told."""
        try:
            return parse_datetime(self.data.get("seen", ""))
        except ValueError:
            return None

    # --- Writing -------------------------------------------------------------------------

    def draft(self) -> Job:
        """A job as the form has it, as far as that can be read; it is not to be saved."""
        job = deepcopy(self.job)
        job.deferring_job = job.deferring_environment = None
        self.put_on(job)
        return job

    def put_on(self, job: Job) -> Job:
        """Write what was read without error on ``job``."""
        values = self.cleaned_data
        for name in COLUMNS:
            if name in values:
                setattr(job, name, values[name])
        job.execute_steps = [line.command for line in self.steps]
        if values.get("environment"):
            job.environment = self.by_environment[values["environment"]]
        if "dbt_version" in values:
            job.dbt_version = job.raw_dbt_version = values["dbt_version"]
        if self.chosen and (self.chosen, self.zone) != (job.cron, job.timezone):
            job.schedule, job.cron, job.timezone = self.shown, self.chosen, self.zone
        self._put_kind(job)
        self._put_deferral(job)
        self._put_extensions(job)
        return job

    def completion(self) -> Completion | None:
        """dbt's own condition: the first job that is followed, where that is where it was kept."""
        row = next(iter(self._followed()), None)
        if row is None or self._keeps_all_in_extensions:
            return None
        return Completion(self.by_job[row["job"]], row["statuses"])

    def _put_kind(self, job: Job) -> None:
        kind = self.cleaned_data.get("kind", DEPLOY)
        if kind != DEPLOY:
            job.job_type = kind
        elif job.pk is None or job.job_type not in {JobType.SCHEDULED, JobType.OTHER}:
            job.job_type = JobType.SCHEDULED if job.triggers_schedule else JobType.OTHER

    def _put_deferral(self, job: Job) -> None:
        values = self.cleaned_data
        wanted, job.deferring_job, job.deferring_environment = values.get("defers_to"), None, None
        if wanted == ITSELF and job.pk is not None:
            job.deferring_job = job
        elif wanted == A_JOB and values.get("deferring_job"):
            job.deferring_job = self.by_job[values["deferring_job"]]
        elif wanted == AN_ENVIRONMENT and values.get("deferring_environment"):
            job.deferring_environment = self.by_environment[values["deferring_environment"]]

    def _put_extensions(self, job: Job) -> None:
        before = job.extensions
        after = deepcopy(before)
        for name, path in EXTENDED.items():
            # A moment that was not touched keeps its seconds and its offset.
            if name in self.cleaned_data and (name not in MOMENTS or name in self.changed_data):
                _put(after, path, self.cleaned_data[name])
        put_steps(self.said, before, after)
        kept_elsewhere = 0 if self._keeps_all_in_extensions else 1
        upstream = [
            {"job_id": row["job"], "statuses": row["statuses"]}
            for row in self._followed()[kept_elsewhere:]
        ]
        if upstream or "jobs" in after.get("upstream", {}):
            after.setdefault("upstream", {})["jobs"] = upstream
        job.extensions = after

    def _followed(self) -> list[dict[str, Any]]:
        rows = (getattr(row, "cleaned_data", {}) for row in self.after.forms)
        return [row for row in rows if row.get("job") in self.by_job and row.get("statuses")]

    @property
    def _keeps_all_in_extensions(self) -> bool:
        job = self.job
        return job.pk is not None and (
            job.completion_trigger is None and bool(job.extended.upstream.jobs)
        )

    # --- Refusals ------------------------------------------------------------------------

    def refuse(self, refused: ValidationError) -> None:
        """Say at its field what the verb did not take."""
        if not hasattr(refused, "error_dict"):
            self.add_error(None, refused)
            return
        named = {api: name for name, api in API_NAMES.items()}
        named |= {"schedule": "cron", "deferring_job_definition_id": "deferring_job"}
        for field, errors in refused.error_dict.items():
            for sentence in (sentence for error in errors for sentence in error.messages):
                name = named.get(field, field)
                if field == "extensions":
                    name = _extended_in(sentence)
                self.add_error(name if name in self.fields else None, sentence)

    @property
    def problems(self) -> list[tuple[str, str, str]]:
        """Everything that is wrong: the id of where, its label, the sentence."""
        found = [
            ("step-" + str(place), f"Step {place}", line.problem)
            for place, line in enumerate(self.lines, start=1)
            if line.problem
        ]
        for name, errors in self.errors.items():
            bound = None if name == NON_FIELD_ERRORS else self[name]
            where = (bound.auto_id or "", str(bound.label)) if bound else ("", "")
            found += [(*where, str(sentence)) for sentence in errors]
        for row in self.after.forms:
            for name, errors in row.errors.items():
                found += [(row[name].auto_id or "", "After a job", str(one)) for one in errors]
        return found


class AfterForm(forms.Form):
    """Another job whose end starts this one; a row without a job is none."""

    job = number_choice(label="Job")
    statuses = forms.TypedMultipleChoiceField(
        choices=ENDINGS,
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label="Ends in",
        initial=[RunStatus.SUCCESS.value],
    )

    def __init__(self, *args: Any, choices: Sequence[tuple[Any, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["job"].choices = [("", "No job"), *choices]  # type: ignore[attr-defined] # a ChoiceField has them

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("job") and not values.get("statuses"):
            self.add_error("statuses", "Choose one ending or more.")
        return values


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "—"
    return "—" if value in {None, ""} else str(value)


# --- What the form is filled with --------------------------------------------------------


def _initial(job: Job, source: Job) -> dict[str, Any]:
    extended = source.extended
    shown: dict[str, Any] = {name: getattr(source, name) for name in COLUMNS}
    shown |= initial_schedule(source)
    shown |= {name: _plain(_at(extended, path)) for name, path in EXTENDED.items()}
    for name in MOMENTS:
        if shown[name]:
            local = shown[name].astimezone(_zone(source))
            shown[name] = local.replace(second=0, microsecond=0, tzinfo=None)  # as it is shown
    deferral = NONE
    if source.deferring_environment_id is not None:
        deferral = AN_ENVIRONMENT
    elif source.deferring_job_id is not None:
        deferral = ITSELF if source.deferring_job_id == source.pk else A_JOB
    favor = extended.deferral.favor_state
    return shown | {
        "seen": job.updated_at.isoformat() if job.pk else "",
        "environment": source.environment_id,
        "kind": source.job_type if source.job_type in KIND_WORDS else DEPLOY,
        "dbt_version": source.dbt_version or "",
        "defers_to": deferral,
        "deferring_job": source.deferring_job_id if deferral == A_JOB else None,
        "deferring_environment": source.deferring_environment_id,
        "favor_state": "" if favor is None else str(favor).lower(),
    }


def _zone(job: Job) -> ZoneInfo:
    try:
        return ZoneInfo(job.timezone)
    except (ValueError, ZoneInfoNotFoundError):  # one that this machine does not know any more
        return ZoneInfo("UTC")


def _after_of(job: Job) -> list[dict[str, Any]]:
    if job.pk is None:
        return []
    triggers = sorted(job.completion_triggers.all(), key=lambda one: (not one.is_dbt_field, one.pk))
    return [{"job": one.upstream_id, "statuses": one.statuses} for one in triggers]


def _rows(
    form: type[forms.Form], prefix: str, data: Any, initial: list[dict[str, Any]], **options: Any
) -> Any:
    made = forms.formset_factory(form, extra=1, max_num=50, absolute_max=60)
    return made(data, prefix=prefix, initial=initial, form_kwargs=options)


def _kinds(job: Job) -> list[tuple[str, str]]:
    if job.pk is None:
        kinds: list[str] = [DEPLOY, JobType.CI, JobType.MERGE]
    elif job.job_type in {JobType.CI, JobType.ADAPTIVE}:
        kinds = [job.job_type]
    else:
        kinds = [DEPLOY, JobType.MERGE]
    return [(kind, KIND_WORDS[kind]) for kind in kinds]


def _places(
    environments: Iterable[Environment], project_id: int | None = None
) -> list[tuple[int, str]]:
    """Deployment environments: of one project by their names, of all with their projects'."""
    return [
        (one.pk, one.name if project_id else f"{one.name} ({one.project.name})")
        for one in environments
        if one.type == EnvironmentType.DEPLOYMENT and project_id in {None, one.project_id}
    ]


def _jobs(jobs: Iterable[Job], job: Job) -> list[tuple[int, str]]:
    """Jobs to follow: those that are there, and those that it follows although they are gone."""
    followed = {row["job"] for row in _after_of(job)}
    return [
        (one.pk, label(one, job)) for one in jobs if one.state == State.ACTIVE or one.pk in followed
    ]


def _deferrable(jobs: Iterable[Job], job: Job) -> list[tuple[int, str]]:
    return [
        (one.pk, label(one, job))
        for one in jobs
        if one.state == State.ACTIVE or one.pk == job.deferring_job_id
    ]


def label(one: Job, job: Job) -> str:
    """The name of a job, beside ``job``: with its project where that is another."""
    name = one.name if one.project_id == job.project_id else f"{one.name} ({one.project.name})"
    return name if one.state == State.ACTIVE else f"{name} (deleted)"


def _versions(source: Job) -> list[tuple[str, str]]:
    """What may be chosen, with what the job has, which may be no longer on offer."""
    offered = toolchains.choices()
    had = [one for one in (source.dbt_version,) if one and one not in offered]
    return [("", "As its environment says"), *((one, one) for one in [*had, *offered])]


# --- Extensions --------------------------------------------------------------------------


def _at(extended: Extensions, path: str) -> Any:
    return reduce(getattr, path.split("."), extended)


def _plain(value: Any) -> Any:
    return [str(one) for one in value] if isinstance(value, tuple) else value


def _put(whole: dict[str, Any], path: str, value: Any) -> None:
    """Keep ``value`` at ``path``, if it says something that is not said already by its absence."""
    *outer, last = path.split(".")
    place = whole
    for key in outer:
        place = place.get(key) or {}
    wanted = None if value == "" and _at(DEFAULTS, path) is None else value
    if wanted == _plain(_at(DEFAULTS, path)) and last not in place:
        return
    place = whole
    for key in outer:
        place[key] = place.get(key) or {}
        place = place[key]
    if wanted is None:
        place.pop(last, None)
    else:
        place[last] = wanted


def _extended_in(sentence: str) -> str:
    """The field that a refusal of ``extensions`` is about, by the path it begins with."""
    for name, path in EXTENDED.items():
        if re.match(rf"(?:extensions\.)?{re.escape(path)}\b", sentence):
            return name
    return ""

"""The job editor: a new job, one that is there, and what is said of either while one types."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from zoneinfo import available_timezones

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.html import strip_tags
from django.utils.timezone import now
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Membership
from accounts.roles import Action
from environments.models import DeploymentType, Environment, EnvironmentType, Project
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.asked import number
from jobsvc.console.forms.job import JobForm
from jobsvc.console.forms.job_extras import TellForm, variable_rows
from jobsvc.console.forms.launch import put_on
from jobsvc.console.forms.schedule import ScheduleForm, initial_schedule, shifted
from jobsvc.console.job_chain import chain_of
from jobsvc.console.pictures.chain import chain_picture
from jobsvc.console.schedule_preview import Preview, preview
from jobsvc.console.templatetags.console import when
from jobsvc.jobs.advice import Finding
from jobsvc.jobs.define import ChangedMeanwhile, define_job
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.advice import advice_on, usual_seconds
from jobsvc.runs.trigger import Trigger, trigger_run
from jobsvc.statuses import CauseCategory, State

EDITS = {"add", "remove", "up", "down", "duplicate", "look"}  # buttons that save nothing


@dataclass
class Editor:
    """The forms of one job's page, and what is edited."""

    job: Job
    form: JobForm
    variables: Any
    tell: TellForm

    def is_valid(self) -> bool:
        parts = [self.form.is_valid(), self.variables.is_valid(), self.tell.is_valid()]
        return all(parts)

    @property
    def problems(self) -> list[tuple[str, str, str]]:
        found = self.form.problems
        for row in self.variables.forms:
            for name, errors in row.errors.items():
                where = (row[name].auto_id, f"Variable {row.known or row['name'].value()}")
                found += [(*where, str(sentence)) for sentence in errors]
        return found


# --- Pages -------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def new(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """Make a job: from nothing, from a ``?template=``, or like another (``?like=``)."""
    job, like = _new_job(request, membership, project_id)
    return _edit(request, membership, job, like)


@require_http_methods(["GET", "HEAD", "POST"])
@member_of_account(may=Action.WRITE_JOBS)
def settings(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int
) -> HttpResponse:
    """Change a job; ``?shift=`` is filled in with a schedule so many hours later.

    Who saves second sees what the first changed, and chooses.
    """
    return _edit(request, membership, _job(membership, project_id, job_id))


@require_POST
@member_of_account(may=Action.WRITE_JOBS)
def check(
    request: HttpRequest, membership: Membership, project_id: int, job_id: int | None = None
) -> HttpResponse:
    """What there is to say about the job as it stands in the form; for htmx."""
    if job_id is None:
        job, like = _new_job(request, membership, project_id)
    else:
        job, like = _job(membership, project_id, job_id), None
    form = _editor(membership, job, like, request.POST).form
    form.is_valid()
    return page(request, membership, "console/_job_advice.html", _advice(form))


@require_safe
@member_of_account(may=Action.WRITE_JOBS)
def schedule_preview(request: HttpRequest, membership: Membership, project_id: int) -> HttpResponse:
    """When a schedule would start a job; for htmx, while it is being typed."""
    job_id = number(request, "job")
    job = _job(membership, project_id, job_id) if job_id is not None else None
    form = ScheduleForm(request.GET)
    context = {"schedule": form, "preview": _preview(form, job)}
    return page(request, membership, "console/_schedule_preview.html", context)


# --- How ---------------------------------------------------------------------------------


def _edit(
    request: HttpRequest, membership: Membership, job: Job, like: Job | None = None
) -> HttpResponse:
    sent = request.POST if request.method == "POST" else None
    editor = _editor(membership, job, like, sent)
    if sent is None and job.pk is not None:
        _shift(request, editor)
    if sent is None or _only_edits(request) or not editor.is_valid():
        return _shown(request, membership, editor, like)
    if job.pk is not None and editor.form.as_read_at != job.updated_at and editor.form.differences:
        return _shown_conflict(request, membership, job)
    try:
        saved = _save(editor)
    except ChangedMeanwhile:
        return _shown_conflict(request, membership, _job(membership, job.project_id, job.pk))
    except ValidationError as refused:
        if not any(row.errors for row in editor.variables.forms):
            editor.form.refuse(refused)
        return _shown(request, membership, editor, like)
    return _after_saving(request, membership, saved)


def _shift(request: HttpRequest, editor: Editor) -> None:
    """Fill in the schedule an hour earlier or later, where ``?shift=`` asks for that."""
    by = {"1": 1, "-1": -1}.get(request.GET.get("shift", ""))
    later = None if by is None else shifted(initial_schedule(editor.job), by)
    if by is not None and later is not None:
        editor.form.initial.update(later)
        words = "later" if by > 0 else "earlier"
        messages.info(request, f"The schedule below is an hour {words}. Save the job to keep it.")


def _only_edits(request: HttpRequest) -> bool:
    """Whether a button of the form was pressed that saves nothing: the way without scripts."""
    return request.POST.get("edit", "").partition(":")[0] in EDITS


def _save(editor: Editor) -> Job:
    """Save the job with its variables and who is told of it: all or nothing.

    Raises:
        ValidationError, ChangedMeanwhile
    """
    form = editor.form
    with transaction.atomic():
        job = form.put_on(deepcopy(editor.job))
        define_job(job, completion=form.completion(), as_read_at=editor.job.updated_at)
        if form.defers_to_itself and job.deferring_job_id is None:
            job.deferring_job = job  # which had no number before
            define_job(job, completion=form.completion())
        for row in editor.variables.forms:
            row.save_for(job)
        editor.tell.save_for(job)
    return job


def _after_saving(request: HttpRequest, membership: Membership, job: Job) -> HttpResponse:
    soon = f" It starts next {strip_tags(when(job.starts_next_at))}." if job.starts_next_at else ""
    messages.success(request, f"{job.name} is saved.{soon}")
    if request.POST.get("then") != "run":
        return redirect("console:job", membership.account_id, job.project_id, job.pk)
    user = membership.user
    cause = Trigger(
        cause=f"Started by {user.full_name}", cause_category=CauseCategory.UI, user=user
    )
    try:
        run = trigger_run(job, cause)
    except ValidationError as refused:
        for sentence in refused.messages:
            messages.error(request, sentence)
        return redirect("console:job", membership.account_id, job.project_id, job.pk)
    return redirect("console:run", membership.account_id, job.project_id, run.pk)


def _editor(membership: Membership, job: Job, like: Job | None = None, data: Any = None) -> Editor:
    account = membership.account_id
    places = Environment.objects.of_account(account)
    places = places.filter(state=State.ACTIVE, project__state=State.ACTIVE)
    environments = list(
        seen(membership, places).select_related("project").order_by("project__name", "name", "pk")
    )
    # Jobs may defer to all of them, and be written in some.
    writable = {one.pk for one in environments if membership.may(Action.WRITE_JOBS, one)}
    source = like or job
    after = source.completion_triggers.all() if source.pk else ()
    followed = [one.upstream_id for one in after]
    named = Q(pk__in=followed) | Q(pk=source.deferring_job_id)
    jobs = list(
        seen(membership, Job.objects.of_account(account).filter(Q(state=State.ACTIVE) | named))
        .select_related("project")
        .order_by("name", "pk")
    )
    return Editor(
        job=job,
        form=JobForm(
            data, job=job, environments=environments, writable=writable, jobs=jobs, like=like
        ),
        variables=variable_rows(job, data, like=like),
        tell=TellForm(data, user=membership.user, job=job),
    )


def _shown(
    request: HttpRequest,
    membership: Membership,
    editor: Editor,
    like: Job | None = None,
    *,
    changed: bool = False,
) -> HttpResponse:
    form = editor.form
    if like is not None:
        form.initial["name"] = f"{like.name} (copy)"
    looking = form.is_bound and _only_edits(request)
    schedule = ScheduleForm(form.data if form.is_bound else form.initial)
    chain = chain_of(editor.job, membership) if editor.job.pk else None
    context = {
        "project": editor.job.project,
        "job": editor.job,
        "like": like,
        "form": form,
        "variables": editor.variables,
        "tell": editor.tell,
        "zones": sorted(available_timezones()),
        "problems": editor.problems if form.is_bound and not looking else [],
        "differences": form.differences if changed else [],
        "schedule": schedule,
        "preview": _preview(schedule, editor.job),
        "chain": chain,
        "chain_picture": chain_picture(chain, editor.job.pk) if chain else None,
    }
    if looking:
        form.is_valid()
        context |= _advice(form)
    return page(request, membership, "console/job_editor.html", context)


def _shown_conflict(request: HttpRequest, membership: Membership, job: Job) -> HttpResponse:
    """The form again, as it was sent, with what differs; saving it once more overrules."""
    data = request.POST.copy()
    data["seen"] = job.updated_at.isoformat()
    editor = _editor(membership, job, None, data)
    editor.is_valid()
    return _shown(request, membership, editor, changed=True)


def _preview(form: ScheduleForm, job: Job | None) -> Preview | None:
    """None where the job runs by no schedule, or by one that cannot be read."""
    if not form.is_valid() or not form.chosen:
        return None
    usual = usual_seconds(job) if job and job.pk else None
    return preview(form.chosen, form.zone, moment=now(), usual_seconds=usual)


def _advice(form: JobForm) -> dict[str, Any]:
    """What is wrong with each line and what is unwise about it, and about the job as a whole."""
    draft = form.draft()
    try:
        findings = advice_on(draft) if draft.environment_id else []
    except ValidationError:  # extensions that cannot be read: saving says so, at the field
        findings = []
    numbers = {id(line): number for number, line in enumerate(form.steps, start=1)}
    said: list[tuple[int, str, list[Finding]]] = []
    for place, line in enumerate(form.lines, start=1):
        about = [one for one in findings if one.step == numbers.get(id(line), -1)]
        said.append((place, line.problem, [one for one in about if one.code != "invalid_step"]))
    return {"said": said, "of_the_job": [one for one in findings if one.step is None]}


# --- What is edited ----------------------------------------------------------------------


def _job(membership: Membership, project_id: int, job_id: int) -> Job:
    return get_object_or_404(
        Job.objects.of_account(membership.account_id)
        .active()
        .select_related("environment", "project", "account")
        .prefetch_related("completion_triggers__upstream"),
        pk=job_id,
        project=project_id,
    )


def _new_job(
    request: HttpRequest, membership: Membership, project_id: int
) -> tuple[Job, Job | None]:
    """A job that is not saved, and the one that it is to be like."""
    project = get_object_or_404(
        Project, pk=project_id, account=membership.account_id, state=State.ACTIVE
    )
    like_id = number(request, "like")
    if like_id is not None:
        like = get_object_or_404(
            seen(membership, Job.objects.of_account(project.account_id))
            .filter(project=project)
            .select_related("environment", "project", "account")
            .prefetch_related("completion_triggers__upstream"),
            pk=like_id,
        )
        copy = _copy_of(like)
        put_on(like, request.GET.dict())  # what the launchpad had, which is not saved
        return copy, like
    job = Job(account=project.account, project=project)
    template = request.GET.get("template", "")
    if template and template not in TEMPLATES:
        raise Http404
    production = _production(membership, project)
    if production is not None:
        job.environment = production
    if template:
        TEMPLATES[template].fill(job, production)
    return job, None


def _copy_of(like: Job) -> Job:
    """What a copy keeps of a job beside what the form shows: its settings, not its life."""
    job = Job(account=like.account, project=like.project)
    for name in ("schedule", "cron", "timezone", "lifecycle_webhooks", "force_node_selection"):
        setattr(job, name, getattr(like, name))
    job.cost_optimization_features = list(like.cost_optimization_features)
    job.extensions = {key: part for key, part in like.extensions.items() if key != "pause"}
    return job


def _production(membership: Membership, project: Project) -> Environment | None:
    """Where a new job most likely belongs: production, else the only deployment there is."""
    places = seen(membership, project.environments.active(), Action.WRITE_JOBS)
    places = places.filter(type=EnvironmentType.DEPLOYMENT)
    deployments = list(places.order_by("pk"))
    marked = [one for one in deployments if one.deployment_type == DeploymentType.PRODUCTION]
    return next(iter(marked or (deployments if len(deployments) == 1 else [])), None)


@dataclass(frozen=True)
class Template:
    """A job to begin with."""

    name: str
    words: str
    fill: Callable[[Job, Environment | None], None]


def _nightly(job: Job, _production: Environment | None) -> None:
    job.name, job.execute_steps = "Nightly build", ["dbt build"]
    job.triggers_schedule, job.cron = True, "0 3 * * *"
    job.schedule = {
        "cron": job.cron,
        "date": {"type": "every_day"},
        "time": {"type": "at_exact_hours", "interval": 1, "hours": [3], "minutes": 0},
    }


def _pull_request(job: Job, production: Environment | None) -> None:
    job.name, job.job_type = "Pull-request check", JobType.CI
    job.execute_steps = ["dbt build --select state:modified+"]
    job.triggers_github_webhook = True
    job.timeout_seconds = 3600
    job.deferring_environment = production


def _documentation(job: Job, _production: Environment | None) -> None:
    _nightly(job, None)
    job.name, job.execute_steps, job.generate_docs = "Documentation", ["dbt compile"], True


TEMPLATES = {
    "nightly": Template("Nightly build", "Builds and tests everything, every night.", _nightly),
    "pull-request": Template(
        "Pull-request check",
        "Builds what a pull request changes, in a schema of its own, and says so there.",
        _pull_request,
    ),
    "documentation": Template(
        "Documentation", "Writes the project's documentation anew, every night.", _documentation
    ),
}

"""From nothing to a green run: the first owner, and then a list of what is still to do."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Account, Membership
from accounts.roles import Action
from accounts.setup import SetupIsClosed, is_open, make_first_owner, setup_key
from environments import adapters
from environments.models import Connection, Environment, EnvironmentType, Project
from environments.reach import try_connection
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.console.forms.refusals import tell
from jobsvc.console.forms.setup import FirstOwnerForm
from jobsvc.jobs.define import define_job
from jobsvc.jobs.models import Job
from jobsvc.jobs.sample import Sample, make_sample, sample
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus, State

logger = logging.getLogger(__name__)

BY_PASSWORD = "django.contrib.auth.backends.ModelBackend"  # noqa: S105 - a path, not a secret
BUILD = "dbt build"
FIRST_JOB = "Build"


# --- The first owner ---------------------------------------------------------------------


@sensitive_post_parameters("password", "key")
@require_http_methods(["GET", "HEAD", "POST"])
def first_owner(request: HttpRequest) -> HttpResponse:
    """Make the first account and its owner, and go on with the list; closed once there is one."""
    if not is_open():
        return redirect("console:start")
    with_key = not _is_at_this_machine(request)
    if with_key and request.method == "GET":
        logger.warning("Nobody has set this up yet. The setup key is %s", setup_key())
    form = FirstOwnerForm(
        request.POST or None, with_key=with_key, key=request.GET.get("key", "")[:200]
    )
    if request.method == "POST" and form.is_valid():
        typed = form.cleaned_data
        first_name, last_name = form.names()
        try:
            membership = make_first_owner(
                typed["account"],
                typed["email"],
                typed["password"],
                first_name=first_name,
                last_name=last_name,
            )
        except SetupIsClosed:
            messages.warning(request, "Somebody else was first: there is an owner now.")
            return redirect("console:start")
        except ValidationError as refused:
            tell(form, refused)
        else:
            login(request, membership.user, backend=BY_PASSWORD)
            return redirect("console:setup", membership.account_id)
    response = render(request, "console/first_owner.html", {"form": form, "with_key": with_key})
    response["Cache-Control"] = "no-store"
    return response


def _is_at_this_machine(request: HttpRequest) -> bool:
    """Whether only people at this very machine can be asking.

    A proxy would be asked from here, too: whatever was passed on by one does not count.
    """
    passed_on = {"HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_REAL_IP"}
    return (
        settings.EMBEDDED
        and _is_loopback(urlsplit(settings.SITE_URL).hostname or "")
        and _is_loopback(urlsplit(f"//{request.get_host()}").hostname or "")
        and _is_loopback(request.META.get("REMOTE_ADDR", ""))
        and not passed_on & request.META.keys()
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# --- The list ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """How far an account has come, read from what is there; nothing else is kept of it.

    Attributes:
        adapter: what the connection leads to, in words.
        dbt_version: what the last run used, else what the environment asks for.
        run: the job's newest.
    """

    project: Project | None
    connection: Connection | None
    adapter: str
    environment: Environment | None
    dbt_version: str
    job: Job | None
    run: Run | None
    succeeded: bool

    @property
    def done(self) -> int:
        """How many of the six steps are behind one; the owner always is."""
        has_code = self.project is not None and self.project.repository_id is not None
        return 1 + sum(
            map(bool, (has_code, self.connection, self.environment, self.job, self.succeeded))
        )

    @property
    def live(self) -> bool:
        return self.run is not None and self.run.finished_at is None


def progress_of(account: Account) -> Progress:
    """Of the account's first project that has come farthest: the one that has a job, if any."""
    projects = account.projects.active().select_related("repository", "connection")
    jobs = (
        Job.objects.of_account(account.pk)
        .active()
        .select_related("project__repository", "project__connection", "environment__connection")
    )
    job = jobs.order_by("pk").first()
    project = job.project if job else projects.order_by("pk").first()
    environment = job.environment if job else _environment_of(project)
    connection = (environment.effective_connection if environment else None) or (
        project.connection if project else None
    )
    connection = connection or account.connections.active().order_by("pk").first()
    run = Run.objects.filter(job=job).order_by("-pk").first() if job else None
    return Progress(
        project=project,
        connection=connection,
        adapter=adapters.ADAPTERS[connection.adapter].title if connection else "",
        environment=environment,
        dbt_version=(run.dbt_version if run else "")
        or (environment.effective_dbt_version if environment else ""),
        job=job,
        run=run,
        succeeded=Run.objects.of_account(account.pk).filter(status=RunStatus.SUCCESS).exists(),
    )


def _environment_of(project: Project | None) -> Environment | None:
    if project is None:
        return None
    places = project.environments.active().filter(type=EnvironmentType.DEPLOYMENT)
    return places.select_related("connection", "project__account").order_by("pk").first()


@require_safe
@member_of_account(may=Action.WRITE_SETTINGS)
def setup(request: HttpRequest, membership: Membership) -> HttpResponse:
    """What is done and what is next, from the project to a first run that succeeds."""
    progress = progress_of(membership.account)
    bundled = sample()
    context = {
        "progress": progress,
        "sample": bundled,
        "is_sample": _is_sample(progress.project, bundled),
        "may_account": membership.may(Action.WRITE_ACCOUNT),
    }
    template = "console/_setup.html" if is_fragment(request) else "console/setup.html"
    return page(request, membership, template, context)


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def setup_sample(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make all of the sample project at once: where its code is, a warehouse, a place, a job."""
    if sample() is None:
        messages.error(
            request,
            "The sample project is for an installation on one machine, which `manage.py up` "
            "starts. Give a Git address instead.",
        )
        return redirect("console:setup", membership.account_id)
    try:
        job = make_sample(membership.account)
    except ValidationError as refused:
        for sentence in refused.messages:
            messages.error(request, sentence)
    else:
        messages.success(request, f"The sample project is here, and its job {job}. Run it now.")
    return redirect("console:setup", membership.account_id)


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def setup_test(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Check the connection's settings, knock at its port, and come back to the list."""
    connection = progress_of(membership.account).connection
    if connection is None:
        messages.error(request, "There is no connection yet. Make one first.")
    else:
        reached = try_connection(connection.adapter, {**connection.config, **connection.secrets})
        say = messages.success if reached.success else messages.error
        say(request, reached.message)
    return redirect("console:setup", membership.account_id)


@require_POST
@member_of_account(may=Action.WRITE_SETTINGS)
def setup_job(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Make the first job, which builds everything when somebody asks for it."""
    account = membership.account
    project_id = request.POST.get("project", "")
    project = get_object_or_404(
        account.projects.active(),
        pk=project_id if project_id.isdecimal() and len(project_id) < 19 else 0,
    )
    environment = _environment_of(project)
    if not membership.may(Action.WRITE_JOBS) or environment is None:
        messages.error(request, "Make an environment first, with a role that may create jobs.")
        return redirect("console:setup", account.pk)
    job = project.jobs.filter(state=State.ACTIVE).first() or Job(
        account=account,
        project=project,
        environment=environment,
        name=FIRST_JOB,
        execute_steps=[BUILD],
    )
    if job.pk is None:
        try:
            define_job(job, completion=None)
        except ValidationError as refused:
            for sentence in refused.messages:
                messages.error(request, sentence)
            return redirect("console:setup", account.pk)
        messages.success(request, f"The job {job} is made. Run it now.")
    return redirect("console:setup", account.pk)


def _is_sample(project: Project | None, bundled: Sample | None) -> bool:
    repository = project.repository if project else None
    return bundled is not None and repository is not None and bundled.url == repository.remote_url

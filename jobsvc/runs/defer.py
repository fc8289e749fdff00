"""Which run's artifacts are the state that another run compares with and defers to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery

from environments.models import Environment
from jobsvc.engine import state
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.plan import StatePlan
from jobsvc.engine.ports import SKIPPED as SKIPPED_RUN
from jobsvc.engine.results import RUN_RESULTS
from jobsvc.jobs import extensions
from jobsvc.jobs.extensions import WhenNoState
from jobsvc.jobs.models import Job, JobType
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.folders import folder_for
from jobsvc.runs.models import Artifact, Run, RunQuerySet
from jobsvc.statuses import CauseCategory, RunStatus

JOB, ENVIRONMENT = "deferring_job_definition_id", "deferring_environment_id"  # of a configuration
NO_STEP = 0  # the index of none

BUILDS_ALL = "What would be selected by comparing is everything."
SKIPPED = "So there was nothing to do, as its job asks for."

STRICT_TYPES = {JobType.CI, JobType.MERGE}  # building everything is not what these are for


class NoState(RunFailure):
    """The run has nothing to compare with; what follows is for its job to say."""


class NoStateInEnvironment(NoState):
    template = (
        "There is no successful run in the environment {place} to compare with; runs in CI, of "
        "another branch or in another schema do not count."
    )
    remedy = "Run one of its jobs there until it succeeds, then retry."


class NoStateOfJob(NoState):
    template = (
        "The job {place} has no successful run to compare with; runs of another branch or in "
        "another schema do not count."
    )
    remedy = "Run it until it succeeds, then retry."


class NoStateOfItsOwn(NoState):
    template = (
        "This job has no earlier successful run to compare with; runs of another branch or in "
        "another schema do not count."
    )
    remedy = "Set extensions.deferral.when_no_state to build_all to let its first run build all."


class StateUnreadable(NoState):
    template = (
        "Run {run} of the job {job} is to be compared with, and its manifest (schema {schema}) "
        "cannot be read by dbt {version}."
    )
    remedy = "Run both jobs with the same version of dbt, that job first, then retry."


class StateLost(NoState):
    template = "Run {run} of the job {job} is to be compared with, and its files are gone."
    remedy = "Run that job again, then retry."


class Skip(Exception):
    """The run is over before it began: it has no state, and its job asks for no more then."""


def usable() -> RunQuerySet:
    """The runs whose artifacts may be state, the newest first.

    They succeeded, left a manifest, and built in the environment's own schema the code of the
    environment's own branch: what a pull request or a trial built is no one's production. A run
    that was skipped read its project and built none of it: compared with that, what it did not
    build would seem to be there.
    """
    manifest = Artifact.objects.filter(step__run=OuterRef("pk"), path=state.MANIFEST)
    # The name of a repository's default branch is known from the runs that asked for no other;
    # what took a commit by its number, such as a retry, has none to tell.
    plain = Run.objects.filter(
        environment=OuterRef("environment"), trigger__git_branch=None, trigger__git_sha=None
    ).exclude(Q(git_branch=None) | Q(git_branch=""))
    # Of a commit that was named, only such runs tell whether it is on the branch.
    known = Exists(
        Run.objects.filter(
            Q(trigger__cause_category=CauseCategory.MERGE)
            | Q(trigger__git_branch=None, trigger__git_sha=None)
            | Q(trigger__git_branch=OuterRef("trigger__git_branch"), trigger__git_sha=None),
            environment=OuterRef("environment"),
            git_sha=OuterRef("git_sha"),
        )
    )
    own_branch = Q(
        environment__use_custom_branch=True, trigger__git_branch=F("environment__custom_branch")
    ) | Q(environment__use_custom_branch=False, trigger__git_branch=F("default_branch"))
    return (
        Run.objects.filter(Exists(manifest), status=RunStatus.SUCCESS)
        .exclude(outcome=SKIPPED_RUN)
        .filter(
            Q(configuration__schema_override=None) | Q(configuration__schema_override__isnull=True)
        )
        .annotate(default_branch=Subquery(plain.order_by("-pk").values("git_branch")[:1]))
        .filter(
            Q(trigger__git_branch=None, trigger__git_sha=None)
            | Q(trigger__cause_category=CauseCategory.MERGE)
            | Q(trigger__cause_category=CauseCategory.RERUN, job__job_type=JobType.MERGE)
            | (own_branch & (Q(trigger__git_sha=None) | known))
        )
        .order_by("-finished_at", "-pk")
    )


def state_of_job(job: Any) -> RunQuerySet:
    """The runs of ``job``, an id or a reference to one, that may be state."""
    return usable().filter(job=job)


def state_of_environment(environment: Any) -> RunQuerySet:
    """The runs of all deploy jobs of ``environment`` that may be state: those of merges, not CI.

    A job that a variable of its own sends to another schema is state only to who asks for it.
    """
    return (
        usable()
        .filter(
            Q(configuration__job_schema=None) | Q(configuration__job_schema__isnull=True),
            environment=environment,
        )
        .exclude(job__job_type=JobType.CI)
    )


def deferring_run_of(run: Run) -> Run | None:
    """The run whose artifacts are the state of ``run``, by what is true now; None if none is.

    Source: docs.getdbt.com, "Deploy jobs" and "Continuous integration jobs", deferral.
    """
    job, environment = _deferral_of(run)
    if job is not None:
        return state_of_job(job).first()
    return state_of_environment(environment).first() if environment is not None else None


def runs_in_use() -> QuerySet[Run]:
    """The runs whose artifacts the next run of some job would compare with: never to be pruned."""
    jobs = Job.objects.active()
    of_jobs = Job.objects.filter(pk__in=jobs.values("deferring_job")).annotate(
        chosen=Subquery(state_of_job(OuterRef("pk")).values("pk")[:1])
    )
    of_environments = Environment.objects.filter(
        pk__in=jobs.values("deferring_environment")
    ).annotate(chosen=Subquery(state_of_environment(OuterRef("pk")).values("pk")[:1]))
    return Run.objects.filter(
        Q(pk__in=of_jobs.values("chosen")) | Q(pk__in=of_environments.values("chosen"))
    )


@contextmanager
def state_for(run: Run, dbt_version: str) -> Iterator[StatePlan | None]:
    """The state that ``run`` uses, its files on disk for as long as the context lasts.

    None for a run that defers to nothing. What was chosen is written to the run.

    Args:
        dbt_version: of the dbt that has to read it.

    Raises:
        NoState: there is none, and the run fails without.
        Skip: there is none, and the run has nothing to do without.
    """
    if _deferral_of(run) == (None, None):
        yield None
        return
    with folder_for(run, "state") as place:
        yield _fetch(run, dbt_version, place)


def _fetch(run: Run, dbt_version: str, place: Path) -> StatePlan:
    deferral = extensions.read(run.configuration.get("extensions", {})).deferral
    favor_state = run.job.is_ci if deferral.favor_state is None else deferral.favor_state
    try:
        chosen = _chosen(run)
        version = _check_manifest(chosen, dbt_version)
        names = _copy(chosen, place)
    except NoState as missing:
        return _without(run, missing, deferral.when_no_state)
    by_job = run.configuration[JOB] is not None
    why = "its last success" if by_job else f"the last success in {chosen.environment.name}"
    ended = f"{chosen.finished_at:%Y-%m-%d %H:%M} UTC"
    sentence = f"Deferring to run {chosen.pk} of job {chosen.job.name} ({why}, {ended})."
    _write_down(
        run,
        chosen,
        {"sentence": sentence, "manifest_schema_version": version, "files": names},
    )
    return StatePlan(directory=str(place), sentence=sentence, favor_state=favor_state)


def _deferral_of(run: Run) -> tuple[Any, Any]:
    """Ids of the job and of the environment that ``run`` defers to; at most one is given."""
    return run.configuration.get(JOB), run.configuration.get(ENVIRONMENT)


def _chosen(run: Run) -> Run:
    """The run to defer to.

    Raises:
        NoState: there is none.
    """
    chosen = deferring_run_of(run)
    if chosen is not None:
        return chosen
    job, environment = _deferral_of(run)
    if job is None:
        raise NoStateInEnvironment(place=Environment.objects.get(pk=environment).name)
    if job == run.job_id:
        raise NoStateOfItsOwn
    raise NoStateOfJob(place=Job.objects.get(pk=job).name)


def _check_manifest(chosen: Run, dbt_version: str) -> int:
    """The version of the schema of its manifest, which this dbt can read.

    Raises:
        StateUnreadable, StateLost
    """
    with _opened(chosen, state.MANIFEST) as manifest:
        version = state.manifest_version(manifest) if manifest else None
    if version is None or not state.can_read(dbt_version, version):
        shown = "unknown" if version is None else f"v{version}"
        raise StateUnreadable(run=chosen.pk, job=chosen.job.name, schema=shown, version=dbt_version)
    return version


def _copy(chosen: Run, place: Path) -> list[str]:
    """Copy the files that are state from storage to ``place``; the names of those there are.

    Raises:
        StateLost
    """
    names = []
    for name in state.FILES:
        with _opened(chosen, name) as source:
            if source is not None:
                with (place / name).open("xb") as copy:
                    shutil.copyfileobj(source, copy)
                names.append(name)
    return names


@contextmanager
def _opened(run: Run, name: str) -> Iterator[IO[bytes] | None]:
    """A file of ``run``; None if it has none of that name.

    Its results are those of its last build: what documentation or a listing wrote calls every
    node a success.

    Raises:
        StateLost: it has one, and storage has not.
    """
    step = None
    if name == RUN_RESULTS:
        builds = run.steps.filter(builds=True, artifacts__path=name).order_by("-index")
        step = builds.values_list("index", flat=True).first() or NO_STEP
    try:
        file = open_artifact(run, name, step)
    except FileNotFoundError as gone:
        raise StateLost(run=run.pk, job=run.job.name) from gone
    with file or nullcontext():
        yield file


def _without(run: Run, missing: NoState, policy: WhenNoState | None) -> StatePlan:
    """What ``run`` does where it has no state, by its job's ``policy`` or by the kind of job.

    Raises:
        NoState, Skip
    """
    itself = run.configuration.get(JOB) == run.job_id
    if policy is None:
        lenient = itself and run.job.job_type not in STRICT_TYPES
        policy = WhenNoState.BUILD_ALL if lenient else WhenNoState.FAIL
    if policy == WhenNoState.FAIL:
        raise missing
    follows = SKIPPED if policy == WhenNoState.SKIP else BUILDS_ALL
    sentence = f"{missing.summary} {follows}"
    _write_down(run, None, {"sentence": sentence, "manifest_schema_version": None, "files": []})
    if policy == WhenNoState.SKIP:
        raise Skip(sentence)
    return StatePlan(directory="", sentence=sentence)


def _write_down(run: Run, chosen: Run | None, used: dict[str, Any]) -> None:
    run.deferring_run, run.state_used = chosen, used
    Run.objects.filter(pk=run.pk, token=run.token).update(deferring_run=chosen, state_used=used)

"""The sample project: from nothing to a job that builds it, without asking anything."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import Account
from environments import adapters
from environments.define import (
    clone_from,
    define_connection,
    define_environment,
    give_credentials,
)
from environments.models import (
    Connection,
    Credentials,
    DeploymentType,
    Environment,
    EnvironmentType,
    Project,
)
from jobsvc.engine.sample import SampleNotMade, make_repository
from jobsvc.jobs.define import define_job
from jobsvc.jobs.models import Job, JobType

EXAMPLES = settings.BASE_DIR / "examples"
SOURCE = EXAMPLES / "coffee_shop"
JOB = EXAMPLES / "jobs" / "nightly_build.json"
NAME = "Coffee shop"
ADAPTER, ADAPTER_VERSION = "duckdb", "duckdb_v0"
SCHEMA = "shops"
THREADS = 4


@dataclass(frozen=True)
class Sample:
    """What the bundled project says of itself, and where its repository is or will be."""

    name: str
    adapter: str
    url: str


def sample() -> Sample | None:
    """The sample project; None where it cannot be used, as workers may not clone it from here."""
    if not _may_be_cloned() or not SOURCE.is_dir():
        return None
    described = yaml.safe_load((SOURCE / "dbt_project.yml").read_text())
    return Sample(str(described["name"]), ADAPTER, _place().as_uri())


def make_sample(account: Account) -> Job:
    """A project, a DuckDB file, a production environment and a job that builds the sample.

    What is there by its name is kept, so that asking twice makes nothing twice.

    Raises:
        ValidationError: something of it cannot be made.
    """
    try:
        place = make_repository(SOURCE, _place())
    except SampleNotMade as error:
        raise ValidationError(f"The sample's repository could not be made: {error}") from error
    with transaction.atomic():
        Account.objects.select_for_update(no_key=True).get(pk=account.pk)
        named = Project.objects.of_account(account.pk).active().filter(name=NAME)
        project: Project = named.first() or Project(account=account, name=NAME)
        if project.repository is None:
            clone_from(project, place.as_uri())
        environment = _environment_of(project) or _environment(account, project)
        job = Job.objects.active().filter(environment=environment).order_by("pk").first()
        return job or _job(account, project, environment)


def _environment_of(project: Project) -> Environment | None:
    places = Environment.objects.active().filter(project=project, type=EnvironmentType.DEPLOYMENT)
    return places.order_by("pk").first()


def _environment(account: Account, project: Project) -> Environment:
    here = Connection.objects.of_account(account.pk).active()
    connection = here.filter(name="DuckDB", adapter=ADAPTER).first() or define_connection(
        Connection(
            account=account, name="DuckDB", adapter=ADAPTER, adapter_version=ADAPTER_VERSION
        ),
        {"path": "coffee.duckdb"},
    )
    environment = define_environment(
        Environment(
            project=project,
            name="Production",
            type=EnvironmentType.DEPLOYMENT,
            deployment_type=DeploymentType.PRODUCTION,
            connection=connection,
        )
    )
    credentials = Credentials(
        account=account,
        project=project,
        type=adapters.connection_type(ADAPTER),
        adapter=ADAPTER,
        adapter_version=ADAPTER_VERSION,
        default_schema=SCHEMA,
        threads=THREADS,
    )
    return give_credentials(environment, credentials, {})


def _job(account: Account, project: Project, environment: Environment) -> Job:
    """The example's own job, every night."""
    described = json.loads(JOB.read_text())
    job = Job(
        account=account,
        project=project,
        environment=environment,
        name=described["name"],
        description=described["description"],
        job_type=JobType.SCHEDULED,
        execute_steps=described["execute_steps"],
        threads=described["settings"]["threads"],
        target_name=described["settings"]["target_name"],
        timeout_seconds=described["execution"]["timeout_seconds"],
        generate_docs=described["generate_docs"],
        triggers_schedule=True,
        cron=described["schedule"]["cron"],
        schedule=described["schedule"],
    )
    return define_job(job, completion=None)


def _place() -> Path:
    return Path(settings.DATA_DIR, "repositories", SOURCE.name)


def _may_be_cloned() -> bool:
    """Whether runs may clone folders of this machine from where the sample is put."""
    roots = [Path(root).resolve() for root in settings.GIT_LOCAL_ROOTS]
    return any(_place().resolve().is_relative_to(root) for root in roots)

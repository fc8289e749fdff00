"""The account, its people, its three projects and their forty jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from accounts.management.commands.bootstrap import bootstrap
from accounts.models import Account, Membership, User
from accounts.roles import PermissionSet
from environments.models import (
    Connection,
    Credentials,
    Environment,
    EnvironmentVariable,
    Project,
    Repository,
)
from jobsvc.jobs.chain import Completion
from jobsvc.jobs.define import define_job, pause_job
from jobsvc.jobs.models import Job, JobType
from jobsvc.statuses import RunStatus

PROJECTS = ("Coffee shops", "Marketing", "Finance")
SUBJECTS = ("orders", "payments", "customers", "stock", "deliveries", "prices", "visits")
PEOPLE = (
    ("Ana", "Ferreira", PermissionSet.ADMIN),
    ("Ben", "Okafor", PermissionSet.JOB_ADMIN),
    ("Chiara", "Rossi", PermissionSet.JOB_RUNNER),
    ("Dana", "Levi", PermissionSet.JOB_VIEWER),
)
OLD = timedelta(days=200)  # since when all this is there


@dataclass(frozen=True, kw_only=True)
class Habit:
    """A job, and how it goes.

    Attributes:
        per_day: how many runs it has.
        minutes: how long a run usually takes.
        fails: the share of its runs after which it begins to fail.
        ends_failing: how many of its last runs failed; 0 is a job that is fine.
    """

    job: Job
    per_day: float
    minutes: float
    fails: float = 0.01
    ends_failing: int = 0
    deactivated: bool = False


@dataclass(frozen=True)
class Places:
    """All that stands, before anything has run."""

    account: Account
    owner: User
    password: str | None
    people: Sequence[User]
    projects: Sequence[Project]
    habits: Sequence[Habit]


def make(account_name: str, email: str, moment: datetime) -> Places:
    """Make it all; ``moment`` is now."""
    made = bootstrap(account_name, email, None)
    account = Account.objects.get(pk=made["account_id"])
    owner = User.objects.get(email=made["email"])
    people = [_person(account, *one) for one in PEOPLE]
    projects, habits = [], []
    for place, name in enumerate(PROJECTS):
        project, production, staging = _project(account, name, place)
        projects.append(project)
        habits += _habits(project, production, staging, place)
    Account.objects.filter(pk=account.pk).update(created_at=moment - OLD)
    Job.objects.of_account(account.pk).update(created_at=moment - OLD, updated_at=moment - OLD / 4)
    return Places(account, owner, made["password"], people, projects, habits)


def _person(account: Account, first: str, last: str, role: PermissionSet) -> User:
    address = f"{first}.{last}.{account.pk}@example.com".lower()
    user = User.objects.create_user(address, None, first_name=first, last_name=last)
    Membership.objects.create(account=account, user=user, permission_set=role)
    return user


def _project(account: Account, name: str, place: int) -> tuple[Project, Environment, Environment]:
    slug = name.lower().replace(" ", "_")
    repository = Repository.objects.create(
        account=account,
        remote_url=f"https://git.example.com/shops/{slug}.git",
        git_clone_strategy="git_token",
    )
    connection = Connection.objects.create(
        account=account,
        name=f"Warehouse of {name}",
        adapter="postgres",
        adapter_version="postgres_v0",
        config={"hostname": f"warehouse-{place + 1}.example.com", "port": 5432, "dbname": slug},
    )
    project = Project(
        account=account, name=name, description=f"The {slug} models.", connection=connection
    )
    project.repository = repository
    project.full_clean()
    project.save()
    Repository.objects.filter(pk=repository.pk).update(project=project)
    production = _environment(project, "Production", "production")
    staging = _environment(project, "Staging", "staging")
    _environment(project, "Pull requests", None)
    for number, words in enumerate(("eu-west", "2024-01-01", "EUR", "off")):
        name = f"DBT_{('REGION', 'START_DATE', 'CURRENCY', 'STRICT')[number]}"
        _variable(EnvironmentVariable(project=project, name=name, scope="project"), words)
    strict = EnvironmentVariable(project=project, name="DBT_STRICT", scope="environment")
    strict.environment = production
    _variable(strict, "on")
    return project, production, staging


def _variable(variable: EnvironmentVariable, value: str) -> None:
    variable.secrets = {"value": value}
    variable.full_clean()
    variable.save()


def _environment(project: Project, name: str, kind: str | None) -> Environment:
    credentials = Credentials(
        account=project.account,
        project=project,
        type="postgres",
        adapter="postgres",
        adapter_version="postgres_v0",
        default_schema=name.lower().replace(" ", "_"),
        config={"username": "dbt"},
    )
    credentials.secrets = {"password": "not a real one"}
    credentials.save()
    environment = Environment(
        project=project,
        name=name,
        deployment_type=kind,
        dbt_version="1.11",
        connection=project.connection,
        credentials=credentials,
    )
    environment.full_clean()
    environment.save()
    return environment


def _habits(
    project: Project, production: Environment, staging: Environment, place: int
) -> list[Habit]:
    """The jobs of one project: 14, in the last 12."""
    pulls = project.environments.get(name="Pull requests")
    nightly = _job(production, "Nightly build", ["dbt build"], "0 2 * * *", generate_docs=True)
    nightly.run_generate_sources = True
    define_job(nightly, completion=None)
    weekly = _job(production, "Weekly full refresh", ["dbt build --full-refresh"], "0 3 * * 0")
    after = _job(
        production,
        "Exports after the build",
        ["dbt run --select tag:export"],
        after=nightly,
    )
    reports = _job(production, "Reports", ["dbt build --select +mart_orders"], after=after)
    check = _job(
        pulls,
        "Pull-request check",
        ["dbt build --select state:modified+"],
        job_type=JobType.CI,
        triggers_github_webhook=True,
        deferring_environment=production,
    )
    merge = _job(
        staging,
        "Build what was merged",
        ["dbt build --select state:modified+"],
        job_type=JobType.MERGE,
        triggers_on_merge=True,
        deferring_environment=staging,
    )
    paused = _job(staging, "Rehearsal", ["dbt build"], "30 4 * * 1-5")
    pause_job(paused, reason="The staging warehouse is being moved.")
    by_hand = _job(production, "Backfill", ["dbt run --select fct_orders_daily --full-refresh"])
    habits = [
        Habit(job=nightly, per_day=1, minutes=38, ends_failing=(0, 0, 2)[place]),
        Habit(job=weekly, per_day=1 / 7, minutes=95, fails=0.1),
        Habit(job=after, per_day=1, minutes=6),
        Habit(job=reports, per_day=1, minutes=4, ends_failing=(0, 5, 0)[place]),
        Habit(job=check, per_day=14, minutes=7, fails=0.15),
        Habit(job=merge, per_day=6, minutes=9, fails=0.03),
        Habit(job=paused, per_day=0.7, minutes=20),
        Habit(job=by_hand, per_day=0.2, minutes=70, fails=0.2),
    ]
    for number, subject in enumerate(SUBJECTS[: (6, 6, 4)[place]]):
        gap = (15, 15, 20, 30, 60, 15)[number]  # minutes
        lag = (0, 5, 10, 7, 20, 12)[number]
        cron = f"{lag} * * * *" if gap == 60 else f"{lag}-59/{gap} * * * *"
        job = _job(production, f"Refresh {subject}", [f"dbt build --select +fct_{subject}"], cron)
        given_up = place == 1 and number == 5
        habits.append(
            Habit(
                job=job,
                per_day=24 * 60 / gap,
                minutes=(3, 4, 6, 5, 11, 2)[number],
                fails=(0.002, 0.004, 0.01, 0.03, 0.02, 0.001)[number],
                ends_failing=100 if given_up else int(place == 2 and number == 3),
                deactivated=given_up,
            )
        )
    return habits


def _job(
    environment: Environment,
    name: str,
    steps: list[str],
    cron: str = "",
    *,
    after: Job | None = None,
    **fields: Any,
) -> Job:
    if cron:
        unused = {"type": "every_hour", "interval": 1}
        fields |= {
            "job_type": JobType.SCHEDULED,
            "triggers_schedule": True,
            "cron": cron,
            "schedule": {
                "cron": cron,
                "date": {"type": "custom_cron", "cron": cron},
                "time": unused,
            },
        }
    completion = Completion(after, [RunStatus.SUCCESS]) if after else None
    job = Job(
        account=environment.account,
        project=environment.project,
        environment=environment,
        name=name,
        execute_steps=steps,
        **fields,
    )
    return define_job(job, completion=completion)


def slug_of(project: Project) -> str:
    """The name of the dbt project that a project's code is."""
    return project.name.lower().replace(" ", "_")

"""Schemas of pull requests are written down by their exact names, and those alone are dropped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils.timezone import now

from ci import schemas, tasks
from ci.models import CISchema, CISchemaState, PullRequest, PullRequestState
from ci.schemas import ask_to_drop, doom_pull_request, drop, note_run, of_no_use, sweep, why
from environments.models import Connection
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus
from tests import warehouses
from tests.factories import (
    ArtifactFactory,
    ConnectionFactory,
    CredentialsFactory,
    EnvironmentVariableFactory,
    ExtendedAttributesFactory,
    JobFactory,
    RunFactory,
)
from tests.warehouses import ROOT, Duck, Postgres, fill, schemas_of

pytestmark = pytest.mark.django_db

ANALYTICS = "analytics"
KEPT, DOOMED, DROPPED = CISchemaState.KEPT, CISchemaState.DOOMED, CISchemaState.DROPPED
FAILED, REFUSED = CISchemaState.FAILED, CISchemaState.REFUSED


@pytest.fixture(autouse=True)
def places(settings: Any, tmp_path: Path, published: list[Any]) -> None:
    """Folders of the test's own, the dbt of this repository, and no broker."""
    settings.WORKSPACES_DIR = tmp_path / "workspaces"
    settings.WAREHOUSES_DIR = tmp_path / "warehouses"
    settings.TOOLCHAINS_DIR = ROOT / ".toolchains"
    settings.ISOLATION_NEED = ["landlock:1"]
    settings.RUN_UIDS = ""
    settings.CI_SCHEMA_TTL_DAYS = 14


@pytest.fixture
def job() -> Job:
    return JobFactory(ci=True)


@pytest.fixture
def duck(job: Job, settings: Any) -> Duck:
    """The warehouse of ``job``, with what production built there."""
    place = Path(settings.WAREHOUSES_DIR) / str(job.account_id)
    place.mkdir(parents=True)
    duck = Duck(place / "coffee.duckdb")
    fill(duck, ANALYTICS)
    return duck


def name_of(job: Job, number: int, custom: str = "") -> str:
    return f"dbt_cloud_pr_{job.pk}_{number}{custom and '_'}{custom}"


def run_of(
    job: Job, number: int, *names: str, prefix: str = "", database: str = "coffee", **fields: Any
) -> Run:
    """A run of pull request ``number`` that wrote down that it builds in ``names``."""
    fields = fields or {"succeeded": True}
    trigger = {"trigger__github_pull_request_id": fields.pop("github", number)}
    run: Run = RunFactory(
        job=job,
        configuration={"schema_override": prefix or name_of(job, number)},
        built_schemas=[[database, name] for name in names],
        concurrency_key=f"job:{job.pk}:pr:{number}",
        **trigger,
        **fields,
    )
    return run


def noted(job: Job, number: int, *names: str, **fields: Any) -> Run:
    run = run_of(job, number, *names, **fields)
    note_run(run)
    return run


def pull_request(job: Job, number: int, state: str = PullRequestState.OPEN) -> PullRequest:
    made: PullRequest = PullRequest.objects.create(
        repository=job.project.repository,
        number=number,
        head_ref="busier",
        head_sha="a" * 40,
        base_ref="main",
        state=state,
        changed_at=now(),
    )
    return made


def close(pull_request: PullRequest) -> None:
    PullRequest.objects.filter(pk=pull_request.pk).update(state=PullRequestState.CLOSED)
    doom_pull_request(pull_request)


def states() -> dict[str, str]:
    return {row.schema: row.state for row in CISchema.objects.all()}


def drop_all_due() -> None:
    for row in CISchema.objects.order_by("pk"):
        drop(row.pk, now())


# --- Writing down --------------------------------------------------------------------------------


def test_a_run_that_builds_is_written_down_by_its_exact_names(job: Job) -> None:
    noted(job, 2, name_of(job, 2), name_of(job, 2, "marketing"))

    rows = {(row.database, row.schema) for row in CISchema.objects.all()}
    assert rows == {("coffee", name_of(job, 2)), ("coffee", name_of(job, 2, "marketing"))}


def test_what_has_another_prefix_is_not_written_down(job: Job) -> None:
    noted(job, 2, name_of(job, 2), name_of(job, 23), ANALYTICS, f"{name_of(job, 2)}x")

    assert set(states()) == {name_of(job, 2)}


def test_a_run_that_has_just_started_is_written_down_by_its_own_schema(job: Job) -> None:
    noted(job, 2, running=True)

    row = CISchema.objects.get()
    assert (row.schema, row.database, row.state, row.due_at) == (name_of(job, 2), "", KEPT, None)


def test_the_database_is_filled_in_once_it_is_known(job: Job) -> None:
    noted(job, 2, running=True)

    noted(job, 2, name_of(job, 2))

    assert [row.database for row in CISchema.objects.all()] == ["coffee"]


def test_a_run_that_was_never_started_is_not_written_down(job: Job) -> None:
    noted(job, 2, status=RunStatus.CANCELLED, finished_at=now())

    assert states() == {}


def test_a_run_of_no_pull_request_is_not_written_down(job: Job) -> None:
    noted(job, 2, name_of(job, 2), github=None, succeeded=True)

    assert states() == {}


def test_a_run_that_died_before_it_wrote_its_schemas_down_is_known_by_its_manifest(
    job: Job,
) -> None:
    run = run_of(job, 2, failed=True)
    node = {"database": "coffee", "schema": name_of(job, 2, "marketing")}
    nodes = {"model.a": node, "model.b": {**node, "schema": ANALYTICS}}
    ArtifactFactory(step__run=run, content=json.dumps({"nodes": nodes}).encode())

    note_run(run)

    assert set(states()) == {name_of(job, 2), name_of(job, 2, "marketing")}


@pytest.mark.parametrize("text", [b"", b"[]", b'{"nodes": {"a": 1}}', b'{"nodes": {"a": {}}}'])
def test_an_odd_manifest_names_nothing(job: Job, text: bytes) -> None:
    run = run_of(job, 2, failed=True)
    ArtifactFactory(step__run=run, content=text)

    note_run(run)

    assert set(states()) == {name_of(job, 2)}


def test_a_run_that_nobody_told_of_is_found_by_the_sweep(job: Job) -> None:
    run_of(job, 2, name_of(job, 2))

    sweep(now())

    assert states() == {name_of(job, 2): KEPT}


def test_a_run_that_cannot_be_written_down_keeps_no_other_waiting(job: Job) -> None:
    broken = run_of(job, 2)
    Run.objects.filter(pk=broken.pk).update(built_schemas=["of another version"])
    run_of(job, 3, name_of(job, 3))

    sweep(now())

    assert states() == {name_of(job, 3): KEPT}


def test_a_run_is_looked_for_once(job: Job) -> None:
    run_of(job, 2, name_of(job, 2))
    sweep(now())

    assert schemas._unnoted(now()) == []


def test_a_late_word_of_a_run_that_was_noted_brings_nothing_back(job: Job) -> None:
    run = noted(job, 2, name_of(job, 2))
    CISchema.objects.update(state=DROPPED, due_at=None, dropped_at=now())

    note_run(run)
    run.status, run.finished_at = RunStatus.RUNNING, None  # as a worker had read it before its end
    note_run(run)

    assert states() == {name_of(job, 2): DROPPED}


def test_a_move_of_a_run_has_its_schemas_written_down(job: Job) -> None:
    run = run_of(job, 2, name_of(job, 2))
    transition = run.transitions.create(to_status=RunStatus.SUCCESS)

    tasks.note_schemas(transition.pk)

    assert states() == {name_of(job, 2): KEPT}


# --- Whose it is ---------------------------------------------------------------------------------


def test_a_schema_that_the_run_was_told_by_name_is_never_dropped(job: Job) -> None:
    noted(job, 2, "trial", prefix="trial")

    assert states() == {"trial": REFUSED}
    assert "told to build in trial" in why(CISchema.objects.get())


@pytest.mark.parametrize("place", ["credentials", "variable", "attributes"])
def test_the_schema_of_an_environment_is_never_dropped(job: Job, place: str) -> None:
    name, project = name_of(job, 2), job.project
    match place:
        case "credentials":
            CredentialsFactory(project=project, default_schema=name.upper())
        case "variable":
            secrets = {"value": name}
            EnvironmentVariableFactory(project=project, name="DBT_TARGET_SCHEMA", secrets=secrets)
        case _:
            ExtendedAttributesFactory(project=project, extended_attributes={"schema": name})

    noted(job, 2, name, name_of(job, 2, "marketing"))

    assert set(states().values()) == {REFUSED}


def test_a_schema_that_became_an_environments_is_not_dropped(job: Job, duck: Duck) -> None:
    fill(duck, name_of(job, 2))
    noted(job, 2, name_of(job, 2))
    CredentialsFactory(project=job.project, default_schema=name_of(job, 2))

    ask_to_drop(CISchema.objects.all())
    drop_all_due()

    assert states() == {name_of(job, 2): REFUSED}
    assert name_of(job, 2) in schemas_of(duck)


def test_a_schema_that_two_pull_requests_build_in_is_left_to_people(job: Job) -> None:
    noted(job, 2, name_of(job, 2))

    noted(job, 9, name_of(job, 2), prefix=name_of(job, 2))

    assert states() == {name_of(job, 2): REFUSED}
    assert "both build in it" in why(CISchema.objects.get())


def test_a_name_that_would_be_sql_is_never_dropped(job: Job) -> None:
    name = f'{name_of(job, 2)}_"; drop schema {ANALYTICS}; --'

    noted(job, 2, name)

    assert states()[name] == REFUSED


# --- When it is due ------------------------------------------------------------------------------


def test_a_closed_pull_requests_schemas_are_due_now(job: Job) -> None:
    of_pull_request = pull_request(job, 2)
    noted(job, 2, name_of(job, 2))
    noted(job, 23, name_of(job, 23))

    close(of_pull_request)

    assert states() == {name_of(job, 2): DOOMED, name_of(job, 23): KEPT}


def test_a_close_rings_for_the_drop(
    job: Job, published: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    of_pull_request = pull_request(job, 2)
    noted(job, 2, name_of(job, 2), name_of(job, 2, "marketing"))
    published.clear()

    with django_capture_on_commit_callbacks(execute=True):
        close(of_pull_request)

    first = CISchema.objects.order_by("pk").first()
    assert first is not None
    assert published == [("drop_schemas", first.pk)]


def test_a_close_that_nobody_told_of_is_found_by_the_sweep(job: Job) -> None:
    noted(job, 2, name_of(job, 2))
    pull_request(job, 2, PullRequestState.MERGED)

    sweep(now())

    assert states() == {name_of(job, 2): DOOMED}


def test_a_run_that_ends_after_the_close_leaves_its_schemas_due(job: Job) -> None:
    pull_request(job, 2, PullRequestState.CLOSED)

    noted(job, 2, name_of(job, 2), cancelled=True)

    assert states() == {name_of(job, 2): DOOMED}


def test_a_new_run_keeps_what_was_to_be_dropped(job: Job) -> None:
    of_pull_request = pull_request(job, 2)
    noted(job, 2, name_of(job, 2))
    close(of_pull_request)

    noted(job, 2, running=True)

    assert states() == {name_of(job, 2): KEPT}


def test_a_pull_request_of_another_repository_is_another(job: Job) -> None:
    noted(job, 2, name_of(job, 2))

    close(pull_request(JobFactory(ci=True), 2))

    assert states() == {name_of(job, 2): KEPT}


def test_a_merge_request_is_no_pull_request_of_github(job: Job) -> None:
    run = run_of(job, 2, name_of(job, 2), github=None, succeeded=True)
    run.trigger.gitlab_merge_request_id = 2
    run.trigger.save()
    note_run(run)

    close(pull_request(job, 2))

    assert states() == {name_of(job, 2): KEPT}


def test_without_a_close_a_schema_is_due_after_its_time(job: Job) -> None:
    noted(job, 2, name_of(job, 2))

    rows = CISchema.objects.all()
    assert not of_no_use(rows, now() + timedelta(days=13)).exists()
    assert of_no_use(rows, now() + timedelta(days=15)).exists()


def test_a_pull_request_that_is_open_has_no_end_of_time(job: Job) -> None:
    pull_request(job, 2)
    noted(job, 2, name_of(job, 2))

    drop(CISchema.objects.get().pk, now() + timedelta(days=15))

    row = CISchema.objects.get()
    assert row.state == KEPT
    assert row.due_at is not None
    assert row.due_at > now() + timedelta(days=28)


def test_no_days_are_for_ever(job: Job, settings: Any) -> None:
    settings.CI_SCHEMA_TTL_DAYS = 0

    noted(job, 2, name_of(job, 2))

    assert CISchema.objects.get().due_at is None


@pytest.mark.parametrize(
    "going_on",
    [{"running": True}, {"status": RunStatus.QUEUED}, {"failed": True, "will_retry_at": now()}],
    ids=["running", "waiting", "to be retried"],
)
def test_nothing_is_dropped_while_a_run_needs_it(
    job: Job, duck: Duck, going_on: dict[str, Any]
) -> None:
    fill(duck, name_of(job, 2))
    noted(job, 2, name_of(job, 2))
    CISchema.objects.update(state=DOOMED, due_at=now())
    run = run_of(job, 2, **going_on)

    drop_all_due()

    assert name_of(job, 2) in schemas_of(duck)
    row = CISchema.objects.get()
    assert (row.state, f"Run {run.pk} uses it" in why(row)) == (DOOMED, True)


# --- Dropping, for real --------------------------------------------------------------------------


def test_closing_pull_request_2_leaves_23_and_production_and_look_alikes(
    job: Job, duck: Duck
) -> None:
    mine = [name_of(job, 2), name_of(job, 2, "marketing")]
    theirs = [name_of(job, 23), name_of(job, 23, "marketing"), name_of(job, 2, "by_hand")]
    fill(duck, *mine, *theirs)
    of_pull_request = pull_request(job, 2)
    noted(job, 2, *mine)
    noted(job, 23, *theirs[:2])

    close(of_pull_request)
    drop_all_due()

    assert schemas_of(duck) == {ANALYTICS, *theirs}
    assert {name for name, state in states().items() if state == DROPPED} == set(mine)


@pytest.mark.services
def test_on_postgresql_it_is_the_same(job: Job, postgres: Postgres) -> None:
    mine = [name_of(job, 2), name_of(job, 2, "marketing")]
    theirs = [name_of(job, 23), name_of(job, 2, "by_hand")]
    fill(postgres, ANALYTICS, *mine, *theirs)
    of_pull_request = pull_request(job, 2)
    noted(job, 2, *mine, database=postgres.output["dbname"])
    noted(job, 23, theirs[0], database=postgres.output["dbname"])

    close(of_pull_request)
    drop_all_due()

    assert schemas_of(postgres) == {ANALYTICS, *theirs}


@pytest.fixture
def postgres(job: Job) -> Iterator[Postgres]:
    """The warehouse of ``job``'s environment, in place of its DuckDB file."""
    with warehouses.postgres() as made:
        output, project = made.output, job.project
        job.environment.connection = ConnectionFactory(
            account=job.account,
            adapter="postgres",
            adapter_version="postgres_v0",
            config={
                "hostname": output["host"],
                "port": output["port"],
                "dbname": output["dbname"],
            },
        )
        job.environment.credentials = CredentialsFactory(
            project=project,
            type="postgres",
            adapter="postgres",
            adapter_version="postgres_v0",
            config={"username": output["user"]},
            secrets={"password": output["password"]},
        )
        job.environment.save()
        yield made


def test_a_locked_warehouse_is_tried_again(job: Job, duck: Duck) -> None:
    fill(duck, name_of(job, 2))
    noted(job, 2, name_of(job, 2))
    ask_to_drop(CISchema.objects.all())

    with duck.locked():
        drop_all_due()

    row = CISchema.objects.get()
    assert (row.state, row.attempts, "lock" in row.error) == (FAILED, 1, True)
    assert row.due_at is not None
    drop(row.pk, row.due_at - timedelta(seconds=1))
    assert states() == {name_of(job, 2): FAILED}
    drop(row.pk, row.due_at)
    assert states() == {name_of(job, 2): DROPPED}
    assert schemas_of(duck) == {ANALYTICS}


def test_a_warehouse_that_cannot_be_signed_in_to_is_tried_again_and_says_why(job: Job) -> None:
    noted(job, 2, name_of(job, 2))
    Connection.objects.update(adapter="postgres", adapter_version="postgres_v0")
    job.environment.credentials = None
    job.environment.save()
    ask_to_drop(CISchema.objects.all())

    drop_all_due()

    row = CISchema.objects.get()
    assert (row.state, "has no credentials" in why(row)) == (FAILED, True)


def test_the_wait_between_two_attempts_grows_up_to_six_hours(job: Job) -> None:
    noted(job, 2, name_of(job, 2))
    row = CISchema.objects.get()

    waits = []
    for attempts in (0, 1, 5, 40):
        CISchema.objects.update(attempts=attempts)
        row.refresh_from_db()
        schemas._write_end(row, "no")
        row.refresh_from_db()
        assert row.due_at is not None
        waits.append(round((row.due_at - row.updated_at).total_seconds()))

    assert waits == [60, 180, 3780, 6 * 3600]


def test_what_is_gone_already_counts_as_dropped(job: Job, duck: Duck) -> None:
    noted(job, 2, name_of(job, 2))
    ask_to_drop(CISchema.objects.all())

    drop_all_due()

    assert states() == {name_of(job, 2): DROPPED}


def test_a_schema_that_was_dropped_and_built_anew_is_dropped_again(job: Job, duck: Duck) -> None:
    of_pull_request = pull_request(job, 2)
    noted(job, 2, name_of(job, 2))
    close(of_pull_request)
    drop_all_due()
    fill(duck, name_of(job, 2))

    noted(job, 2, name_of(job, 2))
    drop_all_due()

    assert schemas_of(duck) == {ANALYTICS}


def test_a_connection_that_the_environment_had_is_the_one_that_is_asked(
    job: Job, duck: Duck
) -> None:
    fill(duck, name_of(job, 2))
    noted(job, 2, name_of(job, 2))
    job.environment.connection = ConnectionFactory(
        account=job.account, config={"path": "tea.duckdb"}
    )
    job.environment.save()
    ask_to_drop(CISchema.objects.all())

    drop_all_due()

    assert schemas_of(duck) == {ANALYTICS}


# --- Races ---------------------------------------------------------------------------------------


def test_of_two_that_drop_the_same_one_does(job: Job) -> None:
    noted(job, 2, name_of(job, 2))
    ask_to_drop(CISchema.objects.all())
    row, moment = CISchema.objects.get(), now()

    claims = [schemas._claim(row.pk, moment), schemas._claim(row.pk, moment)]

    assert [len(claim) for claim in claims] == [1, 0]


def test_a_claim_whose_worker_is_gone_lapses(job: Job) -> None:
    noted(job, 2, name_of(job, 2))
    ask_to_drop(CISchema.objects.all())
    row = CISchema.objects.get()
    schemas._claim(row.pk, now())

    assert schemas._claim(row.pk, now() + schemas.LEASE + timedelta(seconds=1))


def test_a_run_that_comes_while_its_schemas_are_dropped_keeps_its_own(job: Job) -> None:
    noted(job, 2, name_of(job, 2))
    ask_to_drop(CISchema.objects.all())
    (claimed,) = schemas._claim(CISchema.objects.get().pk, now())

    noted(job, 2, running=True)
    schemas._write_end(claimed, "")

    assert states() == {name_of(job, 2): KEPT}


def test_a_run_that_comes_breaks_the_asking_off(
    job: Job, duck: Duck, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(duck, name_of(job, 2))
    noted(job, 2, name_of(job, 2))
    ask_to_drop(CISchema.objects.all())
    ask = schemas.ask_warehouse

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        run_of(job, 2, running=True)
        return ask(*arguments, **options)

    monkeypatch.setattr(schemas, "ask_warehouse", meanwhile)
    drop_all_due()

    assert name_of(job, 2) in schemas_of(duck)
    assert states() == {name_of(job, 2): DOOMED}


# --- Asked for -----------------------------------------------------------------------------------


def test_somebody_can_have_the_schemas_of_an_open_pull_request_dropped(
    job: Job, duck: Duck
) -> None:
    fill(duck, name_of(job, 2))
    pull_request(job, 2)
    noted(job, 2, name_of(job, 2))

    ask_to_drop(CISchema.objects.all())
    drop_all_due()

    assert schemas_of(duck) == {ANALYTICS}


def test_nobody_can_have_a_schema_dropped_that_is_not_the_pull_requests_alone(job: Job) -> None:
    noted(job, 2, "trial", prefix="trial")

    assert ask_to_drop(CISchema.objects.all()) == []
    assert states() == {"trial": REFUSED}


def test_what_has_long_been_dropped_is_forgotten(job: Job, settings: Any) -> None:
    settings.KEEP_DELIVERIES_DAYS = 30
    noted(job, 2, name_of(job, 2))
    CISchema.objects.update(state=DROPPED, due_at=None, dropped_at=now() - timedelta(days=31))

    sweep(now())

    assert states() == {}


# --- The command ---------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    call_command("ci_schemas", *options)
    return capsys.readouterr().out


def closed(job: Job, number: int) -> None:
    of_pull_request = pull_request(job, number)
    noted(job, number, name_of(job, number))
    close(of_pull_request)


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--drop", "--dry-run")])
def test_the_command_says_what_would_go_and_why_the_rest_stays(
    job: Job, duck: Duck, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    fill(duck, name_of(job, 2))
    closed(job, 2)
    noted(job, 23, name_of(job, 23))
    pull_request(job, 23)

    said = told(capsys, *options)

    assert f"coffee.{name_of(job, 2)} (pull request 2 of job {job.pk})." in said
    assert "Would drop: " in said
    assert f"(pull request 23 of job {job.pk}). Its pull request is open." in said
    assert name_of(job, 2) in schemas_of(duck)


def test_the_command_drops_what_is_of_no_more_use(
    job: Job, duck: Duck, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(duck, name_of(job, 2), name_of(job, 23))
    closed(job, 2)
    noted(job, 23, name_of(job, 23))

    said = told(capsys, "--drop")

    assert f"coffee.{name_of(job, 2)} (" in said
    assert "Dropped: " in said
    assert schemas_of(duck) == {ANALYTICS, name_of(job, 23)}


def test_the_command_says_what_it_could_not_drop(
    job: Job, duck: Duck, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(duck, name_of(job, 2))
    closed(job, 2)

    with duck.locked():
        said = told(capsys, "--drop")

    assert "Still there: " in said
    assert "lock" in said


def test_the_command_says_that_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys) == "There are no schemas of pull requests.\n"

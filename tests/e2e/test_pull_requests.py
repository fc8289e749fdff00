"""Pull requests through the whole service: GitHub on one side, dbt and warehouses on the other."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.e2e.stack import (
    EXAMPLE,
    Stack,
    Warehouse,
    duckdb_warehouse,
    postgres_warehouse,
    stack,
    wait_until,
)
from tests.fakes.github import FakeGitHub, fake_github
from tests.warehouses import Duck, Postgres
from tests.warehouses import Warehouse as Looked

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.services,
    pytest.mark.xdist_group("e2e pull_requests"),  # one service is enough
]

CHANGED = "models/marts/busy_hours.sql"
SLOW = "select 1 as id from (select pg_sleep(300)) as nap"
BUILD = ["dbt build --select state:modified+"]
# A macro of a project's own that knows better where tables belong.
TO_PRODUCTION = """
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ 'main' if node.name == 'busy_hours' else target.schema }}
{%- endmacro %}
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def github(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeGitHub]:
    with fake_github(tmp_path_factory.mktemp("github")) as made:
        yield made


@pytest.fixture(scope="module")
def service(github: FakeGitHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The service, which is the App of this GitHub."""
    with stack(
        "postgresql",
        tmp_path_factory.mktemp("service") / "data",
        JOBSVC_STOP_GRACE_SECONDS="2",
        **github.settings(as_app=True),
    ) as made:
        yield made


class Shop:
    """A repository on GitHub whose pull requests a CI job of the service builds.

    Attributes:
        production: the newest run of everything, in production.
    """

    def __init__(
        self, service: Stack, github: FakeGitHub, warehouse: Warehouse, looked: Looked
    ) -> None:
        self.service, self.warehouse, self.looked = service, warehouse, looked
        number = next(_numbers)
        owner = f"owner-{number}"
        self.repository = github.create_repository(f"{owner}/coffee")
        installation = github.install(owner)
        # What the operator says in /admin/ once the App is installed.
        service.service.manage(
            "shell",
            "-c",
            "from ci.models import GitHubInstallation as Installation\n"
            f"Installation.objects.create(account_id={service.account}, "
            f"installation_id={installation}, login={owner!r})",
        )
        self.place = service.place(
            self.repository.clone_url,
            warehouse,
            f"Coffee {number}",
            git_clone_strategy="github_app",
            github_installation_id=installation,
        )
        self._name_raw_schema()
        hook = service.post(
            f"v3/projects/{self.place.project}/repositories/{self.place.repository}/webhook/"
        )
        self.repository.hook_secret = hook["secret"]
        self.repository.hook_url = service.url + urlsplit(hook["address"]).path
        self.production = service.ended(
            service.trigger(service.job(self.place, ["dbt build"], name="all"))
        )
        assert self.production["is_success"], self.production["status_message"]
        self.ci = service.job(
            self.place,
            BUILD,
            name="ci",
            deferring_environment_id=self.place.environment,
            triggers={"github_webhook": True, "schedule": False},
        )

    def _name_raw_schema(self) -> None:
        schema = "main" if self.warehouse.adapter == "duckdb" else "analytics"
        self.service.post(
            f"v3/projects/{self.place.project}/environment-variables/bulk/",
            {"env_var": {"new_name": "DBT_COFFEE_RAW_SCHEMA", "project": schema}},
        )

    def change(self, words: str) -> dict[str, str | None]:
        """``busy_hours`` with other words in it."""
        return {CHANGED: (EXAMPLE / CHANGED).read_text() + f"\n-- {words}\n"}

    def runs(self, number: int) -> list[dict[str, Any]]:
        """Runs of a pull request, oldest first."""
        rows = self.service.get(
            f"v2/runs/?job_definition_id={self.ci}&include_related=trigger&order_by=id"
        )
        return [row for row in rows if row["trigger"]["github_pull_request_id"] == number]

    def run_of(self, number: int, sha: str) -> int:
        """The run of a commit, once there is one."""

        def look() -> int | None:
            shas = {row["trigger"]["git_sha"]: row["id"] for row in self.runs(number)}
            return shas.get(sha)

        return wait_until(f"a run of {sha[:8]}", look)

    def passed(self, number: int, sha: str) -> dict[str, Any]:
        run = self.service.ended(self.run_of(number, sha))
        assert run["is_success"], run["status_message"]
        return run

    def schemas(self) -> set[str]:
        """Of pull requests, in the warehouse."""
        rows = self.looked.execute(
            "SELECT DISTINCT schema_name FROM information_schema.schemata "
            "WHERE schema_name LIKE 'dbt_cloud_pr_%'"
        )
        return {row[0] for row in rows}

    def dropped(self, schema: str) -> None:
        """Wait until the service says that it dropped a schema; nobody disturbs it meanwhile."""
        state = "SELECT state FROM ci_cischema WHERE schema = %s"
        wait_until(
            f"{schema} is dropped",
            lambda: {row[0] for row in _rows(self.service, state, schema)} == {"dropped"},
        )


@contextmanager
def shop_on(adapter: str, service: Stack, github: FakeGitHub) -> Iterator[Shop]:
    if adapter == "postgres":
        with postgres_warehouse() as (warehouse, address):
            yield Shop(service, github, warehouse, Postgres(address))
        return
    warehouse = duckdb_warehouse()
    warehouse.config = {"path": f"coffee_{next(_numbers)}.duckdb"}
    file = service.service.data / "warehouses" / str(service.account) / warehouse.config["path"]
    yield Shop(service, github, warehouse, Duck(file))


def _rows(service: Stack, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What the service's own database holds."""
    with psycopg.connect(service.service.database_url) as database:
        return database.execute(query, values).fetchall()  # type: ignore[call-overload] # text from here alone


@contextmanager
def watching(service: Stack) -> Iterator[list[set[str]]]:
    """Which runs have live processes, looked at again and again."""
    seen: list[set[str]] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            names = set()
            for process in service.processes_of_runs():
                with_path = f"{process.info['cwd']} {' '.join(process.info['cmdline'] or [])}"
                names |= {
                    part.partition("/")[0] for part in with_path.split("/workspaces/run-")[1:]
                }
            seen.append({name.partition("-")[0] for name in names})

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def without_repeats(states: list[str]) -> list[str]:
    return [state for state, _same in itertools.groupby(states)]


def test_a_pull_request_from_its_opening_to_its_merge(service: Stack, github: FakeGitHub) -> None:
    with shop_on("postgres", service, github) as shop:
        repository = shop.repository
        service.job(
            shop.place,
            ["dbt parse"],
            name="merged",
            triggers={"on_merge": True, "github_webhook": False, "schedule": False},
        )

        # Somebody else's pull request, whose number begins alike.
        other = repository.open("other", number=23, title="Other words", **shop.change("other"))
        shop.passed(23, repository.pulls[other].head_sha)
        theirs = f"dbt_cloud_pr_{shop.ci}_23"
        assert shop.schemas() == {theirs}

        # Opened with a model that takes for ever …
        slow = {"models/marts/nap.sql": SLOW}
        repository.open("blue", number=2, title="Blue", **(shop.change("first") | slow))
        first = repository.pulls[2].head_sha
        superseded = shop.run_of(2, first)
        service.step_running(superseded, "dbt build")

        # … and pushed to three times quickly.
        quick = {"models/marts/nap.sql": "select 1 as id"}
        with watching(service) as seen:
            wait_until("its processes are seen", lambda: {str(superseded)} in seen)
            second = repository.push("blue", **(shop.change("second") | quick))
            third = repository.push("blue", **(shop.change("third") | quick))
            fourth = repository.push("blue", **(shop.change("fourth") | quick))
            survivor = shop.passed(2, fourth)

        runs = shop.runs(2)
        assert [run["status_humanized"] for run in runs if run["id"] != survivor["id"]] == [
            "Cancelled"
        ] * (len(runs) - 1)
        assert runs[0]["id"] == superseded
        assert without_repeats(github.states(first)) == ["pending", "error"]
        for sha in (second, third):
            assert github.states(sha)[-1:] in ([], ["error"])
        # The superseded run's last process was gone before the newer one had any.
        mine = {str(run["id"]) for run in runs}
        assert all(len(at_once & mine) <= 1 for at_once in seen)
        assert str(superseded) not in set().union(
            *seen[next(i for i, at in enumerate(seen) if str(survivor["id"]) in at) :]
        )
        own = f"dbt_cloud_pr_{shop.ci}_2"
        assert shop.schemas() == {theirs, own}

        # A draft is not built until it is ready.
        repository.to_draft(2)
        unfinished = repository.push("blue", **shop.change("unfinished"))
        repository.ready(2)
        shop.passed(2, unfinished)
        wait_until("GitHub knows", lambda: github.states(unfinished)[-1:] == ["success"])
        assert without_repeats(github.states(unfinished)) == ["pending", "success"]
        wait_until("GitHub knows", lambda: github.states(fourth)[-1:] == ["success"])
        assert without_repeats(github.states(fourth)) == ["pending", "success"]
        assert [run["status_humanized"] for run in shop.runs(2)].count("Success") == 2

        # One comment, which was changed and not joined by others.
        mine_only = [row for row in repository.comments.values() if row["number"] == 2]
        (comment,) = mine_only
        wait_until("the comment is of the newest commit", lambda: unfinished[:7] in comment["body"])
        assert len(github.calls_to(f"PATCH .*{repository.full_name}/issues/comments/")) >= 1

        # Closed: its schema goes, the other's stays.
        repository.close(2)
        shop.dropped(own)
        assert shop.schemas() == {theirs}

        # Merged: the merge job runs on what was pushed, and the last schema goes.
        merged = repository.merge(23)
        run = wait_until("a merge job's run", lambda: _merge_run(service, shop, merged))
        ended = service.ended(run)
        assert (ended["is_success"], ended["git_sha"]) == (True, merged), ended["status_message"]
        shop.dropped(theirs)
        assert shop.schemas() == set()


def _merge_run(service: Stack, shop: Shop, sha: str) -> int | None:
    rows = service.get(f"v2/runs/?project_id={shop.place.project}&include_related=trigger")
    return next(
        (
            row["id"]
            for row in rows
            if row["trigger"]["git_sha"] == sha and row["job_definition_id"] != shop.ci
        ),
        None,
    )


@pytest.fixture(scope="module")
def shop(service: Stack, github: FakeGitHub) -> Iterator[Shop]:
    with shop_on("duckdb", service, github) as made:
        yield made


def test_a_model_that_would_be_built_in_production_is_stopped_before_it_is(shop: Shop) -> None:
    before = shop.looked.execute("SELECT count(*), max(orders) FROM main.busy_hours")
    sabotage = {CHANGED: "select 1 as shop_id, 2 as hour_started_at, 3 as orders, 4 as cups"}
    number = shop.repository.open(
        "clever", **(sabotage | {"macros/generate_schema_name.sql": TO_PRODUCTION})
    )
    sha = shop.repository.pulls[number].head_sha

    run = shop.service.ended(shop.run_of(number, sha))

    assert run["status_humanized"] == "Error"
    assert "busy_hours" in run["status_message"]
    assert shop.looked.execute("SELECT count(*), max(orders) FROM main.busy_hours") == before
    assert shop.schemas() == set()
    wait_until("GitHub knows", lambda: shop.repository.github.states(sha)[-1:] != ["pending"])
    assert without_repeats(shop.repository.github.states(sha))[0] == "pending"


def test_a_pull_request_that_is_closed_while_it_is_built_leaves_no_schema(shop: Shop) -> None:
    slow = "select count(*) as id from range(10000000) as a, range(10000000) as b"
    number = shop.repository.open("short", **(shop.change("short") | {"models/nap.sql": slow}))
    sha = shop.repository.pulls[number].head_sha
    run = shop.run_of(number, sha)
    schema = f"dbt_cloud_pr_{shop.ci}_{number}"
    shop.service.step_running(run, "dbt build")

    shop.repository.close(number)

    assert shop.service.ended(run)["status_humanized"] == "Cancelled"
    shop.dropped(schema)
    assert schema not in shop.schemas()
    states = shop.repository.github.states
    wait_until("GitHub knows", lambda: states(sha)[-1:] == ["error"])


def test_the_same_delivery_five_times_starts_one_run(shop: Shop) -> None:
    number = shop.repository.open("again", **shop.change("again"))
    delivery = shop.repository.github.deliveries[-1]

    for _time in range(4):
        shop.repository.github.redeliver(shop.repository, delivery)

    assert delivery.statuses == [202, 200, 200, 200, 200]
    shop.passed(number, shop.repository.pulls[number].head_sha)
    assert len(shop.runs(number)) == 1

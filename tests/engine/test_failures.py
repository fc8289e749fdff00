"""Why a step failed: told by its ending, its status, its nodes and the warehouse's words."""

from __future__ import annotations

import pytest

from jobsvc.engine.errors import (
    CheckoutTimedOut,
    CommitNotFound,
    NoSpaceLeft,
    RefNotFound,
    RepositoryRefused,
    RepositoryUnreachable,
    RunFailure,
    SupervisorLost,
)
from jobsvc.engine.failures import class_of_failure, class_of_step
from jobsvc.engine.plan import FailureClass
from jobsvc.engine.ports import Ending
from jobsvc.engine.results import NodeResult

INFRASTRUCTURE = FailureClass.INFRASTRUCTURE
TRANSIENT = FailureClass.TRANSIENT_WAREHOUSE
DBT_ERROR = FailureClass.DBT_ERROR


def node(message: str, status: str = "error") -> NodeResult:
    return NodeResult(unique_id="model.shop.orders", status=status, message=message)


def judged(
    *results: NodeResult,
    ending: Ending = Ending.ERROR,
    exit_code: int = 1,
    warehouse: str = "postgres",
    words: str = "",
) -> FailureClass | None:
    return class_of_step(ending, exit_code, warehouse=warehouse, results=list(results), words=words)


@pytest.mark.parametrize(
    ("warehouse", "words"),
    [
        ("postgres", "Database Error\n  server closed the connection unexpectedly"),
        ("postgres", "could not serialize access due to concurrent update"),
        ("postgres", "canceling statement due to lock timeout"),
        ("postgres", "connection to server at 10.0.0.1, port 5432 failed: Connection refused"),
        ("postgres", "deadlock detected"),
        ("postgres", "FATAL: the database system is starting up"),
        ("redshift", "1023 DETAIL: Serializable isolation violation on table"),
        ("snowflake", "250001 (08001): Failed to connect to DB"),
        ("snowflake", "Warehouse 'LOAD' was suspended."),
        ("bigquery", "Exceeded rate limits: too many table update operations"),
        ("bigquery", "Retrying the job may solve the problem. backendError"),
        ("databricks", "HTTP Response with code: 503, TEMPORARILY_UNAVAILABLE"),
        ("spark", "ConcurrentAppendException: Files were added"),
        ("duckdb", "IO Error: Could not set lock on file /w/coffee.duckdb"),
        ("duckdb", "TransactionContext Error: Transaction conflict"),
        ("trino", "error 503: Service Unavailable"),
        ("clickhouse", "Read timed out."),
    ],
)
def test_a_warehouse_that_is_away_for_a_moment_is_transient(warehouse: str, words: str) -> None:
    assert judged(node(words), warehouse=warehouse) is TRANSIENT
    assert judged(exit_code=2, words=words, warehouse=warehouse) is TRANSIENT


@pytest.mark.parametrize(
    "words",
    [
        'relation "analytics.nope" does not exist',
        "Binder Error: Referenced column nope not found",
        "Compilation Error in model orders: 'nope' is undefined",
        "division by zero",
        'password authentication failed for user "ana"',
        "value 503 is out of range",
        "Got 429 results, configured to fail if != 0",
    ],
)
def test_what_the_project_does_wrong_is_an_error_of_dbt(words: str) -> None:
    assert judged(node(words)) is DBT_ERROR
    assert judged(exit_code=2, words=words) is DBT_ERROR


def test_a_failing_test_is_an_error_of_dbt_whatever_it_says() -> None:
    assert judged(node("connection reset by peer", status="fail")) is DBT_ERROR


def test_one_lasting_failure_beside_a_passing_one_makes_the_whole_lasting() -> None:
    assert judged(node("connection reset by peer"), node("Got 1 result", "fail")) is DBT_ERROR


def test_nodes_that_went_well_or_were_skipped_say_nothing() -> None:
    fine = [node("CREATE TABLE", "success"), node("", "skipped")]

    assert judged(*fine, node("connection reset by peer")) is TRANSIENT


@pytest.mark.parametrize(
    "words",
    [
        "External connection exception occurred: Max retries exceeded with url",
        "fatal: unable to access 'https://github.com/dbt-labs/x/': Could not resolve host",
        "Temporary failure in name resolution",
        "OSError: [Errno 28] No space left on device",
    ],
)
def test_a_machine_or_network_that_fails_is_infrastructure(words: str) -> None:
    assert judged(exit_code=2, words=words) is INFRASTRUCTURE


@pytest.mark.parametrize("exit_code", [-9, -15, 137, 143])
def test_a_dbt_that_was_killed_is_infrastructure(exit_code: int) -> None:
    assert judged(exit_code=exit_code) is INFRASTRUCTURE


def test_a_step_past_its_limit_is_a_timeout() -> None:
    assert judged(ending=Ending.TIMED_OUT, exit_code=2) is FailureClass.TIMEOUT


@pytest.mark.parametrize("ending", [Ending.SUCCESS, Ending.STOPPED])
def test_what_did_not_fail_by_itself_has_no_class(ending: Ending) -> None:
    assert judged(ending=ending, exit_code=0) is None


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (RepositoryUnreachable(repository="r", reason="timeout"), INFRASTRUCTURE),
        (CheckoutTimedOut(repository="r", seconds=5), INFRASTRUCTURE),
        (NoSpaceLeft(), INFRASTRUCTURE),
        (SupervisorLost(status=-9), INFRASTRUCTURE),
        (RepositoryRefused(repository="r", reason="401"), None),
        (CommitNotFound(repository="r", sha="5c1d"), None),
        (RefNotFound(repository="r", ref="main"), None),
        (RunFailure(), None),
    ],
)
def test_of_our_own_failures_only_passing_ones_are_worth_another_try(
    failure: RunFailure, expected: FailureClass | None
) -> None:
    assert class_of_failure(failure) is expected

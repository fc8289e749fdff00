"""Waits before a retry: each backoff, its limit, and chance."""

from __future__ import annotations

import random

import pytest

from jobsvc.engine.patience import delay_before, longest_wait, may_retry
from jobsvc.engine.plan import Backoff, FailureClass, Jitter, RetryPlan


def delays(number: int = 5, **policy: object) -> list[float]:
    """The waits before the first ``number`` retries, where chance always gives a half."""
    made = RetryPlan(**{"max_retries": number, "delay_seconds": 10, **policy})  # type: ignore[arg-type] # a test's fields
    return [delay_before(made, retry, chance=lambda: 0.5) for retry in range(1, number + 1)]


def test_without_backoff_every_wait_is_the_same() -> None:
    assert delays(3) == [10, 10, 10]


def test_a_linear_backoff_adds_the_delay_each_time() -> None:
    assert delays(4, backoff=Backoff.LINEAR) == [10, 20, 30, 40]


def test_an_exponential_backoff_doubles_and_adds_one() -> None:
    assert delays(5, backoff=Backoff.EXPONENTIAL) == [10, 30, 70, 150, 310]


def test_no_wait_is_longer_than_the_longest() -> None:
    assert delays(5, backoff=Backoff.EXPONENTIAL, max_delay_seconds=100) == [10, 30, 70, 100, 100]


def test_full_jitter_takes_a_part_of_the_wait_after_its_limit() -> None:
    waits = delays(5, backoff=Backoff.EXPONENTIAL, max_delay_seconds=100, jitter=Jitter.FULL)

    assert waits == [5, 15, 35, 50, 50]


@pytest.mark.parametrize("retry", [1, 2, 3, 10])
def test_full_jitter_stays_between_nothing_and_the_wait(retry: int) -> None:
    policy = RetryPlan(
        max_retries=10, delay_seconds=60, backoff=Backoff.EXPONENTIAL, jitter=Jitter.FULL
    )
    plain = RetryPlan(max_retries=10, delay_seconds=60, backoff=Backoff.EXPONENTIAL)
    most = delay_before(plain, retry, chance=random.random)

    waits = [delay_before(policy, retry, chance=random.random) for _ in range(200)]

    assert 0 <= min(waits) < max(waits) <= most


def test_a_policy_retries_so_often_and_no_more() -> None:
    policy = RetryPlan(max_retries=2)

    allowed = [
        may_retry(policy, FailureClass.INFRASTRUCTURE, attempt=attempt) for attempt in (1, 2, 3)
    ]

    assert allowed == [True, True, False]


@pytest.mark.parametrize(
    ("failure", "allowed"),
    [
        (FailureClass.INFRASTRUCTURE, True),
        (FailureClass.TRANSIENT_WAREHOUSE, True),
        (FailureClass.TIMEOUT, False),
        (FailureClass.DBT_ERROR, False),
        (None, False),
    ],
)
def test_by_default_only_what_may_pass_is_retried(
    failure: FailureClass | None, allowed: bool
) -> None:
    assert may_retry(RetryPlan(max_retries=1), failure, attempt=1) is allowed


def test_a_job_that_asks_for_no_retries_gets_none() -> None:
    assert not may_retry(RetryPlan(), FailureClass.INFRASTRUCTURE, attempt=1)


def test_all_waits_together_are_told() -> None:
    policy = RetryPlan(
        max_retries=3, delay_seconds=10, backoff=Backoff.EXPONENTIAL, jitter=Jitter.FULL
    )

    assert longest_wait(policy) == 10 + 30 + 70

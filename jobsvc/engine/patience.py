"""How long to wait before something that failed is tried again."""

from __future__ import annotations

from collections.abc import Callable

from jobsvc.engine.plan import Backoff, FailureClass, Jitter, RetryPlan


def may_retry(policy: RetryPlan, failure: FailureClass | None, *, attempt: int) -> bool:
    """Whether ``policy`` wants another try after attempt ``attempt`` (from 1) failed like this."""
    return failure in policy.retry_on and attempt <= policy.max_retries


def longest_wait(policy: RetryPlan) -> float:
    """Seconds that all waits of ``policy`` together take at most."""
    retries = range(1, policy.max_retries + 1)
    return sum(delay_before(policy, retry, chance=lambda: 1) for retry in retries)


def delay_before(policy: RetryPlan, retry: int, *, chance: Callable[[], float]) -> float:
    """Seconds to wait before retry number ``retry``.

    Without backoff every wait is ``delay``; linear, it is ``delay * n``; exponential,
    ``(2**n - 1) * delay``. No wait is longer than the policy's longest. Full jitter takes a
    moment between none of it and all of it.

    Args:
        retry: from 1; the first attempt is no retry.
        chance: a number from 0 to 1, anew at each call.

    Source: Dagster's RetryPolicy; "Exponential Backoff And Jitter", AWS Architecture Blog.
    """
    factors = {Backoff.NONE: 1, Backoff.LINEAR: retry, Backoff.EXPONENTIAL: int(2**retry) - 1}
    delay = float(min(policy.delay_seconds * factors[policy.backoff], policy.max_delay_seconds))
    return delay * chance() if policy.jitter is Jitter.FULL else delay

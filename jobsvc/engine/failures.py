"""Why a step failed, as far as it matters for trying again.

Judged by what ended the step, by dbt's exit status, by each node's status, and by the words of
the warehouse. In doubt it is an error of the project: trying that again would only cost.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from jobsvc.engine.errors import (
    CheckoutTimedOut,
    IndexUnreachable,
    NoSpaceLeft,
    RepositoryUnreachable,
    RunFailure,
    SupervisorLost,
)
from jobsvc.engine.plan import FailureClass
from jobsvc.engine.ports import Ending
from jobsvc.engine.results import NodeResult

# Failures of the service's own that another try may not meet again.
PASSING = (
    CheckoutTimedOut,
    IndexUnreachable,
    NoSpaceLeft,
    RepositoryUnreachable,
    SupervisorLost,
)

# A shell's way to say that a signal ended a process: 128 and the signal's number.
KILLED = frozenset({137, 143})

NODE_ERRORS = frozenset({"error", "runtime error", "partial success"})

# Between this machine and everything else: for `dbt deps`, and before a warehouse is reached.
_INFRASTRUCTURE = (
    r"temporary failure in name resolution",
    r"could not resolve host",
    r"no space left on device",
    r"cannot allocate memory",
    r"\bMemoryError\b",
    r"too many open files",
    r"external connection exception occurred",  # dbt's words for the package hub
    r"(hub\.getdbt\.com|codeload\.github\.com).*(timed out|refused|reset|unreachable|50[0234])",
    r"unable to access 'https?://.*(timed out|timeout|could not connect|error: 50[0234])",
)

_ANY_WAREHOUSE = (
    r"connection (was )?(reset|refused|timed out|aborted|closed|lost)",
    r"connection (to server )?.*failed: (connection refused|timeout expired|network)",
    r"could not connect to server",
    r"server closed the connection unexpectedly",
    r"(connect|connection|read|network|operation|request) time(d )?out",
    r"network is unreachable",
    r"\bbroken pipe\b",
    r"remote end closed connection",
    r"\b(429|500|502|503|504)\b.{0,40}(too many requests|internal|bad gateway|unavailable|time)",
    r"(http|status|error)( code)?:? (429|502|503|504)\b",
    r"service( is)? (temporarily )?unavailable",
    r"too many (connections|requests)",
    r"ssl (syscall|connection).*(eof|closed|unexpectedly)",
    r"\bdeadlock\b",
)

# The words of each kind of warehouse, by the profile's ``type``.
_WAREHOUSES: Mapping[str, Sequence[str]] = {
    "postgres": (
        r"could not serialize access",
        r"canceling statement due to (lock timeout|conflict with recovery)",
        r"terminating connection due to",
        r"the database system is (starting up|shutting down|in recovery mode)",
        r"remaining connection slots are reserved",
    ),
    "redshift": (
        r"serializable isolation violation",
        r"could not serialize access",
        r"could not open relation with oid",
        r"cluster is (resizing|restarting|paused|unavailable)",
        r"connection slots",
    ),
    "snowflake": (
        r"\b(250001|250003|390114|000604|000625)\b",  # connect, request, token, cancelled, locked
        r"warehouse .* (is|was) suspended",
        r"number of waiters for this lock exceeds",
        r"statement .* has locked table",
        r"authentication token has expired",
    ),
    "bigquery": (
        r"\b(rateLimitExceeded|jobRateLimitExceeded|backendError|internalError)\b",
        r"exceeded rate limits",
        r"could not serialize access to table",
        r"retrying the job may solve the problem",
        r"transaction is aborted due to concurrent update",
    ),
    "databricks": (
        r"\bTEMPORARILY_UNAVAILABLE\b",
        r"(cluster|warehouse|endpoint).*(is starting|not running|terminated|pending)",
        r"concurrent(append|deleteread|deletedelete|write|transaction)exception",
        r"\bDELTA_CONCURRENT",
    ),
    "duckdb": (
        r"could not set lock on file",
        r"(transaction|write-write) conflict",
    ),
}
_ALIKE = {"alloydb": "postgres", "spark": "databricks"}


def _pattern(*groups: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(word for group in groups for word in group), re.IGNORECASE)


_IS_INFRASTRUCTURE = _pattern(_INFRASTRUCTURE)
_IS_TRANSIENT = {kind: _pattern(_ANY_WAREHOUSE, words) for kind, words in _WAREHOUSES.items()}
_IS_TRANSIENT_ANYWHERE = _pattern(_ANY_WAREHOUSE)


def class_of_failure(failure: RunFailure) -> FailureClass | None:
    """What a failure of the service's own is; None where another try would meet it again."""
    return FailureClass.INFRASTRUCTURE if isinstance(failure, PASSING) else None


def class_of_step(
    ending: Ending,
    exit_code: int,
    *,
    warehouse: str,
    results: Sequence[NodeResult],
    words: str,
) -> FailureClass | None:
    """What kind of failure ended a dbt step; None if it did not fail, or was stopped on purpose.

    Only where every node that failed failed for a passing reason is the whole a passing one:
    a failing test beside a lost connection is still there at the next try.

    Args:
        exit_code: negative for a signal, as Python has it.
        warehouse: the profile's ``type``.
        results: of run_results.json or sources.json.
        words: the last that dbt said, for a failure before any node ran.
    """
    if ending is Ending.TIMED_OUT:
        return FailureClass.TIMEOUT
    if ending is not Ending.ERROR:
        return None
    if exit_code < 0 or exit_code in KILLED:
        return FailureClass.INFRASTRUCTURE
    failed = [result for result in results if result.failed]
    if not failed:
        return _class_of_words(words, warehouse)
    classes = {
        _class_of_words(result.message, warehouse)
        if result.status in NODE_ERRORS
        else FailureClass.DBT_ERROR
        for result in failed
    }
    return max(classes, key=_how_lasting)


def _class_of_words(words: str, warehouse: str) -> FailureClass:
    if _IS_INFRASTRUCTURE.search(words):
        return FailureClass.INFRASTRUCTURE
    kind = _ALIKE.get(warehouse, warehouse)
    if _IS_TRANSIENT.get(kind, _IS_TRANSIENT_ANYWHERE).search(words):
        return FailureClass.TRANSIENT_WAREHOUSE
    return FailureClass.DBT_ERROR


def _how_lasting(failure: FailureClass) -> int:
    order = (
        FailureClass.TRANSIENT_WAREHOUSE,
        FailureClass.INFRASTRUCTURE,
        FailureClass.DBT_ERROR,
    )
    return order.index(failure)

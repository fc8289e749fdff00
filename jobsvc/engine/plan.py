"""What the engine is told: everything one run needs, frozen, and nothing about who asked.

A plan is made by the service (``jobsvc.runs.plan``), handed to the run's own supervisor
process as JSON over a pipe, and never stored: it holds secrets.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class StepKind(StrEnum):
    """What a step of a run does. The first three are the service's own."""

    CLONE = "clone"
    PROFILE = "profile"
    DEPS = "deps"
    FRESHNESS = "freshness"
    LINT = "lint"
    COMMAND = "command"
    COMPARE = "compare"
    DOCS = "docs"


class OnFailure(StrEnum):
    """What a failed step means for the run."""

    STOP = "stop"
    CONTINUE = "continue"
    WARN = "warn"
    SKIP_RUN = "skip_run"  # the run ends as a success that built nothing more


class FailureClass(StrEnum):
    """Why something failed, as far as it matters for trying again."""

    INFRASTRUCTURE = "infrastructure"
    TRANSIENT_WAREHOUSE = "transient_warehouse"
    TIMEOUT = "timeout"
    DBT_ERROR = "dbt_error"


class Backoff(StrEnum):
    """How the wait before a retry grows from one to the next."""

    NONE = "none"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Jitter(StrEnum):
    """Whether chance shortens a wait, so that many that failed together do not come together."""

    NONE = "none"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class RetryPlan:
    """When to try again by itself. Delays are in seconds; ``max_retries`` 0 means never.

    Attributes:
        retry_on: failures of these classes alone are tried again.
    """

    max_retries: int = 0
    delay_seconds: int = 60
    backoff: Backoff = Backoff.NONE
    jitter: Jitter = Jitter.NONE
    max_delay_seconds: int = 3600
    retry_on: tuple[FailureClass, ...] = (
        FailureClass.INFRASTRUCTURE,
        FailureClass.TRANSIENT_WAREHOUSE,
    )

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> RetryPlan:
        """The policy that ``asdict`` and JSON made ``raw`` of."""
        return cls(
            **{
                **raw,
                "backoff": Backoff(raw["backoff"]),
                "jitter": Jitter(raw["jitter"]),
                "retry_on": tuple(map(FailureClass, raw["retry_on"])),
            }
        )


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """One step, in the order and with the name that clients read.

    Attributes:
        index: from 1, no gaps.
        command: the dbt command as typed (``dbt build --select a``); empty for the steps that
            are none: clone, profile, lint, compare.
        label: what its job calls it, for people; empty where it has no name of its own.
        on_failure: what its failure means for the run.
        timeout_seconds: of each attempt; 0 means no limit of its own.
        retry: when it is tried again inside the run.
        resume_from: absolute path of the run_results.json of the same step in an earlier run;
            where it is given, ``dbt retry`` goes on from there.
    """

    index: int
    name: str
    kind: StepKind
    command: str = ""
    label: str = ""
    on_failure: OnFailure = OnFailure.STOP
    timeout_seconds: int = 0
    retry: RetryPlan = field(default_factory=RetryPlan)
    resume_from: str = ""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> StepPlan:
        """The step that ``asdict`` and JSON made ``raw`` of."""
        return cls(
            **{
                **raw,
                "kind": StepKind(raw["kind"]),
                "on_failure": OnFailure(raw["on_failure"]),
                "retry": RetryPlan.from_json(raw["retry"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class CheckoutPlan:
    """Which commit of which repository.

    Attributes:
        url: ``https://``, ``ssh://`` or scp-like; ``file://`` only below ``local_roots``.
        ref: a branch or a tag; empty means the remote's default branch.
        sha: 40 hex digits; when given it wins over ``ref`` and nothing else is checked out.
        subdirectory: of the dbt project inside the repository, ``/``-separated; empty is the root.
        username, password: for https, sent as a header that never stands in a URL or on disk.
        private_key: OpenSSH text, for ssh; written to a file only the engine can read.
        local_roots: directories whose repositories may be cloned by ``file://``.
        plain_http_hosts: hosts whose repositories may be cloned without TLS.
        timeout_seconds: for the whole checkout.
        max_bytes: of the checkout on disk; 0 means no limit.
    """

    url: str
    ref: str = ""
    sha: str = ""
    subdirectory: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    private_key: str = field(default="", repr=False)
    local_roots: tuple[str, ...] = ()
    plain_http_hosts: tuple[str, ...] = ()
    timeout_seconds: int = 300
    max_bytes: int = 2 * 1024**3


@dataclass(frozen=True, kw_only=True)
class ProfilePlan:
    """The one profile of a run, with one output.

    Attributes:
        connection_name: shown in the step's name.
        target_name: the output's key, and ``target.name`` in Jinja.
        output: the output's fields; a secret stands there as an ``env_var`` expression.
        secrets: environment variable name to value, for the expressions in ``output``.
    """

    connection_name: str
    target_name: str
    output: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class ToolchainPlan:
    """How to start the dbt of a run.

    Attributes:
        version: as installed, e.g. ``1.11.16``.
        executable: absolute path of the ``dbt`` command of an environment of its own.
        read_only: directories that it needs to read besides the system's own.
        note: what the run's people should know of how it was chosen; mostly empty.
    """

    version: str
    executable: str
    read_only: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SandboxPlan:
    """What confines the children of a run (layers 0 to 4; see jobsvc.engine.sandbox).

    Attributes:
        need: layers that must hold, such as ``landlock:4``, ``seccomp``, ``uid``; if one is
            missing the run ends with a sentence instead of running on.
        ports: TCP ports the dbt child may connect to.
        read_only, read_write: paths beyond those of the workspace and the toolchain.
        uid: the user id the children run as, or None to keep the worker's.
        rlimits: ``RLIMIT_…`` name to value.
    """

    need: tuple[str, ...] = ()
    ports: tuple[int, ...] = (22, 80, 443)
    read_only: tuple[str, ...] = ()
    read_write: tuple[str, ...] = ()
    uid: int | None = None
    rlimits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StatePlan:
    """What a run compares with and defers to: another run's artifacts.

    Attributes:
        directory: holds these files, for the engine to take; empty where there are none, and
            then what would be selected by comparing is everything.
        favor_state: defer even what is there already in the run's own schema.
        sentence: which run's they are, or why there are none; the log says it.
    """

    directory: str
    sentence: str
    favor_state: bool = False


@dataclass(frozen=True, kw_only=True)
class ComparePlan:
    """How what a pull request built is compared with what it deferred to.

    Attributes:
        flags: which models are compared, as of ``dbt list``: ``--select state:modified``.
        keep_rows: keep values of rows that differ; without it only counts leave the warehouse.
    """

    flags: str
    keep_rows: bool = False


@dataclass(frozen=True, kw_only=True)
class ChildPlan:
    """What any program of a toolchain needs that speaks to a warehouse.

    Attributes:
        workspaces: the directory under which it gets one of its own.
        environment: ``DBT_…`` variables for the child, secret ones included.
        secrets: values to be masked in everything that leaves the workspace.
        timeout_seconds: for all of it; 0 means no limit.
        stop_grace_seconds: seconds from SIGINT to SIGTERM when a child is stopped.
    """

    workspaces: str
    profile: ProfilePlan
    toolchain: ToolchainPlan
    sandbox: SandboxPlan
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    timeout_seconds: int = 0
    stop_grace_seconds: int = 10


@dataclass(frozen=True, kw_only=True)
class WarehousePlan(ChildPlan):
    """All that is needed to ask a warehouse something outside of any run.

    Attributes:
        name: of its workspace; none is ever used again.
    """

    name: str


@dataclass(frozen=True, kw_only=True)
class RunPlan(ChildPlan):
    """All a run needs.

    Attributes:
        attempt: makes the workspace's name unique, so that none is ever reused.
        log_limit_bytes: what is kept of one step's console log, from its start.
        state: None for a run that defers to nothing.
        schema_prefix: the schema that a pull request's run has to itself, and with it those whose
            names go on from this one with an underscore; empty for any other run.
        guard: whether the run ends before it builds anything in another schema than those.
        compare: None for a run that has no such step.
    """

    run_id: int
    attempt: int
    checkout: CheckoutPlan
    steps: tuple[StepPlan, ...]
    log_limit_bytes: int = 20 * 1024**2
    state: StatePlan | None = None
    schema_prefix: str = ""
    guard: bool = True
    compare: ComparePlan | None = None

    def to_json(self) -> str:
        """This plan on one line, secrets included: only ever written to the supervisor's pipe."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RunPlan:
        """The plan that ``to_json`` wrote."""
        raw = json.loads(text)
        return cls(
            **{
                **raw,
                "checkout": CheckoutPlan(
                    **{
                        **raw["checkout"],
                        **{
                            name: tuple(raw["checkout"][name])
                            for name in ("local_roots", "plain_http_hosts")
                        },
                    }
                ),
                "profile": ProfilePlan(**raw["profile"]),
                "toolchain": ToolchainPlan(
                    **{**raw["toolchain"], "read_only": tuple(raw["toolchain"]["read_only"])}
                ),
                "sandbox": SandboxPlan(
                    **{
                        **raw["sandbox"],
                        **{
                            name: tuple(raw["sandbox"][name])
                            for name in ("need", "ports", "read_only", "read_write")
                        },
                    }
                ),
                "steps": tuple(StepPlan.from_json(step) for step in raw["steps"]),
                "secrets": tuple(raw["secrets"]),
                "state": StatePlan(**raw["state"]) if raw["state"] else None,
                "compare": ComparePlan(**raw["compare"]) if raw["compare"] else None,
            }
        )

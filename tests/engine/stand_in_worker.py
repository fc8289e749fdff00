"""A worker to be killed: supervises the plan on stdin and prints what it hears.

``python -m tests.engine.stand_in_worker``
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from jobsvc.engine.plan import RunPlan
from jobsvc.engine.ports import NodeEvent, StepEnd, Stream
from jobsvc.engine.supervise import supervise


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Printer:
    """A recorder whose events can be read from outside."""

    def workspace_ready(self, *, git_sha: str, git_branch: str) -> None:
        say("ready", git_sha, git_branch)

    def isolated(self, layers: Mapping[str, int | bool]) -> None:
        say("isolated", dict(layers))

    def will_build(self, schemas: Sequence[tuple[str, str]]) -> None:
        say("builds", list(schemas))

    def node(self, index: int, event: NodeEvent) -> None:
        say("node", index, event.unique_id, event.status)

    def step_started(self, index: int) -> None:
        say("started", index)

    def output(self, index: int, stream: Stream, text: str) -> None:
        say("output", index, stream, text)

    def step_ended(self, end: StepEnd) -> None:
        say("ended", end.index, end.ending)

    def should_stop(self) -> bool:
        return False


if __name__ == "__main__":
    say(supervise(RunPlan.from_json(sys.stdin.read()), Printer()))

"""A run's own process (``python -m jobsvc.engine.supervisor``): outlives neither run nor worker.

It reads the plan on stdin, tells on stdout what happens, and keeps stdin open: end of file
there means that the worker is gone, and with it everything of the run has to go. Should even
that not be noticed in time, a signal at the worker's death starts a clock that ends it by force.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from jobsvc.engine import leftovers, runner, sandbox
from jobsvc.engine.errors import NoSpaceLeft, RunFailure
from jobsvc.engine.plan import RunPlan
from jobsvc.engine.ports import Ending, Outcome
from jobsvc.engine.process import KILL_GRACE, TERM_GRACE
from jobsvc.engine.redact import Redactor
from jobsvc.engine.wire import EventSender, Link

PLAN_LIMIT = 60.0  # seconds for the plan to come
FORCE_AFTER = 15  # seconds beyond the stop ladder's own until a stop is made by force


def main() -> None:
    """Carry out the one plan that comes on stdin."""
    sandbox.harden_this_process()
    sandbox.adopt_orphans()
    sandbox.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    link = _take_over_stdio()
    lines = link.receive(PLAN_LIMIT)
    if not lines:
        return
    plan, recorder = RunPlan.from_json(lines[0]), EventSender(link)
    _stop_on_sigterm(plan, recorder)
    try:
        outcome = _carry_out(plan, recorder)
        recorder.ended(outcome)
        recorder.wait_until_done()
    finally:
        _clean_up(plan)


def _take_over_stdio() -> Link:
    """The pipes of the worker, moved to where no child and no stray ``print`` finds them."""
    link = Link(os.dup(sys.stdin.fileno()), os.dup(sys.stdout.fileno()))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, sys.stdin.fileno())
    os.close(nothing)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return link


def _stop_on_sigterm(plan: RunPlan, recorder: EventSender) -> None:
    def on_sigterm(_number: int, _frame: FrameType | None) -> None:
        recorder.stop()
        signal.alarm(int(plan.stop_grace_seconds + TERM_GRACE + KILL_GRACE) + FORCE_AFTER)

    def on_alarm(_number: int, _frame: FrameType | None) -> None:
        _clean_up(plan)
        os._exit(1)

    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, on_sigterm)


def _carry_out(plan: RunPlan, recorder: EventSender) -> Outcome:
    try:
        return runner.run(plan, recorder)
    except RunFailure as failure:
        return Outcome(ending=Ending.ERROR, message=str(failure))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Outcome(ending=Ending.ERROR, message=str(NoSpaceLeft()))
        redactor = Redactor(runner.secrets_of(plan))
        story = redactor.feed(traceback.format_exc().encode()) + redactor.flush()
        sys.stderr.write(f"run {plan.run_id} stopped on a bug:\n{story}")
        return Outcome(ending=Ending.ERROR, message=str(RunFailure()))


def _clean_up(plan: RunPlan) -> None:
    """Leave no process and no file of the run."""
    leftovers.sweep(frozenset(), uid=plan.sandbox.uid)
    places = [runner.workspace_of(plan)]
    if plan.state is not None and plan.state.directory:
        places.append(Path(plan.state.directory))  # the worker, whose it is, may be gone
    for place in places:
        if not leftovers.remove_tree(place):
            sys.stderr.write(f"run {plan.run_id}: {place} could not be removed\n")


if __name__ == "__main__":
    main()

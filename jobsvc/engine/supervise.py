"""The worker's side of a run: starts its supervisor, hands on what it tells, sees it off."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from jobsvc.engine import leftovers, runner, sandbox
from jobsvc.engine.errors import SupervisorLost
from jobsvc.engine.plan import FailureClass, RunPlan
from jobsvc.engine.ports import WORKER_LOST, Ending, Outcome, Recorder
from jobsvc.engine.process import KILL_GRACE, TERM_GRACE
from jobsvc.engine.wire import Link, Order, deliver, is_the_end

CLEAN_UP_TICK = 0.02  # seconds between two looks whether a supervisor has gone
TICK = 0.5  # seconds between two questions whether to stop
STOP_LIMIT = 60.0  # seconds beyond the stop ladder's own for a stopped run to end
EXIT_LIMIT = 30.0  # seconds for a supervisor to clean up after its run

_PACKAGES = Path(__file__).resolve().parents[2]


def supervise(plan: RunPlan, recorder: Recorder, *, python: str = sys.executable) -> Outcome:
    """Carry out ``plan`` in a process of its own, and return when nothing of it is left.

    Call it from the process's main thread: the run ends with the thread that started it.
    ``recorder.should_stop`` is asked twice a second. An exception from the recorder stops
    the run, waits for its end and is raised again.

    Args:
        python: an interpreter that has this package's dependencies.

    Raises:
        LeaseLost: as the recorder raised it; it was told nothing after that.
    """
    with sandbox.adopting_orphans():
        bystanders = leftovers.children_of(os.getpid())
        supervisor, link = _start(python)
        try:
            outcome = _converse(link, plan, recorder)
            if outcome is None:
                supervisor.kill()  # if it was only deaf; its children end with it
            _wait_beside(supervisor, recorder)
        finally:
            link.close()
            status = _see_off(supervisor)
            # What escaped from a supervisor that was killed is this process's by now.
            leftovers.sweep(
                bystanders,
                uid=plan.sandbox.uid if status else None,
                spare_session=os.getsid(0),
            )
            leftovers.remove_tree(runner.workspace_of(plan))
    return outcome or Outcome(
        ending=Ending.ERROR,
        message=str(SupervisorLost(status=status)),
        detail=WORKER_LOST,
        failure_class=FailureClass.INFRASTRUCTURE,
    )


def _start(python: str) -> tuple[subprocess.Popen[bytes], Link]:
    """Start a supervisor that knows nothing of this process's environment."""
    their_orders, our_orders = os.pipe()
    our_events, their_events = os.pipe()
    link = Link(our_events, our_orders)
    try:
        supervisor = subprocess.Popen(
            [python, "-P", "-m", "jobsvc.engine.supervisor"],
            cwd="/",
            env={
                "PATH": os.environ.get("PATH", os.defpath),
                "HOME": os.environ.get("HOME", "/"),
                "LANG": "C.UTF-8",
                "LC_ALL": "C.UTF-8",
                "PYTHONPATH": str(_PACKAGES),
            },
            stdin=their_orders,
            stdout=their_events,
            start_new_session=True,
        )
    except OSError:
        link.close()
        raise
    finally:
        os.close(their_orders)
        os.close(their_events)
    return supervisor, link


def _converse(link: Link, plan: RunPlan, recorder: Recorder) -> Outcome | None:
    """Give the plan, hand on the events; the outcome, or None if the supervisor was lost."""
    patience = plan.stop_grace_seconds + TERM_GRACE + KILL_GRACE + STOP_LIMIT
    link.send(plan.to_json())
    try:
        outcome = _follow(link, recorder, plan.timeout_seconds, patience)
    except BaseException:
        _stop_unheard(link, patience)
        raise
    link.send(Order.DONE)
    return outcome


def _follow(link: Link, recorder: Recorder, timeout: float, patience: float) -> Outcome | None:
    """Hand on events until the run's end; None if the supervisor is lost, or deaf to its clock."""
    next_look = 0.0
    stopping = False
    give_up = time.monotonic() + timeout + patience if timeout else float("inf")
    while not link.closed:
        # An empty line stands for none: the clock is looked at between any two of them.
        for line in link.receive(TICK) or [""]:
            outcome = deliver(line, recorder) if line else None
            if outcome is not None:
                return outcome
            now = time.monotonic()
            if now > give_up:
                return None
            if now >= next_look:
                next_look = now + TICK
                if recorder.should_stop() and not stopping:
                    stopping = True
                    link.send(Order.STOP)
                    give_up = min(give_up, now + patience)
    return None


def _stop_unheard(link: Link, patience: float) -> None:
    """Stop the run and wait for its end without telling anyone what it says."""
    deadline = time.monotonic() + patience
    link.send(Order.STOP)
    while not link.closed and time.monotonic() < deadline:
        if any(is_the_end(line) for line in link.receive(TICK)):
            return


def _wait_beside(supervisor: subprocess.Popen[bytes], recorder: Recorder) -> None:
    """Give the supervisor its time to clean up, while the host goes on saying it is alive."""
    deadline = time.monotonic() + EXIT_LIMIT
    while supervisor.poll() is None and time.monotonic() < deadline:
        recorder.should_stop()
        time.sleep(CLEAN_UP_TICK)


def _see_off(supervisor: subprocess.Popen[bytes]) -> int:
    """Wait until the supervisor has ended, or kill it; its exit status."""
    try:
        return supervisor.wait(EXIT_LIMIT)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        return supervisor.wait()

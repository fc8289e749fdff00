"""A warehouse is asked something outside of any run, in the confinement that a run would have.

It is asked by a script of ``jobsvc.engine.inside``, run by the Python of a toolchain, with the
profile of an environment; there is no checkout, so no code of a user is anywhere near.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jobsvc.engine import leftovers, sandbox
from jobsvc.engine.environment import child_confinement, child_environment
from jobsvc.engine.errors import RunFailure
from jobsvc.engine.plan import WarehousePlan
from jobsvc.engine.ports import Ending
from jobsvc.engine.process import run_process
from jobsvc.engine.profiles import write_profile
from jobsvc.engine.redact import Redactor
from jobsvc.engine.results import last_words
from jobsvc.engine.workspace import Workspace, write_private

DROP_SCHEMAS = "drop_schemas.py"
KEPT_PIECES = 64  # of up to 64 KiB of what the script said; its answer is the last line

_INSIDE = Path(__file__).with_name("inside")


class NoAnswer(RunFailure):
    template = "The warehouse of connection {connection} gave no answer: {reason}."
    remedy = "Check that it can be reached with the environment's credentials, then try again."


class NotInTime(RunFailure):
    template = "The warehouse of connection {connection} took longer than {seconds} seconds."
    remedy = "Find out what keeps it busy or holds a lock there, then try again."


class BrokenOff(RunFailure):
    template = "The warehouse of connection {connection} was left alone before it had answered."
    remedy = "Try again once no run needs it."


def ask(
    plan: WarehousePlan,
    script: str,
    request: Mapping[str, Any],
    *,
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Run ``script`` with ``request`` and return its answer; nothing of it is left behind.

    Call it from the process's main thread.

    Args:
        script: a file of ``jobsvc.engine.inside`` that takes the path of a JSON file and whose
            last line is JSON.
        should_stop: called every 0.2 seconds; keep it cheap.

    Raises:
        NoAnswer, NotInTime, IsolationMissing
        BrokenOff: ``should_stop`` said so.
    """
    root = Path(plan.workspaces) / plan.name
    root.parent.mkdir(parents=True, exist_ok=True, mode=0o711)
    uid = plan.sandbox.uid if sandbox.available()["uid"] else None
    said: deque[bytes] = deque(maxlen=KEPT_PIECES)
    try:
        workspace = Workspace.create(root, uid=uid)
        workspace.show(write_profile(plan.profile, workspace.profile))
        place = workspace.aside(1) / "request.json"
        write_private(place, json.dumps(request))
        workspace.show(place)
        directories = workspace.step(1)
        with sandbox.adopting_orphans():
            end = run_process(
                [
                    Path(plan.toolchain.executable).with_name("python").as_posix(),
                    str(_INSIDE / script),
                    str(place),
                ],
                cwd=workspace.project,
                env=child_environment(plan, workspace, directories),
                confinement=child_confinement(plan, workspace, directories),
                on_output=said.append,
                should_stop=should_stop,
                timeout=plan.timeout_seconds,
                grace=plan.stop_grace_seconds,
            )
    finally:
        leftovers.remove_tree(root)
    connection = plan.profile.connection_name
    if end.ending is Ending.STOPPED:
        raise BrokenOff(connection=connection)
    if end.ending is Ending.TIMED_OUT:
        raise NotInTime(connection=connection, seconds=plan.timeout_seconds)
    redactor = Redactor([*plan.secrets, *plan.profile.secrets.values()])
    output = redactor.feed(b"".join(said)) + redactor.flush()
    try:
        answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError) as error:
        reason = last_words(output).rstrip(".") or f"it ended with status {end.exit_code}"
        raise NoAnswer(connection=connection, reason=reason) from error
    if answer.get("error"):
        raise NoAnswer(connection=connection, reason=str(answer["error"]).rstrip("."))
    return answer

"""The commands of the job editor: their order, what each may do, and those that are switched off.

Without scripts the buttons beside a line send the whole form, and what they do is done here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from jobsvc.engine.commands import DbtCommand
from jobsvc.engine.errors import CommandRejected
from jobsvc.engine.plan import Backoff
from jobsvc.jobs.extensions import (
    LONGEST_COMMAND,
    LONGEST_DELAY,
    LONGEST_TEXT,
    MOST_RETRIES,
    Step,
    StepPolicy,
)
from jobsvc.jobs.models import MAX_STEPS, Job

OFF = "off"
STEP_POLICIES = [
    (StepPolicy.STOP.value, "If it fails: stop"),
    (StepPolicy.CONTINUE.value, "If it fails: go on"),
    (StepPolicy.WARN.value, "If it fails: warn only"),
    (OFF, "Switched off: not run"),
]
BACKOFFS = [
    (Backoff.NONE.value, "stays the same"),
    (Backoff.LINEAR.value, "grows steadily"),
    (Backoff.EXPONENTIAL.value, "doubles"),
]
# What can be said of one command beside what its failure means, in the order of the form.
RULES = ("name", "timeout", "retries", "delay", "backoff")


@dataclass
class StepLine:
    """One line of the commands, its rules as they were typed; None of one that was not sent.

    Attributes:
        was: its place among the job's steps as they were read, whose settings go with it; after
            an ``o`` its place among those that are off. Empty for a new line.
        retries: empty for the job's own policy.
        delay: seconds before each retry.
    """

    command: str
    on_failure: str = StepPolicy.STOP.value
    was: str = ""
    name: str | None = None
    timeout: str | None = None
    retries: str | None = None
    delay: str | None = None
    backoff: str | None = None
    problem: str = ""

    @property
    def is_off(self) -> bool:
        return self.on_failure == OFF

    @property
    def has_rules(self) -> bool:
        return bool(self.name or self.timeout or self.retries)


# --- Reading -----------------------------------------------------------------------------


def lines_of(job: Job) -> list[StepLine]:
    """The lines of a job, those that are off at the places where they were left."""
    extended = job.extended
    lines = [
        _line(command, extended.step(place), str(place))
        for place, command in enumerate(job.execute_steps)
    ]
    for number, off in sorted(enumerate(extended.steps_off), key=lambda one: one[1].place):
        line = replace(_line(off.command, off.rules, f"o{number}"), on_failure=OFF)
        lines.insert(off.place, line)
    return lines or [StepLine("")]


def _line(command: str, step: Step, was: str) -> StepLine:
    retry = step.retry
    return StepLine(
        command,
        step.on_failure.value,
        was,
        name=step.name,
        timeout=str(step.timeout_seconds or ""),
        retries="" if retry is None else str(retry.max_retries),
        delay="" if retry is None else str(retry.delay_seconds),
        backoff=Backoff.NONE.value if retry is None else retry.backoff.value,
    )


def lines_in(data: Any) -> list[StepLine]:
    """The lines that were sent, and what was done to them by one of the buttons beside them."""
    policies, places = data.getlist("step_on_failure"), data.getlist("step_was")
    rules = {name: data.getlist(f"step_{name}") for name in RULES}
    lines = [
        StepLine(
            command,
            policies[place] if place < len(policies) else StepPolicy.STOP.value,
            places[place] if place < len(places) else "",
            **{name: sent[place].strip() for name, sent in rules.items() if place < len(sent)},
        )
        for place, command in enumerate(data.getlist("step")[: MAX_STEPS + 1])
    ]
    verb, _colon, number = data.get("edit", "").partition(":")
    return _edited(lines, verb, _number(number)) or [StepLine("")]


def _edited(lines: list[StepLine], verb: str, place: int | None) -> list[StepLine]:
    if verb == "add":
        return [*lines, StepLine("")]
    if place is None or place >= len(lines):
        return lines
    other = place + {"up": -1, "down": 1}.get(verb, 0)
    if verb == "remove":
        del lines[place]
    elif verb == "duplicate":
        lines.insert(place + 1, replace(lines[place], was="", problem=""))
    elif 0 <= other < len(lines):
        lines[place], lines[other] = lines[other], lines[place]
    return lines


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


# --- Judging -----------------------------------------------------------------------------


def check_line(line: StepLine, number: int) -> str:
    """What is wrong with a line that is to run as command ``number``; empty if nothing is.

    One that is off may say what it likes: it is judged when it is switched on.
    """
    return next(_problems(line, number), "")


def _problems(line: StepLine, number: int) -> Iterator[str]:
    if line.on_failure not in dict(STEP_POLICIES):
        yield "Choose what happens when this command fails."
    elif not line.is_off:
        try:
            DbtCommand.parse(line.command, index=number)
        except CommandRejected as rejected:
            yield str(rejected)
    elif not line.command.isprintable() or len(line.command) > LONGEST_COMMAND:
        yield f"Write a command on one line, of at most {LONGEST_COMMAND} characters."
    if line.name and (len(line.name) > LONGEST_TEXT or not line.name.isprintable()):
        yield f"Give a name of at most {LONGEST_TEXT} characters, on one line."
    for text, what, most in (
        (line.timeout, "a time limit", LONGEST_DELAY),
        (line.retries, "a number of retries", MOST_RETRIES),
        (line.delay, "a wait", LONGEST_DELAY),
    ):
        if text and ((given := _number(text)) is None or given > most):
            yield f"Give {what} from 0 to {most}, or leave it empty."
    if line.backoff and line.backoff not in dict(BACKOFFS):
        yield "Choose how the wait between retries changes."


def in_words(line: StepLine) -> str:
    """A line with what is said of it, for comparing two of them."""
    policy = {value: words.lower() for value, words in STEP_POLICIES}.get(line.on_failure, "")
    said = [policy] if line.on_failure != StepPolicy.STOP else []
    said += [line.name] if line.name else []
    said += [f"{line.timeout} s"] if line.timeout else []
    said += [f"{line.retries} retries"] if line.retries else []
    return f"{line.command} ({', '.join(said)})" if said else line.command


# --- Writing -----------------------------------------------------------------------------


def put_steps(lines: Sequence[StepLine], before: Mapping[str, Any], after: dict[str, Any]) -> None:
    """Write the rules of ``lines`` into the extensions ``after``.

    Args:
        before: the extensions as they were read, for what the form does not show of them.
    """
    steps = [_rules(line, before) for line in lines if not line.is_off]
    while steps and not steps[-1]:
        steps.pop()
    off: list[dict[str, Any]] = []
    for place, line in enumerate(lines):
        if line.is_off:
            rules = _rules(replace(line, on_failure=StepPolicy.STOP.value), before)
            off.append(
                {"command": line.command, "place": place} | ({"rules": rules} if rules else {})
            )
    if steps:
        after["steps"] = steps
    elif after.get("steps"):
        del after["steps"]
    after.pop("steps_off", None)
    if off:
        after["steps_off"] = off


def _rules(line: StepLine, before: Mapping[str, Any]) -> dict[str, Any]:
    step = deepcopy(_had(line, before))
    if line.on_failure != StepPolicy.STOP or "on_failure" in step:
        step["on_failure"] = line.on_failure
    if line.name is not None:
        _keep(step, "name", line.name, "")
    if line.timeout is not None:
        _keep(step, "timeout_seconds", _number(line.timeout) or 0, 0)
    if line.retries is not None:
        retries = _number(line.retries)
        if retries is None:
            step.pop("retry", None)
        else:
            retry = dict(step.get("retry") or {}) | {"max_retries": retries}
            if (delay := _number(line.delay or "")) is not None:
                retry["delay_seconds"] = delay
            _keep(retry, "backoff", line.backoff or Backoff.NONE.value, Backoff.NONE.value)
            step["retry"] = retry
    return step


def _keep(step: dict[str, Any], key: str, value: Any, usual: Any) -> None:
    """Write ``value``, unless it says what its absence says."""
    if value != usual:
        step[key] = value
    elif step.get(key, usual) != usual:
        del step[key]


def _had(line: StepLine, before: Mapping[str, Any]) -> dict[str, Any]:
    """What the extensions said of the line before."""
    is_off = line.was.startswith("o")
    place = _number(line.was.removeprefix("o"))
    there = before.get("steps_off" if is_off else "steps") or []
    if place is None or place >= len(there):
        return {}
    return dict((there[place].get("rules") if is_off else there[place]) or {})

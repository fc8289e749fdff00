"""A reader of a log gets every character once, while it is written and after."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from jobsvc.engine.ports import Ending, StepEnd, Stream
from jobsvc.runs import logs
from jobsvc.runs.models import RunStep
from jobsvc.runs.record import RunRecorder
from tests.factories import RunStepFactory

pytestmark = pytest.mark.django_db

BUILD = 4


def again(step: RunStep) -> RunStep:
    return RunStep.objects.get(pk=step.pk)


@pytest.fixture
def step(recorder: RunRecorder) -> RunStep:
    return RunStep.objects.get(run=recorder.run, index=BUILD)


def say(recorder: RunRecorder, text: str, stream: Stream = Stream.CONSOLE) -> None:
    recorder.output(BUILD, stream, text)
    recorder.flush()


def test_a_step_that_has_not_started_says_nothing() -> None:
    step = RunStepFactory()

    assert logs.console_log(step) == ""
    assert logs.tail(step, Stream.CONSOLE, 0) == ("", 0)


def test_a_reader_goes_on_where_it_stopped(recorder: RunRecorder, step: RunStep) -> None:
    say(recorder, "one ")
    first, position = logs.tail(step, Stream.CONSOLE, 0)
    say(recorder, "two ")
    say(recorder, "three")
    second, position = logs.tail(step, Stream.CONSOLE, position)

    assert (first, second, position) == ("one ", "two three", 13)


def test_positions_are_characters_and_not_bytes(recorder: RunRecorder, step: RunStep) -> None:
    say(recorder, "Grüße ☕")

    assert logs.tail(step, Stream.CONSOLE, 6) == ("☕", 7)


def test_a_reader_that_is_up_to_date_gets_nothing(recorder: RunRecorder, step: RunStep) -> None:
    say(recorder, "one")

    assert logs.tail(step, Stream.CONSOLE, 3) == ("", 3)


def test_the_two_logs_of_a_step_are_apart(recorder: RunRecorder, step: RunStep) -> None:
    say(recorder, "shown")
    say(recorder, "hidden", Stream.DEBUG)

    assert logs.console_log(step) == "shown"
    assert logs.debug_log(step) == "hidden"


def test_the_events_of_a_step_are_read_while_it_runs_and_from_storage(
    recorder: RunRecorder, step: RunStep
) -> None:
    say(recorder, '{"text": "Began", "level": "info"}\n', Stream.EVENTS)
    during = [event.text for event in logs.events(step)]
    recorder.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS))

    assert during == [event.text for event in logs.events(again(step))] == ["Began"]


def test_a_reader_goes_on_in_the_stored_log(recorder: RunRecorder, step: RunStep) -> None:
    say(recorder, "one ")
    recorder.output(BUILD, Stream.CONSOLE, "two")
    recorder.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS))

    assert logs.tail(again(step), Stream.CONSOLE, 4) == ("two", 7)


def test_a_reader_that_read_the_step_before_it_ended_loses_nothing(
    recorder: RunRecorder, step: RunStep
) -> None:
    recorder.step_started(BUILD)
    before = again(step)
    say(recorder, "one ")
    recorder.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS))

    assert logs.tail(before, Stream.CONSOLE, 0) == ("one ", 4)
    assert logs.console_log(before) == "one "


@pytest.mark.parametrize("ended", [False, True])
def test_one_answer_has_a_limit_and_the_next_goes_on(
    recorder: RunRecorder, step: RunStep, ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "TAIL_LIMIT", 10)
    for piece in ("abcdef", "ghijkl", "mnopqr", "stuvwx"):
        say(recorder, piece)
    if ended:
        recorder.step_ended(StepEnd(index=BUILD, ending=Ending.SUCCESS))

    answers, position = [], 0
    while answer := logs.tail(again(step), Stream.CONSOLE, position):
        text, position = answer
        if not text:
            break
        answers.append(text)

    assert answers == ["abcdefghij", "klmnopqrst", "uvwx"]


@given(
    acts=st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.none()
        ),
        max_size=12,
    ),
    limit=st.integers(1, 7),
)
@examples(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_character_is_read_once_in_its_order(
    recorder: RunRecorder,
    monkeypatch: pytest.MonkeyPatch,
    acts: list[str | None],
    limit: int,
) -> None:
    """Texts are said, None is a look; then the step ends, and the reader reads to the end."""
    monkeypatch.setattr(logs, "TAIL_LIMIT", limit)
    step = RunStepFactory(run=recorder.run, index=recorder.run.steps.count() + 1)
    writer = RunRecorder(recorder.run)
    read, position = "", 0
    for act in acts:
        if act is None:
            text, position = logs.tail(again(step), Stream.CONSOLE, position)
            read += text
        else:
            writer.output(step.index, Stream.CONSOLE, act)
            writer.flush()
    writer.step_ended(StepEnd(index=step.index, ending=Ending.SUCCESS))
    while True:
        text, position = logs.tail(again(step), Stream.CONSOLE, position)
        if not text:
            break
        read += text

    assert read == "".join(act for act in acts if act)

"""When a cron expression comes true: crontab's rules, real time zones, clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsvc.jobs.schedule import BadSchedule, check, in_words, next_time


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fires(cron: str, after: str, number: int, timezone: str = "UTC") -> list[str]:
    """The next moments, on the wall clock of ``timezone``, as ``03-08 02:30``."""
    moment, found = at(after), []
    for _time in range(number):
        moment = next_time(cron, after=moment, timezone=timezone)
        found.append(moment.astimezone(ZoneInfo(timezone)).strftime("%m-%d %H:%M"))
    return found


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 6 * * *", "2026-03-10T05:59:59", "2026-03-10T06:00"),
        ("0 6 * * *", "2026-03-10T06:00:00", "2026-03-11T06:00"),
        ("*/15 * * * *", "2026-03-10T05:46", "2026-03-10T06:00"),
        ("0 6 * * 1-5", "2026-03-13T07:00", "2026-03-16T06:00"),
        ("0 6 * * 0", "2026-03-10T00:00", "2026-03-15T06:00"),
        ("0 6 * * 7", "2026-03-10T00:00", "2026-03-15T06:00"),
        ("0 6 * * SUN", "2026-03-10T00:00", "2026-03-15T06:00"),
        ("0 6 * * mon-fri", "2026-03-14T00:00", "2026-03-16T06:00"),
        ("0 0 1 JAN *", "2026-03-10T00:00", "2027-01-01T00:00"),
        ("0 0 L * *", "2026-02-01T00:00", "2026-02-28T00:00"),
        ("0 0 L * *", "2028-02-01T00:00", "2028-02-29T00:00"),
        ("0 0 L * *", "2026-04-01T00:00", "2026-04-30T00:00"),
        ("0 0 29 2 *", "2026-03-01T00:00", "2028-02-29T00:00"),
        ("0 0 31 * *", "2026-04-01T00:00", "2026-05-31T00:00"),
        ("59 23 31 12 *", "2026-12-31T23:59", "2027-12-31T23:59"),
    ],
)
def test_the_next_time_is_strictly_after_and_as_crontab_reads_it(
    cron: str, after: str, expected: str
) -> None:
    assert next_time(cron, after=at(after)) == at(expected)


def test_of_two_day_fields_either_may_match() -> None:
    assert fires("0 0 13 * 5", "2026-03-09T00:00", 4) == [
        "03-13 00:00",  # a Friday that is the 13th, once
        "03-20 00:00",
        "03-27 00:00",
        "04-03 00:00",
    ]
    assert "04-13 00:00" in fires("0 0 13 * 5", "2026-04-10T00:00", 1)  # a Monday


def test_with_one_day_field_open_only_the_other_counts() -> None:
    assert fires("0 0 13 * *", "2026-03-09T00:00", 2) == ["03-13 00:00", "04-13 00:00"]
    assert fires("0 0 * * 5", "2026-03-09T00:00", 2) == ["03-13 00:00", "03-20 00:00"]


# --- Clock changes: New York goes forward on 8 March and back on 1 November 2026 ---------------


def test_a_time_that_is_skipped_comes_right_after_the_change() -> None:
    assert fires("30 2 * * *", "2026-03-07T12:00", 2, "America/New_York") == [
        "03-08 03:00",
        "03-09 02:30",
    ]


def test_a_time_that_is_repeated_comes_once() -> None:
    assert fires("30 1 * * *", "2026-10-31T12:00", 3, "America/New_York") == [
        "11-01 01:30",
        "11-02 01:30",
        "11-03 01:30",
    ]


@pytest.mark.parametrize(("night", "hours"), [("2026-03-08T00:00", 23), ("2026-11-01T00:00", 25)])
def test_an_hourly_job_runs_every_real_hour_of_the_night(night: str, hours: int) -> None:
    zone = ZoneInfo("America/New_York")
    start = datetime.fromisoformat(night).replace(tzinfo=zone)
    end = (start + timedelta(days=1)).replace(tzinfo=zone)
    moment, seen = start.astimezone(UTC) - timedelta(seconds=1), []
    while (moment := next_time("0 * * * *", after=moment, timezone=zone.key)) < end:
        seen.append(moment)

    assert len(seen) == hours
    assert {later - earlier for earlier, later in pairwise(seen)} == {timedelta(hours=1)}


@pytest.mark.parametrize(
    ("timezone", "expected"),
    [
        ("UTC", "2026-07-01T06:00"),
        ("Europe/Berlin", "2026-07-01T04:00"),
        ("America/New_York", "2026-07-01T10:00"),
        ("Asia/Kolkata", "2026-07-01T00:30"),
        ("Australia/Lord_Howe", "2026-07-01T19:30"),
    ],
)
def test_the_fields_are_the_zones_wall_clock(timezone: str, expected: str) -> None:
    assert next_time("0 6 * * *", after=at("2026-07-01T00:00"), timezone=timezone) == at(expected)


def test_a_zone_that_changes_by_half_an_hour_is_followed() -> None:
    assert fires("30 2 * * *", "2026-10-02T12:00", 3, "Australia/Lord_Howe") == [
        "10-03 02:30",
        "10-04 02:30",
        "10-05 02:30",
    ]


@settings(max_examples=100, deadline=None)
@given(
    cron=st.tuples(
        st.sampled_from(["0", "30", "*/15", "7,37", "*"]),
        st.sampled_from(["*", "2", "1-3", "*/6"]),
        st.sampled_from(["*", "1", "L", "29"]),
        st.sampled_from(["*", "3", "11", "JAN-MAR"]),
        st.sampled_from(["*", "0", "5", "7", "MON"]),
    ).map(" ".join),
    after=st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1)),
    timezone=st.sampled_from(["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe"]),
)
def test_the_times_of_a_schedule_always_go_forward(
    cron: str, after: datetime, timezone: str
) -> None:
    moment = after.replace(tzinfo=UTC)
    for _time in range(4):
        following = next_time(cron, after=moment, timezone=timezone)
        assert following > moment
        assert following.tzinfo is UTC
        moment = following


# --- What is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", "five fields"),
        ("0 6 * *", "five fields"),
        ("0 0 6 * * *", "five fields"),
        ("@daily", "five fields"),
        ("60 6 * * *", "not a cron expression"),
        ("0 24 * * *", "not a cron expression"),
        ("0 6 * * 8", "not a cron expression"),
        ("0 6 * * MOON", "not a cron expression"),
        ("0 6 32 * *", "not a cron expression"),
        ("x 6 * * *", "not a cron expression"),
        ("0 0 30 2 *", "30 2"),
        ("0 0 31 4 *", "31 4"),
    ],
)
def test_what_is_no_schedule_is_refused_with_a_sentence(cron: str, words: str) -> None:
    with pytest.raises(BadSchedule) as refused:
        check(cron)

    assert words in str(refused.value)
    assert str(refused.value).endswith(".") or str(refused.value).endswith("'.")


@pytest.mark.parametrize("timezone", ["", "Mars/Olympus", "europe", "../../etc/passwd"])
def test_what_is_no_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(BadSchedule, match="is not a time zone"):
        check("0 6 * * *", timezone)


# --- In words ------------------------------------------------------------------------------


def test_a_schedule_in_words_names_its_zone() -> None:
    assert in_words("0 6 * * 1-5", "Europe/Berlin").endswith("Europe/Berlin")
    assert "06:00" in in_words("0 6 * * 1-5")


def test_no_schedule_has_no_words() -> None:
    assert in_words("") == ""

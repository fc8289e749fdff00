"""When a cron comes true: on calendars, on the nights clocks change, and against brute force."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobsvc.jobs.schedule import BadSchedule, Window, check, in_words, next_time, times

MINUTE = timedelta(minutes=1)


def local_times(cron: str, zone: str, after: str, number: int) -> list[str]:
    """The next times on the zone's wall, with the offset that tells two like ones apart."""
    found = times(cron, after=at(after, zone), timezone=zone)
    return [f"{time.astimezone(ZoneInfo(zone)):%m-%d %H:%M %z}" for time in islice(found, number)]


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


# --- Calendars -----------------------------------------------------------------------------

NOVEMBER = "2026-11-21 10:00"  # a Saturday


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        pytest.param("0 2 * * *", ["11-22 02:00", "11-23 02:00"], id="daily"),
        pytest.param("0 6 * * MON-FRI", ["11-23 06:00", "11-24 06:00"], id="names of days"),
        pytest.param("0 6 1 jan,JUL *", ["01-01 06:00", "07-01 06:00"], id="names of months"),
        pytest.param("0 6 * * 7", ["11-22 06:00", "11-29 06:00"], id="7 is Sunday"),
        pytest.param("0 6 * * 0", ["11-22 06:00", "11-29 06:00"], id="0 is Sunday"),
        pytest.param("0 6 * * 5-7", ["11-22 06:00", "11-27 06:00", "11-28 06:00"], id="to 7"),
        pytest.param("0 0 L * *", ["11-30 00:00", "12-31 00:00"], id="last day of the month"),
        pytest.param("0 0 L 2 *", ["02-28 00:00", "02-29 00:00"], id="last day of February"),
        pytest.param(
            "0 0 L * FRI",
            ["11-27 00:00", "11-30 00:00", "12-04 00:00"],
            id="last day of the month, and Fridays",
        ),
        pytest.param(
            "0 0 1 * MON",
            ["11-23 00:00", "11-30 00:00", "12-01 00:00", "12-07 00:00"],
            id="either of two day fields",
        ),
        pytest.param("0 0 1 * *", ["12-01 00:00", "01-01 00:00"], id="only the day of the month"),
        pytest.param(
            "0 0 */2 * MON", ["11-23 00:00", "12-07 00:00"], id="a star of a day field wants both"
        ),
        pytest.param("0 0 15,L * *", ["11-30 00:00", "12-15 00:00"], id="L in a list"),
        pytest.param("0 9 * * MON#1", ["12-07 09:00", "01-04 09:00"], id="first Monday"),
        pytest.param("5 */20 * * *", ["11-21 20:05", "11-22 00:05"], id="every 20 hours"),
        pytest.param("*/25 10 * * *", ["11-21 10:25", "11-21 10:50", "11-22 10:00"], id="steps"),
        pytest.param("10-12 3 * * *", ["11-22 03:10", "11-22 03:11", "11-22 03:12"], id="range"),
        pytest.param("5-5/2 3 * * *", ["11-22 03:05", "11-23 03:05"], id="a range of one"),
        pytest.param("*/90 * * * *", ["11-21 11:00", "11-21 12:00"], id="a step past the end"),
    ],
)
def test_a_cron_names_these_times(cron: str, expected: list[str]) -> None:
    found = local_times(cron, "UTC", NOVEMBER, len(expected))

    assert [time.removesuffix(" +0000") for time in found] == expected


def test_a_29th_of_february_comes_every_leap_year_but_2100() -> None:
    found = times("0 12 29 2 *", after=at("2092-01-01"))

    assert [time.year for time in islice(found, 3)] == [2092, 2096, 2104]


@pytest.mark.parametrize(
    "cron", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 *", "0 0 31 2 */2"]
)
def test_a_date_that_never_comes_is_refused(cron: str) -> None:
    with pytest.raises(BadSchedule):
        check(cron)


def test_a_date_that_never_comes_may_stand_beside_a_weekday_that_does() -> None:
    assert local_times("0 0 31 2 MON", "UTC", "2026-02-01", 1) == ["02-02 00:00 +0000"]


@pytest.mark.parametrize(
    "cron",
    [
        *("", "0 2 * *", "0 0 2 * * *", "@daily", "* * * * * *", "R * * * *", "H 2 * * *"),
        *("0 0 ? * *", "60 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 32 * *", "0 0 * 13 *"),
        *("0 0 * * 8", "0 0 * * 5L", "0 0 LW * *", "0 0 L-3 * *", "0 0 L/2 * *", "0 0 * * L"),
        *(
            "5-1 * * * *",
            "*/0 * * * *",
            "0 0 * * FRI-MON",
            "a * * * *",
            "-1 * * * *",
            "1,, * * * *",
        ),
        *("٣ * * * *", "0 0 * * MON#6", "0 0 * L *"),
    ],
)
def test_what_is_no_cron_is_refused(cron: str) -> None:
    with pytest.raises(BadSchedule):
        check(cron)


@pytest.mark.parametrize("zone", ["Berlin", "", "EST5EDT/..", "../etc/passwd", "UTC+1", "\0"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(BadSchedule):
        check("0 2 * * *", zone)


def test_a_zone_that_is_gone_from_this_machine_is_a_bad_schedule() -> None:
    with pytest.raises(BadSchedule, match="Atlantis"):
        next_time("0 2 * * *", after=at(NOVEMBER), timezone="Sea/Atlantis")


def test_no_time_is_named_beyond_the_end_of_the_calendar() -> None:
    with pytest.raises(BadSchedule):
        next_time("0 0 1 1 *", after=at("9999-06-01"))


@pytest.mark.parametrize(
    ("cron", "zone", "words"),
    [
        ("0 2 * * *", "UTC", "At 02:00 every day UTC"),
        ("0 0 L * 5", "UTC", "At 00:00 on the last day of the month and on Friday UTC"),
        ("*/15 9-17 * * 1-5", "Europe/Berlin", "Monday through Friday Europe/Berlin"),
        ("", "UTC", ""),
    ],
)
def test_a_cron_is_told_in_words(cron: str, zone: str, words: str) -> None:
    assert in_words(cron, zone).endswith(words)


# --- Seconds -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-11-21 01:59:59.999999", "2026-11-21 02:00"),
        ("2026-11-21 02:00:00", "2026-11-22 02:00"),
        ("2026-11-21 02:00:00.000001", "2026-11-22 02:00"),
        ("2026-11-21 02:00:30", "2026-11-22 02:00"),
    ],
)
def test_the_next_time_is_strictly_after_now_in_mid_minute_too(now: str, due: str) -> None:
    assert next_time("0 2 * * *", after=at(now)) == at(due)


# --- Nights on which clocks change ---------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "zone", "after", "expected"),
    [
        # New York, 8 March 2026: 02:00 EST becomes 03:00 EDT.
        pytest.param(
            "30 2 * * *",
            "America/New_York",
            "2026-03-07 00:00",
            ["03-07 02:30 -0500", "03-08 03:00 -0400", "03-09 02:30 -0400"],
            id="New York forward: skipped, so right after",
        ),
        pytest.param(
            "*/15 2 * * *",
            "America/New_York",
            "2026-03-08 00:00",
            ["03-08 03:00 -0400", "03-09 02:00 -0400", "03-09 02:15 -0400"],
            id="New York forward: four skipped times are one",
        ),
        pytest.param(
            "0,30 2,3 * * *",
            "America/New_York",
            "2026-03-08 00:00",
            ["03-08 03:00 -0400", "03-08 03:30 -0400", "03-09 02:00 -0400"],
            id="New York forward: a skipped time and the one after it are one",
        ),
        pytest.param(
            "0 * * * *",
            "America/New_York",
            "2026-03-08 00:30",
            ["03-08 01:00 -0500", "03-08 03:00 -0400", "03-08 04:00 -0400"],
            id="New York forward: hourly every real hour",
        ),
        # New York, 1 November 2026: 02:00 EDT becomes 01:00 EST.
        pytest.param(
            "30 1 * * *",
            "America/New_York",
            "2026-10-31 12:00",
            ["11-01 01:30 -0400", "11-02 01:30 -0500"],
            id="New York back: repeated, so once",
        ),
        pytest.param(
            "*/20 1 * * *",
            "America/New_York",
            "2026-10-31 12:00",
            ["11-01 01:00 -0400", "11-01 01:20 -0400", "11-01 01:40 -0400", "11-02 01:00 -0500"],
            id="New York back: each repeated time once",
        ),
        pytest.param(
            "0 * * * *",
            "America/New_York",
            "2026-11-01 00:30",
            ["11-01 01:00 -0400", "11-01 01:00 -0500", "11-01 02:00 -0500"],
            id="New York back: hourly in both hours",
        ),
        pytest.param(
            "*/30 */1 * * *",
            "America/New_York",
            "2026-11-01 01:10",
            ["11-01 01:30 -0400", "11-01 01:00 -0500", "11-01 01:30 -0500", "11-01 02:00 -0500"],
            id="New York back: from inside the first of the two hours",
        ),
        # London, 29 March 2026: 01:00 GMT becomes 02:00 BST.
        pytest.param(
            "15 1 * * *",
            "Europe/London",
            "2026-03-28 12:00",
            ["03-29 02:00 +0100", "03-30 01:15 +0100"],
            id="London forward: skipped, so right after",
        ),
        pytest.param(
            "30 */6 * * *",
            "Europe/London",
            "2026-03-28 20:00",
            ["03-29 00:30 +0000", "03-29 06:30 +0100"],
            id="London forward: every six hours by the clock",
        ),
        # London, 25 October 2026: 02:00 BST becomes 01:00 GMT.
        pytest.param(
            "15 1 * * *",
            "Europe/London",
            "2026-10-24 12:00",
            ["10-25 01:15 +0100", "10-26 01:15 +0000"],
            id="London back: repeated, so once",
        ),
        pytest.param(
            "15 * * * *",
            "Europe/London",
            "2026-10-25 00:20",
            ["10-25 01:15 +0100", "10-25 01:15 +0000", "10-25 02:15 +0000"],
            id="London back: hourly in both hours",
        ),
        # Lord Howe, 4 October 2026: 02:00 becomes 02:30. Half an hour.
        pytest.param(
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03 12:00",
            ["10-04 02:30 +1100", "10-05 02:15 +1100"],
            id="Lord Howe forward: skipped, so right after",
        ),
        pytest.param(
            "45 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03 12:00",
            ["10-04 02:45 +1100", "10-05 02:45 +1100"],
            id="Lord Howe forward: the half hour that is there",
        ),
        pytest.param(
            "0 * * * *",
            "Australia/Lord_Howe",
            "2026-10-04 00:30",
            ["10-04 01:00 +1030", "10-04 03:00 +1100", "10-04 04:00 +1100"],
            id="Lord Howe forward: no 02:00 on the wall",
        ),
        # Lord Howe, 5 April 2026: 02:00 becomes 01:30.
        pytest.param(
            "45 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-04 12:00",
            ["04-05 01:45 +1100", "04-06 01:45 +1030"],
            id="Lord Howe back: repeated, so once",
        ),
        pytest.param(
            "30 * * * *",
            "Australia/Lord_Howe",
            "2026-04-05 00:40",
            ["04-05 01:30 +1100", "04-05 01:30 +1030", "04-05 02:30 +1030"],
            id="Lord Howe back: half past one twice",
        ),
        pytest.param(
            "0 */2 * * *",
            "Australia/Lord_Howe",
            "2026-04-05 00:30",
            ["04-05 02:00 +1030", "04-05 04:00 +1030"],
            id="Lord Howe back: even hours",
        ),
    ],
)
def test_on_the_night_the_clocks_change(
    cron: str, zone: str, after: str, expected: list[str]
) -> None:
    assert local_times(cron, zone, after, len(expected)) == expected


def test_a_beat_that_comes_back_inside_the_repeated_hour_starts_nothing_twice() -> None:
    second_half_past_one = at("2026-11-01 06:30")  # 01:30 EST; 01:30 EDT was an hour ago

    due = next_time("30 1 * * *", after=second_half_past_one, timezone="America/New_York")

    assert due == at("2026-11-02 06:30")


# --- Windows -------------------------------------------------------------------------------


def test_a_window_holds_both_its_ends() -> None:
    window = Window(start=at("2026-12-01 02:00"), end=at("2026-12-03 02:00"))
    found = list(times("0 2 * * *", after=at(NOVEMBER), window=window))

    assert found == [at("2026-12-01 02:00"), at("2026-12-02 02:00"), at("2026-12-03 02:00")]


# --- Against brute force -------------------------------------------------------------------

ZONES = ["UTC", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"]
RANGES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}


@st.composite
def fields(draw: st.DrawFn, name: str) -> tuple[str, frozenset[int]]:
    """A field as it is written, and the numbers it stands for, told without any library."""
    low, high = RANGES[name]
    number = st.integers(low, high)
    match draw(st.sampled_from(["*", "number", "list", "range", "step", "stepped range"])):
        case "*":
            return "*", frozenset(range(low, high + 1))
        case "number":
            one = draw(number)
            return str(one), frozenset({one})
        case "list":
            some = draw(st.lists(number, min_size=2, max_size=4))
            return ",".join(map(str, some)), frozenset(some)
        case "range":
            first, last = sorted((draw(number), draw(number)))
            return f"{first}-{last}", frozenset(range(first, last + 1))
        case "step":
            step = draw(st.integers(1, high))
            return f"*/{step}", frozenset(range(low, high + 1, step))
        case _:
            first, last = sorted((draw(number), draw(number)))
            step = draw(st.integers(1, 7))
            return f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))


@st.composite
def crons(draw: st.DrawFn) -> tuple[str, dict[str, frozenset[int]]]:
    drawn = {name: draw(fields(name)) for name in ("minute", "hour")}
    # Days are drawn rarely: a cron that comes once in years is no use to a window of days.
    rare = {"day": ("*", frozenset(range(1, 32))), "weekday": ("*", frozenset(range(8)))}
    for name, plain in rare.items():
        drawn[name] = draw(fields(name)) if draw(st.integers(0, 3)) == 0 else plain
    drawn["month"] = ("*", frozenset(range(1, 13)))
    text = " ".join(drawn[name][0] for name in ("minute", "hour", "day", "month", "weekday"))
    return text, {name: numbers for name, (_text, numbers) in drawn.items()}


def names_wall_time(cron: str, meaning: dict[str, frozenset[int]], wall: datetime) -> bool:
    _minute, _hour, day, _month, weekday = cron.split()
    of_month = wall.day in meaning["day"]
    of_week = bool({wall.isoweekday() % 7, wall.isoweekday()} & meaning["weekday"])
    days = (
        of_month and of_week
        if day.startswith("*") or weekday.startswith("*")
        else of_month or of_week
    )
    return days and wall.hour in meaning["hour"] and wall.minute in meaning["minute"]


def by_brute_force(
    cron: str, meaning: dict[str, frozenset[int]], zone: ZoneInfo, start: datetime, end: datetime
) -> list[datetime]:
    """Every moment from ``start`` (left out) to ``end``, by looking at each minute's wall clock."""
    minutes = int((end - start) / MINUTE)
    real = [start + MINUTE * place for place in range(-180, minutes + 1)]
    walls = [moment.astimezone(zone).replace(tzinfo=None, fold=0) for moment in real]
    hour = cron.split()[1]
    found: set[datetime] = set()
    if "*" in hour or "/" in hour:
        found = {
            moment
            for moment, wall in zip(real, walls, strict=True)
            if names_wall_time(cron, meaning, wall)
        }
    else:
        seen: set[datetime] = set()
        for place, (moment, wall) in enumerate(zip(real, walls, strict=True)):
            if wall not in seen and names_wall_time(cron, meaning, wall):
                found.add(moment)
            seen.add(wall)
            skipped = wall - (walls[place - 1] + MINUTE) if place else timedelta(0)
            if any(
                names_wall_time(cron, meaning, wall - MINUTE * back)
                for back in range(1, int(skipped / MINUTE) + 1)
            ):
                found.add(moment)
    return sorted(moment for moment in found if start < moment <= end)


STARTS = [
    date(2026, 3, 7),  # New York goes forward on the 8th
    date(2026, 3, 28),  # London on the 29th
    date(2026, 4, 4),  # Lord Howe back on the 5th
    date(2026, 10, 3),  # Lord Howe forward on the 4th
    date(2026, 10, 24),  # London back on the 25th
    date(2026, 10, 31),  # New York on 1 November
    date(2028, 2, 28),  # a leap year
    date(2026, 6, 30),
]


@settings(deadline=None)
@given(
    cron=crons(),
    zone=st.sampled_from(ZONES),
    day=st.sampled_from(STARTS),
    minute=st.integers(0, 24 * 60 - 1),
)
def test_times_strictly_increase_and_are_those_the_wall_clock_shows(
    cron: tuple[str, dict[str, frozenset[int]]], zone: str, day: date, minute: int
) -> None:
    text, meaning = cron
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) + MINUTE * minute
    end = start + timedelta(hours=30)
    found = []
    try:
        for time in times(text, after=start, timezone=zone, window=Window(end=end)):
            assert not found or time > found[-1]
            found.append(time)
    except BadSchedule:
        assert found == []  # a day that its month has not

    assert found == by_brute_force(text, meaning, ZoneInfo(zone), start, end)


@settings(deadline=None)
@given(cron=crons(), zone=st.sampled_from(ZONES), seconds=st.integers(0, 366 * 86400))
def test_wherever_one_starts_the_next_time_is_the_same(
    cron: tuple[str, dict[str, frozenset[int]]], zone: str, seconds: int
) -> None:
    after = at("2026-01-01") + timedelta(seconds=seconds)
    try:
        due = next_time(cron[0], after=after, timezone=zone)
    except BadSchedule:
        return

    assert next_time(cron[0], after=due - timedelta(microseconds=1), timezone=zone) == due
    assert next_time(cron[0], after=after + (due - after) / 2, timezone=zone) == due

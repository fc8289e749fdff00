"""Every row of the contract's table of schedules, and the dialects clients speak."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.exceptions import ValidationError

from jobsvc.api.schedules import NONE, read_schedule

EVERY_HOUR = {"type": "every_hour", "interval": 1}
DAILY = {"type": "every_day"}


def at(*hours: int, **more: int) -> dict[str, Any]:
    return {"type": "at_exact_hours", "interval": 1, "hours": list(hours), **more}


@pytest.mark.parametrize(
    ("posted", "shown"),
    [
        pytest.param(
            {
                "cron": "7 9,17 * * 0,3",
                "date": {"type": "days_of_week", "days": [0, 3]},
                "time": {"type": "at_exact_hours", "hours": [9, 17]},
            },
            {
                "cron": "7 9,17 * * 0,3",
                "date": {"type": "days_of_week", "days": [0, 3]},
                "time": at(9, 17),
            },
            id="the contract's example",
        ),
        pytest.param(
            {
                "cron": "0 2 * * *",
                "date": {"type": "every_day"},
                "time": {"type": "at_exact_time", "interval": 1, "hours": 2, "minutes": 0},
            },
            {"cron": "0 2 * * *", "date": DAILY, "time": at(2, minutes=0)},
            id="the brief's at_exact_time with a bare hour",
        ),
        pytest.param(
            {
                "cron": "15 3 * * 1-5",
                "date": {"type": "custom_cron", "cron": "15 3 * * 1-5"},
                "time": {"type": "every_hour", "interval": 1},
            },
            {
                "cron": "15 3 * * 1-5",
                "date": {"type": "custom_cron", "cron": "15 3 * * 1-5"},
                "time": EVERY_HOUR,
            },
            id="jobs as code: the cron line in both places",
        ),
        pytest.param(
            {"cron": "15 3 * * *", "date": {"type": "custom_cron", "cron": ""}},
            {
                "cron": "15 3 * * *",
                "date": {"type": "custom_cron", "cron": "15 3 * * *"},
                "time": EVERY_HOUR,
            },
            id="an empty date.cron falls back to cron",
        ),
        pytest.param(
            {
                "cron": "0 0 * * *",
                "date": {"type": "interval_cron", "cron": "4 */5 * * 0,1,2,3,4,5,6"},
                "time": {"type": "every_hour", "interval": 0, "hours": None},
            },
            {
                "cron": "4 */5 * * 0,1,2,3,4,5,6",
                "date": {"type": "interval_cron", "cron": "4 */5 * * 0,1,2,3,4,5,6"},
                "time": EVERY_HOUR,
            },
            id="terraform's interval: date.cron wins, the time means nothing",
        ),
        pytest.param(
            {
                "cron": "",
                "date": {"type": "days_of_week", "days": [1]},
                "time": {"type": "every_hour", "interval": 6},
            },
            {
                "cron": "0 */6 * * 1",
                "date": {"type": "days_of_week", "days": [1]},
                "time": {"type": "every_hour", "interval": 6},
            },
            id="terraform creates with an empty cron",
        ),
        pytest.param(
            {
                "cron": "30 2 * * *",
                "date": {"type": "every_day"},
                "time": {"type": "at_exact_hours", "hours": [5]},
            },
            {"cron": "30 5 * * *", "date": DAILY, "time": at(5)},
            id="terraform updates beside the old cron: its minute stays",
        ),
        pytest.param(
            {
                "cron": "30 2 * * *",
                "date": {"type": "every_day"},
                "time": {"type": "at_exact_hours", "hours": [5], "minutes": 45},
            },
            {"cron": "45 5 * * *", "date": DAILY, "time": at(5, minutes=45)},
            id="minutes win over the cron's minute",
        ),
        pytest.param(
            {"date": {"type": "every_day"}, "time": {"type": "every_hour", "interval": None}},
            {"cron": "0 * * * *", "date": DAILY, "time": EVERY_HOUR},
            id="an interval is never null",
        ),
        pytest.param(
            {"date": {"type": "every_day"}},
            {"cron": "0 * * * *", "date": DAILY, "time": EVERY_HOUR},
            id="a date alone",
        ),
        pytest.param(
            {"time": {"type": "at_exact_hours", "hours": ["4"]}},
            {"cron": "0 4 * * *", "date": DAILY, "time": at(4)},
            id="a time alone, its hour in digits",
        ),
        pytest.param(
            {"cron": "5 4 * * 1"},
            {
                "cron": "5 4 * * 1",
                "date": {"type": "custom_cron", "cron": "5 4 * * 1"},
                "time": EVERY_HOUR,
            },
            id="cron alone",
        ),
        pytest.param(
            {"cron": "5 4 * * 1", "date": None, "time": None},
            {
                "cron": "5 4 * * 1",
                "date": {"type": "custom_cron", "cron": "5 4 * * 1"},
                "time": EVERY_HOUR,
            },
            id="cron beside nulls",
        ),
        pytest.param(
            {"cron": "9 3 * * *", "date": "custom_cron", "time": "every_hour"},
            {
                "cron": "9 3 * * *",
                "date": {"type": "custom_cron", "cron": "9 3 * * *"},
                "time": EVERY_HOUR,
            },
            id="bare names: custom_cron",
        ),
        pytest.param(
            {"cron": "9 3,8 * * 2,4", "date": "days_of_week", "time": "at_exact_hours"},
            {
                "cron": "9 3,8 * * 2,4",
                "date": {"type": "days_of_week", "days": [2, 4]},
                "time": at(3, 8),
            },
            id="bare names: days and hours are read from cron",
        ),
        pytest.param(
            {"cron": "*/15 * * * *", "date": {"type": "every_day"}, "time": EVERY_HOUR},
            {"cron": "*/15 * * * *", "date": DAILY, "time": EVERY_HOUR},
            id="a minute field that is no number is kept",
        ),
        pytest.param(
            {"cron": "0 6 * * *", "timezone": "Europe/Berlin"},
            {
                "cron": "0 6 * * *",
                "date": {"type": "custom_cron", "cron": "0 6 * * *"},
                "time": EVERY_HOUR,
                "timezone": "Europe/Berlin",
            },
            id="a time zone",
        ),
        pytest.param(
            {"cron": "0 6 * * *", "timezone": "UTC"},
            {
                "cron": "0 6 * * *",
                "date": {"type": "custom_cron", "cron": "0 6 * * *"},
                "time": EVERY_HOUR,
            },
            id="UTC goes without saying",
        ),
    ],
)
def test_a_schedule_is_shown_in_the_official_dialect(
    posted: dict[str, Any], shown: dict[str, Any]
) -> None:
    read = read_schedule(posted)

    assert read.shown == shown
    assert read.cron == shown["cron"]


@pytest.mark.parametrize("posted", [{"cron": "7 1 * * *"}, {"cron": "1 1 1 1 1"}])
def test_what_was_shown_is_read_back_the_same(posted: dict[str, Any]) -> None:
    shown = read_schedule(posted).shown

    assert read_schedule(shown).shown == shown


@pytest.mark.parametrize("posted", [None, {}, {"cron": None, "date": None, "time": None}])
def test_nothing_asks_for_nothing(posted: Any) -> None:
    assert read_schedule(posted) == NONE


def test_the_stored_minute_is_kept_where_none_is_posted() -> None:
    posted = {"cron": "", "date": {"type": "every_day"}, "time": {"type": "every_hour"}}

    assert read_schedule(posted, stored_cron="42 3 * * *").cron == "42 * * * *"


@pytest.mark.parametrize(
    ("posted", "field"),
    [
        ("daily", "schedule"),
        ([], "schedule"),
        ({"cron": 5}, "schedule.cron"),
        ({"date": 5}, "schedule.date"),
        ({"date": {"type": "sometimes"}}, "schedule.date.type"),
        ({"date": {"type": "days_of_week"}}, "schedule.date.days"),
        ({"date": {"type": "days_of_week", "days": []}}, "schedule.date.days"),
        ({"date": {"type": "days_of_week", "days": [7]}}, "schedule.date.days"),
        ({"date": {"type": "days_of_week", "days": [True]}}, "schedule.date.days"),
        ({"date": {"type": "custom_cron"}}, "schedule.date.cron"),
        ({"date": DAILY, "time": {"type": "at_noon"}}, "schedule.time.type"),
        ({"date": DAILY, "time": {"type": "every_hour", "interval": 0}}, "schedule.time.interval"),
        ({"date": DAILY, "time": {"type": "every_hour", "interval": 24}}, "schedule.time.interval"),
        ({"date": DAILY, "time": {"type": "at_exact_hours"}}, "schedule.time.hours"),
        ({"date": DAILY, "time": {"type": "at_exact_hours", "hours": []}}, "schedule.time.hours"),
        ({"date": DAILY, "time": {"type": "at_exact_hours", "hours": [24]}}, "schedule.time.hours"),
        ({"date": DAILY, "time": at(2, minutes=60)}, "schedule.time.minutes"),
        ({"cron": "0 9-17 * * *", "date": "every_day", "time": "every_hour"}, "schedule.time"),
        ({"cron": "0 6 * * *", "timezone": 7}, "schedule.timezone"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(posted: Any, field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        read_schedule(posted)

    assert list(refused.value.detail) == [field]

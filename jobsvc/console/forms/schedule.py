"""When a job runs by the clock, as people choose it: a rhythm of hours and days, or cron."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from jobsvc.jobs import schedule
from jobsvc.jobs.models import Job

EVERY, HOURS, CRON = "every", "hours", "cron"
KINDS = [(HOURS, "At hours of the day"), (EVERY, "Every few hours"), (CRON, "Cron")]
DAYS = [(1, "Mon"), (2, "Tue"), (3, "Wed"), (4, "Thu"), (5, "Fri"), (6, "Sat"), (0, "Sun")]
WEEK = {number for number, _word in DAYS}
NIGHTLY = 3  # the hour that is offered where a job has no schedule yet


class ScheduleForm(forms.Form):
    """``chosen`` is the cron line that it comes to, ``shown`` the API's ``schedule``."""

    triggers_schedule = forms.BooleanField(required=False, label="Run on a schedule")
    schedule_kind = forms.ChoiceField(
        choices=KINDS, widget=forms.RadioSelect, label="Rhythm", required=False
    )
    hours = forms.CharField(
        required=False,
        max_length=100,
        label="At these hours",
        help_text="From 0 to 23, with commas: 6, 18.",
    )
    interval = forms.IntegerField(
        min_value=1, max_value=23, required=False, label="Every how many hours"
    )
    minute = forms.IntegerField(min_value=0, max_value=59, required=False, label="At the minute")
    days = forms.TypedMultipleChoiceField(
        choices=DAYS,
        coerce=int,
        widget=forms.CheckboxSelectMultiple,
        required=False,
        label="On these days",
    )
    cron = forms.CharField(
        required=False,
        max_length=255,
        label="Cron expression",
        help_text="Minute, hour, day of month, month, day of week: 0 6 * * 1-5.",
    )
    timezone = forms.CharField(
        required=False,
        max_length=64,
        label="Time zone",
        help_text="Such as UTC or Europe/Berlin.",
        widget=forms.TextInput(attrs={"list": "zones"}),
    )

    chosen: str = ""

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        if values.get("triggers_schedule"):
            self._choose(values)
        return values

    @property
    def zone(self) -> str:
        return self.cleaned_data.get("timezone") or "UTC"

    @property
    def shown(self) -> dict[str, Any]:
        """The schedule as the API shows it."""
        values = self.cleaned_data
        time: dict[str, Any] = {"type": "every_hour", "interval": 1}
        if values["schedule_kind"] == CRON:
            date: dict[str, Any] = {"type": "custom_cron", "cron": self.chosen}
        else:
            days = self._days(values)
            date = {"type": "days_of_week", "days": days} if days else {"type": "every_day"}
            time["interval"] = values.get("interval") or 1
            if values["schedule_kind"] == HOURS:
                time |= {"type": "at_exact_hours", "interval": 1, "hours": values["hours"]}
            time["minutes"] = values.get("minute") or 0
        shown = {"cron": self.chosen, "date": date, "time": time}
        return shown if self.zone == "UTC" else shown | {"timezone": self.zone}

    def _choose(self, values: dict[str, Any]) -> None:
        kind = values["schedule_kind"] = values.get("schedule_kind") or HOURS
        if kind == CRON:
            self.chosen = (values.get("cron") or "").strip()
        else:
            if kind == HOURS:
                values["hours"] = self._hours(values)
            if not values.get("days"):
                self.add_error("days", "Choose one day or more.")
            self.chosen = schedule.line(
                minute=str(values.get("minute") or 0),
                hours=values["hours"] if kind == HOURS else (),
                interval=values.get("interval") or 1,
                days=self._days(values),
            )
        if self.errors:
            return
        try:
            schedule.check(self.chosen, self.zone)
        except schedule.BadSchedule as bad:
            wrong = "timezone" if "time zone" in str(bad) else "cron"
            raise ValidationError({wrong: str(bad)}) from bad

    def _hours(self, values: dict[str, Any]) -> list[int]:
        words = re.split(r"[\s,;]+", (values.get("hours") or "").strip())
        numbers = {int(word) for word in words if word.isascii() and word.isdigit()}
        if len(words) > len(numbers) or not numbers or max(numbers) > 23:
            self.add_error("hours", "Give hours from 0 to 23, each once, such as 6, 18.")
            return []
        return sorted(numbers)

    def _days(self, values: dict[str, Any]) -> list[int]:
        """Empty where every day is meant."""
        days = set(values.get("days") or ())
        return [] if days == WEEK else sorted(days)


def initial_schedule(job: Job) -> dict[str, Any]:
    """What the form shows of ``job``: its rhythm where the form knows that, else its cron."""
    date = (job.schedule or {}).get("date") or {}
    time = (job.schedule or {}).get("time") or {}
    minute = job.cron.split()[0] if len(job.cron.split()) == 5 else "0"
    shown: dict[str, Any] = {
        "triggers_schedule": job.triggers_schedule,
        "schedule_kind": HOURS,
        "hours": ", ".join(map(str, time.get("hours") or [NIGHTLY])),
        "interval": time.get("interval") or 1,
        "minute": minute if minute.isdigit() else 0,
        "days": date.get("days") or sorted(WEEK),
        "cron": job.cron,
        "timezone": job.timezone,
    }
    if job.cron and (date.get("type") not in {"every_day", "days_of_week"} or not minute.isdigit()):
        shown["schedule_kind"] = CRON
    elif job.cron and time.get("type") == "every_hour":
        shown["schedule_kind"] = EVERY
    return shown


def shifted(shown: Mapping[str, Any], hours: int) -> dict[str, Any] | None:
    """What ``initial_schedule`` shows, so many hours later; None where that means another day,
    or where the job is due in every hour."""
    every_day = len(shown["days"]) == len(WEEK)
    if shown["schedule_kind"] == HOURS:
        moved = _moved(str(shown["hours"]).replace(" ", ""), hours, may_wrap=every_day)
        return None if moved is None else {**shown, "hours": moved.replace(",", ", ")}
    if shown["schedule_kind"] != CRON or len(shown["cron"].split()) != schedule.FIELDS:
        return None
    minute, hour, *days = shown["cron"].split()
    moved = _moved(hour, hours, may_wrap=set(days) == {"*"})
    return None if moved is None else {**shown, "cron": " ".join([minute, moved, *days])}


def _moved(field: str, hours: int, *, may_wrap: bool) -> str | None:
    words = field.split(",")
    if not all(word.isascii() and word.isdigit() for word in words):
        return None  # a range or a step
    moved = [int(word) + hours for word in words]
    if not may_wrap and any(not 0 <= hour <= 23 for hour in moved):
        return None
    return ",".join(str(hour) for hour in sorted({hour % 24 for hour in moved}))

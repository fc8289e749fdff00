"""The schedule: when jobs are due next, what was missed, and letting one rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from accounts.models import Account, Group, Membership
from jobsvc.console.forms.schedule import shifted
from jobsvc.console.pictures.schedule import Line, Mark, over_capacity
from jobsvc.console.planned import plan_of
from jobsvc.jobs.models import Job
from tests.factories import EnvironmentFactory, JobFactory, MembershipFactory, RunFactory

VisitorOf = Callable[..., Client]
MORNING = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


def schedule_of(account: Account, query: str = "") -> str:
    return reverse("console:schedule", args=[account.pk]) + query


def of_job(job: Job, name: str) -> str:
    return reverse(f"console:{name}", args=[job.account_id, job.project_id, job.pk])


def text(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_a_job_is_listed_with_its_next_times_and_drawn_for_seven_days(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory(scheduled=True, name="Nightly build")
    RunFactory(job=job, succeeded=True)  # took 80 seconds

    page = text(visitor_of(job.account), schedule_of(job.account))

    assert "7 runs of 1 job in the next 7 days" in page
    assert page.count('class="planned"') == 7
    assert "usually 1 m 20 s" in page
    assert "At 02:00 every day UTC" in page
    assert "0 2 * * *" in page


def test_one_day_shows_only_its_own_times(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)

    page = text(visitor_of(job.account), schedule_of(job.account, "?days=1"))

    assert page.count('class="planned"') == 1


def test_a_job_that_is_due_all_the_time_is_one_bar(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True, cron="*/5 * * * *")

    page = text(visitor_of(job.account), schedule_of(job.account))

    assert 'class="planned"' not in page
    assert "too often for marks" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"extensions": {"pause": {"reason": "Migration"}}}, ["Paused", "Migration"]),
        ({"deactivated": True, "deactivation_reason": "It failed."}, ["Switched off", "It failed"]),
        ({"next_run_at": now() - timedelta(minutes=9)}, ["Overdue"]),
        ({"missed_at": now() - timedelta(hours=2)}, ["Missed", "2 h ago"]),
    ],
)
def test_a_row_says_what_is_odd_about_a_schedule(
    visitor_of: VisitorOf, fields: dict[str, object], words: list[str]
) -> None:
    job = JobFactory(scheduled=True, **fields)

    page = text(visitor_of(job.account), schedule_of(job.account))

    assert [word for word in words if word not in page] == []


def test_a_schedule_that_cannot_be_read_says_so_and_breaks_no_page(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    Job.objects.filter(pk=job.pk).update(cron="0 0 30 2 *")

    assert "Bad day-of-month" in text(visitor_of(job.account), schedule_of(job.account))


def test_the_jobs_of_one_environment_are_shown_alone(visitor_of: VisitorOf) -> None:
    one = JobFactory(scheduled=True, name="Mine")
    other = EnvironmentFactory(project__account=one.account)
    JobFactory(environment=other, scheduled=True, name="Else")
    visitor = visitor_of(one.account)

    page = text(visitor, schedule_of(one.account, f"?env={one.environment_id}"))

    assert "Mine" in page
    assert "Else" not in page
    theirs = EnvironmentFactory()
    assert visitor.get(schedule_of(one.account, f"?env={theirs.pk}")).status_code == 404


def test_jobs_that_run_by_no_schedule_leave_the_page_empty_and_it_says_so(
    visitor_of: VisitorOf,
) -> None:
    job = JobFactory()

    assert "No job runs by a schedule yet" in text(
        visitor_of(job.account), schedule_of(job.account)
    )


def test_more_runs_at_once_than_slots_is_a_band() -> None:
    def line(begin: int, end: int) -> Line:
        minute = timedelta(minutes=1)
        return Line("job", "/", [Mark(MORNING + begin * minute, MORNING + end * minute, "")])

    bands = over_capacity([line(0, 10), line(5, 15), line(15, 20)], slots=1)

    assert [(band.begin, band.end) for band in bands] == [
        (MORNING + timedelta(minutes=5), MORNING + timedelta(minutes=10))
    ]
    assert bands[0].words == "2 runs for 1 slots"
    assert over_capacity([line(0, 10), line(5, 15)], slots=2) == []


def test_a_paused_job_has_no_times_until_its_pause_is_over(db: None) -> None:
    pause = {"until": (MORNING + timedelta(days=2)).isoformat()}
    job = JobFactory(scheduled=True, extensions={"pause": pause})

    plan = plan_of(job, after=MORNING, until=MORNING + timedelta(days=4), most=9)

    assert [moment.day for moment in plan.moments] == [24, 25]
    assert plan.pause is not None


def test_the_schedule_takes_as_many_queries_however_many_jobs_there_are(
    visitor_of: VisitorOf, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = JobFactory(scheduled=True)
    JobFactory.create_batch(12, environment=job.environment, scheduled=True)
    visitor = visitor_of(job.account)
    text(visitor, schedule_of(job.account))

    with django_assert_max_num_queries(15):
        text(visitor, schedule_of(job.account))


# --- Pausing -----------------------------------------------------------------------------


def test_a_job_is_paused_for_a_reason_until_a_time(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    until = (now() + timedelta(days=2)).replace(second=0, microsecond=0)

    response = visitor_of(job.account).post(
        of_job(job, "job_pause"),
        {"reason": "Migration", "until": f"{until:%Y-%m-%dT%H:%M}"},
        follow=True,
    )

    assert response.redirect_chain == [(schedule_of(job.account), 302)]
    job.refresh_from_db()
    assert job.extended.pause is not None
    assert (job.extended.pause.reason, job.extended.pause.until) == ("Migration", until)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"until": "2020-01-01T00:00"}, "This time is over."),
        ({"until": "soon"}, "Enter a valid date/time."),
        ({"reason": "two\nlines\x00"}, "Null characters are not allowed."),
    ],
)
def test_a_pause_that_is_refused_says_why_and_changes_nothing(
    visitor_of: VisitorOf, given: dict[str, str], words: str
) -> None:
    job = JobFactory(scheduled=True)

    page = visitor_of(job.account).post(of_job(job, "job_pause"), given).content.decode()

    assert words in page
    job.refresh_from_db()
    assert job.extensions == {}


def test_a_paused_job_is_resumed_by_a_click(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True, extensions={"pause": {"reason": "Migration"}})
    visitor = visitor_of(job.account)
    assert of_job(job, "job_resume") in text(visitor, schedule_of(job.account))

    visitor.post(of_job(job, "job_resume"))

    job.refresh_from_db()
    assert job.extended.pause is None


def test_who_may_not_change_jobs_can_pause_none(visitor_of: VisitorOf) -> None:
    job = JobFactory(scheduled=True)
    runner = visitor_of(job.account, "job_runner")

    assert of_job(job, "job_pause") not in text(runner, schedule_of(job.account))
    assert runner.get(of_job(job, "job_pause")).status_code == 403
    assert runner.post(of_job(job, "job_resume")).status_code == 403


# --- Shifting, and the way back ----------------------------------------------------------


def nightly(hour: int = 2, **more: object) -> Job:
    """A job that is due each day at this hour, as the API describes it."""
    time = {"type": "at_exact_hours", "interval": 1, "hours": [hour]}
    cron = f"0 {hour} * * *"
    plan = {"cron": cron, "date": {"type": "every_day"}, "time": time}
    return JobFactory(scheduled=True, cron=cron, schedule=plan, **more)


@pytest.mark.parametrize(("by", "hour"), [(1, 3), (-1, 1)])
def test_a_shift_opens_the_editor_with_another_hour(
    visitor_of: VisitorOf, by: int, hour: int
) -> None:
    job = nightly()
    visitor = visitor_of(job.account)
    address = f"{of_job(job, 'job_settings')}?shift={by}"

    assert f"{address}#when" in text(visitor, schedule_of(job.account))
    page = text(visitor, address)

    assert f'name="hours" value="{hour}"' in page
    assert "Save the job to keep it." in page
    job.refresh_from_db()
    assert job.cron == "0 2 * * *"


@pytest.mark.parametrize(
    ("cron", "by", "moved"),
    [
        ("30 23 * * *", 1, "30 0 * * *"),
        ("0 0,12 * * *", -1, "0 11,23 * * *"),
        ("0 6,18 * * 1-5", 1, "0 7,19 * * 1-5"),
        ("0 23 * * 1-5", 1, None),
        ("0 */4 * * *", 1, None),
        ("0 9-17 * * *", 1, None),
    ],
)
def test_a_cron_is_shifted_where_it_stays_on_its_days(
    cron: str, by: int, moved: str | None
) -> None:
    shown = {"schedule_kind": "cron", "cron": cron, "days": list(range(7))}

    found = shifted(shown, by)

    assert (found and found["cron"]) == moved


def test_who_pauses_a_job_is_led_back_to_where_they_were(visitor_of: VisitorOf) -> None:
    job = nightly()
    visitor = visitor_of(job.account)
    here = schedule_of(job.account, "?days=1")

    asked = visitor.get(f"{of_job(job, 'job_pause')}?next={quote(here)}")
    assert f'name="next" value="{here}"' in asked.content.decode()
    done = visitor.post(of_job(job, "job_pause"), {"next": here})
    assert done.headers["Location"] == here
    done = visitor.post(of_job(job, "job_resume"), headers={"Referer": f"http://testserver{here}"})
    assert done.headers["Location"] == f"http://testserver{here}"


@pytest.mark.parametrize("there", ["https://evil.example/", "//evil.example", "javascript:1"])
def test_nobody_is_led_to_another_site(visitor_of: VisitorOf, there: str) -> None:
    job = nightly()

    done = visitor_of(job.account).post(of_job(job, "job_pause"), {"next": there})

    assert done.headers["Location"] == schedule_of(job.account)


def test_a_pause_is_drawn_for_as_long_as_it_lasts(visitor_of: VisitorOf) -> None:
    job = nightly(extensions={"pause": {"reason": "Freeze"}})

    page = text(visitor_of(job.account), schedule_of(job.account))

    assert 'class="resting"' in page
    assert f"{job}: paused until resumed" in page


# --- The calendar ------------------------------------------------------------------------


def calendar_of(visitor: Client, account: Account) -> str:
    """The address of the visitor's calendar."""
    visitor.post(reverse("console:calendar", args=[account.pk]))
    found = re.search(
        r'value="(http://testserver/feeds/[^"]+)"', text(visitor, schedule_of(account))
    )
    assert found is not None
    return found[1]


def read(text: str) -> list[dict[str, str]]:
    """The events of a calendar, read as strictly as RFC 5545 asks."""
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    lines: list[str] = []
    for line in text[:-2].split("\r\n"):
        assert len(line.encode()) <= 75
        if line.startswith(" "):
            lines[-1] += line[1:]
        else:
            lines.append(line)
    assert (lines[0], lines[1], lines[-1]) == ("BEGIN:VCALENDAR", "VERSION:2.0", "END:VCALENDAR")
    events: list[dict[str, str]] = []
    is_inside = False
    for line in lines[2:-1]:
        name, colon, value = line.partition(":")
        assert colon, line
        assert re.fullmatch(r"[A-Z-]+(;[A-Z]+=[A-Z]+)*", name), line
        if line in {"BEGIN:VEVENT", "END:VEVENT"}:
            assert is_inside is (line == "END:VEVENT")
            is_inside = not is_inside
            if is_inside:
                events.append({})
        elif is_inside:
            assert name not in events[-1]
            events[-1][name] = value
    assert not is_inside
    for event in events:
        assert {"UID", "DTSTAMP", "DTSTART", "SUMMARY"} <= event.keys()
        for name in {"DTSTAMP", "DTSTART", "DTEND"} & event.keys():
            datetime.strptime(event[name], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        for name in ("SUMMARY", "DESCRIPTION"):
            assert re.fullmatch(r"(?:[^\\;,\x00-\x1f]|\\[\\;,n])*", event[name])
    assert len({event["UID"] for event in events}) == len(events)
    return events


def test_a_calendar_tells_of_the_next_seven_days(visitor_of: VisitorOf) -> None:
    job = nightly()
    RunFactory(job=job, succeeded=True)  # took 80 seconds
    address = calendar_of(visitor_of(job.account), job.account)

    response = Client().get(address)

    assert response.headers["Content-Type"] == "text/calendar; charset=utf-8"
    events = read(response.content.decode())
    assert len(events) == 7
    begin, end = (
        datetime.strptime(events[0][name], "%Y%m%dT%H%M%SZ") for name in ("DTSTART", "DTEND")
    )
    assert begin.hour == 2
    assert end - begin == timedelta(seconds=80)
    assert events[0]["SUMMARY"] == str(job)


def test_hostile_names_stay_text_in_a_calendar(visitor_of: VisitorOf) -> None:
    job = nightly(name="A, b; c\\d \x07 BEGIN:VEVENT ☃" + " long ☃" * 30)
    address = calendar_of(visitor_of(job.account), job.account)

    event = read(Client().get(address).content.decode())[0]

    assert event["SUMMARY"].startswith(r"A\, b\; c\\d   BEGIN:VEVENT ☃")


def test_a_calendar_shows_what_its_member_may_see(account: Account) -> None:
    mine = nightly(environment__project__account=account)
    nightly(environment__project__account=account, name="Hidden")
    group = Group.objects.create(account=account, name="Analysts")
    group.grants.create(project=mine.project, permission_set="readonly")
    membership = MembershipFactory(account=account, permission_set="metadata_only")
    group.members.add(membership)
    visitor = Client()
    visitor.force_login(membership.user)

    events = read(Client().get(calendar_of(visitor, account)).content.decode())

    assert {event["SUMMARY"] for event in events} == {str(mine)}


def test_a_new_address_ends_the_old_one(visitor_of: VisitorOf, account: Account) -> None:
    visitor = visitor_of(account)
    old = calendar_of(visitor, account)
    new = calendar_of(visitor, account)

    assert Client().get(old).status_code == 404
    assert Client().get(new).status_code == 200
    visitor.post(reverse("console:calendar", args=[account.pk]), {"then": "close"})
    assert Client().get(new).status_code == 404


def test_a_calendar_ends_with_the_membership(visitor_of: VisitorOf, account: Account) -> None:
    address = calendar_of(visitor_of(account), account)
    Membership.objects.filter(account=account).update(is_active=False)

    assert Client().get(address).status_code == 404


@pytest.mark.parametrize("key", ["x", "a.b", "%00", "☃", "a" * 5000])
def test_any_other_key_is_no_page(db: None, key: str) -> None:
    assert Client().get(f"/feeds/{quote(key)}/schedule.ics").status_code == 404

"""When jobs are due: the next times, in words, what was missed; and a schedule's pause.

An extension of this service: dbt Cloud shows ``next_run`` and ``cron_humanized`` alone.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar

from django.core.exceptions import ValidationError as DjangoValidationError
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.timezone import now
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.roles import Action
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Lists, Reads, Resource, Shape
from jobsvc.api.fields import MomentField, moment
from jobsvc.api.filters import number, truth
from jobsvc.api.routes import both
from jobsvc.jobs.define import pause_job, resume_job
from jobsvc.jobs.models import Job
from jobsvc.jobs.schedule import BadSchedule, in_words, of_job

NEXT_RUNS = 5


class ScheduleShape(Shape[Job]):
    """When a job is due, on its schedule as it stands."""

    job_id = serializers.IntegerField(source="pk", read_only=True)
    words = serializers.SerializerMethodField()
    next_runs = serializers.SerializerMethodField()
    misfire = serializers.SerializerMethodField()
    active_from = serializers.SerializerMethodField()
    active_until = serializers.SerializerMethodField()
    pause = serializers.SerializerMethodField()
    overdue = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields: ClassVar = [
            "job_id",
            "name",
            "triggers_schedule",
            "deactivated",
            "cron",
            "timezone",
            "words",
            "next_runs",
            "misfire",
            "active_from",
            "active_until",
            "pause",
            "overdue",
            "missed_at",
        ]

    def get_words(self, job: Job) -> str:
        return in_words(job.cron, job.timezone)

    def get_next_runs(self, job: Job) -> list[str | None]:
        if job.deactivated:
            return []
        try:
            return [moment(time) for time in islice(of_job(job, after=now()), NEXT_RUNS)]
        except (BadSchedule, DjangoValidationError):
            return []

    def get_misfire(self, job: Job) -> str:
        return job.extended.schedule.misfire

    def get_active_from(self, job: Job) -> str | None:
        return moment(job.extended.schedule.active_from)

    def get_active_until(self, job: Job) -> str | None:
        return moment(job.extended.schedule.active_until)

    def get_pause(self, job: Job) -> dict[str, str | None] | None:
        pause = job.extended.pause
        if pause is None or (pause.until is not None and pause.until <= now()):
            return None
        return {"reason": pause.reason, "until": moment(pause.until)}

    def get_overdue(self, job: Job) -> bool:
        return job.is_overdue(now())


class PauseBody(Body):
    reason = serializers.CharField(default="", allow_blank=True, max_length=255)
    until = MomentField(required=False)


class _Schedules(Resource[Job]):
    name = "job"
    shape = ScheduleShape
    writes = Action.WRITE_JOBS

    def rows(self) -> QuerySet[Job]:
        return Job.objects.of_account(self.account_id)


class Schedules(Lists[Job], _Schedules):
    """The jobs of an account that run by a schedule; ``late=true``: those that are not on time.

    Late is a job whose moment has come and gone without a run: nothing ticks (``overdue``), or
    it could not start in the last day (``missed_at``).
    """

    filters: ClassVar = {"project_id": number("project"), "late": truth("is_late")}
    orders: ClassVar = ["name"]

    def rows(self) -> QuerySet[Job]:
        late = Job.objects.late(now()).filter(pk=OuterRef("pk"))
        return super().rows().filter(triggers_schedule=True).annotate(is_late=Exists(late))


class OneSchedule(Reads[Job], _Schedules):
    """When one job is due next, five times ahead, and in words."""


class PauseJob(_Schedules):
    """Let a job's schedule rest, for a reason, until a time or until it is resumed."""

    takes = PauseBody

    def post(self, request: Request, **path: Any) -> Answer:
        values = self.values(partial=False)
        job = pause_job(self.row(), reason=values["reason"], until=values.get("until"))
        return Answer(self.show(job))


class ResumeJob(_Schedules):
    """End a pause. No body is needed."""

    @extend_schema(request=None)
    def post(self, request: Request, **path: Any) -> Answer:
        return Answer(self.show(resume_job(self.row())))


urlpatterns = [
    *both("accounts/<id:account_id>/schedules", Schedules),
    *both("accounts/<id:account_id>/jobs/<id:pk>/schedule", OneSchedule),
    *both("accounts/<id:account_id>/jobs/<id:pk>/pause", PauseJob),
    *both("accounts/<id:account_id>/jobs/<id:pk>/resume", ResumeJob),
]

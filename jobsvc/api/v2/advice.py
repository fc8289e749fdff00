"""Advice on a job: what is unwise about it, as it is, as it would be, or before there is one.

Saving a job says the same in few words, in the envelope's ``developer_message``: a job's keys
are closed, and what one reads in its ``extensions`` must be good to be posted back.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from jobsvc.api.answers import Answer
from jobsvc.api.routes import both
from jobsvc.api.v2.jobs import JobResource
from jobsvc.jobs.advice import Severity
from jobsvc.jobs.models import Job
from jobsvc.runs.advice import advice_on


class FindingShape(serializers.Serializer[Any]):
    """One piece of advice; ``step`` counts from 1 and is null where it is about the whole job."""

    code = serializers.CharField()
    severity = serializers.ChoiceField([severity.value for severity in Severity])
    field = serializers.CharField()
    step = serializers.IntegerField(allow_null=True)
    message = serializers.CharField()
    fix = serializers.CharField()


class _Advice(JobResource):
    shape = FindingShape

    def told(self, job: Job) -> Answer:
        return Answer(FindingShape(advice_on(job), many=True).data)

    def told_as_if_saved(self, job: Job, values: dict[str, Any]) -> Answer:
        """What saving ``values`` would bring, which is then undone.

        Raises:
            ValidationError: it would not be saved.
        """
        with transaction.atomic():
            answer = self.told(self.save(job, values))
            transaction.set_rollback(True)
        return answer


class JobAdvice(_Advice):
    """Advice on a job: GET as it is, POST as the body would change it."""

    @extend_schema(responses=FindingShape(many=True))
    def get(self, request: Request, **path: Any) -> Answer:
        return self.told(self.row())

    @extend_schema(responses=FindingShape(many=True))
    def post(self, request: Request, **path: Any) -> Answer:
        job = self.row()
        return (
            self.told_as_if_saved(job, self.values(partial=True)) if self.body else self.told(job)
        )


class NewJobAdvice(_Advice):
    """Advice on a job that is not saved."""

    placed = True

    @extend_schema(responses=FindingShape(many=True))
    def post(self, request: Request, **path: Any) -> Answer:
        return self.told_as_if_saved(Job(account=self.account), self.values(partial=False))


urlpatterns = [
    *both("accounts/<id:account_id>/jobs/validate", NewJobAdvice),
    *both("accounts/<id:account_id>/jobs/<id:pk>/validate", JobAdvice),
]

"""Retry a run, rerun a job: a new run from the point where another one failed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.roles import Action
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Resource
from jobsvc.api.errors import Conflict
from jobsvc.api.related import included
from jobsvc.api.routes import both
from jobsvc.api.v2.jobs import JobResource
from jobsvc.api.v2.shapes import RunShape, runs_of, shown_run
from jobsvc.runs.models import Run
from jobsvc.runs.retry import Git, RetryRefused, preview, rerun_job, retry_run


class RetryExtensionsBody(Body):
    """What a retry can be asked for beyond dbt Cloud."""

    git = serializers.ChoiceField([git.value for git in Git], default=Git.LATEST.value)
    force = serializers.BooleanField(default=False)


class RetryBody(Body):
    """What a retry may be started with; all of it may be left out."""

    extensions = RetryExtensionsBody(required=False)


class RetryRun(Resource[Run]):
    """Retry a run from where it failed; GET tells what that would do.

    ``extensions.force`` retries what dbt Cloud would not: an older run, one that was cancelled
    or ran out of time, a step that can only start anew. ``extensions.git`` ``same`` runs the
    same commit once more, not the newest.
    """

    name = "run"
    shape = RunShape
    takes = RetryBody
    writes = Action.RUN

    def rows(self) -> QuerySet[Run]:
        return runs_of(self.account_id)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        return Answer(asdict(preview(self.row())))

    def post(self, request: Request, **path: Any) -> Answer:
        run = self.row()
        self.check_place(run.job)  # the new run is where the job is now
        asked = self.values(partial=False).get("extensions") or {"git": Git.LATEST, "force": False}
        try:
            new = retry_run(
                run,
                git=Git(asked["git"]),
                force=asked["force"],
                user=self.token.user,
                api_token=self.token,
            )
        except RetryRefused as refused:
            raise Conflict(str(refused)) from refused
        new_run = self.rows().get(pk=new.pk)
        return Answer(shown_run(new_run, included(request) | {"job", "trigger"}))


class RerunJob(JobResource):
    """Run a job again: from where its latest run failed, or whole where that did not fail."""

    shape = RunShape
    takes = Body
    writes = Action.RUN

    def post(self, request: Request, **path: Any) -> Answer:
        new = rerun_job(self.row(), user=self.token.user, api_token=self.token)
        run = runs_of(self.account_id).get(pk=new.pk)
        return Answer(shown_run(run, included(request) | {"job", "trigger"}))


urlpatterns = [
    *both("accounts/<id:account_id>/runs/<id:pk>/retry", RetryRun),
    *both("accounts/<id:account_id>/jobs/<id:pk>/rerun", RerunJob),
]

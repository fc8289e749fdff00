"""What a git host is told of a run: read it, or have it posted once more."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request

from accounts.roles import Action
from ci.report import NothingToReport, report_again, reports_of
from jobsvc.api.answers import Answer
from jobsvc.api.base import Resource
from jobsvc.api.errors import Conflict
from jobsvc.api.routes import both
from jobsvc.api.v2.run_extensions import told
from jobsvc.api.v2.shapes import RunShape, runs_of
from jobsvc.runs.models import Run


class RunReport(Resource[Run]):
    """What a git host is told of a run: its commit status, its check run, the comment.

    POST has all of it posted once more, by what is true then: after a token was mended, say.
    """

    name = "run"
    shape = RunShape
    writes = Action.RUN

    def rows(self) -> QuerySet[Run]:
        return runs_of(self.account_id).select_related("job", "project__repository")

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        run = self.row()
        return Answer([told(report) for report in reports_of([run]).get(run.pk, ())])

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        try:
            due = report_again(self.row())
        except NothingToReport as nothing:
            raise Conflict(str(nothing)) from nothing
        return Answer([told(report) for report in due])


urlpatterns = both("accounts/<id:account_id>/runs/<id:pk>/report", RunReport)

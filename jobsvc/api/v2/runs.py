"""Runs and their steps: list, read, cancel, artifacts."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http.response import HttpResponseBase
from django.urls import path
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request

from accounts.roles import Action
from jobsvc.api.answers import Answer
from jobsvc.api.base import Lists, Reads, Resource
from jobsvc.api.fields import LARGEST_INTEGER, whole_number
from jobsvc.api.filters import moments, number, numbers, text, truth
from jobsvc.api.related import included
from jobsvc.api.routes import both
from jobsvc.api.v2.files import is_path, sent
from jobsvc.api.v2.run_extensions import extensions_of
from jobsvc.api.v2.shapes import RunShape, StepShape, prepare_runs, runs_of, shown_run
from jobsvc.runs.artifacts import of_run, open_artifact
from jobsvc.runs.cancel import cancel_run
from jobsvc.runs.models import Run, RunStep

STEP = OpenApiParameter("step", int, description="The step's index; without it, the whole run.")


class _Runs(Resource[Run]):
    name = "run"
    shape = RunShape
    filters: ClassVar = {
        "project_id": number("project"),
        "project_id__in": numbers("project"),
        "environment_id": number("environment"),
        "job_definition_id": number("job"),
        "deferring_run_id": number("deferring_run"),
        "status": number("status"),
        "status__in": numbers("status"),
        "status_in": numbers("status"),
        "created_at__range": moments("created_at"),
        "finished_at__range": moments("finished_at"),
        "trigger_id": number("trigger"),
        "pull_request_id": number("pull_request"),
        "has_docs_generated": truth("has_docs_generated"),
        "has_sources_generated": truth("has_sources_generated"),
        "dbt_version": text("dbt_version"),
    }
    orders: ClassVar = ["dequeued_at", "started_at", "finished_at", "status"]

    def rows(self) -> QuerySet[Run]:
        return runs_of(self.account_id)

    def prepare(self, rows: list[Run], include: Collection[str]) -> None:
        prepare_runs(rows, include)

    def context(self) -> dict[str, Any]:
        context = super().context()
        return context | {"asked": context["include"]}


class Runs(Lists[Run], _Runs):
    """The runs of an account. Those of deleted jobs are among them."""


class OneRun(Reads[Run], _Runs):
    """One of them, with its steps and logs where ``run_steps`` is asked for."""


class CancelRun(_Runs):
    """Cancel a run: at once while it waits, soon after while it runs; a finished one stays."""

    writes = Action.RUN

    def post(self, request: Request, **path: Any) -> Answer:
        run = self.row()
        token = self.token
        cancel_run(run, by=token.user.email if token.user else f"token {token.name}")
        return Answer(shown_run(self.row(), included(request) | {"job", "trigger"}))


class RunExtensions(_Runs):
    """What this service can say of a run beyond dbt Cloud: why it waits, and more."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        run = self.row()
        return Answer(extensions_of([run])[run.pk])


class RunArtifacts(_Runs):
    """The paths of what a run, or one step of it, left in dbt's target directory."""

    @extend_schema(responses=list[str], parameters=[STEP])
    def get(self, request: Request, **path: Any) -> Answer:
        run = self.row()
        step, known = _step(request)
        return Answer(of_run(run, step) if known else [])


class RunArtifact(_Runs):
    """One of these files. What is not there is a 404 in plain text."""

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY}, parameters=[STEP]
    )
    def get(self, request: Request, path: str, **ids: Any) -> HttpResponseBase:
        run = self.row()
        step, known = _step(request)
        return sent(open_artifact(run, path, step) if known and is_path(path) else None, path)


class OneStep(Reads[RunStep], Resource[RunStep]):
    """A step of a run, with its logs."""

    name = "step"
    shape = StepShape

    def rows(self) -> QuerySet[RunStep]:
        return RunStep.objects.filter(run__account=self.account_id).select_related("run")

    def context(self) -> dict[str, Any]:
        context = super().context()
        return context | {"asked": context["include"]}


def _step(request: Request) -> tuple[int | None, bool]:
    """``?step=``, and whether a step could have this index."""
    given = request.query_params.get("step", "").strip()
    if not given:
        return None, True
    index = whole_number(given)
    return index, index is not None and 0 < index <= LARGEST_INTEGER


urlpatterns = [
    *both("accounts/<id:account_id>/runs", Runs),
    *both("accounts/<id:account_id>/runs/<id:pk>", OneRun),
    *both("accounts/<id:account_id>/runs/<id:pk>/cancel", CancelRun),
    *both("accounts/<id:account_id>/runs/<id:pk>/extensions", RunExtensions),
    *both("accounts/<id:account_id>/runs/<id:pk>/artifacts", RunArtifacts),
    path("accounts/<id:account_id>/runs/<id:pk>/artifacts/<path:path>", RunArtifact.as_view()),
    *both("accounts/<id:account_id>/steps/<id:pk>", OneStep),
]

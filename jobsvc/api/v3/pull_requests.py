"""Pull requests of a project: what was decided of each, and why. Beyond dbt Cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from accounts.roles import Action
from ci.models import Check, PullRequest
from ci.providers.base import ProviderUnavailable
from ci.pull_requests import NotBuilt, approve, jobs_of, rerun
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Lists, Reads, Resource, Rows, Shape
from jobsvc.api.errors import Conflict, Unavailable
from jobsvc.api.fields import IdField, MomentField
from jobsvc.api.routes import both
from jobsvc.statuses import State


class CheckShape(Shape[Check]):
    """What became of a commit, for one job; ``run_id`` is the newest that was started for it."""

    job_id = IdField(read_only=True)
    job_name = serializers.CharField(source="job.name", read_only=True)
    run_id = IdField(read_only=True, allow_null=True)

    class Meta:
        model = Check
        fields: ClassVar = [
            "job_id",
            "job_name",
            "head_sha",
            "decision",
            "why",
            "run_id",
            "created_at",
            "updated_at",
        ]


class PullRequestShape(Shape[PullRequest]):
    """``checks`` are of this project's jobs, the newest first."""

    changed_at = MomentField(read_only=True, help_text="By GitHub's clock.")
    checks = CheckShape(many=True, read_only=True)

    class Meta:
        model = PullRequest
        fields: ClassVar = [
            "id",
            "number",
            "title",
            "author",
            "url",
            "state",
            "is_draft",
            "is_fork",
            "head_ref",
            "head_sha",
            "head_repository",
            "base_ref",
            "labels",
            "merge_commit_sha",
            "approved_sha",
            "approved_by",
            "checks",
            "changed_at",
            "created_at",
            "updated_at",
        ]


class _PullRequests(Resource[PullRequest]):
    name = "pull request"
    shape = PullRequestShape

    def seen(self, rows: Rows, action: Action = Action.READ) -> Rows:
        """Pull requests are those of the project's repository, whichever project that is of."""
        return rows if rows.model is PullRequest else super().seen(rows, action)

    def rows(self) -> QuerySet[PullRequest]:
        of_project = Check.objects.filter(job__project=self.project)
        checks = self.token.access.rows(of_project).select_related("job").order_by("-pk")
        return PullRequest.objects.filter(
            repository=self.project.repository_id or 0, repository__account=self.account_id
        ).prefetch_related(Prefetch("checks", checks))

    def _in_state(self, rows: QuerySet[PullRequest], state: State | None) -> QuerySet[PullRequest]:
        return rows  # theirs is whether they are open, and none is ever deleted

    def row(self) -> PullRequest:
        """The one with the number of the path."""
        number = self.kwargs["number"]
        found = self.rows().filter(number=number).first()
        if found is None:
            raise NotFound(f"Nothing was told of a pull request #{number} of this project.")
        return found

    def answer(self, act: Callable[[], list[str]]) -> Answer:
        """The pull request as ``act`` left it, with what that said.

        Raises:
            Conflict, Unavailable
        """
        try:
            said = act()
        except NotBuilt as refused:
            raise Conflict(str(refused)) from refused
        except ProviderUnavailable as error:
            raise Unavailable(f"{error} Try again in a moment.") from error
        return Answer({**self.show(self.row()), "said": said})


class PullRequests(Lists[PullRequest], _PullRequests):
    """The pull requests of a project's repository that GitHub told of, the newest first."""

    order = "-number"
    orders: ClassVar = ["number", "changed_at"]


class OnePullRequest(Reads[PullRequest], _PullRequests):
    """One of them, by its number."""


class ApprovalBody(Body):
    """The commit that was read: the newest, by its whole id."""

    sha = serializers.CharField(max_length=64)


class Approve(_PullRequests):
    """Let this very commit of a fork's pull request be built."""

    takes = ApprovalBody
    writes = Action.WRITE_JOBS

    def post(self, request: Request, **path: Any) -> Answer:
        row, sha, token = self.row(), self.values(partial=False)["sha"], self.token
        by = token.user.email if token.user else f"token {token.name}"
        return self.answer(lambda: approve(row, sha, by=by, user=token.user, api_token=token))


class RerunBody(Body):
    """``job_id``: by this job alone; without it, by all of the project."""

    job_id = IdField(required=False)


class Rerun(_PullRequests):
    """Build the newest commit once more, whatever the jobs' filters say."""

    takes = RerunBody
    writes = Action.RUN
    placed = True

    def post(self, request: Request, **path: Any) -> Answer:
        row, token = self.row(), self.token
        jobs = self.seen(jobs_of(row.repository).filter(project=self.project), Action.RUN)
        if not jobs.exists():
            self.check_place(self.project)
        if job_id := self.values(partial=False).get("job_id"):
            jobs = jobs.filter(pk=self.find(jobs, job_id, "job for pull requests").pk)
        return self.answer(lambda: rerun(row, jobs, user=token.user, api_token=token))


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/pull-requests"

urlpatterns = [
    *both(_BASE, PullRequests),
    *both(f"{_BASE}/<id:number>", OnePullRequest),
    *both(f"{_BASE}/<id:number>/approve", Approve),
    *both(f"{_BASE}/<id:number>/rerun", Rerun),
]

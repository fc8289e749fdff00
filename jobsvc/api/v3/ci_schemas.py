"""Schemas that pull requests' runs built: which are still there, why, and having them dropped."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.utils.timezone import now
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from accounts.roles import Action
from ci.models import CISchema, CISchemaState
from ci.schemas import ask_to_drop, may_go, of_no_use, whys
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Lists, Resource, Shape
from jobsvc.api.fields import IdField
from jobsvc.api.filters import number, text, texts
from jobsvc.api.routes import both
from jobsvc.statuses import State

MOST_NAMED = 1000  # ids in one request, and schemas of each kind in its answer


class CISchemaShape(Shape[CISchema]):
    """``why`` says in a sentence why it is still there, or is not; ``due_at`` is when it goes."""

    account_id = IdField(read_only=True)
    project_id = serializers.IntegerField(source="job.project_id", read_only=True)
    job_id = IdField(read_only=True)
    environment_id = IdField(read_only=True)
    connection_id = IdField(read_only=True)
    last_run_id = IdField(read_only=True)
    status = serializers.CharField(source="state", read_only=True)
    why = serializers.CharField(read_only=True)

    class Meta:
        model = CISchema
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "job_id",
            "environment_id",
            "connection_id",
            "pull_request_number",
            "database",
            "schema",
            "status",
            "why",
            "due_at",
            "attempts",
            "error",
            "last_run_id",
            "dropped_at",
            "created_at",
            "updated_at",
        ]


class DropBody(Body):
    """Without ``ids`` it is all that is of no more use; with them those, open or closed."""

    dry_run = serializers.BooleanField(default=True)
    ids = serializers.ListField(
        child=IdField(), required=False, default=list, max_length=MOST_NAMED
    )


class _CISchemas(Resource[CISchema]):
    name = "CI schema"
    shape = CISchemaShape
    writes = Action.WRITE_JOBS

    def rows(self) -> QuerySet[CISchema]:
        rows = CISchema.objects.filter(account=self.account_id, job__project=self.project)
        return rows.select_related("job__project")

    def _in_state(self, rows: QuerySet[CISchema], state: State | None) -> QuerySet[CISchema]:
        return rows  # its state is another thing than being deleted

    def prepare(self, rows: list[CISchema], include: Collection[str]) -> None:
        words = whys(rows)
        for row in rows:
            row.why = words[row.pk]  # type: ignore[attr-defined]  # for the shape alone


class CISchemas(Lists[CISchema], _CISchemas):
    """The schemas of a project's pull requests. ``?status=failed`` shows those that stick."""

    filters: ClassVar = {
        "status": text("state"),
        "status__in": texts("state__in"),
        "job_id": number("job"),
        "pull_request_number": number("pull_request_number"),
    }
    orders: ClassVar = ["id", "due_at", "pull_request_number"]


class DropCISchemas(_CISchemas):
    """Have schemas dropped, or (``dry_run``, the default) see what would be and why others stay.

    Whatever somebody asks for, a schema that a run uses stays, and so does one that is not the
    pull request's alone. Dropping takes its time: the list tells when it is done.
    """

    takes = DropBody

    def post(self, request: Request, **path: Any) -> Answer:
        asked = self.values(partial=False)
        rows = self.rows().exclude(state=CISchemaState.DROPPED).order_by("id")
        wanted = self.named(rows, asked["ids"]) if asked["ids"] else of_no_use(rows, now())
        going = [row.pk for row in (may_go if asked["dry_run"] else ask_to_drop)(wanted)]
        return Answer(
            {
                "dry_run": asked["dry_run"],
                "dropped": self.shown(rows.filter(pk__in=going)),
                "kept": self.shown(rows.exclude(pk__in=going)),
            }
        )

    def named(self, rows: QuerySet[CISchema], ids: list[int]) -> QuerySet[CISchema]:
        found = rows.filter(pk__in=ids)
        if missing := set(ids) - set(found.values_list("pk", flat=True)):
            raise ValidationError(
                {
                    "ids": f"The project has no CI schema {min(missing)} that is still there. "
                    "Leave it out."
                }
            )
        return found

    def shown(self, rows: QuerySet[CISchema]) -> Any:
        listed = list(rows[:MOST_NAMED])
        self.prepare(listed, ())
        return self.shape(listed, many=True, context=self.context()).data


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/ci-schemas"

urlpatterns = [
    *both(_BASE, CISchemas),
    *both(f"{_BASE}/drop", DropCISchemas),
]

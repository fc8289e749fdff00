"""Environment variables: listed by environment and by job, set one at a time or in bulk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.request import Request

from accounts.roles import Action
from environments import variables
from environments.models import Environment, EnvironmentVariable, VariableScope
from jobsvc.api.answers import Answer
from jobsvc.api.base import AccountView, Body, Resource, Shape
from jobsvc.api.fields import IdField, Nothing, whole_number
from jobsvc.api.routes import both
from jobsvc.jobs.models import Job
from jobsvc.statuses import State

# Of a bulk request's object, these are not names of places.
NOT_PLACES = {"name", "new_name"}


class VariableShape(Shape[EnvironmentVariable]):
    """One value of one variable. A secret's is masked."""

    type = serializers.CharField(source="scope", read_only=True)
    project_id = IdField(read_only=True)
    account_id = serializers.IntegerField(source="project.account_id", read_only=True)
    environment_id = IdField(read_only=True, allow_null=True)
    user_id = Nothing()  # nobody has values of their own: they are for dbt Cloud's IDE
    display_value = serializers.SerializerMethodField()
    state = serializers.SerializerMethodField()

    class Meta:
        model = EnvironmentVariable
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "name",
            "type",
            "environment_id",
            "job_definition_id",
            "user_id",
            "display_value",
            "state",
            "created_at",
            "updated_at",
        ]

    def get_display_value(self, row: EnvironmentVariable) -> str:
        return variables.shown(row)

    def get_state(self, _row: EnvironmentVariable) -> int:
        return int(self.context.get("state", State.ACTIVE))


class VariableBody(Body):
    name = serializers.CharField(max_length=255)
    type = serializers.ChoiceField(
        ["project", "environment", "job", "user"], required=False, allow_null=True
    )
    raw_value = serializers.JSONField(
        required=False, allow_null=True, help_text="Text; null deletes the value."
    )
    environment_id = IdField(required=False, allow_null=True)
    job_definition_id = IdField(required=False, allow_null=True)


class _Variables(Resource[EnvironmentVariable]):
    name = "environment variable"
    shape = VariableShape
    takes = VariableBody
    writes = Action.WRITE_JOBS

    def rows(self) -> QuerySet[EnvironmentVariable]:
        return EnvironmentVariable.objects.filter(project=self.project).select_related("project")


class Variables(_Variables):
    """POST sets a value; one that is there already is changed."""

    placed = True

    def post(self, request: Request, **path: Any) -> Answer:
        values = self.values(partial=False)
        if "raw_value" not in values:
            raise ValidationError({"raw_value": "A new value needs a text. Add it."})
        environment, job_id = self._environment(values), self._job_id(values)
        jobs = self.seen(Job.objects.filter(project=self.project))
        job = jobs.filter(pk=job_id).first() if job_id is not None else None
        self.check_place(environment or job or self.project)
        row = variables.set_value(
            self.project,
            values["name"],
            values["raw_value"],
            environment=environment,
            job_definition_id=job_id,
        )
        return Answer(self.show(row), 201)

    def _job_id(self, values: Mapping[str, Any]) -> int | None:
        job_id: int | None = values.get("job_definition_id")
        kind = values.get("type")
        if kind == "user":
            raise ValidationError(
                {"type": "Nobody has values of their own here. Use project, environment or job."}
            )
        if kind == VariableScope.JOB and job_id is None:
            raise ValidationError({"job_definition_id": "A job's value needs it. Add it."})
        return job_id if kind in (None, VariableScope.JOB) else None

    def _environment(self, values: Mapping[str, Any]) -> Environment | None:
        pk, kind = values.get("environment_id"), values.get("type")
        if kind == VariableScope.ENVIRONMENT and pk is None:
            raise ValidationError({"environment_id": "An environment's value needs it. Add it."})
        if pk is None or kind not in (None, VariableScope.ENVIRONMENT):
            return None
        environment = self.seen(self.project.environments.active()).filter(pk=pk).first()
        if environment is None:
            raise ValidationError({"environment_id": "The project has no such environment."})
        return environment


class OneVariable(_Variables):
    """POST changes a value, or deletes it where ``raw_value`` is null."""

    def post(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        values = self.values(partial=True)
        if values.get("name", row.name) != row.name:
            raise ValidationError(
                {"name": f"This is a value of {row.name}. Rename it by PUT to bulk/ instead."}
            )
        if "raw_value" not in values:
            return Answer(self.show(row))
        if values["raw_value"] is None:
            return self.delete(request, **path)
        return Answer(self.show(variables.change_value(row, values["raw_value"])))

    def delete(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        variables.delete_value(row)
        return Answer(self.show(row, state=State.DELETED))


class VariablesByEnvironment(AccountView):
    """All values but those of jobs, by variable and environment name."""

    def get(self, request: Request, **path: Any) -> Answer:
        active = self.seen(self.project.environments.active()).order_by("pk")
        places = [VariableScope.PROJECT.value, *active.values_list("name", flat=True)]
        values = variables.by_environment(self.project)
        seen = {
            name: {place: row for place, row in its.items() if place in places}
            for name, its in values.items()
        }
        return Answer({"environments": places, "variables": _shown(seen)})


class VariablesByScope(AccountView):
    """Every variable of the project as one job sees it. A scope without a value is absent."""

    def get(self, request: Request, **path: Any) -> Answer:
        given = request.query_params.get("job_definition_id", "")
        pk = whole_number(given)
        jobs = self.seen(Job.objects.active().filter(project=self.project))
        job = jobs.filter(pk=pk).first() if pk else None
        if given.strip() and job is None:
            raise NotFound(f"The project has no job {given}. Check the id.")
        scopes = variables.by_scope(
            self.project,
            environment_id=job.environment_id if job else None,
            job_definition_id=job.pk if job else None,
        )
        return Answer(_shown(scopes))


class BulkVariables(AccountView):
    """POST makes variables, PUT changes one, DELETE takes one away with all of its values."""

    writes = Action.WRITE_JOBS

    def post(self, request: Request, **path: Any) -> Answer:
        given = request.data
        if isinstance(given, Mapping) and "env_vars" in given:
            return self.put(request, **path)
        made: list[int] = []
        items = given if isinstance(given, list) else [given]
        for item in items:
            inner = item.get("env_var", item) if isinstance(item, Mapping) else item
            for one in inner if isinstance(inner, list) else [inner]:
                made += self._set(_an_object(one, "env_var"), new=True)
        return _bulk_answer("The variables were created.", made, 201)

    def put(self, request: Request, **path: Any) -> Answer:
        one = _an_object(self.body.get("env_vars"), "env_vars")
        return _bulk_answer("The variable was changed.", self._set(one, new=False), 200)

    def delete(self, request: Request, **path: Any) -> Answer:
        name = _text(self.body, "name")
        if not variables.delete_variable(self.project, name):
            raise NotFound(f"The project has no environment variable {name}.")
        return _bulk_answer("The variable was deleted.", [], 200)

    def _set(self, one: Mapping[str, Any], *, new: bool) -> list[int]:
        name = _text(one, "new_name" if new and one.get("new_name") else "name")
        new_name = "" if new or not one.get("new_name") else _text(one, "new_name")
        places = {place: value for place, value in one.items() if place not in NOT_PLACES}
        rows = variables.set_values(self.project, name, places, new_name=new_name)
        return [row.pk for row in rows]


def _shown(
    values: Mapping[str, Mapping[str, EnvironmentVariable]],
) -> dict[str, dict[str, dict[str, Any]]]:
    return {
        name: {
            place: {"id": row.pk, "value": variables.shown(row)} for place, row in places.items()
        }
        for name, places in values.items()
    }


def _bulk_answer(message: str, made: list[int], status: int) -> Answer:
    return Answer({"message": message, "new_var_ids": made}, status)


def _an_object(value: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ParseError(f'{key} is not an object. Send {{"{key}": {{"name": "DBT_…", …}}}}.')
    return value


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise ValidationError({key: "Give the variable's name, such as DBT_REGION."})
    return value


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/environment-variables"

urlpatterns = [
    *both(_BASE, Variables),
    *both(f"{_BASE}/environment", VariablesByEnvironment),
    *both(f"{_BASE}/job", VariablesByScope),
    *both(f"{_BASE}/user", VariablesByScope),
    *both(f"{_BASE}/bulk", BulkVariables),
    *both(f"{_BASE}/<id:pk>", OneVariable),
]

"""Values of environment variables: set, renamed, deleted, shown, and resolved for a run.

Scopes, weakest first: project, environment, job. A secret's value is only ever given to the
run's child; everybody else sees the mask, and giving the mask back keeps the secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from accounts import audit
from environments.models import (
    Environment,
    EnvironmentVariable,
    Project,
    VariableQuerySet,
    VariableScope,
)
from jobsvc.engine.names import check_schema, check_variable_name, is_secret_name
from jobsvc.statuses import State

MASK = "**********"
LONGEST_VALUE = 64 * 1024  # bytes; Linux gives one variable of a process 128 KiB
PREFIX = "DBT_"
TARGET_SCHEMA = "DBT_TARGET_SCHEMA"  # where it has a value, the run's warehouse schema


def resolve(environment: Environment, *, job_definition_id: int) -> dict[str, str]:
    """What a run of this job in this environment gets, in clear: name to value.

    A job's value wins over the environment's, which wins over the project's.
    """
    rows = _of_project(environment.project).filter(
        Q(scope=VariableScope.PROJECT)
        | Q(environment=environment)
        | Q(job_definition_id=job_definition_id)
    )
    return {row.name: row.value for row in sorted(rows, key=_strength)}


def value_of_job(project: Project, job_definition_id: int, name: str) -> str | None:
    """What a job of ``project`` says itself of a variable; None where it says nothing."""
    row = EnvironmentVariable.objects.filter(
        project=project, job_definition_id=job_definition_id, name=name
    ).first()
    return (row.value or None) if row else None


def by_environment(project: Project) -> dict[str, dict[str, EnvironmentVariable]]:
    """Name to the values of the project and its environments: ``project`` or the
    environment's name to the value. Jobs' values are left out."""
    values: dict[str, dict[str, EnvironmentVariable]] = {}
    for row in _of_project(project).exclude(scope=VariableScope.JOB).select_related("environment"):
        place = row.environment.name if row.environment else VariableScope.PROJECT.value
        values.setdefault(row.name, {})[place] = row
    return values


def by_scope(
    project: Project, *, environment_id: int | None, job_definition_id: int | None
) -> dict[str, dict[str, EnvironmentVariable]]:
    """Every variable of the project as one job sees it: name to scope to value.

    Scopes without a value are left out, so a variable that only other environments have is
    there with none.
    """
    values: dict[str, dict[str, EnvironmentVariable]] = {}
    for row in _of_project(project):
        if row.scope == VariableScope.JOB and row.job_definition_id != job_definition_id:
            continue
        scopes = values.setdefault(row.name, {})
        if row.scope != VariableScope.ENVIRONMENT or row.environment_id == environment_id:
            scopes[row.scope] = row
    return values


def shown(row: EnvironmentVariable) -> str:
    """The value as anybody may see it: exactly as it was set, or the mask of a secret."""
    return MASK if row.is_secret else row.value


def can_be_named(name: str) -> bool:
    """Whether a variable may have this name."""
    try:
        _check_name(name)
    except ValidationError:
        return False
    return True


def set_value(
    project: Project,
    name: str,
    value: object,
    *,
    environment: Environment | None = None,
    job_definition_id: int | None = None,
) -> EnvironmentVariable:
    """Set the value at one scope: the job's, else the environment's, else the project's.

    What is there is replaced. Numbers and booleans become text as JSON writes them.

    Raises:
        ValidationError: the name or the value is not allowed, or the environment or job is
            not one of the project.
    """
    scope = VariableScope.PROJECT
    if job_definition_id is not None:
        scope = VariableScope.JOB
        if not project.jobs.filter(pk=job_definition_id, state=State.ACTIVE).exists():
            raise ValidationError({"job_definition_id": "The project has no such job."})
    elif environment is not None:
        scope = VariableScope.ENVIRONMENT
        if environment.project_id != project.pk or environment.state != State.ACTIVE:
            raise ValidationError({"environment_id": "The project has no such environment."})
    _check_name(name)
    place = {
        "project": project,
        "name": name,
        "scope": scope,
        "environment": environment if scope == VariableScope.ENVIRONMENT else None,
        "job_definition_id": job_definition_id,
    }
    with transaction.atomic():
        _lock(project)
        row = EnvironmentVariable.objects.filter(**place).first()
        return change_value(row or EnvironmentVariable(**place), value)


def change_value(row: EnvironmentVariable, value: object) -> EnvironmentVariable:
    """Give one value another text; the mask keeps a secret as it is.

    Raises:
        ValidationError: the value is not text, is too long, or is a mask with nothing behind it.
    """
    text = _text(value)
    if row.is_secret and text == MASK:
        if row.pk is None:
            raise ValidationError({"raw_value": "This is the mask of a secret. Give its value."})
        return row
    _check_value(row.name, text)
    row.secrets = {"value": text}
    row.full_clean()
    row.save()
    return row


def checked(values: Mapping[str, object]) -> dict[str, str]:
    """Variables for one run, as they will be given to it: name to text.

    Raises:
        ValidationError: keyed by the name that cannot be used.
    """
    texts = {}
    for name, value in values.items():
        try:
            _check_name(name)
            texts[name] = _text(value)
            if is_secret_name(name) and texts[name] == MASK:
                raise ValidationError("This is the mask of a secret. Give its value.")
            _check_value(name, texts[name])
        except ValidationError as refused:
            raise ValidationError({name: refused.messages}) from refused
    return texts


def masked(values: Mapping[str, str]) -> dict[str, str]:
    """``values`` as anybody may see them."""
    return {name: MASK if is_secret_name(name) else value for name, value in values.items()}


def delete_value(row: EnvironmentVariable) -> None:
    """Delete one value; weaker scopes keep theirs."""
    pk = row.pk
    row.delete()
    row.pk = pk  # whoever asked for it is shown what is gone


def delete_variable(project: Project, name: str) -> int:
    """Delete every value of a variable, jobs' included. Returns how many there were."""
    with transaction.atomic(), audit.as_one("environment_variable.removed", name):
        rows = list(EnvironmentVariable.objects.filter(project=project, name=name))
        for row in rows:
            row.delete()
    return len(rows)


def set_values(
    project: Project, name: str, values: Mapping[str, object], *, new_name: str = ""
) -> list[EnvironmentVariable]:
    """Set several values of one variable at once, all or none.

    Args:
        values: by ``project``, by an environment's name, or by the number of a value that the
            variable has; an empty text or None deletes that value.
        new_name: the variable's name from now on, if it changes.

    Returns:
        the values that are new.

    Raises:
        ValidationError: keyed by what of ``values`` is wrong.
    """
    made: list[EnvironmentVariable] = []
    with transaction.atomic(), audit.as_one("environment_variable.changed", new_name or name):
        _lock(project)
        if new_name and new_name != name:
            _rename(project, name, new_name)
            name = new_name
        _check_name(name)
        here = {row.pk: row for row in _of_project(project).filter(name=name)}
        places = {(row.scope, row.environment_id): row for row in here.values()}
        environments = {one.name: one for one in project.environments.active()}
        for place, value in values.items():
            if place.isdecimal() and int(place) in here:
                row: EnvironmentVariable | None = here[int(place)]
                environment = None
            elif place == VariableScope.PROJECT:
                row = places.get((VariableScope.PROJECT, None))
                environment = None
            elif place in environments:
                environment = environments[place]
                row = places.get((VariableScope.ENVIRONMENT, environment.pk))
            else:
                raise ValidationError(
                    {place: "This is no environment of the project. Use its name, or project."}
                )
            if value is None or value == "":
                if row is not None:
                    delete_value(row)
            elif row is not None:
                change_value(row, value)
            else:
                made.append(set_value(project, name, value, environment=environment))
    return made


def import_values(
    project: Project, values: Mapping[str, str], *, environment: Environment | None = None
) -> int:
    """Set values of many variables at one scope, all or none. Returns how many.

    Raises:
        ValidationError: keyed by the names that cannot be set.
    """
    wrong: dict[str, list[str]] = {}
    changed = "environment_variable.changed"
    with transaction.atomic(), audit.as_one(changed, f"{len(values)} variables"):
        _lock(project)
        for name, value in values.items():
            try:
                set_value(project, name, value, environment=environment)
            except ValidationError as refused:
                wrong[name] = refused.messages
        if wrong:
            raise ValidationError(wrong)
    return len(values)


def of_environment(project: Project, environment: Environment | None) -> dict[str, str]:
    """What every job there gets, its secrets left out: name to value, by name."""
    scopes = by_scope(
        project, environment_id=environment.pk if environment else None, job_definition_id=None
    )
    return {
        name: max(rows.values(), key=_strength).value
        for name, rows in scopes.items()
        if rows and not is_secret_name(name)
    }


def of_jobs(project: Project, name: str = "") -> VariableQuerySet:
    """What active jobs of the project say themselves, of one variable or of all."""
    jobs = project.jobs.filter(state=State.ACTIVE).values("pk")
    rows = _of_project(project).filter(scope=VariableScope.JOB, job_definition_id__in=jobs)
    return rows.filter(name=name) if name else rows


def _rename(project: Project, name: str, new_name: str) -> None:
    """Give every value of a variable its new name. A secret cannot become readable that way."""
    _check_name(new_name, field="new_name")
    rows = EnvironmentVariable.objects.filter(project=project)
    if rows.filter(name=new_name).exists():
        raise ValidationError({"new_name": f"The project already has a variable {new_name}."})
    row = rows.filter(name=name).first()
    if row is None:
        raise ValidationError({"name": f"The project has no variable {name}."})
    if row.is_secret and not EnvironmentVariable(name=new_name).is_secret:
        raise ValidationError(
            {
                "new_name": "A secret stays one: its name must begin with DBT_ENV_SECRET. "
                "Make a new variable instead."
            }
        )
    for one in rows.filter(name=name):
        one.name = new_name
        one.save(update_fields=["name", "updated_at"])


def _of_project(project: Project) -> VariableQuerySet:
    """Values that count: those of deleted environments do not."""
    return EnvironmentVariable.objects.filter(
        Q(environment=None) | Q(environment__state=State.ACTIVE), project=project
    ).order_by("name", "pk")


def _strength(row: EnvironmentVariable) -> int:
    return VariableScope.values.index(row.scope)


def _lock(project: Project) -> None:
    """One change of a project's variables at a time, so that two cannot make one value twice."""
    Project.objects.select_for_update().get(pk=project.pk)


def _check_name(name: str, *, field: str = "name") -> None:
    try:
        check_variable_name(name)
    except ValueError as refused:
        raise ValidationError({field: str(refused)}) from refused
    if not name.startswith(PREFIX):
        raise ValidationError(
            {field: f"The name of an environment variable begins with {PREFIX}, not {name!r}."}
        )


def _check_value(name: str, text: str) -> None:
    if name != TARGET_SCHEMA:
        return
    try:
        check_schema(text)
    except ValueError as refused:
        raise ValidationError({"raw_value": str(refused)}) from refused


def _text(value: object) -> str:
    if isinstance(value, bool | int | float):
        value = json.dumps(value)
    if not isinstance(value, str):
        raise ValidationError({"raw_value": "The value of a variable is text. Quote it."})
    if "\x00" in value or len(value.encode(errors="replace")) > LONGEST_VALUE:
        raise ValidationError(
            {
                "raw_value": f"A value has at most {LONGEST_VALUE // 1024} KiB and no NUL "
                "character. Shorten it."
            }
        )
    return value

"""Versions of what the service is made of, and of the dbt on this machine with what uses each."""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass

import django
from django.conf import settings
from django.db import connection

from environments.models import Environment
from jobsvc.engine.toolchain import Installed, read_version
from jobsvc.engine.toolchain_build import is_hash_locked
from jobsvc.jobs.models import Job
from jobsvc.runs import toolchains
from jobsvc.runs.models import Run
from jobsvc.statuses import State


@dataclass(frozen=True)
class InstalledDbt:
    """One dbt environment of this machine; counts are of the whole installation."""

    name: str
    version: str
    adapters: str
    hash_locked: bool
    environments: int
    jobs: int
    runs: int


def of_service() -> list[tuple[str, str]]:
    return [
        ("jobsvc", settings.VERSION),
        ("Python", platform.python_version()),
        ("Django", django.get_version()),
        ("Database", f"{connection.display_name} {_database_version()}"),
    ]


def installed() -> list[InstalledDbt]:
    """The newest first. An environment or job counts where it asks for what this one is."""
    places = Environment.objects.active().values_list(
        "dbt_version", "project__account__default_dbt_version"
    )
    asked_by_environments = Counter(own or default for own, default in places)
    wanted = Job.objects.filter(state=State.ACTIVE).values_list("dbt_version", flat=True)
    asked_by_jobs = Counter(text for text in wanted.exclude(dbt_version=None) if text)
    active = Counter(Run.objects.active().values_list("dbt_version", flat=True))
    here = toolchains.installed()
    newest = max(here.values(), key=lambda one: one.order, default=None)
    return [
        InstalledDbt(
            name=name,
            version=one.version,
            adapters=", ".join(one.adapters),
            hash_locked=bool(is_hash_locked(one)),
            environments=_fitting(asked_by_environments, one, newest),
            jobs=_fitting(asked_by_jobs, one, newest),
            runs=active[one.version],
        )
        for name, one in sorted(here.items(), key=lambda item: item[1].order, reverse=True)
    ]


def _fitting(asked: Counter[str], one: Installed, newest: Installed | None) -> int:
    """How many ask for ``one``; a release track is the newest there is."""
    number = 0
    for text, times in asked.items():
        wanted = read_version(text)
        if wanted is None:
            continue
        track = wanted.is_track and newest is not None and one.version == newest.version
        if track or (not wanted.is_track and wanted.fits(one.version)):
            number += times
    return number


def _database_version() -> str:
    return ".".join(str(part) for part in connection.get_database_version())

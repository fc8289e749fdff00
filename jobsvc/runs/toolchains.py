"""Which dbt a run gets: chosen when it starts, made if it is not there yet, and what there is.

A version is asked for by the run, else its job, else its environment, else its account. What
it comes to is a concrete version, and nothing ever takes its place in silence.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from environments import adapters
from environments.models import Connection
from jobsvc.engine.errors import RunFailure, VersionNotBuilt, VersionUnavailable
from jobsvc.engine.leftovers import remove_tree
from jobsvc.engine.plan import ToolchainPlan
from jobsvc.engine.toolchain import (
    ExecutableToolchain,
    Installed,
    Lock,
    Wanted,
    check_version,
    choices_of,
    in_words,
    numbers_of,
    read_locks,
    read_version,
)
from jobsvc.engine.toolchain_build import Workshop, installed_in
from jobsvc.runs.models import Run

logger = logging.getLogger(__name__)


class VersionRefused(RunFailure):
    template = "This run cannot have its dbt: {reason}."
    remedy = "Correct the dbt version of the job or its environment, then retry the run."


def ready(run: Run, connection: Connection, *, should_stop: Callable[[], bool]) -> ToolchainPlan:
    """The dbt of ``run``; see ``ready_as``."""
    return ready_as(wanted_version(run), connection, should_stop=should_stop)


def ready_as(
    version: str, connection: Connection, *, should_stop: Callable[[], bool]
) -> ToolchainPlan:
    """dbt ``version``, with the adapter of a connection. Blocks while it is being made.

    A release track takes the newest there is: what is installed, unless a newer version could
    be; where that fails, the installed one after all, and the plan's ``note`` says so.

    Args:
        should_stop: called several times a second all the while, so that it can keep a lease.

    Raises:
        RunFailure: there is no such version, or it could not be installed.
        jobsvc.engine.toolchain_build.Stopped
    """
    adapter = adapters.profile_type(connection.adapter_version, connection.config)
    here = toolchain()
    found = here.find(version, [adapter])
    wanted = read_version(version)
    if found and not (wanted and wanted.is_track and _is_older_than_could_be(found)):
        return found.plan
    try:
        check_version(version, installed=here.all_installed(), locks=locks())
    except ValueError as refused:
        raise VersionRefused(reason=str(refused).rstrip(".")) from refused
    if wanted is None or adapter not in _known_adapters():
        if found:
            return found.plan
        raise VersionUnavailable(
            version=version, adapters=in_words([adapter]), installed=here.listed()
        )
    try:
        return workshop().build(wanted, [adapter], should_stop=should_stop).plan
    except VersionNotBuilt as failure:
        if found is None:
            raise
        logger.warning("dbt %s is used, for want of a newer one: %s", found.version, failure)
        return replace(found.plan, note=f"A newer one could not be had. {failure.summary}")


def wanted_version(run: Run) -> str:
    """The version as it was asked for, by whoever is first to ask: ``1.11.x``, ``latest`` …"""
    return str(run.configuration["dbt_version"] or run.environment.effective_dbt_version)


def check(version: str) -> None:
    """Refuse to save a version that no run could have.

    Raises:
        ValueError: a sentence with the versions to choose from.
    """
    check_version(version, installed=installed(), locks=locks())


def choices() -> list[str]:
    """What may be typed as a version, besides exact ones that have not been installed yet."""
    return choices_of(installed(), locks())


def install(version: str, adapters: Sequence[str], *, packages_may_build: bool = False) -> Path:
    """Make the environment of ``version``; return its folder. Blocks for minutes.

    Args:
        adapters: those of our lock where there are none.

    Raises:
        ValueError: it is no version, or no lock says which adapters it has.
        RunFailure: it could not be made; uv's own words are in it.
    """
    wanted, adapters = check_install(version, adapters)
    made = workshop(packages_may_build=packages_may_build).build(
        wanted, adapters, should_stop=lambda: False
    )
    return made.executable.parent.parent


def check_install(version: str, adapters: Sequence[str]) -> tuple[Wanted, list[str]]:
    """What ``install`` would make.

    Raises:
        ValueError: as ``install`` says.
    """
    wanted = read_version(version)
    if wanted is None:
        raise ValueError(
            f"{version!r} is no dbt version. Write one like 1.11.16, 1.11.x or latest."
        )
    fitting = next((lock for lock in locks() if wanted.fits(lock.version)), None)
    if not adapters and fitting is None:
        raise ValueError(
            f"No lock of ours is for dbt {version}. Name its adapters, such as duckdb."
        )
    return wanted, list(adapters or (fitting.adapters if fitting else ()))


def remove(name: str) -> Path:
    """Remove the environment in the folder ``name``; return where it was.

    Raises:
        ValueError: there is none, or active runs use it.
    """
    one = installed().get(name)
    if one is None:
        raise ValueError(f"There is no environment {name!r} here. See: dbt_versions list.")
    using = Run.objects.active().filter(dbt_version=one.version).values_list("pk", flat=True)
    if using:
        runs = ", ".join(map(str, using))
        raise ValueError(
            f"dbt {one.version} is in use by runs {runs}. Wait for their end, or cancel them."
        )
    place = one.executable.parent.parent
    going = place.with_name(f".removing-{place.name}")
    place.rename(going)  # from now on no run finds it
    remove_tree(going)
    return place


def toolchain() -> ExecutableToolchain:
    """The dbt environments installed on this machine."""
    return installed_in(Path(settings.TOOLCHAINS_DIR))


def installed() -> dict[str, Installed]:
    """What is installed on this machine, by the name of its folder."""
    return toolchain().all_installed()


def locks() -> list[Lock]:
    """The versions that come with this service, newest first; made when a run needs them."""
    return read_locks(Path(settings.CONSTRAINTS_DIR))


def workshop(*, packages_may_build: bool = False) -> Workshop:
    """Where environments are made, with the uv that stands beside this service's Python."""
    return Workshop(
        directory=Path(settings.TOOLCHAINS_DIR),
        locks=Path(settings.CONSTRAINTS_DIR),
        uv=Path(sys.prefix) / "bin" / "uv",
        packages_may_build=packages_may_build,
    )


def _is_older_than_could_be(found: Installed) -> bool:
    newest = next(iter(locks()), None)
    return newest is not None and numbers_of(found.series) < numbers_of(newest.series)


def _known_adapters() -> set[str]:
    """Adapters that a run may have installed. A name that somebody typed into a custom
    connection could be any package's, which runs of other accounts would then share."""
    versions = adapters.VERSIONS
    return {adapters.profile_type(version, {}) for version in versions} - {""}

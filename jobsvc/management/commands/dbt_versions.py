"""``manage.py dbt_versions``: the dbt environments of this machine, listed, made and removed."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobsvc.engine.errors import RunFailure
from jobsvc.engine.toolchain_build import is_hash_locked
from jobsvc.runs import toolchains


class Command(BaseCommand):
    help = (
        "List the dbt environments of this machine, make one before a run needs it, or remove one. "
        "Every machine that carries out runs has its own, unless JOBSVC_TOOLCHAINS_DIR is shared."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        commands.add_parser("list", help="What is installed, and what a run may have installed.")
        install = commands.add_parser("install", help="Make the environment of a version.")
        install.add_argument("version", help="1.11.16, 1.11.x, latest …")
        install.add_argument(
            "--adapter",
            action="append",
            default=[],
            metavar="NAME",
            help="Such as snowflake; may be given more than once. Without it, those of our lock.",
        )
        install.add_argument(
            "--allow-builds",
            action="store_true",
            help="Let packages without a wheel run their own build, with your rights.",
        )
        remove = commands.add_parser("remove", help="Remove an environment.")
        remove.add_argument("name", help="As `list` shows it.")

    def handle(self, *_arguments: str, **options: Any) -> None:
        match options["command"]:
            case "list":
                self._list()
            case "install":
                self._install(options["version"], options["adapter"], options["allow_builds"])
            case _:
                self._remove(options["name"])

    def _list(self) -> None:
        installed = toolchains.installed()
        self.stdout.write("Installed")
        for name, one in sorted(installed.items(), key=lambda item: item[1].order, reverse=True):
            locked = ", every package by its hash" if is_hash_locked(one) else ""
            self.stdout.write(f"  {name:<36} {one.version} with {', '.join(one.adapters)}{locked}")
        if not installed:
            self.stdout.write("  nothing yet")
        self.stdout.write("\nInstalled when a run needs them, every package by its hash")
        for lock in toolchains.locks():
            self.stdout.write(
                f"  {lock.series + '.x':<36} {lock.version} with {', '.join(lock.adapters)}"
            )

    def _install(self, version: str, adapters: list[str], allow_builds: bool) -> None:
        if allow_builds and os.geteuid() == 0:
            self.stderr.write("Builds of packages run with root's rights now.")
        try:
            place = toolchains.install(version, adapters, packages_may_build=allow_builds)
        except (ValueError, RunFailure) as failure:
            raise CommandError(str(failure)) from failure
        made = toolchains.installed()[place.name]
        self.stdout.write(f"dbt {made.version} with {', '.join(made.adapters)} is in {place}.")

    def _remove(self, name: str) -> None:
        try:
            place = toolchains.remove(name)
        except ValueError as refused:
            raise CommandError(str(refused)) from refused
        self.stdout.write(f"Removed {place}.")

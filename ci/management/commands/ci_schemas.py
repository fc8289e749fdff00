"""``manage.py ci_schemas``: which schemas of pull requests are still there, why, and drop them."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import now

from ci.models import CISchema, CISchemaState
from ci.schemas import ask_to_drop, drop, may_go, of_no_use, whys


class Command(BaseCommand):
    help = (
        "Say which schemas that pull requests' runs built are of no more use, and why the others "
        "stay. With --drop, drop those now, from this process: it needs what runs need, dbt and a "
        "way to the warehouse. The workers do the same by themselves."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--drop", action="store_true", help="Drop them.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Drop nothing, as without --drop; wins over it."
        )

    def handle(self, *_arguments: str, **options: Any) -> None:
        rows = CISchema.objects.exclude(state=CISchemaState.DROPPED).order_by("pk")
        rows = rows.select_related("job__project")
        unused = of_no_use(rows, now())
        is_asked = options["drop"] and not options["dry_run"]
        going = ask_to_drop(unused) if is_asked else may_go(unused)
        names = {row.pk: _name_of(row) for row in rows}
        for row in going:
            if is_asked:
                drop(row.pk, now())
            else:
                self.stdout.write(f"Would drop: {names[row.pk]}.")
        self._tell([row.pk for row in going] if is_asked else [], names)
        for row in (staying := list(rows.exclude(pk__in=[row.pk for row in going]))):
            self.stdout.write(f"Stays: {names[row.pk]}. {whys([row])[row.pk]}")
        if not going and not staying:
            self.stdout.write("There are no schemas of pull requests.")

    def _tell(self, ids: list[int], names: dict[int, str]) -> None:
        """What became of those that were to be dropped."""
        rows = list(CISchema.objects.filter(pk__in=ids).select_related("job__project"))
        for row in rows:
            is_gone = row.state == CISchemaState.DROPPED
            said = f"Dropped: {names[row.pk]}." if is_gone else f"Still there: {names[row.pk]}."
            self.stdout.write(said if is_gone else f"{said} {whys([row])[row.pk]}")


def _name_of(row: CISchema) -> str:
    place = f"{row.database}." if row.database else ""
    return (
        f"{row.pk} {place}{row.schema} (pull request {row.pull_request_number} of job {row.job_id})"
    )

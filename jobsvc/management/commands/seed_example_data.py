"""``manage.py seed_example_data``: an account with a past, to look at and to measure with."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from jobsvc.management.example_data.seed import EMAIL, RUNS, WouldMix, seed

FEWEST = 100  # runs: below, some jobs would have none


class Command(BaseCommand):
    help = (
        "Make an account with three projects, forty jobs and their runs of ninety days, to look "
        "at and to measure with. Its jobs build nothing: their git repositories and warehouses "
        "are made up. Where there are accounts already, it wants to be told the new one's name."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--account", help="The name of the account that is made.")
        parser.add_argument("--email", default=EMAIL, help="The owner's e-mail address.")
        parser.add_argument("--runs", type=int, default=RUNS, help="About how many runs.")

    def handle(self, *_arguments: str, **options: Any) -> None:
        if options["runs"] < FEWEST:
            raise CommandError(f"Give at least {FEWEST} runs, so that every job has some.")
        began = time.monotonic()
        try:
            made = seed(
                now(),
                account_name=options["account"],
                email=options["email"],
                runs=options["runs"],
            )
        except WouldMix as refused:
            raise CommandError(str(refused)) from refused
        except ValidationError as refused:
            raise CommandError(" ".join(refused.messages)) from refused
        self.stdout.write(
            f"Account   {made.account.pk} ({made.account})\n"
            f"Sign in   {made.owner.email}\n"
            f"Password  {made.password or 'unchanged'}\n"
            f"Made in {time.monotonic() - began:.0f} s. To be rid of it, use a database of its own."
        )

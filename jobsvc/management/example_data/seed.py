"""All of it in order, in one transaction."""

from __future__ import annotations

from datetime import datetime
from random import Random

from django.db import transaction

from accounts.models import Account
from jobsvc.management.example_data import around, history, places
from jobsvc.management.example_data.places import Places

NAME = "Example data"
RUNS = 100_000
EMAIL = "owner@example.com"
SEED = 1


class WouldMix(Exception):
    """There is other data that this would come to lie beside, or in. The text says what to do."""


def seed(
    moment: datetime, *, account_name: str | None = None, email: str = EMAIL, runs: int = RUNS
) -> Places:
    """Make an account with a past of ``runs`` runs before ``moment``: the same one each time.

    Args:
        account_name: of the new account; None where it is to be the only one there is.

    Raises:
        WouldMix: there is an account already and no name was given, or one of that name.
    """
    _refuse_to_mix(account_name)
    with transaction.atomic():
        made = places.make(account_name or NAME, email, moment)
        newest = history.write(made, runs, moment, Random(SEED))  # noqa: S311 - nothing secret
        around.write_results(newest, made.habits[0].job)
        around.write_present(made, moment)
        around.write_pull_requests(made.projects[0], moment)
        around.write_messages(made, newest, moment)
    return made


def _refuse_to_mix(account_name: str | None) -> None:
    if account_name is None:
        if other := Account.objects.order_by("pk").first():
            raise WouldMix(
                f"There is an account here already, {other}. To put the example data beside it, "
                f'give its own account a name: --account "{NAME}".'
            )
    elif Account.objects.filter(name=account_name).exists():
        raise WouldMix(
            f"There is an account named {account_name} already, and nothing is mixed into it. "
            "Give another name with --account."
        )

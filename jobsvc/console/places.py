"""What the side bar leads to. A page that is to be found there has its line here."""

from __future__ import annotations

from dataclasses import dataclass

from django.urls import reverse

from environments.models import Project


@dataclass(frozen=True)
class Place:
    """One entry of the bar.

    Attributes:
        name: of its address.
        of_project: the address is a project's, not the account's.
        alone: pages below its address are other places'.
    """

    words: str
    name: str
    of_project: bool = False
    alone: bool = False

    def url(self, account_id: int, project: Project | None) -> str | None:
        """Its address; None where it is a project's and there is none."""
        if not self.of_project:
            return reverse(f"console:{self.name}", args=[account_id])
        if project is None:
            return None
        return reverse(f"console:{self.name}", args=[account_id, project.pk])


@dataclass(frozen=True)
class Group:
    words: str
    places: tuple[Place, ...]


GROUPS = (
    Group(
        "Run",
        (
            Place("Home", "account", alone=True),
            Place("Jobs", "jobs", of_project=True),
            Place("Runs", "runs"),
            Place("Schedule", "schedule"),
            Place("Pull requests", "pulls", of_project=True),
        ),
    ),
    Group(
        "Know",
        (
            Place("Documentation", "docs", of_project=True),
            Place("Environments", "environments", of_project=True),
            Place("Variables", "variables", of_project=True),
        ),
    ),
    Group("Settings", (Place("Settings", "settings"),)),
)

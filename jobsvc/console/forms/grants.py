"""Groups, what they and service tokens are granted, and the question what somebody may do."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.models import Account, Grant, Group, Membership
from accounts.policy import ACCOUNT, Spot
from accounts.roles import Action, PermissionSet
from environments.models import Environment, Project

EVERYWHERE = ""


class Where:
    """The places of an account that a grant may be for, and what their choices mean."""

    def __init__(self, account: Account) -> None:
        projects = Project.objects.of_account(account.pk).active().order_by("name", "pk")
        environments = (
            Environment.objects.of_account(account.pk)
            .active()
            .filter(project__in=projects)
            .select_related("project")
            .order_by("project__name", "name", "pk")
        )
        self.projects: dict[str, Project] = {f"project:{one.pk}": one for one in projects}
        self.environments: dict[str, Environment] = {
            f"environment:{one.pk}": one for one in environments
        }

    def choices(self, all_of_it: str) -> list[Any]:
        """For a select; its first choice, ``all_of_it``, is everywhere."""
        return [
            (EVERYWHERE, all_of_it),
            ("A project", [(key, str(one)) for key, one in self.projects.items()]),
            (
                "An environment",
                [(key, f"{one.project}: {one}") for key, one in self.environments.items()],
            ),
        ]

    def spot(self, chosen: str) -> Spot:
        if environment := self.environments.get(chosen):
            return Spot(environment.project_id, environment.pk)
        project = self.projects.get(chosen)
        return Spot(project.pk) if project else ACCOUNT

    def grant(self, permission_set: str, chosen: str) -> Grant:
        """A grant for the place that was chosen; not saved, and nobody's yet."""
        environment = self.environments.get(chosen)
        project = environment.project if environment else self.projects.get(chosen)
        return Grant(permission_set=permission_set, project=project, environment=environment)


class GroupForm(forms.Form):
    """A group: what it is called and who is in it."""

    name = forms.CharField(max_length=255)
    assign_by_default = forms.BooleanField(
        label="Whoever joins the account from now on is in it",
        required=False,
    )
    members = forms.TypedMultipleChoiceField(
        coerce=int, required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, data: Any = None, *, group: Group) -> None:
        initial: dict[str, Any] = {
            "name": group.name,
            "assign_by_default": group.assign_by_default,
        }
        if group.pk is not None:
            initial["members"] = list(group.members.values_list("pk", flat=True))
        super().__init__(data, initial=initial)
        self.group = group
        of_account = Membership.objects.filter(account=group.account_id).select_related("user")
        self.people = {one.pk: one for one in of_account.order_by("user__email")}
        self.fields["members"].choices = [  # type: ignore[attr-defined]  # a choice field
            (pk, f"{one.user.full_name} ({one.user.email})") for pk, one in self.people.items()
        ]

    def fill(self) -> Group:
        """The group with what was typed; not saved."""
        self.group.name = self.cleaned_data["name"]
        self.group.assign_by_default = self.cleaned_data["assign_by_default"]
        return self.group

    @property
    def chosen(self) -> list[Membership]:
        return [self.people[pk] for pk in self.cleaned_data["members"]]


class GrantForm(forms.Form):
    """One more role, and where it is held."""

    permission_set = forms.ChoiceField(
        label="Role", choices=PermissionSet.choices, initial=PermissionSet.JOB_VIEWER
    )
    where = forms.ChoiceField(label="In", required=False)

    def __init__(self, data: Any = None, *, where: Where) -> None:
        super().__init__(data)
        self.places = where
        self.fields["where"].choices = where.choices("all projects")  # type: ignore[attr-defined]  # a choice field

    def grant(self) -> Grant:
        """What was chosen; not saved, and nobody's yet."""
        typed = self.cleaned_data
        return self.places.grant(typed["permission_set"], typed["where"])


class CanForm(forms.Form):
    """Can somebody do something, somewhere?"""

    who = forms.TypedChoiceField(label="Can", coerce=int)
    action = forms.ChoiceField(label="do this", choices=Action.choices)
    where = forms.ChoiceField(label="here", required=False)

    def __init__(self, data: Any = None, *, account: Account, where: Where) -> None:
        super().__init__(data)
        self.places = where
        of_account = Membership.objects.filter(account=account).with_groups()
        members = of_account.select_related("user").order_by("user__email")
        self.members = {one.pk: one for one in members}
        self.fields["who"].choices = [  # type: ignore[attr-defined]  # a choice field
            (pk, one.user.full_name) for pk, one in self.members.items()
        ]
        self.fields["where"].choices = where.choices("the whole account")  # type: ignore[attr-defined]  # a choice field

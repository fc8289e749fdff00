"""Tokens and members: what may be chosen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from allauth.account.adapter import get_adapter
from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts
from django.core.exceptions import ValidationError
from django.utils.timezone import now

from accounts.models import Account, Grant, Group, Membership, TokenKind, User
from accounts.roles import PermissionSet
from environments.models import Project
from jobsvc.statuses import State

SUGGESTED_DAYS = 90
EXPIRIES = (
    ("30", "in 30 days"),
    (str(SUGGESTED_DAYS), f"in {SUGGESTED_DAYS} days"),
    ("365", "in a year"),
    ("", "never"),
)


EVERYWHERE, CHOSEN = "all", "chosen"


class TokenForm(forms.Form):
    """A new token: somebody's own, or, for who may make those, the account's."""

    name = forms.CharField(
        max_length=255, help_text="What it is for, such as “CI of the shop” or “my laptop”."
    )
    permission_set = forms.ChoiceField(
        label="May do",
        choices=PermissionSet.choices,
        initial=PermissionSet.JOB_ADMIN,
        help_text="Choose the least that does.",
    )
    where = forms.ChoiceField(
        label="In", choices=((EVERYWHERE, "all projects"), (CHOSEN, "only these projects:"))
    )
    projects = forms.TypedMultipleChoiceField(
        coerce=int,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="In single projects it can do nothing with what is the account's: people, "
        "tokens, connections.",
    )
    days = forms.ChoiceField(
        label="Expires", choices=EXPIRIES, initial=str(SUGGESTED_DAYS), required=False
    )

    def __init__(self, data: Any = None, *, kind: TokenKind, account: Account) -> None:
        super().__init__(data)
        if kind == TokenKind.PERSONAL:
            for name in ("permission_set", "where", "projects"):
                del self.fields[name]
            return
        rows = Project.objects.of_account(account.pk).active().order_by("name", "pk")
        self.of_account: dict[int, Project] = {project.pk: project for project in rows}
        choices = [(pk, str(project)) for pk, project in self.of_account.items()]
        self.fields["projects"].choices = choices  # type: ignore[attr-defined]  # a choice field

    def clean(self) -> dict[str, Any]:
        typed: dict[str, Any] = super().clean() or self.cleaned_data
        if typed.get("where") == CHOSEN and not typed.get("projects"):
            self.add_error("projects", "Tick the projects that it is for, or choose all projects.")
        return typed

    def holder(self) -> dict[str, Any]:
        """What a service token is to hold, for ``Token.issue``."""
        permission_set = self.cleaned_data["permission_set"]
        if self.cleaned_data["where"] == EVERYWHERE:
            return {"permission_set": permission_set}
        chosen = [self.of_account[pk] for pk in self.cleaned_data["projects"]]
        return {"grants": [Grant(permission_set=permission_set, project=one) for one in chosen]}

    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["days"]
        return now() + timedelta(days=int(days)) if days else None


class MemberForm(forms.Form):
    """Somebody to be added."""

    email = forms.EmailField(
        label="E-mail address",
        help_text="Of somebody who can sign in here already.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    permission_set = forms.ChoiceField(
        label="Role", choices=PermissionSet.choices, initial=PermissionSet.JOB_VIEWER
    )


BY_GROUPS = ("", "none of their own: what their groups grant")


class _InGroups(forms.Form):
    """A role, groups, or both."""

    permission_set = forms.ChoiceField(
        label="Role",
        choices=[BY_GROUPS, *PermissionSet.choices],
        initial=PermissionSet.JOB_VIEWER,
        required=False,
        help_text="In all projects. Groups give roles in single projects and environments.",
    )
    groups = forms.TypedMultipleChoiceField(
        coerce=int, required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, data: Any = None, *, account: Account, initial: Any = None) -> None:
        super().__init__(data, initial=initial)
        rows = Group.objects.filter(account=account, state=State.ACTIVE).order_by("name", "pk")
        self.known = {group.pk: group for group in rows}
        if self.known:
            choices = [(pk, str(group)) for pk, group in self.known.items()]
            self.fields["groups"].choices = choices  # type: ignore[attr-defined]  # a choice field
        else:
            del self.fields["groups"]

    @property
    def chosen(self) -> list[Group]:
        return [self.known[pk] for pk in self.cleaned_data.get("groups", ())]


class InviteForm(_InGroups):
    """Somebody to be asked by mail."""

    email = forms.EmailField(
        label="E-mail address",
        help_text="The link in the mail is good for seven days, for this address alone.",
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )
    field_order = ("email", "permission_set", "groups")


class RoleForm(_InGroups):
    """Another role and other groups for a member."""

    def __init__(self, data: Any = None, *, member: Membership) -> None:
        initial = {
            "permission_set": member.permission_set,
            "groups": list(member.groups.values_list("pk", flat=True)),
        }
        super().__init__(data, account=member.account, initial=initial)


class JoinForm(forms.Form):
    """Who was invited and is new here: what they are called, and how they will sign in."""

    first_name = forms.CharField(
        max_length=150, widget=forms.TextInput(attrs={"autocomplete": "given-name"})
    )
    last_name = forms.CharField(
        max_length=150,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "family-name"}),
    )
    password = forms.CharField(
        max_length=1000,
        strip=False,
        help_text=" ".join(password_validators_help_texts()),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, data: Any = None, *, email: str) -> None:
        super().__init__(data)
        self.email = email

    def clean(self) -> dict[str, Any]:
        typed: dict[str, Any] = super().clean() or self.cleaned_data
        if "password" in typed:
            names = {name: typed.get(name, "") for name in ("first_name", "last_name")}
            try:
                get_adapter().clean_password(typed["password"], User(email=self.email, **names))
            except ValidationError as refused:
                self.add_error("password", refused)
        return typed

    def person(self) -> dict[str, str]:
        names = ("first_name", "last_name", "password")
        return {name: self.cleaned_data[name] for name in names}

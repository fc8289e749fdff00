"""Tokens and members: what may be chosen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils.timezone import now

from accounts.models import TokenKind
from accounts.roles import PermissionSet

SUGGESTED_DAYS = 90
EXPIRIES = (
    ("30", "in 30 days"),
    (str(SUGGESTED_DAYS), f"in {SUGGESTED_DAYS} days"),
    ("365", "in a year"),
    ("", "never"),
)


class TokenForm(forms.Form):
    """A new token: somebody's own, or, for who may make those, the account's."""

    name = forms.CharField(
        max_length=255, help_text="What it is for, such as “CI of the shop” or “my laptop”."
    )
    permission_set = forms.ChoiceField(
        label="May do",
        choices=PermissionSet.choices,
        initial=PermissionSet.JOB_ADMIN,
        help_text="In all projects of the account. Choose the least that does.",
    )
    days = forms.ChoiceField(
        label="Expires", choices=EXPIRIES, initial=str(SUGGESTED_DAYS), required=False
    )

    def __init__(self, data: Any = None, *, kind: TokenKind) -> None:
        super().__init__(data)
        if kind == TokenKind.PERSONAL:
            del self.fields["permission_set"]

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


class RoleForm(forms.Form):
    """Another role for a member."""

    permission_set = forms.ChoiceField(label="Role", choices=PermissionSet.choices)

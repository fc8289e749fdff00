"""The first owner: who they are, and what their account is called."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import password_validators_help_texts
from django.core.exceptions import ValidationError

from accounts.setup import is_setup_key


class FirstOwnerForm(forms.Form):
    """Who sets this installation up; with the setup key where strangers could be first."""

    name = forms.CharField(
        label="Your name",
        max_length=300,
        required=False,
        widget=forms.TextInput(attrs={"autocomplete": "name"}),
    )
    email = forms.EmailField(
        label="E-mail address",
        help_text="You sign in with it.",
        widget=forms.EmailInput(attrs={"autocomplete": "username"}),
    )
    password = forms.CharField(
        max_length=1000,
        strip=False,
        help_text=" ".join(password_validators_help_texts()),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    account = forms.CharField(
        label="Account",
        max_length=255,
        initial="My account",
        help_text="Your company or team: projects, jobs and people are in it.",
    )
    key = forms.CharField(
        label="Setup key",
        max_length=200,
        help_text="It stands in the log of the web process; manage.py setup_key prints it.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, data: Any = None, *, with_key: bool, key: str = "") -> None:
        super().__init__(data, initial={"key": key})
        if not with_key:
            del self.fields["key"]

    def clean_key(self) -> str:
        key: str = self.cleaned_data["key"]
        if not is_setup_key(key):
            raise ValidationError(
                "This is not the setup key. Look in the log of the web process, or run "
                "manage.py setup_key where it runs."
            )
        return key

    def names(self) -> tuple[str, str]:
        """First and last name, as far as they were given."""
        first, _space, last = self.cleaned_data["name"].strip().rpartition(" ")
        return (first or last)[:150], (last if first else "")[:150]

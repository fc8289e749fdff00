"""``manage.py rotate_secrets``: encrypt every stored secret with the first key."""

from __future__ import annotations

from typing import Any

from allauth.mfa.models import Authenticator
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from environments.second_factor import encrypt_anew
from environments.secrets import SETTING, rotate


class Command(BaseCommand):
    help = f"Encrypt every stored secret anew with the first key of {SETTING}."

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            rotated = rotate() + encrypt_anew(Authenticator)
        except ImproperlyConfigured as wrong:
            raise CommandError(str(wrong)) from wrong
        self.stdout.write(
            f"{rotated} secrets are now encrypted with the first key. "
            f"The other keys of {SETTING} may go."
        )

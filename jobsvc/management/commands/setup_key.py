"""``manage.py setup_key``: where the first owner is made, and the key that it asks for."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.urls import reverse

from accounts.setup import is_open, setup_key


class Command(BaseCommand):
    help = "Print the address at which the first owner is made, with the setup key in it."

    def handle(self, *_arguments: str, **_options: Any) -> None:
        if not is_open():
            self.stdout.write("This installation has an owner already: setup is closed.")
            return
        address = f"{settings.SITE_URL}{reverse('console:first_owner')}"
        self.stdout.write(f"Open      {address}?key={setup_key()}\nSetup key {setup_key()}")

"""The people's app: once it is ready, it hears of sign-ins."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        autodiscover_modules("heard")  # accounts.heard: what is told by signals

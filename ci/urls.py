"""Addresses that git hosts post to, below ``/webhooks/``."""

from __future__ import annotations

from django.urls import path

from ci import webhooks

app_name = "ci"
urlpatterns = [
    path("github/app", webhooks.github_app, name="github_app"),
    path("github/<uuid:key>", webhooks.github_repository, name="github_repository"),
]

"""The service as a Django app: it holds management commands and the system checks."""

from __future__ import annotations

from django.apps import AppConfig

from jobsvc import checks

__all__ = ["JobsvcConfig", "checks"]


class JobsvcConfig(AppConfig):
    name = "jobsvc"
    default_auto_field = "django.db.models.BigAutoField"

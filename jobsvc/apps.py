"""The service as a Django app: it loads the Celery app, and holds commands and checks."""

from __future__ import annotations

from django.apps import AppConfig

# Loaded with Django, not with the package: a run's supervisor needs neither of them.
from jobsvc import celery, checks
from jobsvc.engine.sandbox import harden_this_process

__all__ = ["JobsvcConfig", "celery", "checks"]


class JobsvcConfig(AppConfig):
    name = "jobsvc"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Every process that has the service's keys closes its memory to what it starts."""
        harden_this_process()

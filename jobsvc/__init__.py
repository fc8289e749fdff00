"""jobsvc: the service that runs dbt jobs."""

from __future__ import annotations

from jobsvc.celery import app as celery_app

__all__ = ["celery_app"]

"""Addresses of version 2, below ``/api/v2/``. Each tag's file says its own."""

from __future__ import annotations

from jobsvc.api.v2 import (
    accounts,
    advice,
    environments,
    job_schedules,
    jobs,
    notifications,
    projects,
    reports,
    repositories,
    retries,
    runs,
    users,
)

urlpatterns = [
    *accounts.urlpatterns,
    *users.urlpatterns,
    *projects.urlpatterns,
    *repositories.urlpatterns,
    *environments.urlpatterns,
    *jobs.urlpatterns,
    *advice.urlpatterns,
    *job_schedules.urlpatterns,
    *runs.urlpatterns,
    *retries.urlpatterns,
    *reports.urlpatterns,
    *notifications.urlpatterns,
]

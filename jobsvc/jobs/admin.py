"""The operator's view of jobs. They are changed through the API, which checks what they say."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from accounts.admin import ReadOnly
from jobsvc.jobs.models import CompletionTrigger, Job


class CompletionTriggerInline(admin.TabularInline[CompletionTrigger, Any]):
    model = CompletionTrigger
    fk_name = "job"
    extra = 0
    can_delete = False


@admin.register(Job)
class JobAdmin(ReadOnly):
    list_display = ("id", "name", "account", "environment", "job_type", "next_run_at", "state")
    list_filter = ("job_type", "triggers_schedule", "deactivated", "state")
    list_select_related = ("account", "environment")
    search_fields = ("name",)
    inlines = (CompletionTriggerInline,)

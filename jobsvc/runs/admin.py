"""The operator's view of runs: what is written of them is never changed by hand."""

from __future__ import annotations

from typing import Any

from django.contrib import admin

from accounts.admin import ReadOnly, never
from jobsvc.runs.models import Artifact, Run, RunStep, RunTransition, RunTrigger, UpstreamEnd


class ReadOnlyInline(admin.TabularInline[Any, Run]):
    extra = 0
    can_delete = False
    has_add_permission = has_change_permission = never


class TriggerInline(ReadOnlyInline):
    model = RunTrigger
    fk_name = "run"
    fields = readonly_fields = ("cause", "cause_category", "user", "api_token", "created_at")


class StepInline(ReadOnlyInline):
    model = RunStep
    fields = readonly_fields = (
        "index",
        "name",
        "status",
        "skipped",
        "exit_code",
        "started_at",
        "finished_at",
    )


class TransitionInline(ReadOnlyInline):
    model = RunTransition
    fields = readonly_fields = ("from_status", "to_status", "message", "created_at", "reacted_at")


class EndInline(ReadOnlyInline):
    model = UpstreamEnd
    fk_name = "run"
    fields = readonly_fields = ("job", "started", "note", "created_at")


@admin.register(Run)
class RunAdmin(ReadOnly):
    list_display = ("id", "job", "account", "status", "worker", "created_at", "finished_at")
    list_filter = ("status", "cancel_reason")
    list_select_related = ("job", "account")
    search_fields = ("=id", "job__name")
    inlines = (TriggerInline, StepInline, TransitionInline, EndInline)


@admin.register(RunTransition)
class RunTransitionAdmin(ReadOnly):
    list_display = ("id", "run_id", "from_status", "to_status", "created_at", "reacted_at")
    list_filter = ("to_status",)


@admin.register(Artifact)
class ArtifactAdmin(ReadOnly):
    list_display = ("id", "step", "path", "size", "created_at")
    list_select_related = ("step",)

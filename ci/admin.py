"""The operator's view of what git hosts told, and whose the App's installations are."""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.admin import ReadOnly, never
from ci import deliveries
from ci.models import Check, GitHubInstallation, PullRequest, Report, WebhookDelivery


@admin.register(GitHubInstallation)
class GitHubInstallationAdmin(admin.ModelAdmin[GitHubInstallation]):
    """Whose an installation is decides who reads its repositories: only operators say so."""

    list_display = ("login", "installation_id", "account", "created_at")
    list_select_related = ("account",)
    search_fields = ("login", "=installation_id", "account__name")


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnly):
    list_display = ("id", "account", "event", "action", "repository_name", "verdict", "received_at")
    list_filter = ("verdict", "event")
    list_select_related = ("account",)
    search_fields = ("=delivery_id", "repository_name")
    actions = ("read_again",)

    @admin.action(description="Read the selected deliveries again")
    def read_again(self, request: HttpRequest, rows: QuerySet[WebhookDelivery]) -> None:
        again = [deliveries.redeliver(row) for row in rows.order_by("pk")]
        self.message_user(request, f"{len(again)} will be read again.", messages.SUCCESS)


class CheckInline(admin.TabularInline[Check, PullRequest]):
    model = Check
    extra = 0
    can_delete = False
    has_add_permission = has_change_permission = never
    fields = readonly_fields = ("job", "head_sha", "decision", "why", "run", "updated_at")


@admin.register(PullRequest)
class PullRequestAdmin(ReadOnly):
    list_display = ("number", "repository", "title", "state", "is_draft", "is_fork", "changed_at")
    list_filter = ("state", "is_draft", "is_fork")
    list_select_related = ("repository",)
    search_fields = ("=number", "title", "repository__remote_url")
    inlines = (CheckInline,)


@admin.register(Report)
class ReportAdmin(ReadOnly):
    list_display = ("id", "kind", "repository", "job", "sha", "number", "posted_at", "error")
    list_filter = ("kind",)
    list_select_related = ("repository", "job")
    search_fields = ("=sha", "=number", "repository__remote_url")

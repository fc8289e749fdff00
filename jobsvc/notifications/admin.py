"""The operator's view of messages: what is written of them is never changed by hand."""

from __future__ import annotations

from django.contrib import admin

from accounts.admin import ReadOnly, never
from jobsvc.notifications.models import (
    Delivery,
    Dispatch,
    Mute,
    Notification,
    NotificationRule,
    WebhookSubscription,
)


class RuleInline(admin.TabularInline[NotificationRule, Notification]):
    model = NotificationRule
    extra = 0
    can_delete = False
    has_add_permission = has_change_permission = never
    fields = readonly_fields = ("event", "scope", "scope_id", "tag", "every")


@admin.register(Notification)
class NotificationAdmin(ReadOnly):
    list_display = ("id", "account", "type", "user", "external_email", "state")
    list_filter = ("type", "state")
    list_select_related = ("account", "user")
    exclude = ("secrets",)
    inlines = (RuleInline,)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnly):
    list_display = ("id", "account", "event", "channel", "address", "status", "attempts", "sent_at")
    list_filter = ("status", "event", "channel")
    list_select_related = ("account",)
    search_fields = ("address", "=run__id")


@admin.register(Mute)
class MuteAdmin(ReadOnly):
    list_display = ("address", "account", "job", "created_at")
    list_select_related = ("account", "job")
    search_fields = ("address",)


@admin.register(WebhookSubscription)
class WebhookSubscriptionAdmin(ReadOnly):
    list_display = ("id", "name", "account", "active", "http_status_code", "failures", "state")
    list_filter = ("active", "state")
    list_select_related = ("account",)
    search_fields = ("=id", "name")
    exclude = ("secrets",)


@admin.register(Dispatch)
class DispatchAdmin(ReadOnly):
    list_display = ("id", "subscription", "event_type", "run_id", "status", "attempts", "due_at")
    list_filter = ("status", "event_type")
    list_select_related = ("subscription",)
    search_fields = ("=event_id", "=run__id", "=subscription__id")

"""The audit log, to be read by whoever manages the account."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.audit import AuditEvent
from accounts.roles import Action
from jobsvc.api.base import Lists, Resource, Shape
from jobsvc.api.fields import IdField
from jobsvc.api.filters import moment, text
from jobsvc.api.routes import both


class AuditShape(Shape[AuditEvent]):
    """An event in dbt Cloud's words; ``event_context`` has what it is of and what changed."""

    account_id = IdField(read_only=True)
    service = serializers.CharField(default="jobsvc", read_only=True)
    actor = serializers.SerializerMethodField()
    event_type = serializers.CharField(source="action", read_only=True)
    event_label = serializers.SerializerMethodField()
    event_context = serializers.SerializerMethodField()

    class Meta:
        model = AuditEvent
        fields: ClassVar = [
            "id",
            "account_id",
            "source",
            "service",
            "actor",
            "event_type",
            "event_label",
            "event_context",
            "created_at",
        ]

    def get_actor(self, event: AuditEvent) -> dict[str, Any]:
        return {
            "id": event.actor_id,
            "type": event.actor_kind,
            "name": event.actor_name,
            "ip": event.address,
        }

    def get_event_label(self, event: AuditEvent) -> str:
        return event.action.replace("_", " ").replace(".", " ")

    def get_event_context(self, event: AuditEvent) -> dict[str, Any]:
        return {
            "target_type": event.target_kind,
            "target_id": event.target_id,
            "target_name": event.target_name,
            "project_id": event.project_id,
            "request_id": event.request_id,
            "differences": event.differences,
        }


class AuditLogs(Lists[AuditEvent], Resource[AuditEvent]):
    """Newest first. ``logged_at_start`` and ``logged_at_end`` are moments, both included."""

    name = "audit event"
    shape = AuditShape
    order = "-id"
    filters: ClassVar = {
        "logged_at_start": moment("created_at__gte"),
        "logged_at_end": moment("created_at__lte"),
        "event_type": text("action"),
        "actor_name": text("actor_name__icontains"),
        "request_id": text("request_id"),
    }

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse whoever does not manage the account: others' sign-ins are in it."""
        super().initial(request, *args, **kwargs)
        if not self.token.may(Action.WRITE_ACCOUNT):
            raise PermissionDenied(
                f"This token may not {Action.WRITE_ACCOUNT.label}, so it may not read the audit "
                "log. Ask an owner of the account for one that may."
            )

    def rows(self) -> QuerySet[AuditEvent]:
        return AuditEvent.objects.of_account(self.account_id)


urlpatterns = both("accounts/<id:account_id>/audit-logs", AuditLogs)

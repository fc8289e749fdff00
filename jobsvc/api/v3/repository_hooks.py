"""The webhook of a repository: where GitHub posts to, the secret, and what was delivered.

Beyond dbt Cloud, which is told of pull requests by its own App alone.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.roles import Action
from ci import deliveries, hooks
from ci.models import RepositoryHook, WebhookDelivery
from environments.models import Repository
from jobsvc.api.answers import Answer
from jobsvc.api.base import AccountView, Lists, Reads, Resource, Shape
from jobsvc.api.fields import IdField, moment
from jobsvc.api.routes import both

CONTENT_TYPE = "application/json"


class DeliveryShape(Shape[WebhookDelivery]):
    """``due_at`` is when it is read, or tried again; null once it was decided."""

    repository = serializers.CharField(source="repository_name", read_only=True)
    redelivers = IdField(source="redelivers_id", read_only=True, allow_null=True)
    is_of_the_app = serializers.SerializerMethodField()

    class Meta:
        model = WebhookDelivery
        fields: ClassVar = [
            "id",
            "delivery_id",
            "event",
            "action",
            "repository",
            "is_of_the_app",
            "verdict",
            "decision",
            "attempts",
            "redelivers",
            "due_at",
            "received_at",
            "decided_at",
        ]

    def get_is_of_the_app(self, delivery: WebhookDelivery) -> bool:
        return delivery.hook_id is None


class OneDeliveryShape(DeliveryShape):
    class Meta(DeliveryShape.Meta):
        fields: ClassVar = [*DeliveryShape.Meta.fields, "body"]


class _OfRepository(AccountView):
    """An address below one repository of a project."""

    writes = Action.WRITE_SETTINGS

    @cached_property
    def repository(self) -> Repository:
        """The active repository that the path names; 404 without one."""
        rows: QuerySet[Repository] = Repository.objects.of_account(self.account_id).active()
        of_project = Q(project=self.project) | Q(pk=self.project.repository_id or 0)
        return self.find(
            rows.filter(of_project), self.kwargs["repository_id"], "repository of this project"
        )


class RepositoryWebhook(_OfRepository):
    """What the webhook is set up with at GitHub. POST gives it a new secret, shown this once;
    the one before it is good for an hour more. DELETE lets nobody in any more."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        return Answer(self.shown(RepositoryHook.objects.filter(repository=self.repository).first()))

    @extend_schema(request=None, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request, **path: Any) -> Answer:
        hook, secret = hooks.set_secret(self.repository)
        return Answer(self.shown(hook) | {"secret": secret}, 201)

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def delete(self, request: Request, **path: Any) -> Answer:
        hook = RepositoryHook.objects.filter(repository=self.repository).first()
        if hook is not None:
            hooks.close_hook(hook)
        return Answer(self.shown(hook))

    def shown(self, hook: RepositoryHook | None) -> dict[str, Any]:
        last = deliveries.about(self.repository).order_by("-pk").first()
        return {
            "repository_id": self.repository.pk,
            "address": None if hook is None else hooks.address_of(hook),
            "content_type": CONTENT_TYPE,
            "events": list(hooks.EVENTS),
            "has_secret": hook is not None and bool(hook.secrets),
            "previous_secret_until": None if hook is None else moment(hook.previous_until),
            "last_delivery": None if last is None else DeliveryShape(last).data,
        }


class _Deliveries(_OfRepository, Resource[WebhookDelivery]):
    name = "delivery"
    shape = DeliveryShape

    def rows(self) -> QuerySet[WebhookDelivery]:
        return deliveries.about(self.repository)


class Deliveries(Lists[WebhookDelivery], _Deliveries):
    """What GitHub delivered about the repository, the newest first, with what followed."""

    order = "-id"

    def rows(self) -> QuerySet[WebhookDelivery]:
        return super().rows().defer("body")


class OneDelivery(Reads[WebhookDelivery], _Deliveries):
    """One of them, with its body."""

    shape = OneDeliveryShape


class Redeliver(_Deliveries):
    """Read what was delivered once more: a new delivery, with a decision of its own."""

    def post(self, request: Request, **path: Any) -> Answer:
        return Answer(self.show(deliveries.redeliver(self.row())), 201)


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/repositories/<id:repository_id>/webhook"

urlpatterns = [
    *both(_BASE, RepositoryWebhook),
    *both(f"{_BASE}/deliveries", Deliveries),
    *both(f"{_BASE}/deliveries/<id:pk>", OneDelivery),
    *both(f"{_BASE}/deliveries/<id:pk>/redeliver", Redeliver),
]

"""Outbound webhooks: who is posted to when runs move, the log of it, and replay.

The log and ``extensions`` are ours; the rest is dbt Cloud's, whose clients know the addresses
without a slash, ids that begin with ``wsu_``, and job ids as texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from accounts.roles import Action
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Creates, Lists, Reads, Resource, Shape
from jobsvc.api.errors import Conflict
from jobsvc.api.fields import IdField
from jobsvc.api.filters import number, text
from jobsvc.api.routes import both
from jobsvc.api.v2.accounts import account_identifier
from jobsvc.notifications import dispatch, webhooks
from jobsvc.notifications.models import Dispatch, WebhookSubscription

MOST_JOBS = 1000  # of one webhook; more are better named by none


class WebhookShape(Shape[WebhookSubscription]):
    account_id = IdField(read_only=True)
    account_identifier = serializers.SerializerMethodField()
    # Terraform reads texts here, and posts numbers.
    job_ids = serializers.ListField(child=serializers.CharField(), read_only=True)
    extensions = serializers.SerializerMethodField()

    class Meta:
        model = WebhookSubscription
        fields: ClassVar = [
            "id",
            "account_id",
            "account_identifier",
            "name",
            "description",
            "client_url",
            "event_types",
            "job_ids",
            "active",
            "http_status_code",
            "dispatched_at",
            "deactivate_reason",
            "extensions",
        ]

    def to_representation(self, instance: WebhookSubscription) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)
        if "extensions" not in self.context.get("include", ()):
            del shown["extensions"]
        return shown

    def get_account_identifier(self, row: WebhookSubscription) -> str:
        return account_identifier(row.account_id)

    def get_extensions(self, row: WebhookSubscription) -> dict[str, Any]:
        return {
            "schema_version": row.schema_version,
            "failures": row.failures,
            "failing_since": row.failing_since,
            "rests_until": row.rests_until,
        }


class WebhookExtensions(Body):
    schema_version = serializers.ChoiceField([1, 2])


class WebhookBody(Body):
    """The whole of it, also on PUT. Terraform leaves ``active`` out where it is false."""

    name = serializers.CharField(max_length=255)
    description = serializers.CharField(
        max_length=2000, allow_blank=True, required=False, allow_null=True, default=""
    )
    client_url = serializers.CharField(max_length=2000)
    event_types = serializers.ListField(
        child=serializers.CharField(max_length=60), allow_empty=True, max_length=50
    )
    job_ids = serializers.ListField(
        child=IdField(), required=False, allow_null=True, default=list, max_length=MOST_JOBS
    )
    active = serializers.BooleanField(required=False, allow_null=True, default=False)
    extensions = WebhookExtensions(required=False, allow_null=True)


class _Webhooks(Resource[WebhookSubscription]):
    name = "webhook"
    shape = WebhookShape
    writes = Action.WRITE_ACCOUNT
    text_ids = True

    def rows(self) -> QuerySet[WebhookSubscription]:
        return WebhookSubscription.objects.of_account(self.account_id)

    def given(self) -> dict[str, Any]:
        values = self.values(partial=False)
        return values | (values.pop("extensions", None) or {})

    def _check_ids(self, given: Mapping[str, Any]) -> None:
        super()._check_ids({"account_id": given.get("account_id")})
        named = given.get("id")
        if "pk" in self.kwargs and named not in (None, "", self.kwargs["pk"]):
            raise serializers.ValidationError(
                {"id": f"The address says {self.kwargs['pk']}. Say the same, or leave it out."}
            )


class Webhooks(Lists[WebhookSubscription], _Webhooks):
    """The webhooks of an account. Only the answer to POST holds ``hmac_secret``."""

    takes = WebhookBody
    order = "created_at"
    orders: ClassVar = ["name", "client_url"]

    def post(self, request: Request, **path: Any) -> Answer:
        row = webhooks.define_webhook(WebhookSubscription(account=self.account), self.given())
        return Answer({**self.show(row, many=False), "hmac_secret": row.hmac_secret}, 201)


class OneWebhook(Reads[WebhookSubscription], _Webhooks):
    """One of them. PUT replaces it; with ``active`` true again, its failures count no more."""

    takes = WebhookBody

    def put(self, request: Request, **path: Any) -> Answer:
        return Answer(self.show(webhooks.define_webhook(self.row(), self.given())))

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def delete(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        webhooks.remove_webhook(row)
        return Answer({"id": row.pk})


class WebhookTest(_Webhooks):
    """Posts a signed test event now, once, and says what the receiver answered."""

    @extend_schema(responses=OpenApiTypes.OBJECT)
    def get(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        if not self.token.may(self.writes):  # a GET that does something
            raise PermissionDenied(
                f"This token may not {self.writes.label}. "
                "Ask an admin of the account for one with a permission set that allows it."
            )
        tried = dispatch.try_out(row)
        status = None if tried.answer_status is None else str(tried.answer_status)
        said = {
            "event_id": tried.event_id,
            "verification_status_code": status,
            "verification_error": tried.error or None,
            "response_body": tried.answer_body,
        }
        return Answer(said)


class WebhookDeliveryShape(Shape[Dispatch]):
    """One event for one webhook: what became of it."""

    subscription_id = serializers.CharField(read_only=True)
    run_id = IdField(read_only=True)
    replay_of_id = IdField(read_only=True)

    class Meta:
        model = Dispatch
        fields: ClassVar = [
            "id",
            "subscription_id",
            "run_id",
            "event_id",
            "event_type",
            "status",
            "attempts",
            "answer_status",
            "answer_body",
            "error",
            "due_at",
            "sent_at",
            "replay_of_id",
            "created_at",
        ]


class WholeWebhookDeliveryShape(WebhookDeliveryShape):
    """With the body that is posted."""

    request_body = serializers.CharField(source="body", read_only=True)

    class Meta(WebhookDeliveryShape.Meta):
        fields: ClassVar = [*WebhookDeliveryShape.Meta.fields, "request_body"]


class WebhookDeliveries(Lists[Dispatch], Resource[Dispatch]):
    """The log of a webhook, newest first."""

    name = "delivery"
    shape = WebhookDeliveryShape
    text_ids = True
    order = "-id"
    filters: ClassVar = {
        "status": text("status"),
        "event_type": text("event_type"),
        "event_id": text("event_id"),
        "run_id": number("run_id"),
    }

    def rows(self) -> QuerySet[Dispatch]:
        of_account = WebhookSubscription.objects.of_account(self.account_id)
        webhook = self.find(of_account, self.kwargs["pk"], "webhook")
        return Dispatch.objects.filter(subscription=webhook)


class _Deliveries(Resource[Dispatch]):
    name = "delivery"
    shape = WholeWebhookDeliveryShape

    def rows(self) -> QuerySet[Dispatch]:
        return Dispatch.objects.filter(subscription__account=self.account_id)


class OneDelivery(Reads[Dispatch], _Deliveries):
    """One event of the log, with its body."""


class ReplayDelivery(Creates[Dispatch], _Deliveries):
    """Posts an event once more, under the id that it had."""

    writes = Action.WRITE_ACCOUNT
    many = True

    def post(self, request: Request, **path: Any) -> Answer:
        try:
            again = webhooks.replay(self.row())
        except webhooks.ReplayRefused as refused:
            raise Conflict(str(refused)) from refused
        return Answer(self.show(again, many=False), 201)


_BASE = "accounts/<id:account_id>/webhooks"
_ONE = f"{_BASE}/subscription/<text:pk>"

urlpatterns = [
    *both(f"{_BASE}/subscriptions", Webhooks),
    *both(_ONE, OneWebhook),
    *both(f"{_ONE}/test", WebhookTest),
    *both(f"{_ONE}/deliveries", WebhookDeliveries),
    *both(f"{_BASE}/delivery/<id:pk>", OneDelivery),
    *both(f"{_BASE}/delivery/<id:pk>/replay", ReplayDelivery),
]

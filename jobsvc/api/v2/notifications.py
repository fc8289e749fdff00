"""Notifications: who is told of what by mail or chat, what was told, and how to stop it.

dbt Cloud's four lists of job ids are here as there. What this service offers beyond them is one
object, ``extensions``, accepted in every body and shown where ``include_related`` names it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied, ValidationError
from rest_framework.request import Request

from accounts.models import Membership, User
from accounts.roles import Action
from jobsvc import outbound
from jobsvc.api.answers import Answer
from jobsvc.api.base import (
    AccountView,
    Body,
    Creates,
    Deletes,
    Lists,
    Reads,
    Resource,
    Shape,
    Updates,
)
from jobsvc.api.errors import Conflict
from jobsvc.api.fields import CountField, IdField
from jobsvc.api.filters import number, text
from jobsvc.api.related import Related
from jobsvc.api.routes import both
from jobsvc.api.v2.users import UserShape
from jobsvc.notifications.define import (
    LISTS,
    Rule,
    define_notification,
    delete_notification,
    forget_all,
    is_in_lists,
    is_ones_own,
)
from jobsvc.notifications.models import (
    TO_BE_ASKED_FOR,
    Delivery,
    Event,
    Mute,
    Notification,
    NotificationType,
    Scope,
)
from jobsvc.notifications.tell import TestedAMomentAgo, send_test

MOST_JOBS = 10_000  # of one list
MOST_RULES = 500
NEEDS_AN_ID = {Scope.JOB, Scope.ENVIRONMENT, Scope.PROJECT}


class JobList(serializers.ListField):
    """Ids of jobs. Never null on the wire: nothing is an empty list."""

    def __init__(self) -> None:
        super().__init__(child=IdField(), default=list, max_length=MOST_JOBS)


class NotificationShape(Shape[Notification]):
    account_id = IdField(read_only=True)
    user_id = IdField(read_only=True, allow_null=True)
    user = Related(UserShape)
    on_cancel = serializers.SerializerMethodField()
    on_failure = serializers.SerializerMethodField()
    on_warning = serializers.SerializerMethodField()
    on_success = serializers.SerializerMethodField()

    class Meta:
        model = Notification
        fields: ClassVar = [
            "id",
            "account_id",
            "user_id",
            "type",
            "external_email",
            "slack_channel_id",
            "slack_channel_name",
            "on_cancel",
            "on_failure",
            "on_warning",
            "on_success",
            "state",
            "created_at",
            "updated_at",
            "user",
        ]

    def to_representation(self, instance: Notification) -> dict[str, Any]:
        shape = super().to_representation(instance)
        if "extensions" in self.context.get("include", ()):
            shape["extensions"] = _extensions_of(instance)
        return shape

    def get_on_cancel(self, row: Notification) -> list[int]:
        return _listed(row, Event.CANCELLED)

    def get_on_failure(self, row: Notification) -> list[int]:
        return _listed(row, Event.FAILURE)

    def get_on_warning(self, row: Notification) -> list[int]:
        return _listed(row, Event.WARNING)

    def get_on_success(self, row: Notification) -> list[int]:
        return _listed(row, Event.SUCCESS)


def _listed(row: Notification, event: Event) -> list[int]:
    return sorted(
        rule.scope_id for rule in row.rules.all() if is_in_lists(rule) and rule.event == event
    )


def _extensions_of(row: Notification) -> dict[str, Any]:
    rules = [
        {
            "event": rule.event,
            "scope": rule.scope,
            "id": rule.scope_id or None,
            "tag": rule.tag or None,
            "every": rule.every,
        }
        for rule in sorted(row.rules.all(), key=lambda rule: rule.pk)
        if not is_in_lists(rule)
    ]
    return {"rules": rules, "has_webhook_url": bool(row.secrets.get("url"))}


class RuleBody(Body):
    """One event of one scope."""

    whole = True

    event = serializers.ChoiceField([event.value for event in Event if event in TO_BE_ASKED_FOR])
    scope = serializers.ChoiceField(Scope.choices, default=Scope.JOB.value)
    id = IdField(required=False, allow_null=True)
    tag = serializers.CharField(required=False, allow_null=True, max_length=255)
    every = CountField(min_value=1, default=1)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        scope = Scope(attrs.get("scope", Scope.JOB))
        if scope in NEEDS_AN_ID and not attrs.get("id"):
            raise ValidationError({"id": f"A rule for a {scope} needs its id. Add it."})
        if scope == Scope.TAG and not attrs.get("tag"):
            raise ValidationError({"tag": "A rule for a tag needs the tag. Add it."})
        return attrs


class NotificationExtensionsBody(Body):
    """What a notification may hold beyond dbt Cloud's; ``webhook_url`` is never shown again."""

    rules = serializers.ListField(child=RuleBody(), required=False, max_length=MOST_RULES)
    webhook_url = serializers.CharField(required=False, max_length=2000)
    has_webhook_url = serializers.BooleanField(required=False, read_only=True)

    def validate_webhook_url(self, url: str) -> str:
        try:
            outbound.check_address(url)
        except outbound.AddressRefused as refused:
            raise ValidationError(str(refused)) from refused
        return url


class NotificationBody(Body):
    type = serializers.ChoiceField(NotificationType.choices)
    user_id = IdField(required=False, allow_null=True)
    external_email = serializers.EmailField(required=False, allow_null=True, max_length=254)
    slack_channel_id = serializers.CharField(required=False, allow_null=True, max_length=255)
    slack_channel_name = serializers.CharField(required=False, allow_null=True, max_length=255)
    on_cancel = JobList()
    on_failure = JobList()
    on_warning = JobList()
    on_success = JobList()
    extensions = NotificationExtensionsBody(required=False)


class _Notifications(Resource[Notification]):
    name = "notification"
    shape = NotificationShape
    takes = NotificationBody
    # Who may read anything may set what they are told themselves of it; see check_permission.
    writes = Action.READ
    own = True
    filters: ClassVar = {
        "external_email": text("external_email__iexact"),
        "slack_channel_id": text("slack_channel_id"),
        "type": number("type"),
        "user_id": number("user"),
    }
    orders: ClassVar = ["type", "user_id", "external_email"]

    def rows(self) -> QuerySet[Notification]:
        held = Membership.objects.filter(account=self.account_id)
        notifications = Notification.objects.filter(account=self.account_id)
        if not self.token.may(Action.READ):
            notifications = notifications.filter(user__isnull=False, user=self.token.user)
        return notifications.select_related("account", "user").prefetch_related(
            "rules", Prefetch("user__memberships", held)
        )

    def define(self, row: Notification, values: dict[str, Any]) -> Notification:
        for name in ("type", "external_email", "slack_channel_id", "slack_channel_name"):
            if name in values:
                setattr(row, name, values[name])
        extensions = values.get("extensions") or {}
        if url := extensions.get("webhook_url"):
            row.secrets = {"url": url}
        if "user_id" in values or row.pk is None:
            row.user = self._person(values.get("user_id"))
        self.check_permission(row)
        rules = extensions.get("rules")
        return define_notification(
            row,
            lists={name: values[name] for name in LISTS if name in values},
            rules=None if rules is None else [_rule(rule) for rule in rules],
        )

    def _person(self, pk: int | None) -> User | None:
        if pk is None:
            return self.token.user
        people = User.objects.filter(memberships__account=self.account_id)
        if person := people.filter(pk=pk).first():
            return person
        raise ValidationError(
            {"user_id": f"This account has no user {pk}. GET users/ lists those it has."}
        )

    def check_permission(self, row: Notification) -> None:
        """Anyone may say what they are told themselves; what others are told is the admins'."""
        if not is_ones_own(row, self.token.user) and not self.token.may(Action.WRITE_ACCOUNT):
            raise PermissionDenied(
                "This token may only say what its owner is told by mail. Ask an admin of the "
                "account about other people, outside addresses and channels."
            )


def _rule(given: dict[str, Any]) -> Rule:
    scope = Scope(given.get("scope", Scope.JOB))
    return Rule(
        event=Event(given["event"]),
        scope=scope,
        id=given["id"] if scope in NEEDS_AN_ID else 0,
        tag=given["tag"] if scope == Scope.TAG else "",
        every=given.get("every", 1),
    )


class Notifications(Creates[Notification], Lists[Notification], _Notifications):
    """Who is told of what in an account."""

    def create(self, values: dict[str, Any]) -> Notification:
        return self.define(Notification(account=self.account), values)


class OneNotification(Updates[Notification], Reads[Notification], _Notifications):
    """One of them. POST changes it, with ``state`` 2 it deletes it."""

    def update(self, row: Notification, values: dict[str, Any]) -> Notification:
        self.check_permission(row)
        return self.define(row, values)

    def delete_row(self, row: Notification) -> Notification:
        self.check_permission(row)
        return delete_notification(row)


class TestNotification(_Notifications):
    """Send it a message that only shows whether it arrives: once a minute at most."""

    def post(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        self.check_permission(row)
        try:
            delivery = send_test(row)
        except TestedAMomentAgo as error:
            raise Conflict("It was tested within this minute. Wait for the next one.") from error
        if delivery is None:
            raise Conflict(
                "Nobody would get it: the person may not read this account any more. "
                "Name another user_id."
            )
        return Answer(MessageShape(delivery).data)


# --- What was told -----------------------------------------------------------------------


class MessageShape(Shape[Delivery]):
    """A message that was sent, or is to be, or was given up: then ``error`` says why."""

    account_id = IdField(read_only=True)
    notification_id = IdField(read_only=True, allow_null=True)
    job_id = IdField(read_only=True, allow_null=True)
    run_id = IdField(read_only=True, allow_null=True)
    digest_id = IdField(read_only=True, allow_null=True)

    class Meta:
        model = Delivery
        fields: ClassVar = [
            "id",
            "account_id",
            "notification_id",
            "job_id",
            "run_id",
            "event",
            "channel",
            "address",
            "subject",
            "why",
            "status",
            "error",
            "attempts",
            "digest_id",
            "due_at",
            "sent_at",
            "created_at",
        ]


class Deliveries(Lists[Delivery], Resource[Delivery]):
    """The log of messages, newest first."""

    name = "delivery"
    shape = MessageShape
    order = "-id"
    filters: ClassVar = {
        "notification_id": number("notification"),
        "run_id": number("run"),
        "job_id": number("job"),
        "status": text("status"),
        "event": text("event"),
        "channel": text("channel"),
        "address": text("address__iexact"),
    }
    orders: ClassVar = ["sent_at"]

    def rows(self) -> QuerySet[Delivery]:
        return Delivery.objects.filter(account=self.account_id)


class DeliveriesOfNotification(Deliveries):
    """Those of one notification."""

    def rows(self) -> QuerySet[Delivery]:
        notifications = Notification.objects.filter(account=self.account_id)
        asked = self.find(notifications, self.kwargs["pk"], "notification")
        return super().rows().filter(notification=asked)


# --- What is to stop ---------------------------------------------------------------------


class MuteShape(Shape[Mute]):
    """An address that wants no more mail: of one job, or (``job_id`` null) of any."""

    account_id = IdField(read_only=True)
    job_id = IdField(read_only=True, allow_null=True)

    class Meta:
        model = Mute
        fields: ClassVar = ["id", "account_id", "address", "job_id", "created_at"]


class _Mutes(Resource[Mute]):
    name = "mute"
    shape = MuteShape
    writes = Action.READ
    own = True

    def rows(self) -> QuerySet[Mute]:
        """Those of the token's owner: what others do not want is their own affair."""
        user = self.token.user
        address = user.email.lower() if user else ""
        return Mute.objects.filter(account=self.account_id, address=address)


class Mutes(Lists[Mute], _Mutes):
    """What the links in mails have stopped, of one's own mail."""


class OneMute(Deletes[Mute], Reads[Mute], _Mutes):
    """One of them. DELETE lets the mails come again."""

    def delete_row(self, row: Mute) -> Mute:
        gone = Mute.objects.get(pk=row.pk)
        row.delete()
        return gone


class Unsubscribe(AccountView):
    """Delete every mail that the token's owner has asked for themselves."""

    writes = Action.READ
    own = True

    def post(self, request: Request, **path: Any) -> Answer:
        if self.token.user is None:
            raise ValidationError(
                "A service token gets no mail. Use a token of the person whose mails are to stop."
            )
        forget_all(self.token.user, self.account_id)
        return Answer()


_BASE = "accounts/<id:account_id>/notifications"

urlpatterns = [
    *both(_BASE, Notifications),
    *both(f"{_BASE}/<id:pk>", OneNotification),
    *both(f"{_BASE}/<id:pk>/test", TestNotification),
    *both(f"{_BASE}/<id:pk>/deliveries", DeliveriesOfNotification),
    *both(f"{_BASE}/deliveries", Deliveries),
    *both(f"{_BASE}/mutes", Mutes),
    *both(f"{_BASE}/mutes/<id:pk>", OneMute),
    *both("notifications/unsubscribe", Unsubscribe),
]

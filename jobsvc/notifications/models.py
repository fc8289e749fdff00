"""Who is told of what, by mail, chat or webhook; and what was told, once each."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from accounts.audited import Audit, Audited
from accounts.models import Account, User
from environments.secrets import EncryptedJSONField
from jobsvc.jobs.models import Job
from jobsvc.runs.models import Run, RunTransition
from jobsvc.statuses import State


class Event(models.TextChoices):
    """What people are told of. The first four are dbt Cloud's."""

    SUCCESS = "success", "succeeded"
    WARNING = "warning", "succeeded with warnings"
    FAILURE = "failure", "failed"
    CANCELLED = "cancelled", "was cancelled"
    TIMEOUT = "timeout", "took too long"
    RECOVERED = "recovered", "works again"
    FIRST_FAILURE = "first_failure", "has begun to fail"
    STILL_FAILING = "still_failing", "still fails"
    DEACTIVATED = "deactivated", "was deactivated"
    MISSED_SCHEDULE = "missed_schedule", "did not start on time"
    # These two nobody can ask for: who is told of a deactivation is warned of it, too.
    NEAR_DEACTIVATION = "near_deactivation", "will soon be deactivated"
    TEST = "test", "is only tried out"
    # Nor for this one: those who manage webhooks are told.
    WEBHOOK_OFF = "webhook_off", "was switched off"
    # Told to somebody who is no member yet.
    INVITATION = "invitation", "invites"


TO_BE_ASKED_FOR = frozenset(Event) - {
    Event.NEAR_DEACTIVATION,
    Event.TEST,
    Event.WEBHOOK_OFF,
    Event.INVITATION,
}


class NotificationType(models.IntegerChoices):
    """The API's numbers, and two of our own."""

    INTERNAL = 1, "A member, by mail"
    SLACK = 2, "Slack, by its app"
    EXTERNAL = 4, "An outside address, by mail"
    TEAMS = 5, "Slack or Teams, of the account"
    SLACK_WEBHOOK = 101, "Slack, by an incoming webhook"
    TEAMS_WEBHOOK = 102, "Teams, by an incoming webhook"


class Notification(Audited):
    """Somebody to be told: dbt's notification. Of what, its rules say."""

    AUDIT = Audit("notification")

    account = models.ForeignKey(Account, models.CASCADE, related_name="notifications")
    user = models.ForeignKey(
        User,
        models.SET_NULL,
        null=True,
        blank=True,
        related_name="notifications",
        help_text="The member that is told; of an outside address, who entered it.",
    )
    type = models.IntegerField(choices=NotificationType, default=NotificationType.INTERNAL)
    external_email = models.EmailField(null=True, blank=True)
    slack_channel_id = models.CharField(max_length=255, null=True, blank=True)
    slack_channel_name = models.CharField(max_length=255, null=True, blank=True)
    secrets = EncryptedJSONField(
        default=dict, blank=True, help_text='{"url": …} of an incoming webhook.'
    )
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(type=NotificationType.EXTERNAL) | Q(external_email__isnull=False),
                name="notification_to_outside_has_an_address",
                violation_error_message="A notification of type 4 needs an external_email.",
            )
        ]

    def __str__(self) -> str:
        return f"notification {self.pk}"


class Scope(models.TextChoices):
    JOB = "job"
    ENVIRONMENT = "environment"
    PROJECT = "project"
    ACCOUNT = "account"
    TAG = "tag"


class NotificationRule(models.Model):
    """One event of one scope that a notification is for.

    dbt's four lists of job ids are the rules of scope ``job`` with its four events.
    """

    notification = models.ForeignKey(Notification, models.CASCADE, related_name="rules")
    event = models.CharField(max_length=20, choices=Event)
    scope = models.CharField(max_length=20, choices=Scope)
    scope_id = models.PositiveBigIntegerField(
        default=0, help_text="Of the job, environment or project; 0 where the scope is neither."
    )
    tag = models.CharField(max_length=255, blank=True, default="")
    every = models.PositiveIntegerField(
        default=1, help_text="Of still_failing: each how many failures after the first."
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["notification", "event", "scope", "scope_id", "tag"],
                name="one_rule_per_event_and_scope",
            )
        ]

    def __str__(self) -> str:
        return f"{self.event} of {self.scope} {self.scope_id or self.tag}"


class Mute(models.Model):
    """An address that wants no more mail: of one job, or of the account."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="+")
    address = models.EmailField(max_length=320)  # as long as a delivery's
    job = models.ForeignKey(Job, models.CASCADE, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["account", "address", "job"], name="one_mute_per_address_and_job"
            ),
            models.UniqueConstraint(
                fields=["account", "address"],
                condition=Q(job=None),
                name="one_mute_per_address_of_all",
            ),
        ]

    def __str__(self) -> str:
        return self.address


class Told(models.Model):
    """A run's move whose messages are all written down: it is never told again."""

    transition = models.OneToOneField(RunTransition, models.CASCADE, related_name="+")
    later = models.BooleanField(
        default=False, help_text="Only webhooks were told: people are, if no retry follows."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"told of {self.transition_id}"


class ToldOfJob(models.Model):
    """What happened to a job outside its runs, and is never told again."""

    job = models.ForeignKey(Job, models.CASCADE, related_name="+")
    event = models.CharField(max_length=20, choices=Event)
    about = models.CharField(max_length=255, help_text="Which time: the reason, or the moment.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["job", "event", "about"], name="a_job_is_told_of_once_each_time"
            )
        ]

    def __str__(self) -> str:
        return f"told of {self.event} of job {self.job_id}"


class DeliveryStatus(models.TextChoices):
    WAITING = "waiting", "To be sent"
    SENT = "sent", "Sent"
    FAILED = "failed", "Given up"
    MUTED = "muted", "Not sent: the address wants no more"
    DIGESTED = "digested", "Sent in a digest"


class Delivery(models.Model):
    """One message to one address or channel: to be sent, or sent. The outbox and its log."""

    account = models.ForeignKey(Account, models.CASCADE, related_name="deliveries")
    notification = models.ForeignKey(
        Notification, models.SET_NULL, null=True, blank=True, related_name="deliveries"
    )
    job = models.ForeignKey(Job, models.CASCADE, null=True, blank=True, related_name="+")
    run = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="deliveries")
    event = models.CharField(max_length=20, choices=Event)
    channel = models.CharField(max_length=20, default="email", help_text="email, slack or teams")
    address = models.CharField(max_length=320, help_text="Or, of a channel, its name.")
    key = models.CharField(
        max_length=400, unique=True, help_text="What is told to whom: told once."
    )
    why = models.CharField(max_length=255, blank=True, default="", help_text="Why they get it.")
    details = models.JSONField(
        default=dict, blank=True, help_text="What the run does not say: sentence, nodes."
    )
    subject = models.CharField(max_length=255, blank=True, default="")
    message_id = models.CharField(max_length=255, blank=True, default="")
    thread = models.CharField(
        max_length=100, blank=True, default="", help_text="Mails of one thread answer its first."
    )
    likeness = models.CharField(
        max_length=64, blank=True, default="", help_text="The same for what says the same."
    )
    held = models.BooleanField(
        default=False, help_text="Like others shortly before it: it waits for them to be one mail."
    )
    status = models.CharField(max_length=20, choices=DeliveryStatus, default=DeliveryStatus.WAITING)
    digest = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="parts")
    due_at = models.DateTimeField(null=True, blank=True, default=now)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True, default="")
    lease_until = models.DateTimeField(null=True, blank=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="message_to_be_sent"
            ),
            models.Index(fields=["account", "-id"], name="message_of_account"),
            models.Index(fields=["account", "address", "-id"], name="message_to_address"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.address}"


def new_webhook_id() -> str:
    """dbt's form: ``wsu_`` and letters and digits."""
    return f"wsu_{secrets.token_hex(14)}"


class WebhookQuerySet(models.QuerySet["WebhookSubscription"]):
    def of_account(self, account_id: int) -> WebhookQuerySet:
        return self.filter(account=account_id)

    def listening(self) -> WebhookQuerySet:
        """Those that are told of what happens."""
        return self.filter(state=State.ACTIVE, active=True)

    def claimable(self, moment: datetime) -> WebhookQuerySet:
        """Those that something is due for at ``moment``, that do not rest, and nobody posts to."""
        due = Dispatch.objects.filter(subscription=OuterRef("pk"), due_at__lte=moment)
        return self.listening().filter(
            Exists(due),
            Q(rests_until=None) | Q(rests_until__lte=moment),
            Q(lease_until=None) | Q(lease_until__lte=moment),
        )


class WebhookSubscription(Audited):
    """Somebody's address that is posted to when runs move: dbt's webhook subscription."""

    AUDIT = Audit(
        "webhook_subscription",
        noise={
            *("listens_since", "http_status_code", "dispatched_at", "failures", "failing_since"),
            *("failed_tries", "rests_until", "lease_until"),
        },
    )

    id = models.CharField(max_length=40, primary_key=True, default=new_webhook_id, editable=False)
    account = models.ForeignKey(Account, models.CASCADE, related_name="webhooks")
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True, default="")
    client_url = models.CharField(max_length=2000)
    event_types = models.JSONField(default=list)
    job_ids = models.JSONField(default=list, blank=True, help_text="Empty is every job.")
    schema_version = models.PositiveSmallIntegerField(
        default=1, help_text="1 is dbt Cloud's; 2 knows more events and says more."
    )
    active = models.BooleanField(default=True)
    listens_since = models.DateTimeField(
        default=now, help_text="What happened before is not told: it was new, off, or for others."
    )
    secrets = EncryptedJSONField(default=dict, help_text='{"hmac": …}')
    http_status_code = models.CharField(max_length=10, default="0")
    dispatched_at = models.DateTimeField(null=True, blank=True)
    deactivate_reason = models.CharField(max_length=255, null=True, blank=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row, each after all tries.")
    failing_since = models.DateTimeField(null=True, blank=True)
    failed_tries = models.PositiveIntegerField(default=0, help_text="In a row, of whatever event.")
    rests_until = models.DateTimeField(
        null=True, blank=True, help_text="After a failed try nothing is posted for a while."
    )
    lease_until = models.DateTimeField(
        null=True, blank=True, help_text="Somebody posts to it: one event at a time."
    )
    state = models.PositiveSmallIntegerField(choices=State, default=State.ACTIVE)
    created_at = models.DateTimeField(default=now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(schema_version__in=[1, 2]),
                name="webhook_speaks_a_schema_we_know",
                violation_error_message="The schema_version of a webhook is 1 or 2.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def hmac_secret(self) -> str:
        """What its posts are signed with."""
        return str(self.secrets["hmac"])


class Dispatch(models.Model):
    """One event for one webhook subscription: to be posted, or posted, with what was answered."""

    subscription = models.ForeignKey(WebhookSubscription, models.CASCADE, related_name="dispatches")
    run = models.ForeignKey(Run, models.CASCADE, null=True, blank=True, related_name="dispatches")
    event_type = models.CharField(max_length=60)
    event_id = models.CharField(max_length=60, help_text="The same in each try: wev_…")
    key = models.CharField(
        max_length=200, unique=True, help_text="What is told to whom: told once."
    )
    body = models.TextField(blank=True, default="")
    status = models.CharField(max_length=20, choices=DeliveryStatus, default=DeliveryStatus.WAITING)
    due_at = models.DateTimeField(null=True, blank=True, default=now)
    attempts = models.PositiveIntegerField(default=0)
    answer_status = models.PositiveIntegerField(null=True, blank=True)
    answer_body = models.TextField(blank=True, default="")
    error = models.TextField(blank=True, default="")
    sent_at = models.DateTimeField(null=True, blank=True)
    replay_of: Any = models.ForeignKey(
        "self", models.SET_NULL, null=True, blank=True, related_name="replays"
    )
    created_at = models.DateTimeField(default=now, editable=False)

    class Meta:
        verbose_name_plural = "dispatches"
        constraints = [
            models.CheckConstraint(
                condition=Q(status=DeliveryStatus.WAITING, due_at__isnull=False)
                | (~Q(status=DeliveryStatus.WAITING) & Q(due_at=None)),
                name="dispatch_is_due_while_it_waits",
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], condition=Q(due_at__isnull=False), name="dispatch_to_be_posted"
            )
        ]

    def __str__(self) -> str:
        return f"{self.event_type} to {self.subscription_id}"

"""Save who is to be told of what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, QuerySet

from accounts import audit
from accounts.models import User
from environments.models import Environment, Project
from jobsvc.jobs.models import Job
from jobsvc.notifications.models import (
    Event,
    Notification,
    NotificationRule,
    NotificationType,
    Scope,
)
from jobsvc.statuses import State

SLACK = {NotificationType.SLACK, NotificationType.TEAMS}
WEBHOOKS = {NotificationType.SLACK_WEBHOOK, NotificationType.TEAMS_WEBHOOK}
# dbt Cloud's four lists of job ids, and the event that each is for.
LISTS = {
    "on_cancel": Event.CANCELLED,
    "on_failure": Event.FAILURE,
    "on_warning": Event.WARNING,
    "on_success": Event.SUCCESS,
}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One event of one scope; ``id`` of a job, environment or project, ``tag`` of a tag."""

    event: Event
    scope: Scope
    id: int = 0
    tag: str = ""
    every: int = 1

    @classmethod
    def of(cls, row: NotificationRule) -> Rule:
        return cls(
            event=Event(row.event),
            scope=Scope(row.scope),
            id=row.scope_id,
            tag=row.tag,
            every=row.every,
        )

    @property
    def about(self) -> About:
        return About(scope=self.scope, id=self.id, tag=self.tag)


@dataclass(frozen=True, kw_only=True)
class About:
    """What somebody is told of, whatever happens to it."""

    scope: Scope
    id: int = 0
    tag: str = ""


@transaction.atomic
def define_notification(
    notification: Notification,
    *,
    lists: Mapping[str, Collection[int]],
    rules: Sequence[Rule] | None,
) -> Notification:
    """Save ``notification`` with what it is for.

    Args:
        lists: of dbt's four, those that are to be replaced.
        rules: replace all that the four lists do not say; None leaves those.

    Raises:
        ValidationError: by the API's names of the fields.
    """
    _check_destination(notification)
    notification.full_clean(exclude=["secrets"])
    with audit.as_one():
        notification.save()
        before = _told_of(notification)
        _replace_lists(notification, lists)
        if rules is not None:
            _replace_rules(notification, rules)
        if before != (after := _told_of(notification)):
            audit.record(
                "notification.changed",
                notification,
                account_id=notification.account_id,
                differences={"told_of": [before, after]},
            )
    return notification


def _told_of(notification: Notification) -> list[str]:
    return sorted(str(rule) for rule in NotificationRule.objects.filter(notification=notification))


@transaction.atomic
def tell_of(
    notification: Notification, about: About, events: Collection[Event], *, every: int = 1
) -> Notification:
    """Let ``notification`` be told of these events of ``about`` and no others of it.

    Args:
        every: of still_failing: each how many failures after the first.

    Raises:
        ValidationError: the account has no such job, environment or project.
    """
    rules = [Rule.of(row) for row in notification.rules.order_by("pk")]
    wanted = [rule for rule in rules if rule.about != about]
    wanted += [
        Rule(event=event, scope=about.scope, id=about.id, tag=about.tag, every=every)
        for event in events
    ]
    return define_notification(
        notification,
        lists={
            name: [rule.id for rule in wanted if rule.event == event and is_in_lists(rule)]
            for name, event in LISTS.items()
        },
        rules=[rule for rule in wanted if not is_in_lists(rule)],
    )


def delete_notification(notification: Notification) -> Notification:
    """Mark it as deleted: nobody is told by it any more. What was told stays in the log."""
    notification.state = State.DELETED
    notification.save(update_fields=["state", "updated_at"])
    return notification


def is_ones_own(notification: Notification, user: User | None) -> bool:
    """Whether it says what ``user`` alone is told by mail, which is theirs to change."""
    mail = notification.type == NotificationType.INTERNAL
    return mail and user is not None and notification.user == user


def is_in_lists(rule: NotificationRule | Rule) -> bool:
    """Whether one of dbt's four lists says the same."""
    return rule.scope == Scope.JOB and rule.event in set(LISTS.values())


def forget_all(user: User, account_id: int) -> int:
    """Delete every mail that ``user`` asked for themselves in an account; return how many."""
    own = Notification.objects.filter(
        user=user, account=account_id, type=NotificationType.INTERNAL, state=State.ACTIVE
    )
    rows = list(own)
    with transaction.atomic():
        for row in rows:
            delete_notification(row)
    return len(rows)


def _check_destination(row: Notification) -> None:
    missing = ""
    if row.type == NotificationType.INTERNAL and row.user is None:
        missing = "user_id"
    elif row.type == NotificationType.EXTERNAL and not row.external_email:
        missing = "external_email"
    elif row.type in SLACK and not row.slack_channel_id:
        missing = "slack_channel_id"
    elif row.type in SLACK and not row.slack_channel_name:
        missing = "slack_channel_name"
    elif row.type in WEBHOOKS and not row.secrets.get("url"):
        missing = "extensions.webhook_url"
    if missing:
        raise ValidationError({missing: f"A notification of type {row.type} needs it. Add it."})


def _replace_lists(notification: Notification, lists: Mapping[str, Collection[int]]) -> None:
    old = [rule for rule in notification.rules.all() if is_in_lists(rule)]
    # A job that is gone may stay in a list that it was in: clients send lists back whole.
    known = {rule.scope_id for rule in old} | _ids(
        Job.objects.of_account(notification.account_id).active(), lists.values()
    )
    for name, jobs in lists.items():
        if missing := sorted(set(jobs) - known):
            raise ValidationError(
                {name: f"This account has no job {missing[0]}. Take it out of the list."}
            )
        event = LISTS[name]
        gone = [rule.pk for rule in old if rule.event == event and rule.scope_id not in set(jobs)]
        notification.rules.filter(pk__in=gone).delete()
        had = {rule.scope_id for rule in old if rule.event == event}
        NotificationRule.objects.bulk_create(
            NotificationRule(notification=notification, event=event, scope=Scope.JOB, scope_id=job)
            for job in sorted(set(jobs) - had)
        )


def _replace_rules(notification: Notification, rules: Sequence[Rule]) -> None:
    _check(notification, rules)
    others = [rule.pk for rule in notification.rules.all() if not is_in_lists(rule)]
    notification.rules.filter(pk__in=others).delete()
    for rule in rules:
        notification.rules.update_or_create(
            event=rule.event,
            scope=rule.scope,
            scope_id=rule.id,
            tag=rule.tag,
            defaults={"every": rule.every},
        )


def _check(notification: Notification, rules: Sequence[Rule]) -> None:
    account = notification.account_id
    rows: dict[Scope, QuerySet[Model]] = {
        Scope.JOB: Job.objects.filter(account=account, state=State.ACTIVE),
        Scope.ENVIRONMENT: Environment.objects.filter(project__account=account, state=State.ACTIVE),
        Scope.PROJECT: Project.objects.filter(account=account, state=State.ACTIVE),
    }
    had = {(rule.scope, rule.scope_id) for rule in notification.rules.all()}
    for scope, of_account in rows.items():
        named = [rule.id for rule in rules if rule.scope == scope]
        known = _ids(of_account, [named]) | {pk for kind, pk in had if kind == scope}
        if missing := sorted(set(named) - known):
            raise ValidationError(
                {"extensions": f"This account has no {scope} {missing[0]}. Take the rule out."}
            )


def _ids(rows: QuerySet[Job] | QuerySet[Model], wanted: Iterable[Collection[int]]) -> set[int]:
    """The ids of ``rows`` that are among the wanted ones."""
    asked = {pk for some in wanted for pk in some}
    return set(rows.filter(pk__in=asked).values_list("pk", flat=True))

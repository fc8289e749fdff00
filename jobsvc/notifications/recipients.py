"""Who is told of what, and why they: each person once, however many rules name them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db.models import Q

from accounts.models import Account, Membership, User
from accounts.roles import Action
from environments.models import Environment
from jobsvc.jobs.models import Job
from jobsvc.notifications.events import Standing
from jobsvc.notifications.models import (
    Event,
    Notification,
    NotificationRule,
    NotificationType,
    Scope,
)
from jobsvc.notifications.outcome import NodeOutcome
from jobsvc.runs.artifacts import open_artifact
from jobsvc.runs.models import Run
from jobsvc.statuses import State

# Of several events of one run, what a person is told it is: the first that they asked for.
FIRST = (
    Event.NEAR_DEACTIVATION,
    Event.FIRST_FAILURE,
    Event.STILL_FAILING,
    Event.FAILURE,
    Event.TIMEOUT,
    Event.CANCELLED,
    Event.RECOVERED,
    Event.WARNING,
    Event.SUCCESS,
    Event.DEACTIVATED,
    Event.MISSED_SCHEDULE,
)
WHEN = {
    Event.SUCCESS: "succeeds",
    Event.WARNING: "warns",
    Event.FAILURE: "fails",
    Event.CANCELLED: "is cancelled",
    Event.TIMEOUT: "takes too long",
    Event.RECOVERED: "works again",
    Event.FIRST_FAILURE: "begins to fail",
    Event.STILL_FAILING: "still fails",
    Event.DEACTIVATED: "is deactivated",
    Event.MISSED_SCHEDULE: "does not start on time",
}
FOR_OWNERS = {
    Event.FAILURE,
    Event.RECOVERED,
    Event.NEAR_DEACTIVATION,
    Event.DEACTIVATED,
}
CHANNELS = {
    NotificationType.INTERNAL: "email",
    NotificationType.EXTERNAL: "email",
    NotificationType.SLACK: "slack",
    NotificationType.TEAMS: "slack",
    NotificationType.SLACK_WEBHOOK: "slack",
    NotificationType.TEAMS_WEBHOOK: "teams",
}
LARGEST_MANIFEST = 64 * 1024**2  # bytes worth reading for who owns what
LONGEST_WHY = 255  # characters


@dataclass(frozen=True, kw_only=True)
class Recipient:
    """Somebody who is told of one thing.

    Attributes:
        address: of mail, in small letters; of a channel, the name that people gave it.
        why: a sentence each of the reasons.
        nodes: the unique ids that alone are theirs; empty for the whole run.
    """

    channel: str
    address: str
    event: Event
    why: tuple[str, ...]
    notification: Notification | None = None
    nodes: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Whom a message must not reach twice."""
        if self.channel != "email" and self.notification is not None:
            return f"{self.channel}:{self.notification.pk}"
        return f"{self.channel}:{self.address}"


def recipients_of_run(
    run: Run, events: Collection[Event], standing: Standing, outcomes: Collection[NodeOutcome]
) -> list[Recipient]:
    """Who is told of the end of ``run``.

    Of a run for a pull request only those who asked for its job by name or by tag: what the
    owners of production are told of is production.
    """
    for_pull_request = run.job.is_ci or run.trigger.pull_request_id is not None
    scopes = {Scope.JOB, Scope.TAG} if for_pull_request else set(Scope)
    found = list(_by_rules(run.job, events, scopes, run.environment, standing))
    if not for_pull_request:
        found += _owners(run.job, events)
        found += _owners_of_groups(run, outcomes)
    return _each_once(found)


def recipients_of_job(job: Job, event: Event) -> list[Recipient]:
    """Who is told of something that happens to ``job`` outside its runs."""
    found = list(_by_rules(job, {event}, set(Scope), job.environment, Standing()))
    return _each_once([*found, *_owners(job, {event})])


def admins_of(account: Account, event: Event, why: str) -> list[Recipient]:
    """The people who manage the account: its people, its tokens and its webhooks."""
    held = Membership.objects.active().filter(account=account).with_groups()
    admins = [
        one.user
        for one in held.select_related("user").order_by("user__email")
        if one.may(Action.WRITE_ACCOUNT)
    ]
    return [
        Recipient(channel="email", address=user.email.lower(), event=event, why=(why,))
        for user in admins
    ]


def to(
    notification: Notification, event: Event, why: str, job: Job | None = None
) -> Recipient | None:
    """``notification`` as a recipient; None for who may not be told.

    A member is told for as long as they are one, may sign in, and may read ``job``, or, where
    it is of none, anything in the account.
    """
    kind = NotificationType(notification.type)
    address = notification.slack_channel_name or str(notification)
    if kind == NotificationType.INTERNAL:
        user, account_id = notification.user, notification.account_id
        if user is None or not may_read(user, account_id, job):
            return None
        address = user.email.lower()
    elif kind == NotificationType.EXTERNAL:
        address = (notification.external_email or "").lower()
    return Recipient(
        channel=CHANNELS[kind],
        address=address,
        event=event,
        why=(why,),
        notification=notification,
    )


def may_read(user: User, account_id: int, job: Job | None = None) -> bool:
    """Whether ``user`` may read ``job``, or, where that is None, anything in the account."""
    members = Membership.objects.active().filter(account__state=State.ACTIVE).with_groups()
    member = members.filter(account=account_id, user=user).first()
    if member is None:
        return False
    if job is None:
        return member.access.may_somewhere(Action.READ)
    return member.may(Action.READ, job)


# --- Rules -------------------------------------------------------------------------------


def _by_rules(
    job: Job,
    events: Collection[Event],
    scopes: Collection[Scope],
    environment: Environment,
    standing: Standing,
) -> Iterator[Recipient]:
    asked = set(events)
    if Event.NEAR_DEACTIVATION in asked:
        asked.add(Event.DEACTIVATED)  # who asked to be told of that is warned of it
    about = (
        Q(scope=Scope.JOB, scope_id=job.pk)
        | Q(scope=Scope.ENVIRONMENT, scope_id=environment.pk)
        | Q(scope=Scope.PROJECT, scope_id=environment.project_id)
        | Q(scope=Scope.ACCOUNT)
        | Q(scope=Scope.TAG, tag__in=job.extended.tags)
    )
    rules = NotificationRule.objects.filter(
        about,
        scope__in=scopes,
        event__in=asked,
        notification__account=job.account_id,
        notification__state=State.ACTIVE,
    )
    for rule in rules.select_related("notification__user").order_by("pk"):
        event = Event(rule.event)
        if event == Event.STILL_FAILING and (standing.failures - 1) % rule.every:
            continue
        why = _why(rule, job)
        if event == Event.DEACTIVATED and event not in events:
            event = Event.NEAR_DEACTIVATION
        if recipient := to(rule.notification, event, why, job):
            yield recipient


def _why(rule: NotificationRule, job: Job) -> str:
    what = {
        Scope.JOB: "this job",
        Scope.ENVIRONMENT: "a job of this environment",
        Scope.PROJECT: f"a job of {job.project.name}",
        Scope.ACCOUNT: f"a job of {job.account.name}",
        Scope.TAG: f"a job with the tag {rule.tag}",
    }[Scope(rule.scope)]
    return f"It was asked for: to be told when {what} {WHEN[Event(rule.event)]}."


# --- Owners ------------------------------------------------------------------------------


def _owners(job: Job, events: Collection[Event]) -> Iterator[Recipient]:
    if asked := FOR_OWNERS & set(events):
        event = next(one for one in FIRST if one in asked)
        for address in _addresses(job.extended.owners):
            why = ("You are an owner of this job.",)
            yield Recipient(channel="email", address=address, event=event, why=why)


def _owners_of_groups(run: Run, outcomes: Collection[NodeOutcome]) -> Iterator[Recipient]:
    """The owners of the model groups that something failed in, or warned."""
    if not outcomes:
        return
    manifest = _manifest_of(run)
    theirs: dict[tuple[str, str], list[NodeOutcome]] = {}
    for outcome in outcomes:
        group = _group_of(manifest, outcome.unique_id)
        for address in _addresses(_emails_of(manifest, group)):
            theirs.setdefault((address, group), []).append(outcome)
    for (address, group), own in theirs.items():
        failed = any(outcome.failed for outcome in own)
        yield Recipient(
            channel="email",
            address=address,
            event=Event.FAILURE if failed else Event.WARNING,
            why=(f"You own the group {group} of this dbt project.",),
            nodes=tuple(outcome.unique_id for outcome in own),
        )


def _manifest_of(run: Run) -> dict[str, Any]:
    try:
        file = open_artifact(run, "manifest.json")
        if file is None:
            return {}
        with file:
            text = file.read(LARGEST_MANIFEST + 1)
        found = json.loads(text) if len(text) <= LARGEST_MANIFEST else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _group_of(manifest: dict[str, Any], unique_id: str) -> str:
    """The group of a node; of a test, that of what it tests."""
    node = _part(manifest, "nodes", unique_id)
    if not node.get("group") and node.get("resource_type") in {"test", "unit_test"}:
        needs = node.get("depends_on")
        tested = node.get("attached_node") or next(
            iter(needs.get("nodes") or () if isinstance(needs, dict) else ()), ""
        )
        node = _part(manifest, "nodes", tested)
    return str(node.get("group") or "")


def _emails_of(manifest: dict[str, Any], group: str) -> Iterable[Any]:
    groups = manifest.get("groups")
    for found in groups.values() if group and isinstance(groups, dict) else ():
        if isinstance(found, dict) and found.get("name") == group:
            owner = found.get("owner")
            email = owner.get("email") if isinstance(owner, dict) else None
            return email if isinstance(email, list) else [email]
    return ()


def _part(manifest: dict[str, Any], name: str, key: object) -> dict[str, Any]:
    parts = manifest.get(name)
    found = parts.get(key) if isinstance(parts, dict) and isinstance(key, str) else None
    return found if isinstance(found, dict) else {}


def _addresses(given: Iterable[Any]) -> Iterator[str]:
    """What of ``given`` is an address: a dbt project may have anything in its place."""
    for address in given:
        try:
            validate_email(address)
        except ValidationError:
            continue
        yield str(address).lower()


def _each_once(found: Iterable[Recipient]) -> list[Recipient]:
    """One for each whom a message must not reach twice, with what is most to them."""
    of_key: dict[str, Recipient] = {}
    for one in found:
        known = of_key.get(one.key)
        of_key[one.key] = one if known is None else _joined(known, one)
    return list(of_key.values())


def _joined(known: Recipient, other: Recipient) -> Recipient:
    whole = not known.nodes or not other.nodes
    nodes = () if whole else tuple(dict.fromkeys((*known.nodes, *other.nodes)))
    return replace(
        known,
        event=min(known.event, other.event, key=FIRST.index),
        why=tuple(dict.fromkeys((*known.why, *other.why))),
        notification=known.notification or other.notification,
        nodes=nodes,
    )

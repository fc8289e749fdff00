"""Write down who is to be told of what. Once written, it is told: sending is another matter.

All messages of one run's end are written in one transaction with the note that it was told, so
that however often, late and in whatever order reactions come, each is written once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from accounts.models import Account, Invitation
from jobsvc import bell
from jobsvc.jobs.models import Job
from jobsvc.notifications import recipients, webhooks
from jobsvc.notifications.deliver import SEND
from jobsvc.notifications.digest import hold
from jobsvc.notifications.events import Standing, events_of, standing_of
from jobsvc.notifications.messages import (
    Message,
    likeness_of,
    message_of_invitation,
    message_of_job,
    message_of_run,
    message_of_webhook,
    moment,
    shortened,
    test_message,
)
from jobsvc.notifications.models import (
    Delivery,
    DeliveryStatus,
    Event,
    Notification,
    Told,
    ToldOfJob,
    WebhookSubscription,
)
from jobsvc.notifications.outcome import outcomes_of
from jobsvc.notifications.recipients import LONGEST_WHY, Recipient
from jobsvc.notifications.unsubscribe import is_muted
from jobsvc.runs.models import Run, RunTransition
from jobsvc.statuses import FINISHED, RunStatus

logger = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=30)  # within which a reaction that is on its way has come
WINDOW = timedelta(days=3)  # older ends are no news any more
MISSED_WINDOW = timedelta(days=1)  # no longer than the shortest time that is remembered
MOST_AT_ONCE = 100  # ends of one sweep


class TestedAMomentAgo(Exception):
    """This notification was tried within the last minute; trying again must wait."""


def tell_of_run(transition_id: int) -> list[Delivery]:
    """Write down who is told of this move of a run, people and webhooks; the mails, if any.

    People are told of ends. Of an end that is about to be retried by itself they are told only
    if nothing comes of that; webhooks are told of every attempt.
    """
    transition = RunTransition.objects.filter(pk=transition_id).exclude(_told()).first()
    if transition is None:
        return []
    relations = ("account", "project", "environment__project", "job__account", "job__project")
    run = Run.objects.select_related("trigger", "job__environment", *relations).get(
        pk=transition.run_id
    )
    transition.run = run
    ended = transition.to_status in FINISHED
    deliveries = _messages_of(run) if ended else []
    try:
        with transaction.atomic():
            _take_note(transition, later=ended and run.will_retry_at is not None)
            webhooks.write_down(transition)
            _write(deliveries)
    except IntegrityError:
        logger.info("somebody else told of a move of run %s at this moment", run.pk)
        return []
    return deliveries


def tell_the_untold() -> None:
    """Tell of recent moves that nobody was told of: the message of them was lost."""
    moment_ = now()
    moves = RunTransition.objects.filter(created_at__range=(moment_ - WINDOW, moment_ - PATIENCE))
    untold = moves.exclude(_told()).order_by("created_at").values_list("pk", flat=True)
    for pk in list(untold[:MOST_AT_ONCE]):
        try:
            tell_of_run(pk)
        except Exception:
            logger.exception("nobody could be told of the move %s of a run", pk)


def tell_of_jobs() -> list[Delivery]:
    """Write down who is told of jobs that were deactivated, or missed their moment."""
    written: list[Delivery] = []
    for job, event, about, sentence in _news_of_jobs():
        try:
            written += _tell_of_job(job, event, about, sentence)
        except Exception:
            logger.exception("nobody could be told that job %s %s", job.pk, event.label)
    return written


def prune(moment: datetime) -> int:
    """Forget what was told of jobs and can be news no more; return how many times that were.

    That a job was deactivated is remembered for as long as it is.
    """
    days = settings.KEEP_DELIVERIES_DAYS
    if days <= 0:
        return 0
    old = ToldOfJob.objects.filter(created_at__lt=moment - timedelta(days=days))
    return old.exclude(event=Event.DEACTIVATED, job__deactivated=True).delete()[0]


def tell_of_webhook(webhook: WebhookSubscription, reason: str) -> list[Delivery]:
    """Write down that a webhook was switched off, for those who can switch it on again.

    To be called in the transaction that switches it off.
    """
    said = message_of_webhook(webhook.name, webhook.account_id, reason)
    key = f"webhook:{webhook.pk}:{webhook.updated_at.isoformat()}"
    why = "You manage this account."
    deliveries = []
    for one in recipients.admins_of(webhook.account, Event.WEBHOOK_OFF, why):
        delivery = _delivery(one, said, account=webhook.account, key=key, likeness=webhook.pk)
        delivery.details = {"webhook": webhook.name, "sentence": reason}
        deliveries.append(delivery)
    _write(deliveries)
    return deliveries


def tell_of_invitation(invitation: Invitation) -> Delivery:
    """Write down that somebody is to be asked by mail to join an account."""
    to = Recipient(
        channel="email",
        address=invitation.email.lower(),
        event=Event.INVITATION,
        why=("Somebody typed your address. If you know nothing of it, do nothing.",),
    )
    delivery = _delivery(
        to,
        message_of_invitation(invitation),
        account=invitation.account,
        key=f"invitation:{invitation.nonce}",
    )
    delivery.details = {"invitation": invitation.pk}
    _write([delivery])
    return delivery


def send_test(notification: Notification) -> Delivery | None:
    """Write down a message that only shows whether it arrives; None where nobody would get it.

    Raises:
        TestedAMomentAgo
    """
    why = "Somebody asked for this test."
    recipient = recipients.to(notification, Event.TEST, why)
    if recipient is None:
        return None
    delivery = _delivery(
        recipient,
        test_message(notification.account.name),
        account=notification.account,
        key=f"test:{notification.pk}:{now():%Y-%m-%dT%H:%M}",
    )
    try:
        with transaction.atomic():
            delivery.save()
    except IntegrityError as error:
        raise TestedAMomentAgo from error
    bell.ring(SEND, delivery.pk)
    return delivery


# --- What ---------------------------------------------------------------------------------


def _told() -> Exists:
    """Whether nothing is left to be told of a move now."""
    awaits_retry = Q(later=True, transition__run__will_retry_at__isnull=False)
    told = Told.objects.filter(Q(later=False) | awaits_retry, transition=OuterRef("pk"))
    return Exists(told)


def _take_note(transition: RunTransition, *, later: bool) -> None:
    """Note that it is told, or that people may be later; fails where that is noted already."""
    if not later and Told.objects.filter(transition=transition, later=True).update(later=False):
        return
    Told.objects.create(transition=transition, later=later)


def _messages_of(run: Run) -> list[Delivery]:
    standing = standing_of(run)
    events = events_of(run, standing)
    if not events:
        return []
    outcomes = outcomes_of(run)
    deliveries = []
    for one in recipients.recipients_of_run(run, events, standing, outcomes):
        theirs = [part for part in outcomes if not one.nodes or part.unique_id in one.nodes]
        said = message_of_run(run, standing=standing, outcomes=theirs)
        likeness = likeness_of(one.event, run.job, theirs, run.status_message)
        delivery = _delivery(one, said, job=run.job, key=f"run:{run.pk}", likeness=likeness)
        delivery.run = run
        delivery.thread = _thread_of(run, standing)
        if one.nodes:
            delivery.details = {"nodes": list(one.nodes)}
        deliveries.append(delivery)
    return deliveries


def _tell_of_job(job: Job, event: Event, about: str, sentence: str) -> list[Delivery]:
    said = message_of_job(job, event, sentence)
    likeness = likeness_of(event, job, [], about)
    deliveries = []
    for one in recipients.recipients_of_job(job, event):
        key = f"job:{job.pk}:{event}:{about}"
        delivery = _delivery(one, said, job=job, key=key, likeness=likeness)
        delivery.details = {"sentence": sentence}
        deliveries.append(delivery)
    try:
        with transaction.atomic():
            ToldOfJob.objects.create(job=job, event=event, about=about)
            webhooks.write_down_of_job(job, event, about)
            _write(deliveries)
    except IntegrityError:
        logger.info("somebody else told of job %s at this moment", job.pk)
        return []
    return deliveries


def _thread_of(run: Run, standing: Standing) -> str:
    """A row of failures and what ends it is one thread; what else is said of a job, another."""
    ends_it = run.status == RunStatus.SUCCESS and standing.failures
    if standing.since is not None and (run.status == RunStatus.ERROR or ends_it):
        return f"job-{run.job_id}-since-{standing.since.pk}"
    return f"job-{run.job_id}"


def _news_of_jobs() -> list[tuple[Job, Event, str, str]]:
    jobs = Job.objects.active().select_related("account", "project", "environment__project")
    news = []
    for job in jobs.filter(deactivated=True):
        reason = job.deactivation_reason or ""
        news.append((job, Event.DEACTIVATED, reason, reason))
    for job in jobs.filter(missed_at__gte=now() - MISSED_WINDOW):
        sentence = (
            f"Its schedule named {moment(job.missed_at)}, and no run was started for that moment. "
            "Start it by hand if it is needed before its next time."
        )
        missed = job.missed_at.isoformat() if job.missed_at else ""
        news.append((job, Event.MISSED_SCHEDULE, missed, sentence))
    known = set(
        ToldOfJob.objects.filter(job__in={job.pk for job, *_ in news}).values_list(
            "job", "event", "about"
        )
    )
    return [one for one in news if (one[0].pk, one[1].value, one[2]) not in known]


# --- Writing ------------------------------------------------------------------------------


def _delivery(
    recipient: Recipient,
    said: Message,
    *,
    key: str,
    job: Job | None = None,
    account: Account | None = None,
    likeness: str = "",
) -> Delivery:
    key = f"{key}:{recipient.key}"
    if len(key) > 400:
        key = hashlib.sha256(key.encode()).hexdigest()
    made = hashlib.sha256(f"{settings.SECRET_KEY}\0{key}".encode()).hexdigest()[:32]
    return Delivery(
        account=account or (job.account if job else None),
        notification=recipient.notification,
        job=job,
        event=recipient.event,
        channel=recipient.channel,
        address=recipient.address,
        key=key,
        why=shortened(" ".join(recipient.why), LONGEST_WHY),
        subject=said.subject,
        message_id=f"<{made}@{urlsplit(settings.SITE_URL).hostname or 'localhost'}>",
        likeness=likeness,
    )


def _write(deliveries: Sequence[Delivery]) -> None:
    """Save messages, and ring for those that are to go out now."""
    for delivery in deliveries:
        asked = delivery.event == Event.INVITATION  # of one person by another: no newsletter
        if not asked and is_muted(delivery.account_id, delivery.address, delivery.job_id):
            delivery.status, delivery.due_at = DeliveryStatus.MUTED, None
        else:
            hold(delivery)
        delivery.save(force_insert=True)
        if delivery.status == DeliveryStatus.WAITING and not delivery.held:
            bell.ring(SEND, delivery.pk)

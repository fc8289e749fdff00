"""How somebody stops mail without signing in, and takes that back.

The link in a mail is signed and says whose mail it is about: that is all it allows.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.core import signing
from django.db.models import Q
from django.urls import reverse

from accounts.models import Account
from jobsvc.jobs.models import Job
from jobsvc.notifications.models import Delivery, Mute

SALT = "jobsvc.notifications.unsubscribe"


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """An address that gets mail of an account, and the job that the link stands for, if any."""

    account: Account
    address: str
    job: Job | None


def link_for(delivery: Delivery, job: Job | None) -> str:
    """The address at which the receiver of ``delivery`` stops mail of ``job``, or of all."""
    said = {"account": delivery.account_id, "address": delivery.address}
    if job is not None:
        said["job"] = job.pk
    token = signing.dumps(said, salt=SALT, compress=True)
    return settings.SITE_URL + reverse("notifications:unsubscribe", args=[token])


def subscription_of(token: str) -> Subscription | None:
    """What a link is about; None if it was not made here, or its account or job is gone."""
    try:
        said = signing.loads(token, salt=SALT)
    except signing.BadSignature:
        return None
    account = Account.objects.filter(pk=said["account"]).first()
    job = Job.objects.of_account(said["account"]).filter(pk=said.get("job")).first()
    if account is None or (job is None and "job" in said):
        return None
    return Subscription(account=account, address=said["address"], job=job)


def mute(subscription: Subscription, *, everything: bool) -> None:
    """No more mail to this address: of the link's job, or of the whole account."""
    Mute.objects.get_or_create(
        account=subscription.account,
        address=subscription.address,
        job=None if everything else subscription.job,
    )


def unmute(subscription: Subscription) -> None:
    """Take back what the link can have stopped."""
    mutes = Mute.objects.filter(account=subscription.account, address=subscription.address)
    mutes.filter(Q(job=None) | Q(job=subscription.job)).delete()


def is_muted(account_id: int, address: str, job_id: int | None) -> bool:
    """Whether ``address`` wants no mail of this job."""
    of = Q(job=None) if job_id is None else Q(job=None) | Q(job=job_id)
    return Mute.objects.filter(of, account=account_id, address=address).exists()

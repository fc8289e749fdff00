"""Mail: one letter, in HTML and in text that say the same, and the door to the mail server."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.template.loader import render_to_string

from jobsvc.notifications.errors import NotTaken, Refused
from jobsvc.notifications.messages import Message, message_of, shortened, subject_of_digest
from jobsvc.notifications.models import Delivery
from jobsvc.notifications.unsubscribe import link_for

TIMEOUT = 20  # seconds that the mail server may take for each of its answers
MOST_IN_FULL = 10  # messages of a digest that are shown whole; the others in one line
LONGEST_ERROR = 500  # characters of what a mail server says
# Of each tone of a look; a mail takes no stylesheet of ours.
COLORS = {"err": "#b42318", "ok": "#157347", "warn": "#9a6700", "mut": "#57606a"}
# What these do is seen by nobody but the operator: no mail leaves the house.
NO_SERVER = (
    "django.core.mail.backends.console.EmailBackend",
    "django.core.mail.backends.dummy.EmailBackend",
)


@dataclass(frozen=True)
class Part:
    """One message within a mail, with why its reader gets it."""

    delivery: Delivery
    message: Message

    @property
    def color(self) -> str:
        return COLORS[self.message.look.tone]


def send(deliveries: Sequence[Delivery]) -> None:
    """Send ``deliveries``, all to one address, as one mail: the first's, which carries the rest.

    Raises:
        NotTaken: there is no mail server just now; it is to be tried again.
        Refused: the server does not want this mail, or none is set up.
    """
    letter = letter_of(deliveries)
    try:
        connection = get_connection(timeout=TIMEOUT)
        letter.connection = connection
        letter.send()
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPConnectError) as error:
        raise NotTaken(_said(error)) from error  # the operator's to repair, then it goes out
    except smtplib.SMTPRecipientsRefused as error:
        code, words = next(iter(error.recipients.values()), (450, b""))
        raise _refusal(code, _text(code, words)) from error
    except smtplib.SMTPResponseException as error:
        raise _refusal(error.smtp_code, _said(error)) from error
    except (smtplib.SMTPException, OSError) as error:
        raise NotTaken(_said(error)) from error
    if settings.EMAIL_BACKEND in NO_SERVER:
        raise Refused(
            "It was not sent: no mail server is set up, so it was only written to the log. "
            "Set JOBSVC_EMAIL_URL."
        )


def letter_of(deliveries: Sequence[Delivery]) -> EmailMultiAlternatives:
    """The mail that ``deliveries`` are, ready to be sent."""
    first = deliveries[0]
    digest = len(deliveries) > 1
    job = first.job if len({one.job_id for one in deliveries}) == 1 else None
    shown = [Part(one, message_of(one)) for one in deliveries[:MOST_IN_FULL]]
    # A preview has no subject yet; what is sent keeps the one that it was written down with.
    own = first.subject or shown[0].message.subject
    subject = subject_of_digest(deliveries) if digest else own
    unsubscribe_url = link_for(first, job)
    context = {
        "subject": subject,
        "parts": shown,
        "briefly": deliveries[MOST_IN_FULL:],
        "digest": digest,
        "job": job,
        "account": first.account,
        "unsubscribe_url": unsubscribe_url,
        "site": settings.SITE_URL,
    }
    letter = EmailMultiAlternatives(
        subject=subject,
        body=render_to_string("notifications/mail.txt", context),
        to=[first.address],
        headers=_headers(first, unsubscribe_url, job.pk if job else None),
    )
    letter.attach_alternative(render_to_string("notifications/mail.html", context), "text/html")
    return letter


def _headers(delivery: Delivery, unsubscribe_url: str, job_id: int | None) -> dict[str, str]:
    host = urlsplit(settings.SITE_URL).hostname or "localhost"
    headers = {
        "Message-ID": delivery.message_id,
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "List-ID": f"<job-{job_id}.{host}>"
        if job_id
        else f"<account-{delivery.account_id}.{host}>",
        "List-Unsubscribe": f"<{unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    if root := _root_of(delivery):
        headers |= {"In-Reply-To": root, "References": root}
    return headers


def _root_of(delivery: Delivery) -> str:
    """The Message-ID of the mail that opened the thread at this address; empty if this one does."""
    if not delivery.thread:
        return ""
    earlier = Delivery.objects.filter(
        account=delivery.account_id,
        address=delivery.address,
        channel=delivery.channel,
        thread=delivery.thread,
        pk__lt=delivery.pk,
    )
    first = earlier.exclude(message_id="").select_related("digest").order_by("pk").first()
    if first is None:
        return ""
    root = first.digest or first  # of a digest the mail is the one that carries it
    return root.message_id if root.pk != delivery.pk else ""


def _refusal(code: int, words: str) -> NotTaken | Refused:
    """4xx is "not now", 5xx is "no", as RFC 5321, section 4.2.1 has it."""
    return Refused(words) if 500 <= code < 600 else NotTaken(words)


def _said(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _text(error.smtp_code, error.smtp_error)
    return shortened(f"The mail server did not answer: {error}.", LONGEST_ERROR)


def _text(code: int, words: bytes | str) -> str:
    said = words.decode(errors="replace") if isinstance(words, bytes) else words
    return shortened(f"The mail server answered {code}: {said}", LONGEST_ERROR)

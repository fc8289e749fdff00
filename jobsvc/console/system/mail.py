"""A mail to oneself, to see whether mail goes out, and what the server says if it does not."""

from __future__ import annotations

import smtplib

from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from jobsvc.console.system.health import Part

SECONDS = 10  # to wait for the server


def send_to(address: str) -> Part:
    """Send a mail there now."""
    where = f"{settings.EMAIL_HOST}:{settings.EMAIL_PORT}" if settings.EMAIL_HOST else ""
    kind = settings.EMAIL_BACKEND.rpartition(".")[0].rpartition(".")[2]
    try:
        EmailMessage(
            "jobsvc: mail works",
            f"Somebody, probably you, has tried this on the system page of {settings.SITE_URL}.",
            to=[address],
            connection=get_connection(timeout=SECONDS),
        ).send()
    except (smtplib.SMTPException, OSError) as error:
        remedy = "Correct JOBSVC_EMAIL_URL, or ask who runs the mail server."
        return Part("Mail", False, f"{where}: {type(error).__name__}: {error}", remedy)
    return Part("Mail", True, f"A mail to {address} was taken by {where or kind} ({kind}).")

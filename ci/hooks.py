"""The address and the secret that a repository's webhook is set up with at its host."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.urls import reverse
from django.utils.timezone import now

from ci.access import full_name_of
from ci.models import RepositoryHook
from environments.models import Repository

SECRET_BYTES = 32
OVERLAP = timedelta(hours=1)  # for which the secret before the last one stays good
# What is to be ticked at the host.
EVENTS = ("Pull requests", "Pushes")


def set_secret(repository: Repository) -> tuple[RepositoryHook, str]:
    """Give ``repository``'s hook, made if need be, a new secret, and return both.

    The secret cannot be had again. The one before it is good for another hour, so that nothing
    is lost while it is changed at the host.

    Raises:
        ValidationError: the repository is at no host whose webhooks are understood.
    """
    if full_name_of(repository.remote_url) is None:
        raise ValidationError(
            f"{repository.remote_url} is not a repository at {settings.GITHUB_URL}, and only "
            "from there webhooks are understood. Start CI runs by the API instead."
        )
    secret = secrets.token_urlsafe(SECRET_BYTES)
    with transaction.atomic():
        hook = RepositoryHook.objects.select_for_update().filter(repository=repository).first()
        if hook is None:
            hook = RepositoryHook(repository=repository)
            hook.secrets = {"current": secret}
        else:
            before = hook.secrets.get("current", "")
            hook.secrets = {"current": secret, "previous": before}
            hook.previous_until = now() + OVERLAP if before else None
        hook.save()
    return hook, secret


def close_hook(hook: RepositoryHook) -> None:
    """Let nobody in any more, until the hook is given a new secret. What was delivered stays."""
    hook.secrets = {}
    hook.previous_until = None
    hook.save()


def secrets_of(hook: RepositoryHook, moment: datetime) -> list[str]:
    """The secrets that a delivery at ``moment`` may be signed with; none of a closed hook."""
    kept = [hook.secrets.get("current")]
    if hook.previous_until is not None and moment < hook.previous_until:
        kept.append(hook.secrets.get("previous"))
    return [secret for secret in kept if secret]


def address_of(hook: RepositoryHook) -> str:
    """Where the host is to post to."""
    return settings.SITE_URL + reverse("ci:github_repository", args=[hook.key])

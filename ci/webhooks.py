"""The door that git hosts knock on: size, signature, shape, one row, and an answer. No more.

Whoever does not know the secret learns nothing: an address that is nobody's answers as a wrong
signature does, and takes as long.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Sequence

from django.conf import settings
from django.http import HttpRequest, JsonResponse, UnreadablePostError
from django.utils.timezone import now
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts import audit
from accounts.audit import AuditEvent
from ci import deliveries, hooks
from ci.models import RepositoryHook
from ci.providers.base import BadDelivery, BadSignature, Event, Head, Ping, provider_for
from jobsvc.statuses import State

REFUSED = "repository_webhook.refused"
CHECKED = 2  # secrets that every signature is compared with, however many there are
NOT_SIGNED = (
    "The signature does not fit. Set the webhook up with this address and the secret that was "
    "shown with it."
)
NOBODYS = [secrets.token_urlsafe(hooks.SECRET_BYTES) for _ in range(CHECKED)]


class TooLarge(Exception):
    """The body has more bytes than are read."""


@csrf_exempt
@require_POST
def github_repository(request: HttpRequest, key: uuid.UUID) -> JsonResponse:
    """A delivery of one repository's own webhook."""

    def find() -> tuple[RepositoryHook | None, Sequence[str]]:
        hook = (
            RepositoryHook.objects.select_related("repository")
            .filter(
                key=key, repository__state=State.ACTIVE, repository__account__state=State.ACTIVE
            )
            .first()
        )
        return hook, [] if hook is None else hooks.secrets_of(hook, now())

    return _receive(request, find)


@csrf_exempt
@require_POST
def github_app(request: HttpRequest) -> JsonResponse:
    """A delivery of the GitHub App, for whichever account has its installation."""
    return _receive(request, lambda: (None, settings.GITHUB_APP_WEBHOOK_SECRETS))


def _receive(
    request: HttpRequest, find: Callable[[], tuple[RepositoryHook | None, Sequence[str]]]
) -> JsonResponse:
    """Answer a delivery; whatever follows from it happens later.

    Args:
        find: the hook that the address is of, and the secrets that are good for it.
    """
    hook: RepositoryHook | None = None
    try:
        body = _body_of(request)
        hook, known = find()
        head, event, text = _read(request, body, known)
    except TooLarge:
        return _answer(413, f"A delivery has at most {settings.WEBHOOK_MAX_BYTES} bytes.")
    except BadSignature:
        if hook is not None:
            _tell_of_refusal(hook, request)
        return _answer(401, NOT_SIGNED)
    except BadDelivery as refused:
        return _answer(400, str(refused))
    if not deliveries.keep(head, event, text, hook):
        return _answer(200, "This delivery was received before.")
    if isinstance(event, Ping):
        return _answer(200, deliveries.REACHED)
    return _answer(202, "Received.")


def _tell_of_refusal(hook: RepositoryHook, request: HttpRequest) -> None:
    """Write down, once for each delivery, that its signature did not fit.

    Only of an address that somebody was given: else whoever can reach us could fill the log.
    """
    name = request.headers.get("X-GitHub-Delivery", "")[:100]
    told = AuditEvent.objects.filter(
        account=hook.repository.account_id,
        target_kind="repositoryhook",
        target_id=str(hook.pk),
        action=REFUSED,
    )
    if not told.filter(differences__delivery=[None, name]).exists():
        account_id = hook.repository.account_id
        audit.record(REFUSED, hook, account_id=account_id, differences={"delivery": [None, name]})


def _read(request: HttpRequest, body: bytes, known: Sequence[str]) -> tuple[Head, Event, str]:
    """What a delivery says, once it is known to be from somebody who knows a secret.

    Raises:
        BadSignature, BadDelivery
    """
    provider = provider_for("github")
    provider.verify(request.headers, body, [*known, *NOBODYS][: max(CHECKED, len(known))])
    head = provider.head_of(request.headers)
    event = provider.read_event(head.event, body)
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise BadDelivery("The delivery is not UTF-8. Send it as that.") from error
    if "\0" in text:  # beside the payload of a form, which nobody reads
        raise BadDelivery("The delivery has a NUL character. Send it without.")
    return head, event, text


def _body_of(request: HttpRequest) -> bytes:
    """The body as it came, never read further than it may be long.

    Raises:
        TooLarge, BadDelivery
    """
    limit = settings.WEBHOOK_MAX_BYTES
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise TooLarge
    try:
        body: bytes = request.read(limit + 1)
    except UnreadablePostError as error:
        raise BadDelivery("The delivery did not arrive whole. Send it again.") from error
    if len(body) > limit:
        raise TooLarge
    return body


def _answer(status: int, message: str) -> JsonResponse:
    return JsonResponse({"message": message}, status=status)

"""The preview of a notification: the last failure as its reader would be told of it."""

from __future__ import annotations

from typing import Any

from csp.constants import SELF
from csp.decorators import csp_update
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import member_of_account, page, seen
from jobsvc.console.views.notifications import notification_of
from jobsvc.notifications.emails import letter_of
from jobsvc.notifications.models import Delivery
from jobsvc.notifications.preview import as_told, body_in_chat
from jobsvc.runs.models import Run
from jobsvc.statuses import RunStatus

# Mail carries its own styles, and the words of databases. Nothing in it is to run or to load.
POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


@require_safe
@csp_update({"frame-src": [SELF]})
@member_of_account()
def notification_preview(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """What would be sent of the newest failure that the visitor may see, in frames."""
    delivery = _delivery(membership, notification_id)
    context: dict[str, Any] = {
        "notification": delivery.notification,
        "run": delivery.run,
        "is_mail": delivery.channel == "email",
    }
    return page(request, membership, "console/notification_preview.html", context)


@require_safe
@xframe_options_sameorigin
@member_of_account()
def notification_message(
    request: HttpRequest, membership: Membership, notification_id: int
) -> HttpResponse:
    """The message itself, for a frame of the preview: as text, or a mail's other part (HTML)."""
    delivery = _delivery(membership, notification_id)
    is_html = request.GET.get("part") == "html"
    if delivery.channel == "email":
        letter = letter_of([delivery])
        [(html, _kind)] = letter.alternatives
        body = html if is_html else f"Subject: {letter.subject}\n\n{letter.body}"
    elif is_html:
        raise Http404
    else:
        body = body_in_chat(delivery)
    kind = "html" if is_html else "plain"
    response = HttpResponse(body, content_type=f"text/{kind}; charset=utf-8")
    response["Content-Security-Policy"] = POLICY
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store"
    return response


def _delivery(membership: Membership, notification_id: int) -> Delivery:
    """Not saved, and as if to the visitor: the link in it would stop their own mail."""
    notification = notification_of(membership, notification_id)
    failed = Run.objects.of_account(membership.account_id).filter(status=RunStatus.ERROR)
    newest = (
        seen(membership, failed)
        .select_related("account", "job__environment", "project", "environment", "trigger")
        .order_by("-pk")
        .first()
    )
    return as_told(notification, newest, address=membership.user.email.lower())

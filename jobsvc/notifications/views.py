"""The page behind "stop these mails": for people without an account here as much as for members."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from jobsvc.notifications.unsubscribe import is_muted, mute, subscription_of, unmute

PAGE = "notifications/unsubscribe.html"


@csrf_exempt  # mail programs post here, without a page of ours before; the link is what allows it
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """A GET asks and changes nothing, for programs look at links before people do; a POST acts.

    Without a ``choice`` a POST is a mail program's one click: it stops what the link stands for.

    Source: RFC 8058, sections 3.1 and 3.2.
    """
    subscription = subscription_of(token)
    if subscription is None:
        return render(request, PAGE, {"subscription": None}, status=404)
    if request.method == "POST":
        match request.POST.get("choice"):
            case "again":
                unmute(subscription)
            case "everything":
                mute(subscription, everything=True)
            case _:
                mute(subscription, everything=False)
    account, address = subscription.account, subscription.address
    job_id = subscription.job.pk if subscription.job else None
    context = {
        "subscription": subscription,
        "all_muted": is_muted(account.pk, address, None),
        "job_muted": is_muted(account.pk, address, job_id),
    }
    return render(request, PAGE, context)

"""Says for the audit log who sends a request, from where, and by which way in."""

from __future__ import annotations

from collections.abc import Callable

from allauth.account.adapter import get_adapter
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse

from accounts import audit
from accounts.audit import Actor
from jobsvc.console.request_id import current

# The begin of an address → who comes by it, and what the way in is called. The rest is pages.
WAYS_IN = (
    ("/api/", "visitor", "api"),  # until a token is shown
    ("/webhooks/", "git host", "webhook"),
    ("/admin", "operator", "admin"),
)


class ActorMiddleware:
    """After the sessions': while a request is answered, what is recorded is its sender's doing.

    Who is signed in is only looked up when something is recorded.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with audit.acting(sender_of(request)):
            return self.get_response(request)


def sender_of(request: HttpRequest) -> Actor:
    """Who sends ``request``, as far as its address tells; of pages whoever is signed in then."""
    ways = (way[1:] for way in WAYS_IN if request.path.startswith(way[0]))
    kind, source = next(ways, ("user", "console"))
    signed_in = source in {"console", "admin"}
    return Actor(
        kind=kind,
        source=source,
        address=address_of(request),
        request_id=current.get(),
        user=(lambda: getattr(request, "user", None)) if signed_in else None,
    )


def address_of(request: HttpRequest) -> str:
    """The IP address asked from, by the rule that sign-ins are limited by; empty if unknown."""
    try:
        return str(get_adapter().get_client_ip(request))
    except (PermissionDenied, ImproperlyConfigured):  # a socket, or fewer proxies than were told
        return ""

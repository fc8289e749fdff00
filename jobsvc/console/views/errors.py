"""Pages that say that something went wrong, and why where that is known; the API's answers, too.

They need no database: that may be what went wrong.
"""

from __future__ import annotations

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template import loader
from django.views import defaults

from jobsvc.pending import Trouble, trouble_of

API = "/api/"
LONGEST_WAIT = 300  # seconds: of what sign-ins and the like are limited by
OURS = (
    "The service could not do this because of a problem of its own. "
    "Try again; if it happens again, tell your administrator the time."
)
NOT_UNDERSTOOD = "The request cannot be understood. Check its host, address and headers."


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's ``handler500``: also where the database is away or behind its migrations."""
    trouble = trouble_of(sys.exc_info()[1])
    if trouble is None:
        if request.path.startswith(API):
            return _in_envelope(500, OURS)
        return defaults.server_error(request)
    return unavailable(request, trouble)


def unavailable(request: HttpRequest, trouble: Trouble) -> HttpResponse:
    """503, with the wait."""
    response: HttpResponse
    if request.path.startswith(API):
        response = _in_envelope(503, str(trouble))
    else:
        page = loader.get_template("503.html")
        context = {"updating": trouble is Trouble.UPDATING, "words": str(trouble)}
        response = HttpResponse(page.render(context), status=503)
    response["Retry-After"] = str(trouble.wait)
    return response


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's ``handler400``."""
    if request.path.startswith(API):
        return _in_envelope(400, NOT_UNDERSTOOD)
    return defaults.bad_request(request, exception)


def too_many(request: HttpRequest) -> HttpResponse:
    """allauth's ``handler429``: somebody tried to sign in, or the like, too often."""
    minutes = LONGEST_WAIT // 60
    response = render(request, "429.html", {"minutes": minutes}, status=429)
    response["Retry-After"] = str(LONGEST_WAIT)
    return response


def _in_envelope(status: int, message: str) -> JsonResponse:
    """As the API answers, where its views were not reached or broke."""
    said = {
        "code": status,
        "is_success": False,
        "user_message": message,
        "developer_message": message,
    }
    return JsonResponse({"status": said, "data": None}, status=status)

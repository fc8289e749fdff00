"""A number for each request, the same on the error page, in the answer's head and in the log."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

HEADER = "X-Request-ID"

current: ContextVar[str] = ContextVar("request_id", default="")


class RequestIdMiddleware:
    """Outermost of all: whatever is said while a request is answered is said under its number.

    The number is made here, never taken from outside, where it could say anything.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        number = secrets.token_hex(8)
        token = current.set(number)
        try:
            response = self.get_response(request)
        finally:
            current.reset(token)
        response[HEADER] = number
        return response


class InLogs(logging.Filter):
    """Gives each line of the log the number of the request that it is about, if any."""

    def filter(self, record: logging.LogRecord) -> bool:
        number = current.get()
        record.request_id = f" [{number}]" if number else ""
        return True

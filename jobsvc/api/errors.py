"""Every error, in the envelope: one sentence what happened, one what to do.

Configured as DRF's ``EXCEPTION_HANDLER``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import PermissionDenied as DjangoPermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import DatabaseError, DataError, IntegrityError, InterfaceError
from django.db.models import ProtectedError
from django.http import Http404
from rest_framework.exceptions import (
    APIException,
    MethodNotAllowed,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    ValidationError,
)
from rest_framework.fields import get_error_detail

from jobsvc.api.answers import Answer
from jobsvc.jobs.chain import Circle
from jobsvc.pending import Trouble, trouble_of

logger = logging.getLogger(__name__)

# What DRF and Django say about any field, with what to do about it.
WORDS = {
    "required": "is missing. Add it to the body.",
    "null": "cannot be null. Give it a value.",
    "blank": "cannot be empty. Give it a value.",
    "not_a_list": "is not a list. Write it in square brackets.",
    "not_a_dict": "is not an object. Write it in braces.",
}
# What DRF says of a wrong kind of value, all under one code, and the same with what to do.
KINDS = {
    "Not a valid string.": "is not a text. Write it in quotes.",
    "A valid integer is required.": "is not a whole number. Write it in digits.",
    "Must be a valid boolean.": "is neither true nor false. Write one of these.",
}
NO_FIELD = {"__all__", "non_field_errors", "detail"}
# Columns that the API calls otherwise.
API_NAMES = {
    "connection": "connection_id",
    "credentials": "credentials_id",
    "deferring_environment": "deferring_environment_id",
    "deferring_job": "deferring_job_definition_id",
    "environment": "environment_id",
    "project": "project_id",
    "repository": "repository_id",
}


class Conflict(APIException):
    """What is asked for does not fit the state that things are in."""

    status_code = 409
    default_code = "conflict"


class Unavailable(APIException):
    status_code = 503
    default_code = "unavailable"
    default_detail = str(Trouble.AWAY)

    def __init__(self, detail: str | None = None, wait: int = Trouble.AWAY.wait) -> None:
        self.wait = wait  # seconds
        super().__init__(detail)


def handle(exception: Exception, context: Mapping[str, Any]) -> Answer:
    """The answer to a request that ended in ``exception``. Never says what only we may know."""
    known = _as_api_exception(exception, context)
    if known is None:
        request = context.get("request")
        logger.error(
            "%s %s failed",
            getattr(request, "method", "?"),
            getattr(request, "path", "?"),
            exc_info=exception,
        )
        return Answer(
            status=500,
            user_message="The service could not do this because of a problem of its own. "
            "Try again; if it happens again, tell your administrator the time.",
        )
    sentences = list(sentences_of(known.detail))
    return Answer(
        status=known.status_code,
        user_message=sentences[0] if sentences else str(known.default_detail),
        developer_message=" ".join(sentences),
        headers=_headers(known, challenge=getattr(exception, "auth_header", None)),
    )


def sentences_of(detail: Any, field: str = "") -> Iterator[str]:
    """Each message in ``detail``, headed by its field, such as ``settings.threads``."""
    if isinstance(detail, dict):
        for name, part in detail.items():
            own = "" if name in NO_FIELD else API_NAMES.get(str(name), str(name))
            yield from sentences_of(part, ".".join(filter(None, [field, own])))
    elif isinstance(detail, list):
        for part in detail:
            yield from sentences_of(part, field)
    elif not field or str(detail).startswith(field):
        yield str(detail)
    elif words := WORDS.get(getattr(detail, "code", "")) or KINDS.get(str(detail)):
        yield f"{field} {words}"
    elif getattr(detail, "code", "") == "invalid_choice":
        yield f"{field}: {detail} Choose one that /api/docs/ names."
    else:
        yield f"{field}: {detail}"


def _as_api_exception(exception: Exception, context: Mapping[str, Any]) -> APIException | None:
    known: APIException | None = None
    match exception:
        case NotAuthenticated():
            known = NotAuthenticated(
                "This address needs a token. Send 'Authorization: Token <token>'."
            )
        case MethodNotAllowed():
            method, allowed = context["request"].method, context["view"].allowed_methods
            known = MethodNotAllowed(
                method, f"{method} is not possible here. Use one of: {', '.join(allowed)}."
            )
        case APIException():
            known = exception
        case Http404():
            known = NotFound(str(exception) or "There is nothing here. Check the address.")
        case DjangoPermissionDenied():
            known = PermissionDenied("This token may not do this. Ask an admin of the account.")
        case DjangoValidationError():
            kind = Conflict if isinstance(exception, Circle) else ValidationError
            known = kind(get_error_detail(exception))
        case ProtectedError():
            known = Conflict("Something still uses this. Delete what uses it first.")
        case IntegrityError():
            known = Conflict(
                "Somebody saved the same thing at this moment. Read it again, then decide."
            )
        case DataError() | OverflowError():
            # Clients take any 400 on a GET for "not found", so it may as well say so.
            if getattr(context.get("request"), "method", "") in {"GET", "HEAD"}:
                known = NotFound("There is nothing here. Check the numbers in the address.")
            else:
                known = ValidationError("A number is too large, or a text too long. Shorten it.")
        case DatabaseError() | InterfaceError() if trouble := trouble_of(exception):
            logger.error("the database did not answer", exc_info=exception)
            known = Unavailable(str(trouble), trouble.wait)
    return known


def _headers(error: APIException, *, challenge: str | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if challenge:
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    return headers

"""The audit log of an account: who did what, when and from where; read, and taken along."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts import audit
from accounts.audit import AuditEvent
from accounts.models import Membership
from accounts.roles import Action
from jobsvc.console.access import is_fragment, member_of_account, page
from jobsvc.console.asked import number
from jobsvc.console.audit_filters import KINDS, read, seen_events
from jobsvc.console.export import Cell, csv_response

PAGE_SIZE = 50  # events
AT_ONCE = 1000  # events that an export reads
HEADING = (
    *("id", "created_at", "action", "actor_kind", "actor_id", "actor_name", "source", "address"),
    *("request_id", "target_kind", "target_id", "target_name", "project_id", "differences"),
)
# Where things can be looked at: of what is there still. The first need their project.
OF_A_PROJECT = {"job": "job", "run": "run", "environment": "environment"}
OF_THE_ACCOUNT = {
    "project": "project_settings",
    "connection": "connection",
    "repository": "repository",
    "notification": "notification",
    "webhooksubscription": "webhook",
    "membership": "member_edit",
}


@dataclass(frozen=True)
class Difference:
    """One field of an event; None where there was or is nothing."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Shown:
    """One event as the page shows it; ``url`` is the target's, empty where it has none."""

    event: AuditEvent
    words: str
    url: str
    differences: list[Difference]


@require_safe
@member_of_account(may=Action.WRITE_ACCOUNT)
def audit_log(request: HttpRequest, membership: Membership) -> HttpResponse:
    """What was done, newest first; ``?before=`` is the cursor, the rest are filters."""
    filters = read(request)
    events = filters.of(seen_events(request, membership))
    if before := number(request, "before"):
        events = events.filter(pk__lt=before)
    rows = list(events[: PAGE_SIZE + 1])
    older = rows[PAGE_SIZE - 1].pk if len(rows) > PAGE_SIZE else None
    context: dict[str, Any] = {
        "shown": [_shown(event, membership) for event in rows[:PAGE_SIZE]],
        "filters": filters,
        "older": filters.query(before=older) if older else "",
    }
    if is_fragment(request):
        return page(request, membership, "console/_audit_events.html", context)
    context |= {
        "kinds": KINDS,
        "days": settings.AUDIT_DAYS,
        "everything": request.user.is_authenticated and request.user.is_superuser,
        "of": rows[0].target_name if rows and filters.is_of_one_thing else "",
    }
    return page(request, membership, "console/audit.html", context)


@require_POST
@member_of_account(may=Action.WRITE_ACCOUNT)
def audit_export(request: HttpRequest, membership: Membership) -> HttpResponseBase:
    """Everything that the filters find, as a file; that it was taken is itself an event."""
    filters, kind = read(request), request.POST.get("format", "")
    if kind not in {"csv", "json"}:
        raise BadRequest("An export is csv or json.")
    told = {"format": [None, kind]} | {name: [None, text] for name, text in filters.given.items()}
    taken = audit.record("audit_log.exported", account_id=membership.account_id, differences=told)
    events = filters.of(seen_events(request, membership)).filter(pk__lt=taken.pk)
    name = f"audit-{membership.account_id}-{taken.created_at:%Y%m%d-%H%M%S}"
    if kind == "csv":
        return csv_response(f"{name}.csv", HEADING, _cells(events))
    response = StreamingHttpResponse(_lines(events), content_type="application/x-ndjson")
    response["Content-Disposition"] = f'attachment; filename="{name}.jsonl"'
    response["Cache-Control"] = "no-store"
    return response


def _cells(events: QuerySet[AuditEvent]) -> Iterator[list[Cell]]:
    for row in _rows(events):
        told = json.dumps(row.pop("differences"), ensure_ascii=False)
        yield [*row.values(), told]


def _lines(events: QuerySet[AuditEvent]) -> Iterator[str]:
    for row in _rows(events):
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _rows(events: QuerySet[AuditEvent]) -> Iterable[dict[str, Any]]:
    for row in events.values(*HEADING).iterator(chunk_size=AT_ONCE):
        yield row | {"created_at": row["created_at"].isoformat()}


def _shown(event: AuditEvent, membership: Membership) -> Shown:
    return Shown(
        event=event,
        words=event.action.replace("_", " ").replace(".", " "),
        url=_url_of(event, membership),
        differences=[_difference(*one) for one in event.differences.items()],
    )


def _difference(field: str, values: Any) -> Difference:
    before, after = values if isinstance(values, list) and len(values) == 2 else (None, values)
    return Difference(field, _text(before), _text(after))


def _text(value: Any) -> str | None:
    """``value`` as people read it: a list one part a line, an object as JSON writes it."""
    if value in (None, "", [], {}):
        return None
    if isinstance(value, list):
        return "\n".join(_text(part) or "nothing" for part in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _url_of(event: AuditEvent, membership: Membership) -> str:
    """The target's page, as far as it has one; another account's or what is gone answers 404."""
    account_id, kind = event.account_id, event.target_kind
    if account_id != membership.account_id or event.action.endswith(".removed"):
        return ""
    if kind in OF_A_PROJECT and event.project_id and event.target_id.isdigit():
        where = [account_id, event.project_id, int(event.target_id)]
        return reverse(f"console:{OF_A_PROJECT[kind]}", args=where)
    if kind in OF_THE_ACCOUNT and event.target_id:
        return reverse(f"console:{OF_THE_ACCOUNT[kind]}", args=[account_id, event.target_id])
    return ""

"""Pages of a list: limit, offset, order, and the counts that clients stop by."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from django.db.models import F, Model, QuerySet
from django.http import QueryDict

from jobsvc.api.fields import whole_number

M = TypeVar("M", bound=Model)
MOST = 100  # rows in a page


def page_of(
    rows: QuerySet[M], parameters: QueryDict, *, account_id: int | None, echoed: dict[str, Any]
) -> tuple[QuerySet[M], dict[str, Any]]:
    """One page of ordered ``rows``, and ``extra`` without its ``order_by``.

    The count and the rows come from one filter, or clients that add pages up would never stop.
    """
    limit = whole_number(parameters.get("limit", ""))
    offset = whole_number(parameters.get("offset", ""))
    limit = min(limit, MOST) if limit and limit > 0 else MOST
    offset = min(offset, 2**62) if offset and offset > 0 else 0
    total = rows.count()
    page = rows[offset : offset + limit]
    filters = echoed | {"limit": limit, "offset": offset}
    if account_id is not None:
        filters["account_id"] = account_id
    pagination = {"count": max(0, min(limit, total - offset)), "total_count": total}
    return page, {"filters": filters, "order_by": None, "pagination": pagination}


def ordered(
    rows: QuerySet[M], parameters: QueryDict, *, fields: Collection[str], default: str = "id"
) -> tuple[QuerySet[M], str]:
    """``rows`` in the order asked for, and that order. Ties are broken by id.

    Args:
        fields: what may be ordered by; anything else gives ``default``.
    """
    asked = (parameters.get("order_by") or "").strip()
    order = asked if asked.removeprefix("-") in {"id", *fields} else default
    name = order.removeprefix("-")
    falling = order.startswith("-")
    if name == "id":
        return rows.order_by(order), order
    column = F(name)
    # Where rows without a value come would otherwise depend on the database.
    first = column.desc(nulls_last=True) if falling else column.asc(nulls_last=True)
    return rows.order_by(first, "-id" if falling else "id"), order

"""``include_related``: which related objects an answer holds, in all five spellings of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request


def included(request: Request) -> frozenset[str]:
    """The names asked for; unknown ones are nobody's business, so they do no harm.

    Read alike: ``a,b``, the parameter given several times, ``["a","b"]``, ``['a', 'b']``
    and ``[a,b]``.
    """
    texts: Iterable[str] = request.query_params.getlist("include_related")
    return frozenset(re.findall(r"[a-z_]+", " ".join(texts)))


class Related(serializers.Field):  # type: ignore[type-arg]  # generic in the stubs alone
    """An object that is null unless ``include_related`` names it.

    Args:
        shape: the serializer of the related object.
        of: dotted path of attributes to it; the field's own name where left out.
        many: it is a list, empty unless asked for. A manager is read with ``all()``.
        always: shown without being asked for.
    """

    def __init__(
        self,
        shape: type[serializers.BaseSerializer[Any]],
        *,
        of: str = "",
        many: bool = False,
        always: bool = False,
    ) -> None:
        super().__init__(read_only=True, source="*")
        self.shape, self.of, self.many, self.always = shape, of, many, always

    def to_representation(self, value: Any) -> Any:
        name = str(self.field_name)
        if not self.always and name not in self.context.get("include", ()):
            return [] if self.many else None
        for part in (self.of or name).split("."):
            value = getattr(value, part, None)
        if value is None:
            return None
        rows = value.all() if self.many and hasattr(value, "all") else value
        # What a related object is related to is not shown: answers stay finite.
        context = {**self.context, "include": frozenset()}
        return self.shape(rows, many=self.many, context=context).data

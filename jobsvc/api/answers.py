"""What a view returns: plain data, and for lists what belongs beside it."""

from __future__ import annotations

from typing import Any

from rest_framework.response import Response


class Answer(Response):
    """Data for the envelope.

    Args:
        data: goes to ``data``; null on errors.
        status: the HTTP status, repeated in the envelope.
        extra: filters, order and pagination; only lists have it.
        user_message: one sentence that says what happened, one what to do.
        developer_message: everything there is to say.
    """

    def __init__(
        self,
        data: Any = None,
        status: int = 200,
        *,
        extra: dict[str, Any] | None = None,
        user_message: str = "Success!",
        developer_message: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(data, status=status, headers=headers)
        self.extra = extra
        self.user_message = user_message
        self.developer_message = developer_message

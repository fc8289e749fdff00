"""The shape of every answer: ``status``, ``data`` and, for lists, ``extra``.

No view knows of it. This module must not import ``rest_framework.views``, which loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.renderers import JSONRenderer


class EnvelopeRenderer(JSONRenderer):
    """Puts what a view returned into dbt Cloud's envelope."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> Any:
        if renderer_context is None:
            raise ValueError("an envelope needs the response it is for")
        response = renderer_context["response"]
        body = {
            "status": {
                "code": response.status_code,
                "is_success": response.status_code < 400,
                "user_message": getattr(response, "user_message", "Success!"),
                "developer_message": getattr(response, "developer_message", ""),
            },
            "data": data,
        }
        if extra := getattr(response, "extra", None):
            body["extra"] = extra
        return super().render(body, accepted_media_type, dict(renderer_context))


class AlwaysTheEnvelope(BaseContentNegotiation):
    """Whatever ``Accept`` says, the answer is the envelope: no client is turned away for it."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type

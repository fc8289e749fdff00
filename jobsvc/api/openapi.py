"""The OpenAPI document, read off the views: the envelope and the errors need no annotation.

A view says ``shape`` (what it answers with) and ``takes`` (the body it reads); a list is a
view whose ``many`` is true. For anything odd, drf-spectacular's ``extend_schema`` works as
usual, and its answers are put into the envelope, too.
"""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerFieldExtension,
)
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

ERRORS = {
    "400": "What was sent is not valid; user_message names the field.",
    "401": "No token, or one that is unknown, revoked or expired.",
    "403": "The token's permission set does not allow this.",
    "404": "There is no such thing in this account.",
}

JSON_TYPES: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    str: {"type": "string"},
    list: {"type": "array", "items": {}},
    dict: {"type": "object"},
}

LIST_PARAMETERS = [
    OpenApiParameter("limit", int, description="Rows in a page, 1 to 100 (default)."),
    OpenApiParameter("offset", int, description="Rows to pass over."),
    OpenApiParameter("order_by", str, description="A field; with a leading - descending."),
    OpenApiParameter("state", str, description="active (default), deleted or all."),
]
INCLUDE = OpenApiParameter(
    "include_related", str, description="Names of related objects, separated by commas."
)


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # untyped base
    target_class = "jobsvc.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of the account; the scheme may be Bearer or Token.",
        }


class RelatedObject(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # as above
    target_class = "jobsvc.api.related.Related"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        reference: dict[str, Any] = auto_schema.resolve_serializer(self.target.shape, direction).ref
        if self.target.many:
            return {"type": "array", "items": reference}
        return {"allOf": [reference], "nullable": True}


class ConstantField(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]  # as above
    target_class = "jobsvc.api.fields.Nothing"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Any) -> dict[str, Any]:
        value = self.target.value
        if value is None:
            return {"nullable": True, "description": "Always null here."}
        schema: dict[str, Any] = {"description": f"Always {value} here."}
        return schema | JSON_TYPES[type(value)]


class EnvelopeSchema(AutoSchema):
    """Documents a view of this API; see this module's docstring."""

    def get_operation(self, *args: Any, **options: Any) -> dict[str, Any] | None:
        operation: dict[str, Any] | None = super().get_operation(*args, **options)
        if operation is None:
            return None
        for parameter in operation.get("parameters", []):
            is_text = parameter["name"] == "id" and getattr(self.view, "text_ids", False)
            if is_text or parameter["in"] != "path":
                continue
            if parameter["name"] != "path":
                parameter["schema"] = {"type": "integer", "minimum": 1}
        self._register("AnswerStatus", _STATUS)
        self._register("ErrorAnswer", _ERROR)
        for code, response in operation["responses"].items():
            body = response.get("content", {}).get("application/json")
            if body is not None and code.startswith("2"):
                body["schema"] = self._enveloped(body.get("schema", {}))
        for code, description in ERRORS.items():
            operation["responses"].setdefault(code, _error(description))
        return operation

    def get_operation_id(self) -> str:
        words = [part.strip("{}") for part in self.path.strip("/").split("/")[1:]]
        return "_".join([self.method.lower(), *words]).replace("-", "_")

    def get_tags(self) -> list[str]:
        words = [part for part in self.path.strip("/").split("/")[1:] if "{" not in part]
        named = [word for word in words[1:] if word != "accounts"]
        return [named[0] if named else words[-1]]

    def get_override_parameters(self) -> list[Any]:
        if self.method != "GET":
            return []
        table = getattr(self.view, "filters", {})
        listed = [OpenApiParameter(name, str) for name in sorted(table)]
        return [INCLUDE, *LIST_PARAMETERS, *listed] if self._is_list else [INCLUDE]

    def get_request_serializer(self) -> Any:
        if self.method in {"GET", "DELETE"}:
            return None
        return getattr(self.view, "takes", None)

    def get_response_serializers(self) -> Any:
        shape = getattr(self.view, "shape", None) or OpenApiTypes.OBJECT
        if self._is_list:
            return shape(many=True) if isinstance(shape, type) else shape
        creates = self.method == "POST" and getattr(self.view, "many", False)
        return {201: shape} if creates else {200: shape}

    @property
    def _is_list(self) -> bool:
        return self.method == "GET" and getattr(self.view, "many", False)

    def _is_list_view(self, serializer: Any = None) -> bool:
        return self._is_list

    def _enveloped(self, data: dict[str, Any]) -> dict[str, Any]:
        properties = {"status": {"$ref": "#/components/schemas/AnswerStatus"}, "data": data}
        if self._is_list:
            properties["extra"] = _EXTRA
        return {"type": "object", "properties": properties, "required": list(properties)}

    def _register(self, name: str, schema: dict[str, Any]) -> None:
        component = cast(Any, ResolvedComponent)  # its constructor has no types
        self.registry.register_on_missing(
            component(name=name, type=component.SCHEMA, schema=schema, object=name)
        )


_STATUS = {
    "type": "object",
    "properties": {
        "code": {"type": "integer"},
        "is_success": {"type": "boolean"},
        "user_message": {"type": "string"},
        "developer_message": {"type": "string"},
    },
    "required": ["code", "is_success", "user_message", "developer_message"],
}
_ERROR = {
    "type": "object",
    "properties": {
        "status": {"$ref": "#/components/schemas/AnswerStatus"},
        "data": {"nullable": True},
    },
    "required": ["status", "data"],
}
_EXTRA = {
    "type": "object",
    "properties": {
        "filters": {"type": "object", "additionalProperties": {}},
        "order_by": {"type": "string", "nullable": True},
        "pagination": {
            "type": "object",
            "properties": {"count": {"type": "integer"}, "total_count": {"type": "integer"}},
        },
    },
}


def _error(description: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/ErrorAnswer"}
    return {"description": description, "content": {"application/json": {"schema": reference}}}

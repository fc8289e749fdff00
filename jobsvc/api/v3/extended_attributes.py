"""Extended attributes: keys that override those of the generated profile."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers
from rest_framework.request import Request

from accounts.roles import Action
from environments.define import define_extended_attributes, delete_extended_attributes
from environments.models import ExtendedAttributes
from jobsvc.api.answers import Answer
from jobsvc.api.base import Body, Creates, Lists, Reads, Resource, Shape, Updates
from jobsvc.api.fields import IdField
from jobsvc.api.routes import both
from jobsvc.api.v3.filling import fill


class ExtendedAttributesShape(Shape[ExtendedAttributes]):
    account_id = IdField(read_only=True)
    project_id = IdField(read_only=True)

    class Meta:
        model = ExtendedAttributes
        fields: ClassVar = [
            "id",
            "account_id",
            "project_id",
            "extended_attributes",
            "state",
            "created_at",
            "updated_at",
        ]


class ExtendedAttributesBody(Body):
    extended_attributes = serializers.DictField(help_text="At most 4096 bytes of JSON.")


class _ExtendedAttributes(Resource[ExtendedAttributes]):
    name = "extended attributes"
    shape = ExtendedAttributesShape
    takes = ExtendedAttributesBody
    writes = Action.WRITE_SETTINGS

    def rows(self) -> QuerySet[ExtendedAttributes]:
        return ExtendedAttributes.objects.filter(project=self.project)


class AllExtendedAttributes(
    Creates[ExtendedAttributes], Lists[ExtendedAttributes], _ExtendedAttributes
):
    """The extended attributes of a project."""

    def create(self, values: dict[str, Any]) -> ExtendedAttributes:
        row = ExtendedAttributes(account=self.account, project=self.project)
        return define_extended_attributes(fill(row, values))


class OneExtendedAttributes(
    Updates[ExtendedAttributes], Reads[ExtendedAttributes], _ExtendedAttributes
):
    """One of them. POST and PATCH alike replace the whole object."""

    def update(self, row: ExtendedAttributes, values: dict[str, Any]) -> ExtendedAttributes:
        return define_extended_attributes(fill(row, values))

    def delete_row(self, row: ExtendedAttributes) -> ExtendedAttributes:
        return delete_extended_attributes(row)

    def patch(self, request: Request, **path: Any) -> Answer:
        return self.post(request, **path)


_BASE = "accounts/<id:account_id>/projects/<id:project_id>/extended-attributes"

urlpatterns = [
    *both(_BASE, AllExtendedAttributes),
    *both(f"{_BASE}/<id:pk>", OneExtendedAttributes),
]

"""What the views of a tag file are made of.

A tag file (``v2/jobs.py``) holds serializers and two or three views. A view is look up,
validate, call the verb, serialize; the parts below do the first and the last::

    class EnvironmentShape(Shape[Environment]):          # what goes out
        project_id = IdField(read_only=True)
        project = Related(ProjectShape)                  # null unless include_related names it

        class Meta:
            model = Environment
            fields = ["id", "project_id", "name", "project", "state", "created_at"]


    class EnvironmentBody(Body):                         # what comes in; unknown keys are ignored
        name = serializers.CharField(max_length=255)
        custom_branch = OptionalText(max_length=255)


    class _Environments(Resource[Environment]):
        name = "environment"                             # for the words of a 404
        shape = EnvironmentShape
        takes = EnvironmentBody
        writes = Action.WRITE_SETTINGS                   # what POST and DELETE need

        def rows(self):                                  # all of the account's, deleted ones, too
            return Environment.objects.of_account(self.account_id).select_related("project")


    class Environments(Creates[Environment], Lists[Environment], _Environments):
        filters = {"name__icontains": text("name__icontains")}
        orders = ["name"]

        def create(self, values):                        # values: EnvironmentBody's
            environment = Environment(project=self.project, **values)
            environment.full_clean()
            environment.save()
            return environment


    class OneEnvironment(Updates[Environment], Deletes[Environment], Reads[Environment],
                         _Environments):
        def update(self, row, values): ...               # values: only the keys that were sent
        def delete_row(self, row): ...                   # default: state 2, saved

    urlpatterns = [
        *both("accounts/<id:account_id>/environments", Environments),
        *both("accounts/<id:account_id>/environments/<id:pk>", OneEnvironment),
    ]

``Updates`` reads a POST with ``state`` 2 as a deletion, and answers DELETE and it alike: 200
with the object. A row that is deleted, or another account's, is a 404.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from typing import Any, ClassVar, Generic, TypeVar

from django.db import models
from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.exceptions import (
    ErrorDetail,
    NotFound,
    ParseError,
    PermissionDenied,
    ValidationError,
)
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.models import Account, Token
from accounts.roles import Action
from environments.models import Project
from jobsvc.api.answers import Answer
from jobsvc.api.envelope import AlwaysTheEnvelope
from jobsvc.api.fields import MomentField, whole_number
from jobsvc.api.filters import Filter, narrow, wanted_state
from jobsvc.api.openapi import EnvelopeSchema
from jobsvc.api.pagination import ordered, page_of
from jobsvc.api.permissions import needed_for
from jobsvc.api.related import included
from jobsvc.statuses import State

M = TypeVar("M", bound=Model)
Rows = TypeVar("Rows", bound=QuerySet[Any])

NAME_A_ROW = frozenset({"pk", "repository_id"})  # of an address


class Shape(serializers.ModelSerializer[M]):
    """What an object looks like on the wire. Its times all have one form."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.DateTimeField: MomentField
    }


class Body(serializers.Serializer[Any]):
    """What a request may hold. Unknown and read-only keys are ignored, for clients send them.

    Null is "not given" on create. On an update, where ``validated_data`` has only the keys
    that were sent, it is the field's default (None where it names none).

    Attributes:
        whole: of an object within a body; it is replaced as one, so that an update, too, must
            give what is required.
    """

    whole: ClassVar[bool] = False

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("Give an object, in braces.")
        given = {key: value for key, value in data.items() if value is not None}
        if self.whole:
            self._require(given)
        values: dict[str, Any] = super().to_internal_value(given)
        if self.root.partial:
            values |= self._put_back(data)
        return values

    def _require(self, given: Mapping[str, Any]) -> None:
        missing = [
            name for name, field in self.fields.items() if field.required and name not in given
        ]
        if missing:
            raise ValidationError({name: [ErrorDetail("", code="required")] for name in missing})

    def _put_back(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """The defaults of the fields that were sent as null."""
        defaults: dict[str, Any] = {}
        for name, field in self.fields.items():
            if name not in data or data[name] is not None or field.read_only:
                continue
            if field.required:
                raise ValidationError({name: [ErrorDetail("", code="null")]})
            default = None if field.default is serializers.empty else field.default
            defaults[str(field.source)] = default() if callable(default) else default
        return defaults


class AccountView(APIView):
    """One address of an account.

    Attributes:
        writes: what anything but reading needs.
        own: what is here is the token's own, or its owner's: it lies in no project, and whoever
            may do anything in the account may do this.
        placed: a request that changes something without naming a row says in its body where
            that belongs, and the view calls ``check_place``. Without it, it is the project of
            the path, or the whole account.
    """

    writes: ClassVar[Action | None] = None
    own: ClassVar[bool] = False
    placed: ClassVar[bool] = False
    schema = EnvelopeSchema()
    metadata_class = None  # OPTIONS tells nothing
    content_negotiation_class = AlwaysTheEnvelope

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse what the token may not do, and a project that the account does not have."""
        super().initial(request, *args, **kwargs)
        if "project_id" in kwargs:
            self.project  # noqa: B018 - looked up here, so that no view can leave it out
        names_a_row = kwargs.keys() & NAME_A_ROW  # which ``find`` then checks
        if request.method not in SAFE_METHODS and not names_a_row and not self.placed:
            self.check_place(self.project if "project_id" in kwargs else None)

    @property
    def token(self) -> Token:
        """The token that was sent, with its account and owner."""
        token = self.request.auth
        if not isinstance(token, Token):
            raise TypeError("a view without a token asked for it")
        return token

    @property
    def account(self) -> Account:
        return self.token.account

    @property
    def account_id(self) -> int:
        """The account of the path, which the permission has found to be the token's."""
        return self.token.account_id

    @property
    def body(self) -> dict[str, Any]:
        """The request's body, an object; nothing and null are ``{}``."""
        data = self.request.data
        if not isinstance(data, Mapping):
            raise ParseError("The body is not an object. Send a JSON object, such as {}.")
        return dict(data)

    @cached_property
    def project(self) -> Project:
        """The active project that the path names; 404 without one."""
        rows: QuerySet[Project] = Project.objects.of_account(self.account_id).active()
        return self._look_up(rows, self.kwargs["project_id"], "project")

    def seen(self, rows: Rows, action: Action = Action.READ) -> Rows:
        """Those of ``rows``, which are the account's, that the token may see, or do ``action`` to.

        Whatever a body or a query names is looked for among these.
        """
        return rows if self.own else self.token.access.rows(rows, action)

    def find(self, rows: QuerySet[M], pk: int | str, name: str) -> M:
        """The row ``pk`` of ``rows``, which the caller has cut down to the account's.

        Raises:
            NotFound: there is none that the token may see.
            PermissionDenied: the token may see it, but not do to it what the request does.
        """
        row = self._look_up(rows, pk, name)
        self.check_place(row)
        return row

    def _look_up(self, rows: QuerySet[M], pk: int | str, name: str) -> M:
        row = self.seen(rows).filter(pk=pk).first()
        if row is None:
            raise NotFound(
                f"This account has no {name} {pk}. Check the id, or whether it was deleted."
            )
        return row

    def check_place(self, row: Model | None) -> None:
        """Refuse a request that changes where ``row`` is unless the token may do that there.

        Args:
            row: None is the account as a whole.

        Raises:
            PermissionDenied
        """
        needed = needed_for(self.request, self)
        if needed is not None and not self.own and not self.token.may(needed, row):
            raise PermissionDenied(
                f"This token may not {needed.label} there. "
                "Ask an admin of the account for one with a permission set that allows it."
            )


class Resource(AccountView, Generic[M]):
    """What the views of one kind of object share; see the module's docstring."""

    name: ClassVar[str]
    shape: ClassVar[type[serializers.BaseSerializer[Any]]]
    takes: ClassVar[type[serializers.Serializer[Any]] | None] = None
    filters: ClassVar[Mapping[str, Filter]] = {}
    orders: ClassVar[Collection[str]] = ()
    many = False
    text_ids: ClassVar[bool] = False  # ``pk`` in the address is a text, not a number

    def rows(self) -> QuerySet[M]:
        """All rows of the account (and of the project, where the path names one)."""
        raise NotImplementedError("a view says which rows it shows")

    def row(self) -> M:
        """The row that the path names, unless it is deleted."""
        return self.find(self._in_state(self.rows(), State.ACTIVE), self.kwargs["pk"], self.name)

    def context(self) -> dict[str, Any]:
        """What shapes may ask for: the names of ``include_related``, and whether it is a list."""
        return {"include": included(self.request), "many": self.many}

    def prepare(self, rows: list[M], include: Collection[str]) -> None:
        """Fetch for all ``rows`` at once what their shape shows beside their own columns."""

    def show(self, row: M, **context: Any) -> Any:
        context = self.context() | context
        self.prepare([row], context["include"])
        return self.shape(row, context=context).data

    def values(self, *, partial: bool) -> dict[str, Any]:
        """The body's values, checked by ``takes``.

        Raises:
            ValidationError: a value cannot be used, or contradicts the path.
        """
        if self.takes is None:
            raise NotImplementedError("a view that reads a body says what it takes")
        given = self.body
        self._check_ids(given)
        body = self.takes(data=given, partial=partial, context={"view": self})
        body.is_valid(raise_exception=True)
        return dict(body.validated_data)

    def _check_ids(self, given: Mapping[str, Any]) -> None:
        named = {**self.kwargs, "id": self.kwargs.get("pk")}
        for key in ("account_id", "project_id", "id"):
            value, expected = given.get(key), named.get(key)
            if value in (None, "") or expected is None:
                continue
            if whole_number(value) != expected:
                raise ValidationError(
                    {key: f"The address says {expected}. Say the same here, or leave it out."}
                )

    def _in_state(self, rows: QuerySet[M], state: State | None) -> QuerySet[M]:
        if state is None or not _has_state(rows.model):
            return rows if state is not State.DELETED else rows.none()
        return rows.filter(state=state)


class Lists(Resource[M]):
    """GET answers with a page of ``rows``."""

    many = True
    order = "id"

    def get(self, request: Request, **path: Any) -> Answer:
        parameters = request.query_params
        state = wanted_state(parameters)
        seen = self._in_state(self.seen(self.rows()), state)
        rows, echoed = narrow(seen, parameters, self.filters)
        if parameters.get("state"):
            echoed["state"] = "all" if state is None else int(state)
        rows, order = ordered(
            rows,
            parameters,
            fields={"created_at", "updated_at", *self.orders},
            default=self.order,
        )
        page, extra = page_of(
            rows, parameters, account_id=self.kwargs.get("account_id"), echoed=echoed
        )
        shown, context = list(page), self.context()
        self.prepare(shown, context["include"])
        data = self.shape(shown, many=True, context=context).data
        return Answer(data, extra=extra | {"order_by": order})


class Creates(Resource[M]):
    """POST to a list makes an object: 201."""

    def create(self, values: dict[str, Any]) -> M:
        """Save a new row and return it."""
        raise NotImplementedError("a view that creates says how")

    def post(self, request: Request, **path: Any) -> Answer:
        row = self.create(self.values(partial=False))
        return Answer(self.show(self.rows().get(pk=row.pk), many=False), 201)


class Reads(Resource[M]):
    """GET answers with the row of the path."""

    def get(self, request: Request, **path: Any) -> Answer:
        return Answer(self.show(self.row()))


class Deletes(Resource[M]):
    """DELETE answers 200 with the object, its state 2: clients read the body."""

    def delete_row(self, row: M) -> M:
        """Mark the row as deleted."""
        row.state = State.DELETED  # type: ignore[attr-defined]  # every model here has it
        row.save(update_fields=["state", "updated_at"])
        return row

    def delete(self, request: Request, **path: Any) -> Answer:
        return Answer(self.show(self.delete_row(self.row())))


class Updates(Deletes[M]):
    """POST to one object changes it; with ``state`` 2 it deletes it."""

    def update(self, row: M, values: dict[str, Any]) -> M:
        """Save the row changed and return it."""
        raise NotImplementedError("a view that updates says how")

    def post(self, request: Request, **path: Any) -> Answer:
        row = self.row()
        if whole_number(self.body.get("state")) == State.DELETED:
            return self.delete(request, **path)
        row = self.update(row, self.values(partial=True))
        return Answer(self.show(self.rows().get(pk=row.pk)))


def _has_state(model: type[Model]) -> bool:
    return any(field.name == "state" for field in model._meta.get_fields())

"""What a token may do: its own account only, and there what its permission set allows."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import NotFound, PermissionDenied
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from accounts.models import Token
from accounts.roles import Action


def needed_for(request: Request, view: Any) -> Action | None:
    """What the request needs; None where nobody may do it."""
    if request.method in SAFE_METHODS:
        return Action.READ
    writes: Action | None = getattr(view, "writes", None)
    return writes


class AccountPermission(BasePermission):
    """Reading needs ``Action.READ``; anything else needs the view's ``writes``.

    A view that names no ``writes`` can only be read. Another account is a 404, not a 403,
    so that nobody learns which ids exist.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        token = request.auth
        if not isinstance(token, Token):
            return False
        account_id = view.kwargs.get("account_id")
        if account_id is not None and account_id != token.account_id:
            raise NotFound(
                f"This token has no account {account_id}. "
                "Check the account id in the address, or use a token of that account."
            )
        method = (request.method or "").lower()
        if method not in {"head", "options"} and not hasattr(view, method):
            return True  # the view answers 405, which says more than a missing permission
        needed = needed_for(request, view)
        access, project_id = token.access, view.kwargs.get("project_id")
        reads = access.may_somewhere(Action.READ)
        if reads and project_id and not access.may_somewhere(Action.READ, project_id):
            raise NotFound(
                f"This account has no project {project_id}. "
                "Check the id, or whether it was deleted."
            )
        # Where in the account is seen when the view has found its rows: AccountView.find.
        if needed is None or not access.may_somewhere(needed, project_id):
            raise PermissionDenied(
                f"This token may not {Action(needed).label if needed else 'do this'}. "
                "Ask an admin of the account for one with a permission set that allows it."
            )
        return True

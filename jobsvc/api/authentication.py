"""Who is asking: ``Authorization: Token …`` or ``Bearer …``, which mean the same."""

from __future__ import annotations

from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts import audit
from accounts.models import Token, User

SCHEMES = {"token", "bearer"}


class TokenAuthentication(BaseAuthentication):
    """Sets ``request.auth`` to the Token; ``request.user`` to its owner, if it has one."""

    def authenticate(self, request: Request) -> tuple[User | AnonymousUser, Token] | None:
        header = request.headers.get("Authorization", "").split()
        if not header:
            return None
        if len(header) != 2 or header[0].lower() not in SCHEMES:
            raise AuthenticationFailed(
                "The Authorization header cannot be read. Send 'Authorization: Token <token>'."
            )
        token = Token.objects.find(header[1])
        if token is None:
            raise AuthenticationFailed(
                "This token is unknown, revoked or expired. Send one that is valid."
            )
        token.note_use(audit.actor().address)
        owner = f" of {token.user}" if token.user else ""
        audit.acts_by_token(token.pk, f"{token}{owner}")
        return token.user or AnonymousUser(), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="jobsvc"'

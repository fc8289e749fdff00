"""How people come in: an administrator adds them; nobody signs up by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import get_authentication_records
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.http import HttpRequest, HttpResponse

from accounts.heard import tell_of
from accounts.models import User

LAST_WAY = "way_in"  # the cookie that remembers how somebody came in last
LAST_WAY_KEPT = timedelta(days=365)


class ClosedSignUp(DefaultAccountAdapter):  # type: ignore[misc] # allauth publishes no types
    error_messages: ClassVar[dict[str, Any]] = {
        **DefaultAccountAdapter.error_messages,
        "too_many_login_attempts": "Too many attempts to sign in failed, so this one was not "
        "looked at. Wait five minutes, then try again.",
    }

    def post_login(self, request: HttpRequest, user: User, **options: Any) -> HttpResponse:
        """As allauth does it, and remember in the browser by which way."""
        response: HttpResponse = super().post_login(request, user, **options)
        if way := _way_in(request, user):
            response.set_cookie(
                LAST_WAY,
                way,
                max_age=LAST_WAY_KEPT,
                samesite="Lax",
                secure=request.is_secure(),
                httponly=True,
            )
        return response

    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - its signature
        return False


def _way_in(request: HttpRequest, user: User) -> str:
    """``password``, ``passkey`` or a provider's id: by what this session began."""
    first: dict[str, Any] = next(iter(get_authentication_records(request, user)), {})
    if first.get("method") == "socialaccount":
        return str(first.get("provider", ""))
    return {"password": "password", "mfa": "passkey"}.get(first.get("method", ""), "")


class MembersOnly(DefaultSocialAccountAdapter):  # type: ignore[misc] # allauth publishes no types
    """Sign-in by others' accounts: for users that are here already, never for new ones."""

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        """The user whose address, which an administrator gave, the provider has verified.

        Not one who wrote that address beside their own: anybody can.
        """
        for address in sociallogin.email_addresses:
            if address.verified and self.can_authenticate_by_email(sociallogin, address.email):
                user = User.objects.filter(email__iexact=address.email, is_active=True).first()
                if user is not None:
                    return user, address.email
        return None

    def is_open_for_signup(
        self,
        request: HttpRequest,  # noqa: ARG002 - its signature
        sociallogin: SocialLogin,  # noqa: ARG002 - its signature
    ) -> bool:
        return False


class Sessions(DefaultUserSessionsAdapter):  # type: ignore[misc] # allauth publishes no types
    """Sessions on other machines, which their owner can end."""

    def end_sessions(self, sessions: Iterable[UserSession]) -> None:
        for session in sessions:
            session.end()
            tell_of(session.user, "login.session_ended", {"address": [session.ip, None]})

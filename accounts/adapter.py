"""How people come in: an administrator adds them; nobody signs up by themselves."""

from __future__ import annotations

from collections.abc import Iterable

from allauth.account.adapter import DefaultAccountAdapter
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.usersessions.adapter import DefaultUserSessionsAdapter
from allauth.usersessions.models import UserSession
from django.http import HttpRequest

from accounts.heard import tell_of
from accounts.models import User


class ClosedSignUp(DefaultAccountAdapter):  # type: ignore[misc] # allauth publishes no types
    def is_open_for_signup(self, request: HttpRequest) -> bool:  # noqa: ARG002 - its signature
        return False


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

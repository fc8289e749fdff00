"""What somebody sets for themselves: name, time zone, look, sign-in, and mail not wanted."""

from __future__ import annotations

from typing import Any, cast
from zoneinfo import available_timezones

from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import Membership, Token, User
from jobsvc.notifications.models import Mute
from jobsvc.statuses import State


class ProfileForm(forms.ModelForm[User]):
    class Meta:
        model = User
        fields = ["first_name", "last_name", "time_zone", "date_style", "shortcuts"]
        labels = {"shortcuts": "Single keys are shortcuts"}

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        zones = [(name, name) for name in sorted(available_timezones())]
        self.fields["time_zone"] = forms.ChoiceField(
            choices=[("", "The browser's own"), *zones], required=False, label="Time zone"
        )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """All of it on one page; POST changes name and time zone."""
    user = _visitor(request)
    form = ProfileForm(request.POST or None, instance=user)
    if request.method == "POST" and form.is_valid():
        form.save()
        messages.success(request, "Your profile is saved.")
        return redirect("console:profile")
    kinds = list(
        Authenticator.objects.filter(user=user).exclude(type=Authenticator.Type.RECOVERY_CODES)
    )
    context = {
        "form": form,
        "memberships": _memberships(user),
        "factors": len(kinds),
        "sessions": UserSession.objects.filter(user=user).count(),
        "providers": bool(settings.SOCIALACCOUNT_PROVIDERS),
        "mutes": Mute.objects.filter(
            address__iexact=user.email, account__memberships__user=user
        ).select_related("account", "job"),
        "theme": request.COOKIES.get("theme", ""),
    }
    response = render(request, "console/profile.html", context)
    response["Cache-Control"] = "no-store"
    return response


@login_required
@require_POST
def unmute(request: HttpRequest, mute_id: int) -> HttpResponse:
    """Let mail come again that this visitor once stopped."""
    user = _visitor(request)
    own = Mute.objects.filter(address__iexact=user.email, account__memberships__user=user)
    mute = get_object_or_404(own, pk=mute_id)
    mute.delete()
    messages.success(request, f"Mail of {mute.job or mute.account} comes again.")
    return redirect("console:profile")


def _memberships(user: User) -> QuerySet[Membership]:
    """Where this person is, each with how many tokens of their own work there."""
    usable = Token.objects.usable().filter(user=user, account=OuterRef("account")).order_by()
    number = usable.values("account").annotate(number=Count("pk")).values("number")
    return (
        Membership.objects.active()
        .filter(user=user, account__state=State.ACTIVE)
        .annotate(tokens_here=Coalesce(Subquery(number), 0))
        .select_related("account")
        .order_by("account__name", "pk")
    )


def _visitor(request: HttpRequest) -> User:
    """Who asks, read anew: a form that is refused must not change the name in the page's frame."""
    return User.objects.get(pk=cast(User, request.user).pk)

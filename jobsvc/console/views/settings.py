"""The settings of an account: what there is to set, and where."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from accounts.models import Membership
from jobsvc.console.access import member_of_account, page


@require_safe
@member_of_account()
def settings_home(request: HttpRequest, membership: Membership) -> HttpResponse:
    """Every place that this member may see, with what is found there."""
    return page(request, membership, "console/settings_home.html", {})

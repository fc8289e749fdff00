"""Every address of the service: the API, the console, the operator's admin, the probes."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView
from health_check.views import HealthCheckView

handler400 = "jobsvc.console.views.errors.bad_request"
handler500 = "jobsvc.console.views.errors.server_error"
handler429 = "jobsvc.console.views.errors.too_many"  # allauth asks for this one

urlpatterns = [
    path("api/", include("jobsvc.api.urls")),
    path("webhooks/", include("ci.urls")),
    path("notifications/", include("jobsvc.notifications.urls")),
    path("admin/", admin.site.urls),
    # An address is what somebody is let in by: administrators give it, nobody changes their own.
    path("accounts/email/", RedirectView.as_view(pattern_name="console:profile")),
    path("accounts/", include("allauth.urls")),
    path("livez", HealthCheckView.as_view(checks=[])),
    path("readyz", HealthCheckView.as_view(checks=["health_check.Database"])),
    path("", include("jobsvc.console.urls")),
]

"""Addresses that mails lead to, below ``/notifications/``."""

from __future__ import annotations

from django.urls import path

from jobsvc.notifications import views

app_name = "notifications"

urlpatterns = [
    path("unsubscribe/<str:token>/", views.unsubscribe, name="unsubscribe"),
    path("unsubscribe/<str:token>", views.unsubscribe),
]

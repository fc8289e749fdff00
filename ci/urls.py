"""Addresses that git hosts post to, below ``/webhooks/``."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []

"""Addresses of version 2, below ``/api/v2/``."""

from __future__ import annotations

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []

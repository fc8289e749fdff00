"""Visitors of the console, and a headless browser for what only a browser shows."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import Account
from accounts.roles import PermissionSet
from tests.factories import MembershipFactory


@pytest.fixture
def visitor_of(db: None) -> Callable[..., Client]:
    """``visitor_of(account)`` is signed in as an owner; ``visitor_of(account, "job_viewer")``."""

    def make(account: Account, permission_set: str = PermissionSet.OWNER) -> Client:
        client = Client()
        client.force_login(MembershipFactory(account=account, permission_set=permission_set).user)
        return client

    return make


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The system's Chromium, where it has one; it runs as root and speaks to nobody else."""
    found = [path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))]
    return {
        **browser_type_launch_args,
        **({"executable_path": found[0]} if found else {}),
        "args": [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }

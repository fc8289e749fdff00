"""Visitors of the console."""

from __future__ import annotations

from collections.abc import Callable

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

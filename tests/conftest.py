"""What every room's tests share: a client that holds a token, and a look at the doorbell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from rest_framework.test import APIClient

from accounts.models import Account
from accounts.roles import PermissionSet
from tests.factories import AccountFactory, token_of
from tests.fakes.receiver import Receiver, receiving
from tests.installation import templates


class JSONClient(APIClient):
    """Sends JSON, as all clients of this API do, unless a call says otherwise."""

    def _encode_data(
        self, data: Any, format: str | None = None, content_type: str | None = None
    ) -> tuple[Any, str | None]:
        if format is None and content_type is None:
            format = "json"
        return super()._encode_data(data, format, content_type)


def client_with(token: str = "", scheme: str = "Token") -> JSONClient:
    """A client that sends ``token``, or none."""
    client = JSONClient()
    if token:
        client.credentials(HTTP_AUTHORIZATION=f"{scheme} {token}")
    return client


@pytest.fixture(scope="session", autouse=True)
def no_template_stays() -> Iterator[None]:
    """What installations' databases were copied from goes with the last test."""
    yield
    templates.forget()


@pytest.fixture
def account(db: None) -> Account:
    return AccountFactory()


@pytest.fixture
def client_of(db: None) -> Callable[..., JSONClient]:
    """``client_of(account)`` may do everything there; ``client_of(account, "job_viewer")`` not."""

    def make(account: Account, permission_set: str = PermissionSet.OWNER) -> JSONClient:
        return client_with(token_of(account, permission_set))

    return make


@pytest.fixture
def api(account: Account, client_of: Callable[..., JSONClient]) -> JSONClient:
    """A client of ``account`` that may do everything there."""
    return client_of(account)


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    """A receiver of webhooks on loopback, where requests of ours may go in this test."""
    settings.OUTBOUND_NETWORKS = ["127.0.0.0/8"]
    with receiving() as made:
        yield made


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What was told to the broker, in order: (task's short name, arguments …). None is needed."""
    told: list[tuple[Any, ...]] = []

    def send_task(app: Celery, name: str, args: Any = (), **options: Any) -> None:
        told.append((name.rpartition(".")[2], *args))

    monkeypatch.setattr(Celery, "send_task", send_task)
    return told


@pytest.fixture(autouse=True)
def files_of_its_own(settings: Any, tmp_path: Path) -> None:
    """Each test stores artifacts in a folder of its own; static files need no collecting."""
    settings.STORAGES = {
        **settings.STORAGES,
        "artifacts": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "artifacts"), "base_url": None},
        },
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    # What protects a stored password costs a tenth of a second, in every test that signs in.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

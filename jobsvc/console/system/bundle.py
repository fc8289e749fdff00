"""A zip for whoever supports this installation: facts and failures, and no secret.

Settings are named one by one: what is new here is not in it by itself. Values that are secret
are masked wherever they stand, whatever put them there.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.utils.timezone import now

from ci.models import Report
from jobsvc.console.system import health, room, versions
from jobsvc.console.system.warnings import Recent
from jobsvc.engine.plan import FailureClass
from jobsvc.engine.redact import Redactor
from jobsvc.notifications.models import Delivery, DeliveryStatus, Dispatch
from jobsvc.pending import pending_migrations
from jobsvc.runs.models import Run, ToolchainChange, WorkState

MOST = 50  # rows of each kind
LATELY = timedelta(days=7)
TOLD = (
    *("MODE", "DEBUG", "SITE_URL", "ALLOWED_HOSTS", "LOG_LEVEL", "TIME_ZONE", "VERSION"),
    *("DATA_DIR", "WORKSPACES_DIR", "WAREHOUSES_DIR", "TOOLCHAINS_DIR", "STATIC_ROOT"),
    *("SWEEP_SECONDS", "LEASE_SECONDS", "HEARTBEAT_SECONDS", "RUN_MAX_SECONDS"),
    *("STOP_GRACE_SECONDS", "CHECKOUT_TIMEOUT_SECONDS", "KEEP_RUNS_DAYS", "KEEP_LOGS_DAYS"),
    *("KEEP_ARTIFACTS_DAYS", "KEEP_DELIVERIES_DAYS", "AUDIT_DAYS", "CI_SCHEMA_TTL_DAYS"),
    *("ISOLATION_NEED", "RUN_UIDS", "GIT_LOCAL_ROOTS", "GIT_PLAIN_HTTP_HOSTS"),
    *("OUTBOUND_NETWORKS", "WEBHOOK_MAX_BYTES", "GITHUB_API_URL", "GITHUB_URL", "GITHUB_APP_ID"),
    *("ALLOW_OWN_DATABASE_SERVER", "ALLOW_PRIVATE_CONNECTION_TESTS", "OIDC_URL", "OIDC_NAME"),
    *("ALLAUTH_TRUSTED_PROXY_COUNT", "EMAIL_BACKEND", "EMAIL_HOST", "EMAIL_PORT"),
    *("EMAIL_USE_TLS", "EMAIL_USE_SSL", "DEFAULT_FROM_EMAIL"),
)
SECRET = (
    *("SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "GITHUB_APP_PRIVATE_KEY"),
    *("GITHUB_APP_WEBHOOK_SECRETS", "SIGN_IN_GITHUB_SECRET", "OIDC_CLIENT_SECRET"),
    *("EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD"),
)


def bundle() -> bytes:
    """The zip."""
    files = {
        "versions.json": {
            "service": dict(versions.of_service()),
            "dbt": [asdict(one) for one in versions.installed()],
        },
        "health.json": [asdict(part) for part in health.parts()],
        "migrations.json": {"not applied": [".".join(name) for name in pending_migrations()]},
        "settings.json": {name: getattr(settings, name, None) for name in TOLD},
        "room.json": dict(room.of_everything()),
        "failures.json": _failures(),
        "warnings.txt": "\n".join(Recent.lines) or "This process has not warned of anything.",
    }
    secrets = list(_secrets())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            text = (
                content
                if isinstance(content, str)
                else json.dumps(content, indent=2, default=str, ensure_ascii=False)
            )
            redactor = Redactor(secrets)
            archive.writestr(name, redactor.feed(text.encode()) + redactor.flush())
    return packed.getvalue()


def _failures() -> dict[str, list[dict[str, Any]]]:
    """What failed lately through the service or those it talks to, newest first."""
    since = now() - LATELY
    found = {
        "runs that the service failed": Run.objects.finished()
        .filter(failure_class=FailureClass.INFRASTRUCTURE, finished_at__gte=since)
        .values("id", "account_id", "worker", "finished_at", "status_message"),
        "messages not sent": Delivery.objects.filter(
            status=DeliveryStatus.FAILED, created_at__gte=since
        ).values("id", "account_id", "channel", "attempts", "created_at", "error"),
        "webhooks not taken": Dispatch.objects.filter(
            status=DeliveryStatus.FAILED, created_at__gte=since
        ).values("id", "subscription_id", "attempts", "answer_status", "created_at", "error"),
        "git hosts not told": Report.objects.exclude(error="")
        .filter(updated_at__gte=since)
        .values("id", "kind", "attempts", "updated_at", "error"),
        "dbt versions not changed": ToolchainChange.objects.filter(
            state=WorkState.FAILED, created_at__gte=since
        ).values("id", "work", "asked", "created_at", "said"),
    }
    encoder = DjangoJSONEncoder()
    return {
        name: json.loads(encoder.encode(list(rows.order_by("-pk")[:MOST])))
        for name, rows in found.items()
    }


def _secrets() -> Iterator[str]:
    """Every value of the settings that nobody may read, in each form it is written in."""
    for name in SECRET:
        value = getattr(settings, name, "") or ""
        yield from [value] if isinstance(value, str) else value
    yield str(settings.DATABASES["default"].get("PASSWORD") or "")
    for place in urlsplit(settings.CELERY_BROKER_URL).netloc.rpartition("@")[0].split(":", 1):
        yield from (place, unquote(place))

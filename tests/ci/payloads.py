"""Deliveries of GitHub for tests: those of the folder beside this file, and changed ones."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.utils.timezone import now

from ci import deliveries
from ci.hooks import address_of, set_secret
from ci.models import RepositoryHook, WebhookDelivery
from environments.models import Repository

FOLDER = Path(__file__).with_name("deliveries")
NAME = "Codertocat/Hello-World"  # the repository that the reference deliveries are of
REMOTE = f"https://github.com/{NAME}.git"
HEAD = "ec26c3e57ca3a959ca5aad62de7213c562f8c821"  # the head of their pull request
START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
PULL_REQUESTS = {
    "opened": "opened.with-organization",
    "ready_for_review": "ready_for_review.with-installation",
}


def reference(name: str) -> dict[str, Any]:
    """A reference delivery: ``pull_request-closed``, ``push``, ``ping`` …"""
    (file,) = [
        path
        for path in FOLDER.glob("*.json")
        if path.name in {f"{name}.payload.json", f"{name}-payload.json", f"{name}.json"}
    ]
    payload: dict[str, Any] = json.loads(file.read_text())
    return payload


def sha(letter: str) -> str:
    """A commit's id, told apart by a hexadecimal digit."""
    return letter * 40


def pull_request(action: str, *, at: float = 0, **changes: Any) -> dict[str, Any]:
    """A delivery of a pull request: the reference's, with ``changes``.

    Args:
        at: seconds after the start, by the host's clock.
        changes: ``sha``, ``ref``, ``base``, ``draft``, ``title``, ``labels``, ``number``,
            ``fork`` (its owner/name), ``merged`` (its merge commit), ``before``, ``base_before``,
            ``default_branch``.
    """
    payload = reference(f"pull_request-{PULL_REQUESTS.get('opened')}")
    payload["action"] = action
    facts = payload["pull_request"]
    facts["updated_at"] = (START + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")
    facts["head"]["sha"] = changes.get("sha", sha("a"))
    facts["head"]["ref"] = changes.get("ref", "feature")
    facts["base"]["ref"] = changes.get("base", "master")
    facts["draft"] = changes.get("draft", False)
    facts["title"] = changes.get("title", "Add a model")
    facts["number"] = payload["number"] = changes.get("number", 2)
    facts["labels"] = [{"name": name} for name in changes.get("labels", [])]
    if fork := changes.get("fork"):
        facts["head"]["repo"] = deepcopy(facts["head"]["repo"]) | {"full_name": fork}
    if action == "closed":
        facts["state"] = "closed"
    if merged := changes.get("merged"):
        facts |= {"merged": True, "merge_commit_sha": merged}
    if before := changes.get("before"):
        payload["before"] = before
    if base_before := changes.get("base_before"):
        payload["changes"] = {"base": {"ref": {"from": base_before}}}
    if default_branch := changes.get("default_branch"):
        facts["base"]["repo"]["default_branch"] = default_branch
    return payload


def push(branch: str, after: str, *, before: str = "0" * 40, **changes: Any) -> dict[str, Any]:
    """A delivery of a push: the reference's, with ``changes`` of its outermost keys."""
    return reference("push") | {
        "ref": f"refs/heads/{branch}",
        "before": before,
        "after": after,
        "deleted": False,
        "forced": False,
        **changes,
    }


def signature(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass
class Hooked:
    """GitHub, as the webhook of one repository knows it."""

    hook: RepositoryHook
    secret: str
    client: Client = field(default_factory=lambda: Client(SERVER_NAME="127.0.0.1"))

    @classmethod
    def up(cls, repository: Repository) -> Hooked:
        """Set a hook up for ``repository``."""
        return cls(*set_secret(repository))

    def post(
        self,
        event: str,
        payload: Mapping[str, Any] | bytes,
        *,
        delivery: str = "",
        **headers: str,
    ) -> HttpResponse:
        """Deliver ``payload``, signed unless a header says otherwise."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        given = {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": delivery or str(uuid.uuid4()),
            "X-Hub-Signature-256": signature(self.secret, body),
        } | headers
        path = address_of(self.hook).partition("/webhooks/")[2]
        return self.client.post(
            f"/webhooks/{path}",
            body,
            content_type="application/json",
            headers={name: value for name, value in given.items() if value},
        )

    def tell(self, event: str, payload: Mapping[str, Any]) -> str:
        """Deliver ``payload`` and have it read; what followed, in words."""
        assert self.post(event, payload).status_code == 202
        read_all()
        return WebhookDelivery.objects.latest("pk").decision


def read_all() -> None:
    """Read every delivery that waits."""
    for delivery in WebhookDelivery.objects.exclude(due_at=None).order_by("pk"):
        deliveries.read(delivery.pk, now())

"""Public addresses of documentation: made, made anew, and closed by administrators.

An address's text is signed, not stored: it can be shown again to who may manage it, and the
database alone opens nothing.
"""

from __future__ import annotations

import secrets

from django.core.signing import BadSignature, Signer
from django.db import transaction

from accounts import audit
from environments.models import DocsLink, Project
from jobsvc.statuses import State

LONGEST_TEXT = 200  # characters that are looked at; a text has about 66


def make_link(project: Project) -> DocsLink:
    """A new public address of ``project``; the one before it, if any, opens nothing any more."""
    with transaction.atomic():
        link, _is_new = DocsLink.objects.update_or_create(
            project=project, defaults={"nonce": secrets.token_urlsafe(16)}
        )
        audit.record("docs_link.created", link, account_id=project.account_id)
    return link


def close_link(project: Project) -> None:
    """Let the public address of ``project``, if it has one, open nothing from now on."""
    with transaction.atomic():
        link = DocsLink.objects.filter(project=project).first()
        if link is not None:
            audit.record("docs_link.closed", link, account_id=project.account_id)
            link.delete()


def text_of(link: DocsLink) -> str:
    """What stands in the address, safe in a query string. Only for who may manage it."""
    return _signer().sign(link.nonce)


def project_of(text: str) -> Project | None:
    """The project whose public address has this ``text``; None for any other text."""
    try:
        nonce = _signer().unsign(text[:LONGEST_TEXT])
    except BadSignature:
        return None
    open_ones = Project.objects.active().filter(account__state=State.ACTIVE)
    return open_ones.filter(docs_link__nonce=nonce).first()


def _signer() -> Signer:
    return Signer(salt="environments.docs_links", sep=".")

"""System checks ``jobsvc.E001`` and on: what is set wrong, with a hint, before anything starts."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ImproperlyConfigured


@register(Tags.security)
def keys_are_given(**_: Any) -> list[CheckMessage]:
    """E001 to E003: without keys of its own an installation can keep no secret."""
    problems: list[CheckMessage] = []
    try:
        settings.SECRET_KEY  # noqa: B018 - Django refuses to hand out an empty one
    except ImproperlyConfigured:
        problems.append(
            Error(
                "JOBSVC_SECRET_KEY is not set.",
                hint="Set it to 50 random characters; sessions are signed with it.",
                id="jobsvc.E001",
            )
        )
    if not settings.FIELD_ENCRYPTION_KEYS:
        problems.append(
            Error(
                "JOBSVC_FIELD_ENCRYPTION_KEYS is not set.",
                hint="Set it to a key made by `python -c 'from cryptography.fernet import "
                "Fernet; print(Fernet.generate_key().decode())'`, and keep a copy of it.",
                id="jobsvc.E002",
            )
        )
    for place, key in enumerate(settings.FIELD_ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key)
        except ValueError:
            problems.append(
                Error(
                    f"Key {place} of JOBSVC_FIELD_ENCRYPTION_KEYS is not a Fernet key.",
                    hint="A key is 32 random bytes in URL-safe base64, 44 characters long.",
                    id="jobsvc.E003",
                )
            )
    return problems


@register()
def database_is_one_we_promise(**_: Any) -> list[CheckMessage]:
    """E004: claiming rests on partial unique indexes, which not every database has."""
    engine = settings.DATABASES["default"]["ENGINE"]
    if engine.rsplit(".", 1)[-1] in {"sqlite3", "postgresql"}:
        return []
    return [
        Error(
            f"{engine} is not supported.",
            hint="Set JOBSVC_DATABASE_URL to a postgres:// address, or to sqlite:// for one "
            "machine.",
            id="jobsvc.E004",
        )
    ]


@register()
def site_url_is_an_address(**_: Any) -> list[CheckMessage]:
    """E005: links in answers and mails are made from it."""
    if settings.SITE_URL.startswith(("http://", "https://")):
        return []
    return [
        Error(
            f"JOBSVC_SITE_URL is {settings.SITE_URL!r}, which is no web address.",
            hint="Set it to the address people use, such as https://jobs.example.com.",
            id="jobsvc.E005",
        )
    ]


@register()
def run_uids_are_a_range(**_: Any) -> list[CheckMessage]:
    """E006: a range that is not one would leave runs without user ids of their own."""
    text = settings.RUN_UIDS
    first, _dash, last = text.partition("-")
    if not text or (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last)):
        return []
    return [
        Error(
            f"JOBSVC_RUN_UIDS is {text!r}, which is no range of user ids.",
            hint="Set it to two numbers with a dash between them, such as 20001-20064.",
            id="jobsvc.E006",
        )
    ]


@register(Tags.security, deploy=True)
def production_is_production(**_: Any) -> list[CheckMessage]:
    """E007 and E008: what a try-out may do and a deployment may not."""
    problems: list[CheckMessage] = []
    if settings.EMBEDDED:
        problems.append(
            Error(
                "JOBSVC_MODE is embedded: keys and data live in one folder of this machine.",
                hint="Set JOBSVC_MODE=production and give the keys, database and broker.",
                id="jobsvc.E007",
            )
        )
    if settings.GIT_LOCAL_ROOTS:
        problems.append(
            Error(
                "JOBSVC_GIT_LOCAL_ROOTS lets jobs clone folders of this machine.",
                hint="Leave it empty in a deployment, and use https or ssh repositories.",
                id="jobsvc.E008",
            )
        )
    return problems

"""Writes ``.env`` for docker compose, with new keys and passwords.

    make production-env SITE=https://jobs.example.com

Never writes over one that is there: with its keys the secrets in the database would be lost.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.fernet import Fernet

PLACE = Path(__file__).resolve().parents[1] / ".env"

TEXT = """\
# Made by `make production-env`. Keep a copy of it apart from the database's backup: what is
# encrypted there cannot be read without JOBSVC_FIELD_ENCRYPTION_KEYS.
JOBSVC_SITE_URL={site}
JOBSVC_ALLOWED_HOSTS={host}
JOBSVC_SECRET_KEY={secret_key}
JOBSVC_FIELD_ENCRYPTION_KEYS={encryption_key}
POSTGRES_PASSWORD={postgres}
REDIS_PASSWORD={redis}
"""


def environment(site: str) -> str:
    """The file's text for an installation at ``site``, with keys that nobody else has."""
    return TEXT.format(
        site=site.rstrip("/"),
        host=urlsplit(site).hostname,
        secret_key=secrets.token_urlsafe(50),
        encryption_key=Fernet.generate_key().decode(),
        postgres=secrets.token_urlsafe(24),
        redis=secrets.token_urlsafe(24),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write .env with new keys and passwords.")
    parser.add_argument("site", help="the address people will use: https://jobs.example.com")
    parser.add_argument("--output", type=Path, default=PLACE, help="default: .env in the clone")
    options = parser.parse_args()
    address = urlsplit(options.site)
    if address.scheme not in {"http", "https"} or not address.hostname:
        sys.exit(
            f"{options.site!r} is no web address.\n"
            "Say where people will find it: make production-env SITE=https://jobs.example.com"
        )
    try:
        file = os.open(options.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        sys.exit(
            f"{options.output} is there already; new keys would make its database unreadable.\n"
            "Move it away if you mean a new installation."
        )
    with os.fdopen(file, "w") as place:
        place.write(environment(options.site))
    print(f"{options.output} is written. Keep a copy of it, then: docker compose up --build -d")


if __name__ == "__main__":
    main()

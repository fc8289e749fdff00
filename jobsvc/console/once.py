"""Secrets that a page shows one time: kept for it, encrypted, in the session of who made them."""

from __future__ import annotations

from django.http import HttpRequest

from environments.secrets import decrypt, encrypt

KEPT = "shown_once"  # of the session


def keep(request: HttpRequest, what: str, secret: str) -> None:
    """Have ``secret`` for the next page that asks for ``what``; whatever waited is forgotten."""
    request.session[KEPT] = encrypt({"what": what, "secret": secret})


def take(request: HttpRequest, what: str) -> str | None:
    """The secret of ``what``, this once; None where there is none, or no more."""
    kept = request.session.get(KEPT)
    if kept is None:
        return None
    held = decrypt(kept)
    if held["what"] != what:
        return None
    del request.session[KEPT]
    return str(held["secret"])

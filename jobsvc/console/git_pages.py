"""Pages of commits at the hosts of git, where a repository's address tells which host it is."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from jobsvc.engine.names import check_sha

# What the name of a host holds, and how it writes a commit, and those between two.
HOSTS = {
    "github": ("commit/{new}", "compare/{old}...{new}"),
    "gitlab": ("-/commit/{new}", "-/compare/{old}...{new}"),
    "bitbucket": ("commits/{new}", "branches/compare/{new}..{old}"),
    "codeberg": ("commit/{new}", "compare/{old}...{new}"),
    "gitea": ("commit/{new}", "compare/{old}...{new}"),
}
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def commit_page(remote_url: str, sha: str) -> str:
    """The page of a commit; empty where the host is none that is known."""
    return _page(remote_url, 0, "", sha)


def commits_between(remote_url: str, old: str, new: str) -> str:
    """The page of what came after ``old`` up to ``new``; empty for none, or an unknown host."""
    return _page(remote_url, 1, old, new) if old and old != new else ""


def _page(remote_url: str, which: int, old: str, new: str) -> str:
    host, path = _place(remote_url)
    form = next((forms[which] for word, forms in HOSTS.items() if word in host), "")
    if not (form and path and new) or not all(_is_sha(sha) for sha in (old, new) if sha):
        return ""
    return f"https://{host}/{quote(path)}/{form.format(old=old, new=new)}"


def _place(remote_url: str) -> tuple[str, str]:
    """``github.com`` and ``shop/models`` of ``git@github.com:shop/models.git``; else empty."""
    if "://" in remote_url:
        try:
            parts = urlsplit(remote_url)
        except ValueError:
            return "", ""
        host, path = parts.hostname or "", parts.path
    else:
        place, _colon, path = remote_url.partition(":")
        host = place.rpartition("@")[2].lower()
    return (host if _NAME.fullmatch(host) else ""), path.strip("/").removesuffix(".git")


def _is_sha(text: str) -> bool:
    try:
        check_sha(text)
    except ValueError:
        return False
    return True

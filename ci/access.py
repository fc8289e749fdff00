"""Who we are at a git host, for a repository: the host's App, a token, or nobody."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from ci.models import GitHubInstallation
from ci.providers.base import Access, ProviderRefused, ProviderUnavailable
from ci.providers.github import installation_token, is_app_set_up
from environments.models import CloneStrategy, Repository
from jobsvc.engine.errors import RunFailure

READ = {"contents": "read"}  # all that a clone needs
TOKEN_USER = "x-access-token"  # noqa: S105 - a user's name, not a secret

_PATH = re.compile(r"/*([^/]+)/([^/]+?)(?:\.git)?/*")
_SCP_LIKE = re.compile(r"(?:[^@/]+@)?([^:/]+):(.+)")


class NoAccess(Exception):
    """We are nobody there. ``str(error)`` says why, and what would change it."""


class InstallationRefused(RunFailure):
    template = "The repository {repository} cannot be read as the GitHub App: {reason}."
    remedy = "Check the App's installation, then retry the run."


class GitHubUnavailable(RunFailure):
    template = "The repository {repository} cannot be read now: {reason}."
    remedy = "Retry the run in a while."


def full_name_of(remote_url: str) -> str | None:
    """``owner/name`` of a repository at our GitHub; None of one that is elsewhere.

    >>> full_name_of("git@github.com:acme/shop.git")
    'acme/shop'
    """
    ours = urlsplit(settings.GITHUB_URL)
    if "://" not in remote_url:
        found = _SCP_LIKE.fullmatch(remote_url)
        host, path = (found[1], found[2]) if found else ("", "")
        is_ours = host.lower() == ours.hostname
    else:
        parts = urlsplit(remote_url)
        path = parts.path
        # ssh has a port of its own.
        is_ours = (
            parts.hostname == ours.hostname
            if parts.scheme == "ssh"
            else _place(parts) == _place(ours)
        )
    named = _PATH.fullmatch(path) if is_ours else None
    return f"{named[1]}/{named[2]}" if named else None


def _place(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def access_to(repository: Repository) -> Access:
    """How we are signed in for ``repository``: as the App where it is installed, else by its token.

    Raises:
        NoAccess: nothing can be asked or told there.
        ProviderUnavailable, ProviderRefused: the App's token could not be had.
    """
    name = full_name_of(repository.remote_url)
    if name is None:
        raise NoAccess(
            f"The repository is not at {settings.GITHUB_URL}, and no other host is told of runs."
        )
    installation = installation_of(repository)
    if installation is not None and is_app_set_up():
        token = installation_token(installation.installation_id, name)
        return Access(repository=name, token=token, is_app=True)
    if password := repository.secrets.get("password"):
        return Access(repository=name, token=password)
    raise NoAccess(
        "The repository has no token, and no GitHub App is installed for it. Give it a token, "
        "or ask your administrator to register the App's installation."
    )


def installation_of(repository: Repository) -> GitHubInstallation | None:
    """The App's installation that covers ``repository``, of its own account and no other's."""
    installations = GitHubInstallation.objects.filter(account=repository.account_id)
    if repository.git_clone_strategy == CloneStrategy.GITHUB_APP:
        return installations.filter(installation_id=repository.github_installation_id or 0).first()
    name = full_name_of(repository.remote_url) or ""
    return installations.filter(login__iexact=name.partition("/")[0]).first()


def clone_credentials(repository: Repository) -> tuple[str, str]:
    """User name and password to clone a repository with that the App reads.

    Raises:
        RunFailure: the sentence says why there are none.
    """
    name, installation = full_name_of(repository.remote_url), installation_of(repository)
    problem = ""
    if not is_app_set_up():
        problem = "no App is set up on this server"
    elif name is None:
        problem = f"it is not at {settings.GITHUB_URL}"
    elif installation is None:
        problem = "its installation is not one of this account's"
    if problem or name is None or installation is None:
        raise InstallationRefused(repository=repository.remote_url, reason=problem)
    try:
        return TOKEN_USER, installation_token(installation.installation_id, name, READ)
    except ProviderRefused as refused:
        raise InstallationRefused(
            repository=repository.remote_url, reason=str(refused).rstrip(".")
        ) from refused
    except ProviderUnavailable as error:
        raise GitHubUnavailable(
            repository=repository.remote_url, reason=str(error).rstrip(".")
        ) from error

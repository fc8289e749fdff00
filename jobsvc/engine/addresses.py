"""Which repository addresses may be given to git. Light enough for the API.

An address is parsed and put together anew, so what git reads is what was checked: no
option, no other transport helper and no credential can hide in it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from jobsvc.engine.errors import RepositoryAddressRefused

LONGEST = 1000  # characters of an address
SHOWN = 200  # characters of an address in a message
DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?"
_USER = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}"
_HOST_ONLY = re.compile(_HOST)
_USER_ONLY = re.compile(_USER)
# Not a second colon: ``ext::command`` would be one of git's transport helpers.
_SCP_LIKE = re.compile(rf"(?:{_USER}@)?{_HOST}:[^-:].*")


@dataclass(frozen=True, kw_only=True)
class Address:
    """A repository address that passed the rules.

    Attributes:
        url: what git is given; without credentials.
        transport: ``https``, ``http``, ``ssh`` or ``file``.
        origin: scheme, host and port of an http(s) address (``https://host:8443/``), else empty.
        port: the TCP port a client connects to; None for ``file``.
        path: on this machine, for ``file`` only.
    """

    url: str
    transport: str
    origin: str = ""
    port: int | None = None
    path: str = ""


def parse_address(
    url: str, *, local_roots: Sequence[str] = (), plain_http_hosts: Sequence[str] = ()
) -> Address:
    """Read ``url``: https, ssh or scp-like (``git@host:path``), nothing else without a setting.

    Args:
        local_roots: directories below which ``file://`` is allowed, links followed.
        plain_http_hosts: hosts that may be asked without TLS.

    Raises:
        RepositoryAddressRefused
    """
    refused = RepositoryAddressRefused(repository=shown(url))
    if not _is_plain(url):
        raise refused
    if "://" not in url:
        if not _SCP_LIKE.fullmatch(url):
            raise refused
        return Address(url=url, transport="ssh", port=DEFAULT_PORTS["ssh"])
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        raise refused from error
    if parts.query or parts.fragment or not unquote(parts.path).isprintable():
        raise refused
    if parts.scheme == "file":
        return _local(parts, local_roots, refused)
    host = _host(parts.hostname or "")
    if not host or parts.path in ("", "/"):
        raise refused
    place = host if parts.port is None else f"{host}:{parts.port}"
    if parts.scheme == "ssh":
        return Address(
            url=f"ssh://{_user(parts, refused)}{place}{parts.path}", transport="ssh", port=port
        )
    is_allowed = parts.scheme == "https" or (
        parts.scheme == "http" and parts.hostname in plain_http_hosts
    )
    if not is_allowed or "@" in parts.netloc:
        raise refused
    origin = f"{parts.scheme}://{place}"
    return Address(
        url=f"{origin}{parts.path}", transport=parts.scheme, origin=f"{origin}/", port=port
    )


def _is_plain(url: str) -> bool:
    """Whether ``url`` has only characters that every program reads alike."""
    return (
        len(url) <= LONGEST
        and url.isascii()
        and url.isprintable()
        and not url.startswith("-")
        and not set(url) & set(" \\\"'<>`")
    )


def _user(parts: SplitResult, refused: RepositoryAddressRefused) -> str:
    """The user of an ssh address with its ``@``, or nothing; a password is refused."""
    if "@" not in parts.netloc:
        return ""
    if parts.password is not None or not _USER_ONLY.fullmatch(parts.username or ""):
        raise refused
    return f"{parts.username}@"


def _host(name: str) -> str:
    """``name`` as it stands in an address, or nothing if it is no host name."""
    if ":" not in name:
        return name if _HOST_ONLY.fullmatch(name) else ""
    try:
        return f"[{ipaddress.IPv6Address(name)}]"
    except ValueError:
        return ""


def _local(
    parts: SplitResult, local_roots: Sequence[str], refused: RepositoryAddressRefused
) -> Address:
    if parts.netloc:
        raise refused
    path = Path(unquote(parts.path)).resolve()
    if not any(path.is_relative_to(Path(root).resolve()) for root in local_roots):
        raise refused
    return Address(url=path.as_uri(), transport="file", path=str(path))


def shown(url: str) -> str:
    """``url`` for a message or a log: without anything that could be a credential."""
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in url)
    visible = re.sub(r"//.*@", "//", visible)
    visible = re.sub(r"[?#].*", "", visible)
    return visible if len(visible) <= SHOWN else f"{visible[:SHOWN]}…"

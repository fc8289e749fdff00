"""The one way this service makes a request to an address that somebody typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEADLINE = 10.0  # seconds for a whole answer, however slowly it comes
LARGEST_ANSWER = 64 * 1024  # bytes read of one; the rest is left


class AddressRefused(Exception):
    """The address leads where requests of ours may not go. ``str(error)`` says why, and what
    the operator may do."""


class NoAnswer(Exception):
    """Nobody answered, or not in time. Trying again may help."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered; a redirect is an answer and is not followed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def check_address(url: str) -> None:
    """Refuse, before anything is kept, an address that ``send`` would refuse.

    Raises:
        AddressRefused
    """
    raise NotImplementedError


def send(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    deadline: float = DEADLINE,
    largest: int = LARGEST_ANSWER,
) -> Answer:
    """Make one request.

    Raises:
        AddressRefused, NoAnswer
    """
    raise NotImplementedError

"""The one way this service makes a request to an address that somebody typed.

``http.client`` speaks over a socket that this file connected itself: the address that was checked
is the one that is connected to, and nothing else has a say (no proxy or ``.netrc`` of the
environment, no redirect, no second look at the DNS). TLS trusts what the machine trusts;
``SSL_CERT_FILE`` names other authorities.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from dataclasses import dataclass, field
from http.client import (  # noqa: TID251 - this is the one door
    HTTPConnection,
    HTTPException,
    HTTPSConnection,
)
from typing import TypeVar
from urllib.parse import urlsplit

from django.conf import settings

T = TypeVar("T")
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DEADLINE = 10.0  # seconds for a whole answer, however slowly it comes
LARGEST_ANSWER = 64 * 1024  # bytes read of one; the rest is left
CONNECT_SECONDS = 4.0  # for one of a host's addresses, before the next is tried
LONGEST_ADDRESS = 2000  # characters
USER_AGENT = "jobsvc"
PORTS = {"https": 443, "http": 80}

# Parts of the Internet's space that Python 3.11 takes for public, though they lead inside, to
# another address, or to nobody. Source: IANA's special-purpose address registries.
LEADS_ELSEWHERE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/3",  # multicast, reserved
        "2001::/23",  # Teredo, ORCHID, benchmarks
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",
    )
)
# NAT64, site-local, IPv4-compatible and the like all lie outside of what is given out.
GIVEN_OUT_IPV6 = ipaddress.ip_network("2000::/3")

_HOST = re.compile(
    r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?|[0-9a-fA-F:.]+:[0-9a-fA-F:.]*"
)
ASK = "ask your administrator to add its network to JOBSVC_OUTBOUND_NETWORKS"


class AddressRefused(Exception):
    """The address leads where requests of ours may not go. ``str(error)`` says why, and what
    the operator may do."""


class NoAnswer(Exception):
    """Nobody answered, or not in time. Trying again may help."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was answered; a redirect is an answer and is not followed.

    Attributes:
        headers: by their names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def check_address(url: str) -> None:
    """Refuse, before anything is kept, an address that ``send`` would refuse.

    A host that nobody knows now may be known later: it is not refused.

    Raises:
        AddressRefused
    """
    target = _read(url)
    with suppress(NoAnswer):
        _within(CONNECT_SECONDS, lambda: _addresses(target), give_up=lambda: None)


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
    target, line = _read(url), _Line()
    asked = _Request(method=method, headers=headers or {}, body=body, largest=largest)

    def exchange() -> Answer:
        try:
            return _exchange(line.connect(target, deadline), target, asked)
        except (OSError, HTTPException) as error:
            raise NoAnswer(_reason(error, target)) from error

    return _within(deadline, exchange, give_up=line.cut)


# --- Which addresses -----------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Target:
    """An address that was read: what is looked up, and what is asked for there."""

    is_encrypted: bool
    host: str
    port: int
    path: str


@dataclass(frozen=True, kw_only=True)
class _Request:
    method: str
    headers: Mapping[str, str]
    body: bytes
    largest: int


def _read(url: str) -> _Target:
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        # A name in any script, as the DNS has it. Digits in any script become digits, too.
        name = parts.hostname or ""
        host = name if name.isascii() else name.encode("idna").decode()
    except ValueError as error:
        raise AddressRefused("This is no web address. Give one like https://host/path.") from error
    rest = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    if parts.scheme not in PORTS or not _HOST.fullmatch(host) or len(url) > LONGEST_ADDRESS:
        raise AddressRefused("This is no web address. Give one like https://host/path.")
    if "@" in parts.netloc:
        raise AddressRefused(
            "The address holds a user name or a password. Leave them out of the address."
        )
    if not rest.isascii() or not rest.isprintable() or set(rest) & set(' "<>\\^`{|}'):
        raise AddressRefused(
            "The address holds characters that addresses do not have. Write them as %20 and so on."
        )
    return _Target(is_encrypted=parts.scheme == "https", host=host, port=port, path=rest)


def _addresses(target: _Target) -> Sequence[IPAddress]:
    """All addresses of the host, each checked; looked up once.

    Raises:
        AddressRefused: one of them leads where we may not go.
        NoAnswer: nobody knows the host.
    """
    plain = AddressRefused(
        f"Requests to {target.host} would not be encrypted. Use an https address, or {ASK}."
    )
    ours = [ipaddress.ip_network(network) for network in settings.OUTBOUND_NETWORKS]
    if not target.is_encrypted and not ours:
        raise plain
    try:
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NoAnswer(f"The host {target.host} is not known.") from error
    numbers = [str(entry[4][0]).partition("%")[0] for entry in found]
    addresses = [_plain(ipaddress.ip_address(number)) for number in dict.fromkeys(numbers)]
    opened = [any(address in network for network in ours) for address in addresses]
    if not target.is_encrypted and not all(opened):
        raise plain
    if not all(ok or _is_public(one) for one, ok in zip(addresses, opened, strict=True)):
        raise AddressRefused(
            f"{target.host} leads into a private network, or to nowhere. Use a public address, "
            f"or {ASK}."
        )
    return addresses


def _plain(address: IPAddress) -> IPAddress:
    """An IPv4 address that is written as an IPv6 one, as itself."""
    return getattr(address, "ipv4_mapped", None) or address


def _is_public(address: IPAddress) -> bool:
    if address.version == 6 and address not in GIVEN_OUT_IPV6:
        return False
    return address.is_global and not any(address in network for network in LEADS_ELSEWHERE)


# --- The exchange --------------------------------------------------------------------------


class _Line:
    """One connection, which another thread may cut at any moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: socket.socket | None = None
        self._is_cut = False

    def connect(self, target: _Target, deadline: float) -> socket.socket:
        """Connect to the first of the host's addresses that answers, and see that it is the host.

        Raises:
            AddressRefused, NoAnswer, OSError
        """
        failed: OSError | None = None
        for address in _addresses(target):
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            bare = self._hold(socket.socket(family, socket.SOCK_STREAM))
            bare.settimeout(min(CONNECT_SECONDS, deadline))
            try:
                bare.connect((str(address), target.port))
            except OSError as error:
                failed = error
                bare.close()
                continue
            bare.settimeout(deadline)
            return self._encrypted(bare, target.host) if target.is_encrypted else bare
        raise failed or OSError("the host has no address")

    def _encrypted(self, bare: socket.socket, host: str) -> socket.socket:
        context = ssl.create_default_context()
        # Held before the handshake, so that one that drips can be cut, too.
        sure = context.wrap_socket(bare, server_hostname=host, do_handshake_on_connect=False)
        self._hold(sure)
        sure.do_handshake()
        return sure

    def _hold(self, made: socket.socket) -> socket.socket:
        with self._lock:
            if self._is_cut:
                made.close()
                raise OSError("the connection was cut")
            self._held = made
        return made

    def cut(self) -> None:
        """End the connection; whoever reads from it is woken, and closes it."""
        with self._lock:
            self._is_cut = True
            if self._held is not None:
                with suppress(OSError):
                    # The plain one's: an SSLSocket's own does more than wake a reader.
                    socket.socket.shutdown(self._held, socket.SHUT_RDWR)


def _exchange(connected: socket.socket, target: _Target, asked: _Request) -> Answer:
    kind = HTTPSConnection if target.is_encrypted else HTTPConnection
    connection = kind(target.host, target.port)
    connection.sock = connected
    with closing(connection):
        headers = {"User-Agent": USER_AGENT, "Connection": "close", **asked.headers}
        connection.request(asked.method, target.path, body=asked.body or None, headers=headers)
        answer = connection.getresponse()
        return Answer(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.getheaders()},
            body=answer.read(asked.largest),
        )


def _within(seconds: float, work: Callable[[], T], *, give_up: Callable[[], None]) -> T:
    """What ``work`` returns, in a thread that is left behind if it takes longer.

    Nothing else holds: a lookup of a name cannot be ended, and a timeout of a socket begins anew
    with each byte that arrives.

    Raises:
        NoAnswer, or what ``work`` raises.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # it is raised where the result is waited for
            future.set_exception(error)

    threading.Thread(target=run, name="outbound", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError as error:
        give_up()
        raise NoAnswer(f"There was no whole answer within {seconds:g} seconds.") from error


def _reason(error: Exception, target: _Target) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"The certificate of {target.host} cannot be verified: {why}."
    if isinstance(error, ssl.SSLError):
        return f"{target.host} does not speak TLS as it should."
    if isinstance(error, TimeoutError):
        return f"{target.host} did not answer in time."
    if isinstance(error, ConnectionRefusedError):
        return f"Nothing answers at {target.host}, port {target.port}."
    if isinstance(error, HTTPException):
        return f"What {target.host} answered is no HTTP."
    return f"The connection to {target.host} broke off."

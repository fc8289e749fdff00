"""Testing a connection as far as a web process may: its fields, and whether a port answers.

No adapter is loaded and nobody signs in: that is for a worker, in a run of its own. The reply
says what was tested and what was not.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from environments import adapters
from environments.define import check_not_our_own_database
from environments.models import Environment

TIMEOUT_SECONDS = 2.0  # a client waits 5 seconds for any answer
NOT_TESTED = "Signing in was not tried; the first run does that."
# IPv6 addresses that lead to an IPv4 one which may be private: 6to4 and Teredo.
_TUNNELS = (ipaddress.ip_network("2002::/16"), ipaddress.ip_network("2001::/32"))
_PUBLIC_V6 = ipaddress.ip_network("2000::/3")


@dataclass(frozen=True)
class Reached:
    """How a test went. ``message`` says what was tested and what was not."""

    success: bool
    message: str


def try_connection(adapter: str, config: Mapping[str, Any]) -> Reached:
    """Check the fields of a connection, and knock at its server's port where it has one."""
    if adapter not in adapters.ADAPTERS:
        return Reached(False, "This adapter is unknown here. Choose another adapter_version.")
    if wrong := adapters.validate_config(adapter, config):
        problems = " ".join(f"{name}: {sentence}" for name, sentence in wrong.items())
        return Reached(False, f"The settings are not complete. {problems}")
    try:
        check_not_our_own_database(adapter, config)
    except ValueError as refused:
        return Reached(False, str(refused))
    host = next(
        (str(config[one.name]) for one in adapters.ADAPTERS[adapter].config if one.kind == "host"),
        "",
    )
    if not host:
        return Reached(
            True, f"The settings are complete. No server was asked for anything. {NOT_TESTED}"
        )
    return _knock(host, adapters.ports(adapter, config)[0])


def try_environment(environment: Environment) -> Reached:
    """Check what runs of ``environment`` sign in with, and knock at its warehouse's port."""
    connection, credentials = environment.effective_connection, environment.credentials
    if connection is None:
        return Reached(False, "This environment has no connection. Choose one first.")
    if credentials is None and connection.adapter != "duckdb":
        return Reached(
            False, "This environment does not say who signs in. Give its credentials first."
        )
    if credentials is not None:
        fields = {**credentials.config, **credentials.secrets}
        if wrong := adapters.validate_credentials(credentials.adapter, fields):
            problems = " ".join(f"{name}: {sentence}" for name, sentence in wrong.items())
            return Reached(False, f"The credentials are not complete. {problems}")
    return try_connection(connection.adapter, {**connection.config, **connection.secrets})


def _knock(host: str, port: int) -> Reached:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Reached(False, f"The settings are complete, but the name {host} is unknown here.")
    family, _type, _protocol, _name, address = found[0]
    if not (settings.ALLOW_PRIVATE_CONNECTION_TESTS or _is_public(str(address[0]))):
        return Reached(
            True,
            f"The settings are complete. {host} has a private address, at which this server "
            f"does not knock, so whether it answers was not tested. {NOT_TESTED}",
        )
    try:
        # To the address that was judged: asking for the name again could lead elsewhere.
        with socket.socket(family, socket.SOCK_STREAM) as knock:
            knock.settimeout(TIMEOUT_SECONDS)
            knock.connect(address)
    except OSError as error:
        reason = "did not answer in time" if isinstance(error, TimeoutError) else "refused"
        return Reached(
            False,
            f"The settings are complete, but {host}:{port} {reason}. Check host, port and "
            "firewall.",
        )
    return Reached(True, f"The settings are complete, and {host}:{port} answers. {NOT_TESTED}")


def _is_public(text: str) -> bool:
    """Whether an address is one of the open internet, and nothing wrapped into one."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return _is_public(str(address.ipv4_mapped))
        if address not in _PUBLIC_V6 or any(address in tunnel for tunnel in _TUNNELS):
            return False
    return address.is_global and not address.is_multicast

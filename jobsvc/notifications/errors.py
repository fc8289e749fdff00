"""Why a message did not go out. ``str(error)`` is shown in the log of deliveries as it is."""

from __future__ import annotations


class NotTaken(Exception):
    """Nobody took it, or asked us to come back later. Trying again may help."""


class Refused(Exception):
    """It was refused, and will be again: an address that does not exist, a channel that is gone."""

"""Where the metrics are sent (``--statsd``). A value and pure functions; any thread."""

from __future__ import annotations

import re
from typing import NamedTuple

from reserve.errors import UsageError
from reserve.sockets.addresses import TCPAddress, parse_address

__all__ = ["StatsDTarget", "is_statsd_target", "statsd_target"]

_PREFIX = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


class StatsDTarget(NamedTuple):
    """A StatsD server, and how the names begin that it is sent."""

    host: str
    """A name or an address; for IPv6 without brackets."""
    port: int
    prefix: str
    """Without a dot at its end; empty: names have no prefix."""


def statsd_target(text: str) -> StatsDTarget:
    """Parse the value of ``--statsd``: ``HOST:PORT`` or ``HOST:PORT,PREFIX``. The default prefix is ``reserve``.

    :raises ValueError: it is none.
    """
    address, comma, prefix = text.partition(",")
    if not comma:
        prefix = "reserve"
    elif prefix and not _PREFIX.fullmatch(prefix):
        raise ValueError("a prefix has letters, digits, _ and -, with dots between them")
    try:
        parsed = parse_address(address)
    except UsageError as error:
        raise ValueError(error.reason) from None
    if not isinstance(parsed, TCPAddress) or not parsed.host or not parsed.port:
        raise ValueError("it is a host and a port")
    return StatsDTarget(parsed.host, parsed.port, prefix.removesuffix("."))


def is_statsd_target(text: str) -> bool:
    """Whether ``text`` is a value for :func:`statsd_target`."""
    try:
        statsd_target(text)
    except ValueError:
        return False
    return True

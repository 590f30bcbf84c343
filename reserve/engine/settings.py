"""What the engine can be told: one frozen value, with a unit and a default for every field.

Imported by anyone, changed by no one. The defaults are those of a server on the open internet. What is out of bounds
raises UsageError.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reserve.errors import UsageError
from reserve.paramtypes import Count, Kind, Range, Seconds, Size, check_settings
from reserve.suggest import suggestion

__all__ = ["ENGINE_KINDS", "EngineSettings", "adjusted"]

ENGINE_KINDS: Mapping[str, Kind] = {
    "threads": Range(1, 4096),
    "request_timeout": Seconds(0),
    "max_stuck": Count(0, 4096),
    "backlog": Count(1, 65535),
    "handshake_timeout": Seconds(0.001),
    "tls_check": Seconds(0),
    "handler_timeout": Seconds(0.001),
    "write_timeout": Seconds(0.001),
    "write_rate": Count(0, 10**9, "N", "bytes a second"),
    "buffer_memory": Size(1024**2, 1024**4),
    "spool_disk": Size(0, 1024**5),
    "linger_timeout": Seconds(0),
    "linger_bytes": Size(0, 1024**3),
    "max_lingering": Count(0, 1000000),
    "max_connections": Count(1, 10**7),
    "max_queued": Count(0, 10**6),
    "queue_timeout": Seconds(0.001),
    "max_output": Size(1, 1024**4),
    "stop_timeout": Seconds(0),
}
"""What each field may be, for programs and for the command alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Sizes are octets, times are seconds on the monotonic clock."""

    threads: int | tuple[int, int] = 16
    """Worker threads: how many handlers run at the same time. Two numbers: the least, and the most while requests
    wait.
    """
    request_timeout: float = 0.0
    """How long a request may run before its answer begins; then it is interrupted, and given up a second later. 0: for
    ever.
    """
    max_stuck: int = 4
    """How many interrupted threads that do not come back are replaced; one more makes the server unhealthy."""
    backlog: int = 1024
    """Connections that the kernel holds for us before they are accepted (``listen(2)``)."""
    handshake_timeout: float = 5.0
    """How long a TLS handshake may take, from the connection's start to its end."""
    tls_check: float = 10.0
    """How often, in seconds and while clients come, the files of the certificates are looked at. 0: never."""
    handler_timeout: float = 60.0
    """The socket timeout that a generic handler starts with."""
    write_timeout: float = 30.0
    """How long a peer may take no octet of an answer before it is cut off."""
    write_rate: int = 500
    """Octets a second that a peer must take on the average, after ``write_timeout``. 0: no such rule."""
    buffer_memory: int = 268435456
    """Octets of all bodies, answers and heads on their way that may wait in memory."""
    spool_disk: int = 4294967296
    """Octets of all bodies and answers together that may wait in files."""
    linger_timeout: float = 2.0
    """How long a closing connection still reads, so that the peer can read our last words."""
    linger_bytes: int = 65536
    """How much a closing connection still reads."""
    max_lingering: int = 1000
    """How many connections may linger at once; the oldest are cut."""
    max_connections: int = 20000
    """Connections that are open at once; at the limit the oldest idle ones are closed, and new ones have to wait."""
    max_queued: int = 1024
    """Complete requests that may wait for a worker; one more is refused at once."""
    queue_timeout: float = 30.0
    """How long a complete request may wait for a worker before it is refused."""
    max_output: int = 1048576
    """Octets that ``server.send`` may leave waiting on one parked connection."""
    stop_timeout: float = 30.0
    """How long a stop waits for the requests in flight."""

    def __post_init__(self) -> None:
        check_settings(self, ENGINE_KINDS)

    @property
    def thread_range(self) -> tuple[int, int]:
        """The least and the most worker threads."""
        return (self.threads, self.threads) if isinstance(self.threads, int) else self.threads


def adjusted(settings: EngineSettings | None, single: dict[str, Any]) -> EngineSettings:
    """``settings``, or the defaults, with single ones changed. Raises UsageError for a name that is none."""
    names = [field.name for field in dataclasses.fields(EngineSettings)]
    for name in single:
        if name not in names:
            raise UsageError(f"no setting is named {name!r}{suggestion(name, names)}")
    return dataclasses.replace(settings if settings is not None else EngineSettings(), **single)

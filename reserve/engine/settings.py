"""The settings of the engine: one frozen value, in which every field has a type, a unit, a default and bounds.

The defaults are those of a server on the open internet. Each field is the option of the same name: ``max_stuck`` is
``--max-stuck`` on the command line. The values do not change after they are made; any thread may read them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from reserve.errors import Correction, UsageError
from reserve.paramtypes import Choice, Count, Kind, Need, Range, Seconds, Size, Text, check_settings
from reserve.sockets.proxies import are_proxies
from reserve.suggest import suggestion

__all__ = ["ENGINE_KINDS", "ENGINE_NEEDS", "EngineSettings", "instead_of", "with_changes"]

_OF_LISTENERS = ("backlog", "unix_mode", "unix_owner")
"""Options of the command that a program gives to :func:`reserve.listen`."""

_ADDRESSES = Text(
    "addresses, networks (192.0.2.0/24) and the word unix, with commas between them", are_proxies, "LIST", "a list"
)

ENGINE_KINDS: Mapping[str, Kind] = {
    "threads": Range(1, 4096),
    "request_timeout": Seconds(0),
    "slow_request": Seconds(0),
    "max_stuck": Count(0, 4096),
    "max_upgraded": Count(0, 100000),
    "max_waiting": Count(0, 100000),
    "file_threads": Count(1, 4096),
    "handshake_timeout": Seconds(0.001),
    "tls_check": Seconds(0),
    "trusted_proxies": _ADDRESSES,
    "proxy_protocol": Choice(("off", "v1", "v2", "any")),
    "handler_timeout": Seconds(0.001),
    "idle_timeout": Seconds(0),
    "write_timeout": Seconds(0.001),
    "write_rate": Count(0, 10**9, "N", "bytes a second"),
    "buffer_memory": Size(1024**2, 1024**4),
    "spool_disk": Size(0, 1024**5),
    "linger_timeout": Seconds(0),
    "linger_bytes": Size(0, 1024**3),
    "max_lingering": Count(0, 1000000),
    "max_connections": Count(1, 10**7),
    "max_connections_per_client": Count(0, 10**7),
    "max_running_per_client": Count(0, 10**6),
    "unlimited_clients": _ADDRESSES,
    "max_queued": Count(0, 10**6),
    "queue_timeout": Seconds(0.001),
    "max_output": Size(1, 1024**4),
    "stop_timeout": Seconds(0),
    "drain_delay": Seconds(0),
    "exit_idle": Seconds(0),
}
"""The type and the bounds of each field; programs and the command line are checked with the same ones."""

ENGINE_NEEDS = (
    Need(("max_stuck",), ("request_timeout",), "no thread is interrupted"),
    Need(("unlimited_clients",), ("max_connections_per_client", "max_running_per_client"), "no client has a limit"),
)
"""Which fields have no effect while others are off; the server says it when it starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The settings of one server; owned by it, read by all its threads.

    Sizes are bytes. Times are seconds on the engine's clock, which is monotonic. Raises UsageError for a value that has
    another type or is out of bounds (:data:`ENGINE_KINDS`).
    """

    threads: int | tuple[int, int] = 16
    """Worker threads: how many handlers run at the same time. With two numbers, the minimum and the maximum, the pool
    grows while requests wait, and shrinks when workers are idle. Read by
    :class:`~reserve.engine.scheduler.workers.WorkerPool`.
    """
    request_timeout: float = 0.0
    """Seconds that a request may run before its response begins; then it is interrupted, and its thread is given up a
    second later. 0: no limit. Read by :class:`~reserve.engine.scheduler.requesttimeout.RequestWatchdog`.
    """
    slow_request: float = 0.0
    """Seconds that a request may run; then the stack of its thread is logged, once, and the request goes on. 0: no
    limit. Read by :class:`~reserve.engine.scheduler.requesttimeout.RequestWatchdog`.
    """
    max_stuck: int = 4
    """How many interrupted threads that do not return are replaced; with one more of them the server is unhealthy. Read
    by :class:`~reserve.engine.scheduler.workers.WorkerPool` and :class:`~reserve.engine.server.Server`.
    """
    max_upgraded: int = 1000
    """Threads that may each serve one connection that its application has taken over (an upgrade, as WebSocket). They
    do not count as ``threads``. 0: no connection can be taken over. Read by
    :class:`~reserve.engine.scheduler.workers.WorkerPool`.
    """
    max_waiting: int = 256
    """How many requests that say that they only wait do not count as ``threads`` meanwhile: others run in their place.
    Each has a thread. 0: all count. Read by :class:`~reserve.engine.scheduler.workers.WorkerPool`.
    """
    file_threads: int = 4
    """Threads that may wait for disks to read files that are sent and not in the page cache. They start when they are
    needed. Read by :class:`~reserve.engine.scheduler.filethreads.FileThreads`.
    """
    handshake_timeout: float = 5.0
    """Seconds that a TLS handshake may take, from the start of the connection; and, before it, as many for a header of
    the PROXY protocol. Read by :class:`~reserve.engine.drivers.handshake.HandshakeDriver`,
    :func:`~reserve.engine.drivers.starttls.start_tls` and :class:`~reserve.engine.drivers.proxyheader.ProxyDriver`.
    """
    tls_check: float = 10.0
    """Seconds between two checks of the certificates' files, which are made only while clients connect. 0: never. Read
    by :class:`~reserve.engine.tls.ServerTLS`.
    """
    trusted_proxies: str = ""
    """The frontends whose word about their clients is believed: addresses, networks, and ``unix`` for every peer on a
    UNIX socket, with commas between them. Empty: none. Read by
    :class:`~reserve.engine.drivers.proxyheader.ProxyDriver` and :class:`~reserve.apps.http.context.HTTPContext`.
    """
    proxy_protocol: Literal["off", "v1", "v2", "any"] = "off"
    """Every connection, on all listeners, begins with a header of the PROXY protocol, of this version: ``v1``, ``v2``
    or ``any`` of both; ``off``: none does. It needs :attr:`trusted_proxies`. Read by
    :class:`~reserve.engine.admission.Admission` and :class:`~reserve.engine.drivers.proxyheader.ProxyDriver`.
    """
    handler_timeout: float = 60.0
    """Seconds: the timeout that the socket of a plain handler has at first. Read by
    :class:`~reserve.engine.drivers.handler.HandlerApplication`.
    """
    idle_timeout: float = 3600.0
    """Seconds that a plain handler's connection may be parked without any traffic, if its
    :class:`~reserve.engine.drivers.handler.Park` has no timeout of its own. 0: no limit. Read by
    :class:`~reserve.engine.drivers.handler.HandlerApplication`.
    """
    write_timeout: float = 30.0
    """Seconds that a peer may read nothing of a response before its connection is reset. Read by
    :class:`~reserve.engine.connections.connection.Connection` and :class:`~reserve.engine.scheduler.closer.Closer`.
    """
    write_rate: int = 500
    """Bytes a second: the average rate at which a peer must read a response, after ``write_timeout``, and as much again
    for each MiB that the response holds in a file. 0: no minimum. Read by
    :class:`~reserve.engine.connections.connection.Connection`.
    """
    buffer_memory: int = 268435456
    """Bytes of memory that the bodies, responses and heads of all connections may use together. Read by
    :class:`~reserve.engine.connections.budget.Budget`.
    """
    spool_disk: int = 4294967296
    """Bytes of disk that the bodies and responses of all connections may use together; a quarter of it belongs to the
    bodies alone, and a quarter to the responses. One response may use a quarter of what the others leave. Read by
    :class:`~reserve.engine.connections.budget.Budget`.
    """
    linger_timeout: float = 2.0
    """Seconds that a closing connection waits until its client has read the last response. Read by
    :class:`~reserve.engine.scheduler.closer.Closer`.
    """
    linger_bytes: int = 65536
    """Bytes that a closing connection still reads. Read by :class:`~reserve.engine.scheduler.closer.Closer`."""
    max_lingering: int = 1000
    """Connections that may linger at the same time; beyond it the oldest ones are closed. Read by
    :class:`~reserve.engine.scheduler.closer.Closer`.
    """
    max_connections: int = 20000
    """Connections that may be open; at the limit the oldest idle ones are closed, and new ones wait. Read by
    :class:`~reserve.engine.admission.Admission`.
    """
    max_connections_per_client: int = 0
    """Connections that one client address may have open; more are closed at once. ``trusted_proxies`` are not counted.
    0: no limit. Read by :class:`~reserve.engine.clients.places.ClientLimits`.
    """
    max_running_per_client: int = 0
    """Requests of one client address that may run or wait for a worker; as many more wait until one of them has ended,
    and the others are refused. 0: no limit. Read by :class:`~reserve.engine.clients.places.ClientLimits`.
    """
    unlimited_clients: str = ""
    """The clients without these two limits: addresses, networks, and ``unix`` for those without an address, with commas
    between them. Empty: none. Read by :class:`~reserve.engine.clients.places.ClientLimits`.
    """
    max_queued: int = 1024
    """Complete requests that may wait for a worker; beyond it requests are refused. Read by
    :class:`~reserve.engine.scheduler.runqueue.RunQueue`.
    """
    queue_timeout: float = 30.0
    """Seconds that a complete request may wait for a worker before it is refused. Read by
    :class:`~reserve.engine.scheduler.runqueue.RunQueue` and :class:`~reserve.engine.scheduler.stepper.Stepper`.
    """
    max_output: int = 1048576
    """Bytes that ``server.send`` may queue on one parked connection. Read by
    :class:`~reserve.engine.drivers.handler.HandlerApplication`.
    """
    stop_timeout: float = 30.0
    """Seconds that a shutdown waits for requests in flight, and for threads. Read by
    :class:`~reserve.engine.lifecycle.Lifecycle`.
    """
    drain_delay: float = 0.0
    """Seconds for which a server that is asked to stop serves on as usual, but is unhealthy, so that load balancers
    send no more clients. A stop with a timeout of its own, and a second signal, skip it. Read by
    :class:`~reserve.engine.lifecycle.Lifecycle`.
    """
    exit_idle: float = 0.0
    """Seconds without an open connection after which the server stops, and leaves its listeners to whoever has opened
    them: systemd starts it again for the next connection. 0: it goes on. Read by
    :class:`~reserve.engine.acceptor.Acceptor`.
    """

    def __post_init__(self) -> None:
        check_settings(self, ENGINE_KINDS)
        if self.proxy_protocol != "off" and not self.trusted_proxies:
            raise UsageError(
                f"proxy_protocol is {self.proxy_protocol}, and no frontend is trusted: trusted_proxies "
                "(--trusted-proxies) names their addresses",
                correction=Correction(end=("--trusted-proxies", "127.0.0.1")),
            )

    @property
    def thread_range(self) -> tuple[int, int]:
        """The minimum and the maximum of worker threads."""
        return (self.threads, self.threads) if isinstance(self.threads, int) else self.threads


def instead_of(name: str, names: Iterable[str]) -> str:
    """The end of the message about an option that does not exist: what to write in its place; empty: nothing is alike.

    :param names: the options that exist.
    """
    if name in _OF_LISTENERS:
        return f"; the server is given sockets that are open already: write reserve.listen(ADDRESS, {name}=...)"
    return suggestion(name, names)


def with_changes(
    settings: EngineSettings | None, changes: Mapping[str, Any], keywords: Iterable[str] = ()
) -> EngineSettings:
    """A copy of ``settings`` with other values for some fields.

    :param settings: None: the defaults.
    :param changes: values by the names of fields.
    :param keywords: other names that the caller's caller could have meant, for the message.

    Raises UsageError for a name that no field has, and for a value that its field does not allow.
    """
    names = [field.name for field in dataclasses.fields(EngineSettings)]
    for name in changes:
        if name not in names:
            raise UsageError(f"no setting is named {name!r}{instead_of(name, [*names, *keywords])}")
    return dataclasses.replace(settings if settings is not None else EngineSettings(), **changes)

"""Makes the :class:`~reserve.engine.metrics.stats.Stats` of a server.

Any thread; nothing in here waits for another one.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from reserve import __version__
from reserve.engine.connections.peers import name_of, name_of_client
from reserve.engine.connections.states import State
from reserve.engine.metrics.memory import resident_memory
from reserve.engine.metrics.stats import ListenerStats, Stats, ThreadStats
from reserve.engine.polling.processors import free_threaded, has_gil

if TYPE_CHECKING:
    from reserve.engine.endpoints import Endpoints
    from reserve.engine.runtime import Runtime
    from reserve.engine.scheduler.worker import Worker

__all__ = ["collect_stats"]

_TCP_INFO = struct.Struct("=24x2I")
"""``struct tcp_info`` of Linux up to ``tcpi_unacked`` and ``tcpi_sacked``, which for a listener are the length and the
limit of its queue of connections that were not accepted yet.
"""


def collect_stats(runtime: Runtime, endpoints: Endpoints) -> Stats:
    """The stats of a server at this moment.

    :param runtime: has its threads and counts.
    :param endpoints: has its listeners.
    """
    pool, request_watchdog, settings = runtime.pool, runtime.request_watchdog, runtime.settings
    connections_limit, running_limit = runtime.clients.connections, runtime.clients.running
    connections = list(runtime.queue.connections.values())
    states = Counter(connection.state for connection in connections)
    upgraded_threads = pool.upgraded_threads()
    now = runtime.clock.now()
    reasons = runtime.unhealthy_reasons()
    return Stats(
        software=f"reserve {__version__}",
        straight_line="" if endpoints.main.straight_line is None else endpoints.main.straight_line_form,
        python=f"{platform.python_implementation()} {platform.python_version()}{_build()}",
        pid=os.getpid(),
        started=runtime.made_at,
        uptime=now - runtime.made,
        rss=resident_memory(),
        healthy=not reasons,
        unhealthy=reasons,
        live=runtime.live,
        workers=tuple(_threads(runtime, now)),
        listeners=tuple(_listeners(endpoints)),
        requests=runtime.request_metrics.read(),
        max_threads=pool.highest,
        max_queued=settings.max_queued,
        max_connections=settings.max_connections,
        buffer_limit=runtime.budget.memory_limit,
        spool_limit=runtime.budget.disk_limit,
        waiting_requests=len(runtime.queue.run_queue.waiting),
        threads=len(pool.workers),
        busy=len(pool.busy()),
        upgraded=len(upgraded_threads),
        upgraded_threads=upgraded_threads,
        waiting=pool.exempt_count(pool.waiting),
        file_threads=len(runtime.stepper.files.threads),
        queued=len(runtime.queue),
        connections=len(connections),
        parked=states[State.PARKED],
        flushing=states[State.FLUSHING],
        lingering=states[State.LINGERING],
        owned=states[State.OWNED],
        retiring=runtime.retiring,
        accepted=runtime.acceptor.accepted,
        reclaimed=runtime.admission.reclaimed,
        handled=pool.handled(),
        timed_out=request_watchdog.count if request_watchdog is not None else 0,
        stuck=pool.stuck(),
        buffered=runtime.budget.memory,
        spooled=runtime.budget.disk,
        spooled_responses=runtime.budget.responses,
        hand_overs=runtime.queue.leads.hand_overs,
        log_lines_dropped=runtime.log.lines_dropped + endpoints.main.log_lines_dropped,
        steals=runtime.monitor.steals,
        refused=runtime.stepper.refused,
        client_connections_refused=connections_limit.refused if connections_limit is not None else 0,
        client_requests_refused=running_limit.refused if running_limit is not None else 0,
        tls_handshakes=runtime.tls.handshakes,
        tls_resumed=runtime.tls.resumed,
        tls_failed=runtime.tls.failed,
        tls_kernel=runtime.tls.kernel,
    )


def _build() -> str:
    """What a free-threaded build has to say, behind the version."""
    if not has_gil():
        return ", no GIL"
    return ", free-threaded, but a module has switched the GIL on" if free_threaded() else ""


def _threads(runtime: Runtime, now: float) -> Iterator[ThreadStats]:
    pool = runtime.pool
    stuck = pool.given_up()
    for worker in (*pool.workers, *pool.upgraded, *pool.beside, *stuck):
        yield _thread(worker, _state(worker, runtime, is_stuck=worker in stuck), now)


def _state(worker: Worker, runtime: Runtime, *, is_stuck: bool) -> str:
    pool = runtime.pool
    if is_stuck:
        return "stuck"
    if worker in pool.upgraded or worker in pool.beside:
        return "upgraded"
    if worker.finishing:
        return "finishing"
    if worker.connection is not None:
        return "waiting" if worker.exempt is pool.waiting else "running"
    return "leading" if worker.lead is not None else "idle"


def _thread(worker: Worker, state: str, now: float) -> ThreadStats:
    connection = worker.connection  # the worker may end its run at any moment
    request = client = ""
    seconds = 0.0
    if connection is not None:
        request, client = connection.driver.describe(), name_of_client(connection)
        since = worker.stuck_since or connection.driver.running_since()
        seconds = max(0.0, now - since) if since else 0.0
    if worker.serves:
        request, _, client = worker.serves.rpartition(" from ")
    return ThreadStats(
        name=worker.thread.name,
        ident=worker.ident,
        native_id=worker.thread.native_id or 0,
        state=state,
        request=request,
        client=client,
        seconds=seconds,
        handled=worker.handled,
    )


def _listeners(endpoints: Endpoints) -> Iterator[ListenerStats]:
    for listener, address in zip(endpoints.listeners, endpoints.addresses, strict=True):
        backlog, limit = _backlog(listener)
        yield ListenerStats(address=_text_of(address), backlog=backlog, backlog_limit=limit)


def _text_of(address: Any) -> str:
    if isinstance(address, tuple):
        return name_of(address[:2])
    path = os.fsdecode(address)
    return f"unix:@{path[1:]}" if path.startswith("\0") else f"unix:{path}"


def _backlog(listener: socket.socket) -> tuple[int, int]:
    if sys.platform != "linux" or listener.family not in (socket.AF_INET, socket.AF_INET6):
        return -1, -1
    try:
        data = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    except OSError:  # closed
        return -1, -1
    length, limit = _TCP_INFO.unpack_from(data)
    return length, limit

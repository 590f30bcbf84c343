"""What a connection, its driver and an application may use of the server that they belong to.

:class:`reserve.engine.runtime.Runtime` is one; :class:`reserve.testing.memoryserver.MemoryServer` is another. The
parts of the engine below the server use only this protocol, so that they need not import the server.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from reserve.engine.connections.budget import Budget
from reserve.engine.hooks import Hooks
from reserve.engine.logs.errorlog import ErrorLog
from reserve.engine.metrics.requests import RequestMetrics
from reserve.engine.polling.clock import Clock
from reserve.engine.settings import EngineSettings
from reserve.engine.tls import ServerTLS

if TYPE_CHECKING:
    from reserve.engine.clients.places import ClientLimits, Place

__all__ = ["ServerContext"]

C = TypeVar("C", contravariant=True)


class ServerContext(Protocol[C]):
    """One server. Any thread may read its members and call its methods, which do not block.

    The type parameter is the class of its connections (:class:`~reserve.engine.connections.connection.Connection`).
    """

    @property
    def facade(self) -> Any:
        """What handlers get as the server: the :class:`reserve.Server`, which has no internals."""

    @property
    def settings(self) -> EngineSettings: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def log(self) -> ErrorLog: ...

    @property
    def hooks(self) -> Hooks: ...

    @property
    def tls(self) -> ServerTLS: ...

    @property
    def budget(self) -> Budget:
        """The memory and the disk that all connections hold together."""

    @property
    def request_metrics(self) -> RequestMetrics:
        """The counts of requests, for drivers of HTTP."""

    @property
    def start_thread(self) -> Any:
        """The thread inside :meth:`Server.start`, on which workers have functions called
        (:class:`~reserve.engine.scheduler.startthread.StartThread`); None: there is no such thing.
        """

    @property
    def clients(self) -> ClientLimits:
        """The limits for each client address."""

    stopping: bool
    """The server is shutting down: drivers close idle connections."""
    retiring: bool
    """The server retires or is shutting down: drivers announce the close in the responses that they send."""

    @property
    def healthy(self) -> bool:
        """The server takes new requests: the result of the health check."""

    @property
    def live(self) -> bool:
        """The server can get healthy again, or ends as it was told to. False: only a restart helps."""

    def unhealthy_reasons(self) -> tuple[str, ...]:
        """Why the server is not healthy, as clauses; empty: it is."""

    @property
    def others_wait(self) -> bool:
        """Other connections are ready: a step should be short."""

    def capacity_freed(self) -> None:
        """Tell the accept thread that a new connection may fit now, or that an idle one can be closed for it."""

    def waiting(self) -> AbstractContextManager[bool]:
        """``with``: the run of the calling thread only waits. See :meth:`reserve.engine.server.Server.waiting`."""

    def extend_deadline(self, seconds: float, /) -> None:
        """The run that the calling thread is in may go on for ``seconds`` from now, whatever ``--request-timeout``
        says, which it never shortens. Nothing happens on a thread that is no worker.

        Raises UsageError for what is no number of seconds.
        """

    def call_after_run(self, function: Callable[[], object], /) -> None:
        """Call ``function()`` after the run that the calling thread is in, on this thread. The connection goes on.

        Raises UsageError on a thread that is no worker, and for what cannot be called.
        """

    def leave_after_run(self, place: Place, /) -> None:
        """Return the place of the request whose run the calling thread ends: now, or after the functions that are to be
        called after the run.
        """

    def own_connection(self) -> Any:
        """The connection whose run the calling thread is in; None: it is in none."""

    def run_finished(self) -> None:
        """By a worker: what follows a run is done, in case a shutdown waits for it."""

    def connection_closed(self, connection: C, /) -> None:
        """Tell the server that the descriptor of this connection is closed. The owner calls it."""

    def upgrade(self, connection: C, /) -> bool:
        """Called during a run: the application takes the connection over, and its worker leaves the pool. When the run
        is over, the connection is stepped as always, and the thread ends.

        False: as many connections are taken over as ``--max-upgraded`` allows.
        """
        ...

    def run_beside(self, connection: C, function: Callable[[], object], /) -> bool:
        """Call a function for a connection on a thread of its own, which is none of the pool's. It owns no connection.

        False: there are as many such threads, and connections that are taken over, as ``--max-upgraded`` allows.
        """
        ...

    def notify(self, connection: C, /) -> None:
        """Have the connection stepped although nothing has arrived. If it is owned now, it is stepped afterwards."""

    def close_file(self, close: Callable[[], None], size: int, /) -> None:
        """Close a file of ``size`` bytes by calling ``close``, on another thread if that takes long."""

    def disarm(self, connection: C, /) -> None:
        """The poller shall report nothing of this connection until it waits again, because its run receives. By the
        owner, before the run.
        """

    def flush_lent(self, connection: C, /) -> None:
        """Have the leader send the output of a lent connection while its worker goes on.

        Raises OSError or ValueError when the poller cannot watch the connection.
        """

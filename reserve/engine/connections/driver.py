"""The contract between the engine and the driver of a connection.

A *driver* belongs to one connection. Its steps never block: a step receives, and returns what the connection waits for.
A step runs on the thread that leads, which may be the monitor, so it calls no application code, writes no log and uses
no disk. For everything that may block a step returns :data:`RUN`; then a worker, which does not lead meanwhile, calls
:meth:`Driver.run`. For using a disk alone it returns :data:`STORE`, which needs no worker.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from reserve.engine.connections.straightline import HasStraightLine
from reserve.engine.polling.timers import NEVER

__all__ = [
    "AGAIN",
    "CLOSE",
    "FIRST_REQUEST",
    "IDLE_KINDS",
    "KEEP_ALIVE",
    "LINGER",
    "RUN",
    "STORE",
    "Action",
    "Again",
    "Close",
    "Driver",
    "Run",
    "Store",
    "Wait",
]


class Wait:
    """Park the connection until one of ``events`` happens or ``deadline`` has passed.

    Each driver has one such object, which it changes and returns again, so that a request allocates none.

    :param kind: what the driver waits for (``head``, ``body``, ``keep-alive`` …): passed to :meth:`Driver.expired`.
    :param events: a mask of READ and WRITE of the poller.
    :param deadline: seconds on the engine's clock; NEVER: no limit.
    """

    __slots__ = ("deadline", "events", "kind")

    def __init__(self, kind: str, events: int, deadline: float = NEVER) -> None:
        self.kind = kind
        self.events = events
        self.deadline = deadline


KEEP_ALIVE: Final = "keep-alive"
"""The kind of a :class:`Wait` between two requests, of which the connection holds nothing."""
FIRST_REQUEST: Final = "request"
"""The kind of a :class:`Wait` for the first request of a connection, of which nothing has come yet."""
IDLE_KINDS = frozenset((KEEP_ALIVE, "idle"))
"""The kinds of a :class:`Wait` in which a connection may be closed when new clients need its place."""


class Run:
    """Call :meth:`Driver.run` on a worker, then step again."""

    __slots__ = ()


class Store:
    """Call :meth:`Driver.store` on a thread that may wait for a disk, then step again."""

    __slots__ = ()


class Close:
    """Close the connection when its output has been sent.

    :param linger: the peer may still be sending: receive and discard that for a while, so that it can read the
        response.
    """

    __slots__ = ("linger",)

    def __init__(self, *, linger: bool) -> None:
        self.linger = linger


class Again:
    """Step again, after the other connections that are ready."""

    __slots__ = ()


AGAIN = Again()
RUN = Run()
STORE = Store()
CLOSE = Close(linger=False)
LINGER = Close(linger=True)

Action: TypeAlias = "Wait | Run | Store | Again | Close"
"""What a driver wants next."""


class Driver:
    """The base class of all drivers. A subclass implements :meth:`step` and the other methods that its protocol needs.

    One instance drives one connection, which owns it. Only the thread that owns the connection calls it, so it needs no
    lock, except that the monitor calls some methods during a run: their docstrings say so.
    """

    __slots__ = ()

    straight: HasStraightLine | None = None
    """The application whose :attr:`~reserve.engine.connections.application.Application.straight_line` may serve the
    requests of this connection; None: every request is stepped.
    """

    def step(self, events: int, now: float) -> Action:
        """Go on as far as possible without blocking. The engine calls it only when all output has been sent.

        :param events: a hint (0: none in particular) that may be wrong: the poller's mask, NOTIFY or CLOSE_IDLE.
        :param now: seconds on the engine's clock.
        """
        raise NotImplementedError

    def leave_straight_line(self, deadline: float) -> None:
        """The connection is stepped, perhaps after requests that were served on the straight line. By the owner.

        :param deadline: when the wait for the next request ends, on the engine's clock; NEVER: the connection has just
            been accepted, and none was served.
        """

    def run(self) -> None:
        """Do what may block: application code, a file. On a worker. An exception is logged and closes the connection.

        Called after :meth:`step` returned RUN, and once more when :meth:`on_close` returned True.
        """
        raise NotImplementedError

    def store(self) -> None:
        """Use a disk, which may block. On a file thread. An exception is logged and closes the connection.

        Called after :meth:`step` returned STORE. If there is no such thread, a worker calls :meth:`run` instead.
        """
        raise NotImplementedError

    def running_since(self) -> float:
        """When the run began, on the engine's clock; 0: unknown, which is the default. Any thread, during the run."""
        return 0.0

    def expired(self, kind: str, now: float) -> Action:
        """Decide what follows when the deadline of the :class:`Wait` named ``kind`` has passed. Default: close."""
        return CLOSE

    def idle_since(self) -> float:
        """Since when the connection has been idle, on the engine's clock. By the accept thread, while the connection
        waits with a kind of :data:`IDLE_KINDS`; the value may be out of date.
        """
        return NEVER

    def refuse(self, reason: str) -> bytes | None:
        """The response to a client that cannot be served; None: the protocol has none.

        :param reason: ``overload``, ``timeout``, or ``lost``: the client reset the connection while its request waited
            for a worker. Then nothing is sent.
        """
        return None

    def count_run(self) -> None:
        """A run waits for a worker because none is free: count what it holds in :attr:`Connection.body_memory`, as far
        as :meth:`step` has not. By the monitor, which owns the connection.
        """

    def expire_run(self) -> bool:
        """Prevent the run from responding, because its response did not begin in time. By the monitor, during the run.

        True: the run has sent nothing and can send nothing any more; :meth:`refuse` responds instead. False: the
        response has begun, or the protocol has no responses (the default).
        """
        return False

    def refuse_during_run(self, reason: str) -> bytes | None:
        """The refusal to send at once, after :meth:`expire_run` returned True. By the monitor, during the run.

        None: nothing may be sent now, because the run may be using the connection; :meth:`refuse` returns the refusal
        after the run. If this method returns it, ``refuse`` returns None afterwards.
        """
        return None

    def revoke(self) -> bool:
        """Take the connection from a run that was interrupted and does not end. By the monitor, during the run.

        True: the monitor gives the worker up and calls :meth:`refuse`. False: the worker keeps the connection.
        """
        return False

    def describe(self) -> str:
        """The current request for a log line (``GET /path``); empty: there is none. Any thread."""
        return ""

    def request_id(self) -> str:
        """The ID of the current request for a log line; empty: it has none. Any thread."""
        return ""

    def client(self) -> str:
        """The client of the current request, where a frontend that is trusted has named it, for log lines; empty: the
        peer is the client. Any thread.
        """
        return ""

    def on_close(self, reason: str) -> bool:
        """Prepare for the close: the owner is about to close the socket.

        :param reason: ``done``, ``timeout``, ``error``, ``lost`` (the peer reset or closed it), ``capacity`` (it was
            idle, and a new client needed its place) or ``stop``.

        True: a worker calls :meth:`run` once more before the socket is closed (the *final run*). After a MemoryError
        this method is called again.
        """
        return False

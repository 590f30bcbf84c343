"""The contract between the engine and what drives a connection.

A *driver* is ours and never blocks: it receives, decides, and says what it waits for. It runs on whoever leads, which
may be the monitor, so it calls no application code, writes no log and touches no disk. Whatever may block is returned
as :class:`Run` and happens in :meth:`Driver.run`, on a worker, with the lead given away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from reserve.engine.polling.timers import NEVER

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection

__all__ = ["AGAIN", "CLOSE", "LINGER", "RUN", "Action", "Again", "Close", "Driver", "DriverFactory", "Run", "Wait"]


class Wait:
    """Park the connection until one of ``events`` (READ, WRITE) or until ``deadline``.

    One mutable value for each driver, changed and returned again: nothing is allocated for a request.
    """

    __slots__ = ("deadline", "events", "kind")

    def __init__(self, kind: str, events: int, deadline: float = NEVER) -> None:
        self.kind = kind
        """What is waited for (``head``, ``body``, ``keep-alive`` …): handed to :meth:`Driver.expired`."""
        self.events = events
        self.deadline = deadline


class Run:
    """Call :meth:`Driver.run` on a worker, then step again."""

    __slots__ = ()


class Close:
    """End the connection when its output has left. ``linger``: the peer may still be sending; let it read our last
    words.
    """

    __slots__ = ("linger",)

    def __init__(self, *, linger: bool) -> None:
        self.linger = linger


class Again:
    """Step once more, after the others that are ready have had their turn."""

    __slots__ = ()


AGAIN = Again()
RUN = Run()
CLOSE = Close(linger=False)
LINGER = Close(linger=True)

Action: TypeAlias = "Wait | Run | Again | Close"


class Driver(Protocol):
    """What drives one connection. Only the connection's owner calls it, so it needs no lock."""

    def step(self, events: int, now: float) -> Action:
        """Make what progress is possible. ``events`` is a hint (0: none in particular) and may be wrong.

        The engine calls it only while nothing waits in the connection's output.
        """

    def run(self) -> None:
        """The part that may block: application code, a file. On a worker; what it raises is logged and ends the
        connection.
        """

    def expired(self, kind: str, now: float) -> Action:
        """The deadline of the :class:`Wait` named ``kind`` has passed."""

    def refuse(self, reason: str) -> bytes | None:
        """The last words to a client that cannot be served (``reason``: ``overload`` or ``timeout``); None: none in
        this protocol.
        """

    def expire_run(self) -> bool:
        """Claim the answer of the run that is going on, because it did not begin in time. By the monitor.

        True: nothing of it has left, nothing will, and :meth:`refuse` may speak instead. False: it has begun.
        """

    def refuse_during_run(self, reason: str) -> bytes | None:
        """What :meth:`refuse` would say, while the run that was claimed by :meth:`expire_run` goes on; from then on
        ``refuse`` has nothing to say. None: the run may be using the connection, so nothing may be sent now. By the
        monitor.
        """

    def revoke(self) -> bool:
        """Claim the refusal of a run that was interrupted and does not end. By the monitor; True if it is its to
        send.
        """

    def describe(self) -> str:
        """The request that goes on, for a log line (``GET /path``); empty where there is none. Any thread."""

    def closed(self, reason: str) -> bool:
        """The connection is over (the owner is about to close the socket). True: :meth:`run` has to be called once
        more. Without memory for that it may be called again.
        """


class DriverFactory(Protocol):
    """What a server is given instead of a plain ``handle`` when the application brings a driver of its own."""

    def make_driver(self, connection: Connection) -> Driver:
        """The driver of a connection that has just been accepted. On the accept thread: no I/O, no blocking."""

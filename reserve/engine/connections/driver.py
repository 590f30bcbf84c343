"""The contract between the engine and the driver of a connection.

A *driver* belongs to one connection and never blocks: it receives, decides, and says what it waits for. It runs on
the thread that leads, which may be the monitor, so it calls no application code, writes no log and touches no disk.
Whatever may block is asked for with :data:`RUN` and happens in :meth:`Driver.run`, on a worker, which has handed the
lead over before.
"""

from __future__ import annotations

from typing import TypeAlias

from reserve.engine.polling.timers import NEVER

__all__ = ["AGAIN", "CLOSE", "LINGER", "RUN", "Action", "Again", "Close", "Driver", "Run", "Wait"]


class Wait:
    """Park the connection until one of ``events`` happens or ``deadline`` has passed.

    One mutable value for each driver, changed and returned again: nothing is allocated for a request.

    :param kind: what is waited for (``head``, ``body``, ``keep-alive`` …): passed to :meth:`Driver.expired`.
    :param events: a mask of READ and WRITE of the poller.
    :param deadline: seconds on the engine's clock; NEVER: no limit.
    """

    __slots__ = ("deadline", "events", "kind")

    def __init__(self, kind: str, events: int, deadline: float = NEVER) -> None:
        self.kind = kind
        self.events = events
        self.deadline = deadline


class Run:
    """Call :meth:`Driver.run` on a worker, then step again."""

    __slots__ = ()


class Close:
    """Close the connection when its output has been sent.

    :param linger: the peer may still be sending; read and drop that for a while, so that it can read the response.
    """

    __slots__ = ("linger",)

    def __init__(self, *, linger: bool) -> None:
        self.linger = linger


class Again:
    """Step once more, after the other connections that are ready."""

    __slots__ = ()


AGAIN = Again()
RUN = Run()
CLOSE = Close(linger=False)
LINGER = Close(linger=True)

Action: TypeAlias = "Wait | Run | Again | Close"
"""What a driver wants next."""


class Driver:
    """Drives one connection. The base of all drivers: a driver implements :meth:`step` and what its protocol has.

    Owned by the connection. Only the thread that owns the connection calls it, so it needs no lock; the methods that
    the monitor calls while a run goes on say so.
    """

    __slots__ = ()

    def step(self, events: int, now: float) -> Action:
        """Make what progress is possible. The engine calls it only while nothing waits in the connection's output.

        :param events: a hint (0: none in particular) that may be wrong: the poller's mask, NOTIFY or RECLAIM.
        :param now: seconds on the engine's clock.
        """
        raise NotImplementedError

    def run(self) -> None:
        """Do what may block: application code, a file. On a worker; what it raises is logged and ends the connection.

        Called after :meth:`step` returned RUN, and once more when :meth:`on_close` returned True.
        """
        raise NotImplementedError

    def expired(self, kind: str, now: float) -> Action:
        """Decide what follows when the deadline of the :class:`Wait` named ``kind`` has passed. Default: close."""
        return CLOSE

    def refuse(self, reason: str) -> bytes | None:
        """The response to a client that cannot be served; None: the protocol has none.

        :param reason: ``overload`` or ``timeout``.
        """
        return None

    def expire_run(self) -> bool:
        """Claim the response of the run that goes on, because it did not begin in time. By the monitor.

        True: nothing of it has been sent, nothing will be, and :meth:`refuse` responds instead. False: it has begun, or
        the protocol has no responses (the default).
        """
        return False

    def refuse_during_run(self, reason: str) -> bytes | None:
        """What :meth:`refuse` would return, while the run that :meth:`expire_run` has claimed goes on; afterwards
        ``refuse`` has nothing to return. By the monitor.

        None: the run may be using the connection, so nothing may be sent now.
        """
        return None

    def revoke(self) -> bool:
        """Claim the refusal of a run that was interrupted and does not end. By the monitor; True: it sends it."""
        return False

    def describe(self) -> str:
        """The current request for a log line (``GET /path``); empty where there is none. Any thread."""
        return ""

    def on_close(self, reason: str) -> bool:
        """Note that the connection is over: its owner is about to close the socket.

        :param reason: ``done``, ``timeout``, ``error``, ``lost`` (the peer broke it off) or ``stop``.

        True: :meth:`run` has to be called once more, on a worker, before the socket is closed (the *final run*). When
        memory runs out for that, this is called again.
        """
        return False

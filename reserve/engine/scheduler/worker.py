"""One worker: a thread of the pool, and what the others may know of it.

A worker may be exempt for a reason (:class:`Exemption`): then it does not count against the maximum, and the pool may
have another one in its place. Only the worker itself writes its exemption, and it takes no lock for that, because
RequestTimeout may be raised in it at any moment.
"""

from __future__ import annotations

from collections.abc import Callable

from reserve.engine.connections.connection import Connection
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.timers import NEVER
from reserve.engine.scheduler.lead import Follower
from reserve.engine.scheduler.runguard import RunGuard

__all__ = ["Exemption", "Worker"]


class Exemption:
    """A reason for which workers do not count against the maximum of ``--threads``. The pool has one object for each.

    :param limit: how many workers may be exempt for this reason; the others count.
    """

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit


class Worker(Follower):
    """One worker thread and what it does; owned by the pool. Only that thread writes it, except where noted.

    :param target: called on the thread, with the worker.
    :param name: of the thread.
    """

    __slots__ = ("after_run", "connection", "exempt", "extended_to", "finishing", "guard", "handled", "ident",
                 "interrupted", "run_due", "seen", "serves", "slow_due", "slow_run", "stuck_since",
                 "thread", "upgraded")  # fmt: skip

    def __init__(self, target: Callable[[Worker], None], name: str) -> None:
        super().__init__()
        self.connection: Connection | None = None
        """The connection whose driver it runs now; None: the worker is idle, or leads."""
        self.handled = 0
        """How many runs the worker has finished."""
        self.guard = RunGuard()
        self.seen = -1
        """``handled`` at the monitor's last look; -1: it was idle then. Written by the monitor."""
        self.run_due = NEVER
        """When the monitor acts on its run. The worker sets it before a run; during a run the monitor does, and holds
        the guard.
        """
        self.slow_due = NEVER
        """When its run counts as slow. The worker sets it before a run."""
        self.slow_run = -1
        """The run (``handled`` before its end) that the monitor has reported as slow. Written by the monitor."""
        self.interrupted = False
        """RequestTimeout was raised in the run. Written like ``run_due``."""
        self.upgraded = False
        """The application has taken the connection of the run over. Written by the pool, with its lock."""
        self.serves = ""
        """The request and the client of the connection for which it has left the pool, is beside it, or was given up;
        for people.
        """
        self.stuck_since = 0.0
        """When the run began for which it was given up, on the engine's clock. Written by the monitor."""
        self.extended_to = 0.0
        """Until when the run may go on at least, whatever ``run_due`` says; the monitor reads it."""
        self.exempt: Exemption | None = None
        """Why it does not count against the maximum of ``--threads``; None: it counts."""
        self.after_run: list[Callable[[], object]] = []
        """What it calls after the run, when the connection has gone on without it."""
        self.finishing = False
        """It calls them now."""
        self.ident = 0
        """Its thread, as :func:`threading.get_ident` names it; 0: that has not begun."""
        self.thread = SystemThread(target=target, args=(self,), name=name, daemon=True)

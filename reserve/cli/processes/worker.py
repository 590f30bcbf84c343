"""This process as a worker process of a supervisor: where its listeners come from, and what it is told.

The main thread reads the setup at start. Later the thread ``reserve-channel`` reads the channel. If the supervisor
ends, the worker stops in order, because nothing would replace or stop it any more.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast

from reserve.cli.processes.channel import Channel
from reserve.cli.processes.recycling import Limits, start_recycling
from reserve.cli.processes.state import WORKER_VARIABLE, PassedListener, adopt_listeners
from reserve.engine.polling.highnumber import move_up
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_thread
from reserve.errors import StartupError

if TYPE_CHECKING:
    from reserve.cli.binds import Listeners
    from reserve.engine.logs.errorlog import Log
    from reserve.engine.scoreboard import Slot
    from reserve.engine.server import Server
    from reserve.options.sources import Values

__all__ = ["SupervisedWorker"]

_IDLE_CLIENT = 15.0
"""Seconds that a server which retires waits for idle clients of other protocols than HTTP."""


_PARENT_HAS_ENDED = "the supervisor of this worker process has ended"


class SupervisedWorker:
    """What a worker process knows of its supervisor. The command makes one if it was started by a supervisor.

    The setup, the first message, has these keys: ``parent`` (the process ID of whatever has started this process, which
    may have ended since: the message waits in the socket), ``listeners`` (the fields of
    :class:`~reserve.cli.processes.state.PassedListener`), ``announce`` (whether this process writes what a person reads
    at a start: the first one of a generation), ``processes`` (how many there are to be), ``slot`` and ``generation``
    (its own), and maybe ``scoreboard`` (a descriptor).

    :param channel: this process's end.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._setup = self._read_setup()
        self._parent = int(self._setup["parent"])
        if os.getppid() != self._parent:
            raise StartupError(_PARENT_HAS_ENDED)
        self._is_ready = False

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> SupervisedWorker | None:
        """The worker if a supervisor has started this process, else None. The variable is removed.

        :raises StartupError: the supervisor has ended meanwhile.
        """
        text = environ.pop(WORKER_VARIABLE, "")
        if not text.isdigit():
            return None
        return cls(Channel.from_fd(move_up(int(text))))

    def _read_setup(self) -> dict[str, Any]:
        while not self._channel.ended:
            for message in self._channel.receive():
                if message["type"] == "setup":
                    return message
        raise StartupError(_PARENT_HAS_ENDED)

    @property
    def announces(self) -> bool:
        """Whether this process writes what a person reads at a start."""
        return bool(self._setup.get("announce"))

    @property
    def processes(self) -> int:
        """How many worker processes there are to be."""
        return int(self._setup.get("processes", 1))

    def slot(self) -> Slot | None:
        """The slot of this process on the scoreboard of all; None: there is none."""
        fd = int(self._setup.get("scoreboard", -1))
        if fd < 0:
            return None
        from reserve.engine.scoreboard import Scoreboard

        board = Scoreboard(fd)  # it stays open until the process ends
        os.close(fd)
        return board.slot(int(self._setup["slot"]), int(self._setup["generation"]))

    def listeners(self) -> Listeners:
        """The listeners that the supervisor has opened."""
        return adopt_listeners(PassedListener(**item) for item in self._setup["listeners"])

    def serve(self, server: Server, banner: str, values: Values, open_browser: Callable[[], object]) -> None:
        """From now on obey the supervisor, and tell it when the server accepts connections.

        :param banner: what the supervisor writes then.
        :param values: the options.
        :param open_browser: called when the supervisor says so (``--open``).
        :raises StartupError: the system starts no more threads.
        """
        stop_timeout, keep_alive = (cast("float", values[field]) for field in ("stop_timeout", "keep_alive"))
        retires_within = max(keep_alive, _IDLE_CLIENT) + stop_timeout
        arguments = server, banner, retires_within, open_browser, Limits(values)
        start_thread(SystemThread(target=self._run, args=arguments, name="reserve-channel", daemon=True))

    def close(self) -> None:
        """The process has not started, and is about to exit."""
        self._channel.close()

    def recycle(self, reason: str) -> None:
        """Ask for another process in the place of this one; nothing happens before it serves. Any thread.

        :param reason: a clause for the log: ``it has served 1000 requests``.
        """
        if self._is_ready:
            self._channel.send("recycle", reason=reason)

    def report(self, text: str, about: str) -> bool:
        """Have the supervisor write a line, once for all processes that say the same. Any thread.

        :param text: a clause.
        :param about: what it says without numbers that differ.
        :returns: whether there is a supervisor still.
        """
        if self._channel.ended:
            return False
        self._channel.send("report", text=text, about=about)
        return True

    def log_hand_over(self, log: Log) -> None:
        """The reaction to SIGUSR2: it is for the supervisor."""
        log.info(
            f"SIGUSR2: this is a worker process; send the signal to its supervisor, process {self._parent}",
            "SIGUSR2 signals",
        )

    def _run(
        self,
        server: Server,
        banner: str,
        retires_within: float,
        open_browser: Callable[[], object],
        limits: Limits,
    ) -> None:
        while not server.wait_ready(1.0):
            if server.stopping:
                return
        self._is_ready = True
        self._channel.send("ready", banner=banner, retires_within=retires_within)
        start_recycling(limits, server, self.recycle)
        reactions: dict[str, Callable[[], object]] = {
            "retire": server.retire,
            "stop": server.request_stop,
            "open": open_browser,
        }
        for message in self._channel.messages():
            reaction = reactions.get(message["type"])
            if reaction is not None:
                reaction()
        # The end of the stream: the supervisor has ended, or the application has closed the descriptor.
        while os.getppid() == self._parent:
            if server.stopping:
                return
            time.sleep(1.0)
        if threading.main_thread().is_alive() and not server.stopping:
            server.log.error("the supervisor of this worker process has ended without a word; this process stops, too")
            os.kill(os.getpid(), signal.SIGTERM)

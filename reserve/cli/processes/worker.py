"""This process as a worker process of a supervisor: where its listeners come from, and what it is told.

The main thread reads the setup at start. Then the thread ``reserve-channel`` reads the channel, also while the
application is imported, so that an import that hangs can be looked at. If the supervisor
ends, the worker stops in order, because nothing would replace or stop it any more.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, MutableMapping
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from reserve.cli.processes.channel import Channel
from reserve.cli.processes.recycling import Limits, start_recycling
from reserve.cli.processes.state import WORKER_VARIABLE, PassedListener, adopt_listeners
from reserve.cli.stderrlog import set_log_level
from reserve.control.collector import SupervisedCollector
from reserve.control.document import plain
from reserve.control.process import ProcessCommands
from reserve.engine.polling.highnumber import move_up
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service
from reserve.errors import StartupError

if TYPE_CHECKING:
    from reserve.cli.binds import Listeners
    from reserve.engine.logs.errorlog import Log
    from reserve.engine.scoreboard import Slot
    from reserve.engine.server import Server
    from reserve.options.sources import Values

__all__ = ["SupervisedWorker"]

_END = 1.0
"""Seconds that the thread of the channel may take to end, at a start that has failed."""
_IDLE_CLIENT = 15.0
"""Seconds that a server which retires waits for idle clients of other protocols than HTTP."""


_REACTIONS = ("retire", "stop", "open")
"""What the supervisor says that the server has to be ready for."""
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
        self._unread: list[dict[str, Any]] = []
        """What has come with the setup."""
        self._setup = self._read_setup()
        self._parent = int(self._setup["parent"])
        if os.getppid() != self._parent:
            raise StartupError(_PARENT_HAS_ENDED)
        self._thread: threading.Thread | None = None
        """The thread that reads the channel."""
        self._is_closed = False
        self._is_ready = False
        self._server: Server | None = None
        self._process = ProcessCommands(set_log_level)
        self.collector = SupervisedCollector(channel)
        """Makes the document about all processes."""
        self._lock = threading.Lock()
        """Protects ``_is_ready`` and ``_waiting``."""
        self._waiting: list[str] = []
        """What the supervisor has said before the server was ready for it."""
        self._reactions: dict[str, Callable[[], object]] = {}
        self._banner = ""
        self._retires_within = 0.0
        self._limits: Limits | None = None

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
            messages = self._channel.receive()
            for index, message in enumerate(messages):
                if message["type"] == "setup":
                    self._unread = messages[index + 1 :]
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

    def begin(self) -> None:
        """From now on tell the supervisor what it asks, also while the application is imported.

        :raises StartupError: the system starts no more threads.
        """
        thread = SystemThread(target=self._run, name="reserve-channel", daemon=True)
        start_service(thread)
        self._thread = thread

    def serve(self, server: Server, banner: str, values: Values, open_browser: Callable[[], object]) -> None:
        """There is a server, which is about to start. It calls :meth:`ready`, and then obeys the supervisor.

        :param banner: what the supervisor writes then.
        :param values: the options.
        :param open_browser: called when the supervisor says so (``--open``).
        """
        stop_timeout, keep_alive = (cast("float", values[field]) for field in ("stop_timeout", "keep_alive"))
        self._retires_within = max(keep_alive, _IDLE_CLIENT) + stop_timeout
        self._banner, self._limits = banner, Limits(values)
        self._reactions = {"retire": server.retire, "stop": server.request_stop, "open": open_browser}
        self._server = self._process.server = self.collector.server = server
        server.collector = self.collector

    def ready(self) -> None:
        """The server accepts connections. By the thread that starts it.

        :raises StartupError: the system starts no more threads.
        """
        if self._server is None or self._limits is None:
            return
        with self._lock:
            self._is_ready = True
            waiting, self._waiting = self._waiting, []
        self._channel.send("ready", banner=self._banner, retires_within=self._retires_within)
        for kind in waiting:
            self._react(kind)
        start_recycling(self._limits, self._server, self.recycle)

    def ended(self) -> None:
        """The server has ended: tell the supervisor its last counts. By the thread that has started it.

        Nothing counts any more, so these are final. The thread of the channel may send an older answer after them; the
        supervisor takes none from then on.
        """
        if self._server is not None:
            self._channel.send("last", stats=plain(self._server.stats()))

    def close(self) -> None:
        """The process has not started, and is about to exit."""
        self._is_closed = True
        if self._thread is not None:
            self._channel.shutdown()  # the thread may be reading
            self._thread.join(_END)
        if self._thread is None or not self._thread.is_alive():
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

    def _run(self) -> None:
        for message in chain(self._unread, self._channel.messages()):
            kind = message["type"]
            if kind == "ask":
                self._channel.send("answer", **self._process.answer(message))
            elif kind == "document":
                self.collector.receive(message)
            elif kind in _REACTIONS:
                with self._lock:
                    if not self._is_ready:
                        self._waiting.append(kind)
                        continue
                self._react(kind)
        self.collector.end()
        if self._is_closed:
            return
        # The end of the stream: the supervisor has ended, or the application has closed the descriptor.
        while os.getppid() == self._parent:
            if self._server is not None and self._server.stopping:
                return
            time.sleep(1.0)
        if not threading.main_thread().is_alive() or (self._server is not None and self._server.stopping):
            return
        if self._server is not None:
            self._server.log.error(f"{_PARENT_HAS_ENDED} without a word; this process stops, too")
        os.kill(os.getpid(), signal.SIGTERM)

    def _react(self, kind: str) -> None:
        reaction = self._reactions.get(kind)
        if reaction is not None:
            reaction()

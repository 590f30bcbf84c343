"""This process as a worker process of a supervisor: where its listeners come from, and what it is told.

The main thread reads the setup at start. Later the thread ``reserve-channel`` reads the channel. If the supervisor
ends, the worker stops in order, because nothing would replace or stop it any more.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from reserve.cli.processes.channel import Channel
from reserve.cli.processes.state import WORKER_VARIABLE, PassedListener, adopt_listeners
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_thread
from reserve.errors import StartupError

if TYPE_CHECKING:
    from reserve.cli.binds import Listeners
    from reserve.engine.server import Server

__all__ = ["SupervisedWorker"]


class SupervisedWorker:
    """What a worker process knows of its supervisor. The command makes one if it was started by a supervisor.

    The setup, the first message, has these keys: ``listeners`` (the fields of
    :class:`~reserve.cli.processes.state.PassedListener`), ``announce`` (whether this process writes what a person reads
    at a start: the first one of a generation).

    :param channel: this process's end.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._setup = self._read_setup()
        self._server: Server | None = None

    @classmethod
    def from_environ(cls, environ: MutableMapping[str, str]) -> SupervisedWorker | None:
        """The worker if a supervisor has started this process, else None. The variable is removed.

        :raises StartupError: the supervisor has ended meanwhile.
        """
        text = environ.pop(WORKER_VARIABLE, "")
        if not text.isdigit():
            return None
        return cls(Channel.from_fd(int(text)))

    def _read_setup(self) -> dict[str, Any]:
        while not self._channel.ended:
            for message in self._channel.receive():
                if message["type"] == "setup":
                    return message
        raise StartupError("the supervisor of this worker process has ended")

    @property
    def announces(self) -> bool:
        """Whether this process writes what a person reads at a start."""
        return bool(self._setup.get("announce"))

    def listeners(self) -> Listeners:
        """The listeners that the supervisor has opened."""
        return adopt_listeners(PassedListener(**item) for item in self._setup["listeners"])

    def serve(self, server: Server, banner: str, open_browser: Callable[[], object]) -> None:
        """From now on obey the supervisor, and tell it when the server accepts connections.

        :param banner: what the supervisor writes then.
        :param open_browser: called when the supervisor says so (``--open``).
        :raises StartupError: the system starts no more threads.
        """
        self._server = server
        start_thread(
            SystemThread(target=self._run, args=(server, banner, open_browser), name="reserve-channel", daemon=True)
        )

    def _run(self, server: Server, banner: str, open_browser: Callable[[], object]) -> None:
        while not server.wait_ready(1.0):
            if server.stopping:
                return
        self._channel.send("ready", banner=banner)
        reactions: dict[str, Callable[[dict[str, Any]], object]] = {
            "retire": lambda message: server.retire(),
            "stop": lambda message: server.request_stop(),
            "open": lambda message: open_browser(),
        }
        for message in self._channel.messages():
            reaction = reactions.get(message["type"])
            if reaction is not None:
                reaction(message)
        if threading.main_thread().is_alive() and not server.stopping:
            server.log.error("the supervisor of this worker process has ended without a word; this process stops, too")
            os.kill(os.getpid(), signal.SIGTERM)

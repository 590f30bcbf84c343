"""What the process tells those that have started it: the service manager, the parent of a daemon, and the pid file.

The main thread makes the one :class:`Service` of a command; the thread of the signals announces reloads and stops.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Protocol

from reserve.daemon.detach import Parent
from reserve.daemon.pidfile import PidFile
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_service, start_thread
from reserve.errors import ReserveError, StartupError
from reserve.sockets.notify import Notifier

__all__ = ["Service"]

_STEP = 300.0
"""Seconds that the import of an application may take, even if the start-up timeout of the service manager is less."""
_EXIT = 35.0
"""Seconds that the exit of the process may take after ``--stop-timeout`` (:mod:`reserve.__main__`)."""


class _Stoppable(Protocol):
    def request_stop(self, timeout: float | None = None) -> object: ...


class _Log(Protocol):
    def error(self, text: str, kind: str = "") -> None: ...


class Service:
    """The state of one process for others: starting, ready, reloading, stopping. Without any others it does nothing.

    :param notifier: the messages to the service manager.
    :param parent: the process that waits for this daemon; None: the process is no daemon.
    :param pid_file: the file with the process ID; None: there is none.
    """

    def __init__(self, notifier: Notifier, parent: Parent | None = None, pid_file: PidFile | None = None) -> None:
        self.notifier = notifier
        self._parent = parent
        self._pid_file = pid_file
        self._watchdog: _Watchdog | None = None

    @property
    def is_active(self) -> bool:
        """Whether there is a process that has to be told."""
        return self.notifier.is_active or self._parent is not None

    def start(self, name: str) -> None:
        """Write the pid file, and say that the application is imported next: the rights of root are still there.

        :param name: of the application.
        :raises StartupError: the pid file cannot be written, or names another server.
        """
        if self._pid_file is not None:
            self._pid_file.create()
        self.notifier.status(f"imports {name}", _STEP)

    def ready(self, status: str, is_alive: Callable[[], bool]) -> None:
        """The server accepts connections.

        :param is_alive: asked again and again for the watchdog of the service manager, if the unit has one.
        """
        self.notifier.ready(status, main_pid=None if self._parent is None else os.getpid())
        if self.notifier.watchdog_interval and self._watchdog is None:
            self._watchdog = _Watchdog(self.notifier, is_alive)
        if self._parent is not None:
            self._parent.ready()

    def reload(self, status: str) -> AbstractContextManager[None]:
        """A ``with`` block that reloads: the service manager is told before and after it, whether it fails or not."""
        return self.notifier.reload(status)

    def reload_in_background(self, reload: Callable[[], object], log: _Log) -> None:
        """Reload on a thread of its own, so that the service manager hears when it has ended.

        :param reload: raises ReserveError, which is logged, when it fails.
        """

        def run() -> None:
            with self.reload("loads the certificates again"):
                try:
                    reload()
                except ReserveError as error:
                    log.error(f"the new certificates are not taken, the old ones stay: {error}")

        start_thread(SystemThread(target=run, name="reserve-reload", daemon=True))

    def announcing(self, server: _Stoppable, stop_timeout: float, drain_delay: float = 0) -> _Stoppable:
        """The server, with a message to the service manager before each request to stop.

        :param stop_timeout: seconds of a stop whose request says none.
        :param drain_delay: seconds before it, in that case.
        """
        return _Announcing(self, server, stop_timeout, drain_delay)

    def stopping(self, timeout: float, delay: float = 0) -> None:
        """The server begins to stop.

        :param timeout: seconds until requests in flight are aborted.
        :param delay: seconds before that, in which the server serves on.
        """
        when = f" in {delay:g} s; then" if delay else ";"
        self.notifier.stopping(f"stops{when} requests in flight have {timeout:g} s", delay + timeout + _EXIT)

    def hand_over(self) -> None:
        """The process becomes the supervisor, which removes the pid file."""
        self._pid_file = None

    def close(self) -> None:
        """The server has stopped, or could not start. A second call does nothing."""
        if self._watchdog is not None:
            self._watchdog.close()
            self._watchdog = None
        if self._pid_file is not None:
            self._pid_file.remove()


class _Announcing:
    """A server of which the service manager hears when it stops."""

    def __init__(self, service: Service, server: _Stoppable, stop_timeout: float, drain_delay: float) -> None:
        self._service, self._server = service, server
        self._stop_timeout, self._drain_delay = stop_timeout, drain_delay

    def request_stop(self, timeout: float | None = None) -> None:
        if timeout is None:
            self._service.stopping(self._stop_timeout, self._drain_delay)
        else:
            self._service.stopping(timeout)
        self._server.request_stop(timeout)


class _Watchdog:
    """The thread ``reserve-watchdog``, which tells the service manager that the server lives, as long as that is true.

    The main thread makes and closes it.
    """

    def __init__(self, notifier: Notifier, is_alive: Callable[[], bool]) -> None:
        self._notifier, self._is_alive = notifier, is_alive
        self._ended = threading.Event()
        self._thread = SystemThread(target=self._run, name="reserve-watchdog", daemon=True)
        with suppress(StartupError):  # then the service manager starts the process again
            start_service(self._thread)

    def close(self) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._ended.is_set():
            if self._is_alive():
                self._notifier.watchdog()
            self._ended.wait(self._notifier.watchdog_interval)

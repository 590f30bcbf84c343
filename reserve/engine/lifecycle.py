"""Start and stop of a server: started once, on the caller's thread or on threads of its own, stopped from any thread.

The shutdown runs on the accept thread, whose loop has ended by then. So a request to stop needs no lock, may come from
a worker or a signal handler, and never waits for its own thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

from reserve.engine import fork
from reserve.engine.connections.application import Application
from reserve.engine.endpoints import Endpoints
from reserve.engine.hooks import Hooks
from reserve.engine.polling.clock import Clock
from reserve.engine.polling.patching import SystemThread, green_library, refuse_green_threads
from reserve.engine.polling.poller import Poller
from reserve.engine.polling.signalwakeup import SignalWakeup
from reserve.engine.polling.token import new_token, take
from reserve.engine.runtime import Runtime
from reserve.engine.scheduler.handoff import HandOff
from reserve.engine.scoreboard import Slot
from reserve.engine.settings import ENGINE_NEEDS, EngineSettings
from reserve.engine.shutdown import Shutdown
from reserve.errors import ServerFailed, UsageError
from reserve.paramtypes import defaults_of, without_effect

__all__ = ["Lifecycle"]

_sleep = time.sleep  # the system's: a library of green threads may replace the attribute of the module
_GREEN_INTERVAL = 0.05
"""Seconds between two looks for the end of a server whose locks a library of green threads has replaced."""
_PATIENCE = 0.5
"""Seconds after which a stop does without an accept thread that could not be woken."""


class Lifecycle:
    """The start and the stop of one server; owned by it. :class:`~reserve.engine.server.Server` says which thread calls
    which method, and what each promises. The parameters are those of its :class:`~reserve.engine.runtime.Runtime`.
    """

    def __init__(
        self,
        facade: object,
        settings: EngineSettings,
        hooks: Hooks,
        clock: Clock,
        endpoints: Endpoints,
        poller: Poller | None,
        policy: HandOff | None,
        balance: Slot | None = None,
    ) -> None:
        self._endpoints = endpoints
        self.runtime = Runtime(
            facade,
            settings,
            hooks,
            clock,
            endpoints,
            poller,
            policy,
            self._end,
            self.fail,
            self._begin_stop,
            self._exit_idle,
            balance,
        )
        self.shutdown = Shutdown(self.runtime, clock, self.runtime.log)
        self._rescue_token = new_token(present=True)
        self._start_token = new_token(present=True)
        self._failure_token = new_token(present=True)
        self._end_token = new_token(present=True)
        self.failure: ServerFailed | None = None
        """Why the server has ended although nobody asked for it; None: it has not."""
        self.ready = threading.Event()
        """Connections are accepted."""
        self.finished = threading.Event()
        """The server has stopped, and every descriptor is closed."""
        self.signal_wakeup: SignalWakeup | None = None
        """What :meth:`start` waits on; None before the start, and with :meth:`serve_in_background`."""
        self._blocked_in_start: int | None = None
        self._launching: int | None = None

    def start(self) -> None:
        """Start every thread and block until the server has stopped. Raises ServerFailed when it could not go on.

        An exception in the calling thread, such as KeyboardInterrupt, stops the server and is raised again; a second
        one ends the wait for requests in flight.
        """
        self._claim_start()
        start_thread = self.runtime.start_thread
        with SignalWakeup(self.finished) as wakeup:
            self.signal_wakeup = wakeup
            start_thread.begin(wakeup, self.runtime.pool)
            self._blocked_in_start = threading.get_ident()
            try:
                self._launch()
                wakeup.wait(start_thread.work)
            except BaseException:  # KeyboardInterrupt, or whatever a signal handler of the program raises
                self.request_stop()
                try:
                    wakeup.wait(start_thread.work)
                except BaseException:
                    self.request_stop(0)
                    start_thread.close()
                    wakeup.wait()
                self._wait_finished()
                raise
            finally:
                start_thread.close()
                self._blocked_in_start = None
        self._wait_finished()
        if self.failure is not None:
            raise self.failure

    def serve_in_background(self) -> None:
        """Start every thread and return."""
        self._claim_start()
        self._launch()

    def request_stop(self, timeout: float | None = None) -> None:
        """Begin the stop, or, without a ``timeout``, have the accept thread begin it after ``drain_delay``. Does not
        wait.

        :param timeout: seconds until the deadline of the shutdown; None: the setting ``stop_timeout``.
        """
        server = self.runtime
        delay = server.settings.drain_delay
        if (
            timeout is None
            and delay > 0
            and self.ready.is_set()
            and not (server.retiring or server.acceptor.wakeup.lost)
        ):
            if not server.draining:
                server.draining = True
                server.acceptor.drain(server.clock.now() + delay)
            return
        self._begin_stop(timeout)

    def _begin_stop(self, timeout: float | None = None) -> None:
        """Set the deadline of the shutdown, and end the accept loop, after which the shutdown begins."""
        server = self.runtime
        deadline = server.clock.now() + (server.settings.stop_timeout if timeout is None else timeout)
        self.shutdown.not_later_than(deadline)
        server.retiring = server.stopping = True
        self.runtime.acceptor.stop()
        if self.runtime.acceptor.wakeup.lost and not self.finished.is_set() and take(self._rescue_token):
            with contextlib.suppress(RuntimeError, MemoryError):
                SystemThread(target=self._rescue, name=f"{server.thread_prefix}-stop", daemon=True).start()

    def retire(self) -> None:
        """Announce the close in every response, have the accept thread accept nothing more, and stop when the last
        connection is closed, or when every client had its time to see the announcement. Does not wait.
        """
        server = self.runtime
        if server.stopping or server.draining:
            return
        server.retiring = True
        if server.acceptor.wakeup.lost:  # nothing tells the accept thread when the last connection is closed
            self.request_stop()
            return
        server.acceptor.retire(server.clock.now() + max(one.keep_alive for one in self._endpoints.applications()))

    def _exit_idle(self) -> None:
        """By the accept thread: no connection was open for a time. What comes meanwhile is left in the backlog."""
        seconds = self.runtime.settings.exit_idle
        self.runtime.log.info(f"no connection was open for {seconds:g} s (--exit-idle): the server stops")
        self.retire()

    def fail(self, closed: str) -> None:
        """Say once that the server cannot go on, and begin to stop it. Any thread.

        :param closed: what another part of the program has closed.
        """
        if self.finished.is_set() or not take(self._failure_token):
            return
        text = (
            f"the server cannot go on, and stops: another part of this program has closed {closed}; start it again, "
            "and look in the application and its libraries for os.closerange, or for os.close of a number that was "
            "closed before"
        )
        self.failure = ServerFailed(text)
        self.runtime.log.error(text)
        self._begin_stop()

    def _rescue(self) -> None:
        """Shut down on this thread if the accept thread cannot be woken: its descriptor and the listeners are closed.

        It is left where it waits; when it ever comes back, it finds that the shutdown was begun.
        """
        self.runtime.acceptor.thread.join(_PATIENCE)
        self._end()

    def stop(self, timeout: float | None = None) -> None:
        """Request the stop and wait until it is complete; a thread that the shutdown waits for does not wait for it.

        :param timeout: see :meth:`request_stop`.
        """
        self.request_stop(timeout)
        if take(self._start_token):  # it was never started
            self.shutdown.begin_grace()
            self._dispose()
            self.finished.set()
            return
        current = threading.get_ident()
        helpers = self.shutdown.helpers
        own = {thread.ident for thread in (self.runtime.log.thread, *self.runtime.threads(), *helpers)}
        if current not in own and current not in (self._blocked_in_start, self._launching):
            self._wait_finished()

    # ---- the start ----

    def _claim_start(self) -> None:
        refuse_green_threads()
        # A token, not a lock: a signal handler may come in between.
        if not take(self._start_token):
            raise UsageError("this server was started before; a stopped one cannot be used again: make another")

    def _launch(self) -> None:
        """Start all threads, the accept thread last: from then on only the accept thread runs the shutdown."""
        server = self.runtime
        fork.watch(self)
        self._launching = threading.get_ident()
        try:
            server.log.start()
            settings = dataclasses.asdict(server.settings)
            for text in without_effect(ENGINE_NEEDS, settings, defaults_of(EngineSettings)):
                server.log.warning(text)
            server.tls.prepare(self._endpoints.main.alpn_protocols)
            for application in self._endpoints.applications():
                application.start(server)
            self._call_hook(server.hooks.on_worker_start, "on_worker_start")
            self.runtime.start()
            self.ready.set()
            self._call_hook(server.hooks.on_ready, "on_ready", (Exception, SystemExit))
        except BaseException:  # a thread cannot be started, the application fails to start, or a KeyboardInterrupt
            if self.runtime.acceptor.thread in threading.enumerate():
                self.request_stop()
            else:
                self._abort_start()
            raise
        finally:
            self._launching = None

    def _call_hook(
        self, hook: Callable[[], None], name: str, ignored: tuple[type[BaseException], ...] = (Exception,)
    ) -> None:
        """Call a hook; errors of these classes are logged."""
        try:
            hook()
        except ignored as error:
            self.runtime.log.failure(f"the hook {name} failed", error)

    def _abort_start(self) -> None:
        """By the thread that could not start everything: undo what was started."""
        self.runtime.retiring = self.runtime.stopping = True
        self.shutdown.not_later_than(self.runtime.clock.now() + self.runtime.settings.stop_timeout)
        self.runtime.abort_start()
        for thread in self.runtime.inner_threads():
            self.shutdown.join(thread, "has not ended after a failed start")
        self._dispose()
        self._finish()

    # ---- the shutdown ----

    def _end(self) -> None:
        """Shut down. The accept thread calls it when its loop is over, or another thread in its place. Once."""
        if not take(self._end_token):
            return
        server = self.runtime
        server.retiring = server.stopping = True  # also when the accept loop itself failed
        try:
            self.shutdown.run(self._endpoints.close_listeners)
            self.shutdown.begin_grace()
            hook = server.hooks.on_worker_stop
            if hook is not Hooks.on_worker_stop:  # it is set
                self.shutdown.call(hook, "the hook on_worker_stop")
        finally:
            try:
                self._dispose()
            finally:
                self._finish()

    def _dispose(self) -> None:
        """Close every descriptor, finish the applications and stop the log."""
        server, endpoints = self.runtime, self._endpoints
        server.log.end_within(self.shutdown.time_left())
        endpoints.close_listeners()
        endpoints.detach_borrowed()
        for application in endpoints.applications():
            if type(application).finish is not Application.finish:
                self.shutdown.call(partial(application.finish, server), f"{type(application).__name__}.finish")
        server.tls.close(partial(self.shutdown.join, how="has not read the files of the certificates"))
        fork.forget(self)
        self.runtime.close()
        server.log.stop()

    def _finish(self) -> None:
        self.finished.set()
        if self.signal_wakeup is not None:
            self.signal_wakeup.signal()

    def _wait_finished(self) -> None:
        while not self.finished.is_set():
            if green_library():  # a wait would make a new lock, which is the library's, in two threads at once
                _sleep(_GREEN_INTERVAL)
            else:
                self.finished.wait(1.0)  # the application may replace locks meanwhile
        acceptor = self.runtime.acceptor.thread
        if acceptor.ident is not None:
            acceptor.join(None if self._rescue_token else _PATIENCE)  # it may wait for what is closed

    # ---- in a forked child ----

    def close_copies(self) -> None:
        """Close this child's copies of every descriptor of the server. Takes no lock, shuts nothing down.

        Each descriptor is closed through the object that holds it, so that the object no longer has the number.
        Otherwise the destructor of the object would close that number again, which may by then be another file of the
        child. In the child the server counts as stopped: a handler that returns finds the queue closed, and
        :meth:`stop` returns at once.
        """
        runtime = self.runtime
        queue, acceptor = runtime.queue, runtime.acceptor
        sockets = [*self._endpoints.listeners, *(connection.sock for connection in queue.connections.values())]
        for sock in sockets:
            fd = sock.detach()
            if fd >= 0:
                with contextlib.suppress(OSError):
                    socket.close(fd)
        runtime.retiring = runtime.stopping = queue.closed = queue.abandoned = True
        runtime.stepper.files.stopping = runtime.stepper.files.closed = True
        for wakeup in (runtime.poller.wakeup, acceptor.wakeup):
            wakeup.after_fork()
        runtime.start_thread.closed = True
        runtime.log.after_fork()
        runtime.poller.close()
        acceptor.wakeup.close()
        self.finished = threading.Event()  # a thread that does not exist in the child may hold the lock of the old one
        self.finished.set()
        if self.signal_wakeup is not None:
            self.signal_wakeup.after_fork(self.finished)

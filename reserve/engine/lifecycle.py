"""The life of a server: started once, on the caller's thread or behind it, and stopped from anywhere.

The orderly end runs on the accept thread, which has nothing else to do by then, so that a stop needs no lock, can come
from a worker or a signal handler, and never waits for itself.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from reserve.engine import fork
from reserve.engine.polling.signalwakeup import SignalWakeup
from reserve.errors import UsageError

if TYPE_CHECKING:
    from reserve.engine.endpoints import Endpoints
    from reserve.engine.runtime import Runtime
    from reserve.engine.server import Server

__all__ = ["Lifecycle"]


class Lifecycle:
    """That of one server. :class:`~reserve.engine.server.Server` says what each method promises."""

    def __init__(self, server: Server, endpoints: Endpoints, runtime: Runtime) -> None:
        self._server = server
        self._endpoints = endpoints
        self._runtime = runtime
        self._not_started = deque((True,))
        self.ready = threading.Event()
        """Connections are accepted."""
        self.finished = threading.Event()
        """All is over."""
        self.signal_wakeup: SignalWakeup | None = None
        """Where :meth:`start` waits."""
        self._blocked_in_start: int | None = None
        self._launching: int | None = None

    def start(self) -> None:
        self._begin()
        with SignalWakeup(self.finished) as door:
            self.signal_wakeup = door
            self._blocked_in_start = threading.get_ident()
            try:
                self._launch()
                door.wait()
            except BaseException:  # KeyboardInterrupt, or whatever a signal handler of the program raises
                self.request_stop()
                try:
                    door.wait()
                except BaseException:
                    self.request_stop(0)
                    door.wait()
                self._wait_finished()
                raise
            finally:
                self._blocked_in_start = None
        self._wait_finished()

    def serve_in_background(self) -> None:
        self._begin()
        self._launch()

    def request_stop(self, timeout: float | None = None) -> None:
        server = self._server
        deadline = server.clock.now() + (server.settings.stop_timeout if timeout is None else timeout)
        self._runtime.shutdown.not_later_than(deadline)
        server.stopping = True
        self._runtime.acceptor.stop()

    def stop(self, timeout: float | None = None) -> None:
        self.request_stop(timeout)
        if self._claim_start():
            self._dispose()
            self.finished.set()
            return
        me = threading.get_ident()
        ours = {thread.ident for thread in (self._server.log.thread, *self._runtime.threads())}
        if me not in ours and me not in (self._blocked_in_start, self._launching):
            self._wait_finished()

    # ---- the start ----

    def _begin(self) -> None:
        if not self._claim_start():
            raise UsageError("this server was started before; a stopped one cannot be used again: make another")

    def _claim_start(self) -> bool:
        """True for the first caller only. A pop, not a lock: a signal handler may come in between."""
        try:
            return self._not_started.pop()
        except IndexError:
            return False

    def _launch(self) -> None:
        """Start all threads, the accept thread last: once it runs, the end is its affair."""
        server = self._server
        fork.watch(server)
        self._launching = threading.get_ident()
        try:
            server.log.start()
            server.tls.prepare(getattr(self._endpoints.main, "alpn_protocols", ()))
            for factory in self._endpoints.applications():
                start = getattr(factory, "start", None)
                if start is not None:
                    start(server)
            self._call_hook(server.hooks.on_worker_start, "on_worker_start")
            self._runtime.start_serving()
            self.ready.set()
        except BaseException:  # no thread to be had, the application could not start, or a KeyboardInterrupt
            if self._runtime.acceptor.thread in threading.enumerate():
                self.request_stop()
            else:
                self._give_up()
            raise
        finally:
            self._launching = None

    def _call_hook(self, hook: Callable[[], None], name: str) -> None:
        try:
            hook()
        except Exception as error:
            self._server.log.failure(f"the hook {name} failed", error)

    def _give_up(self) -> None:
        """By the thread that could not start everything: undo what was started."""
        self._server.stopping = True
        self._runtime.give_up()
        self._dispose()
        self._finish()

    # ---- the end ----

    def end(self) -> None:
        """By the accept thread, whose loop is over: conduct the orderly end."""
        server, shutdown = self._server, self._runtime.shutdown
        server.stopping = True  # also when the accept loop itself failed
        try:
            shutdown.conduct(self._endpoints.close_listeners)
            shutdown.guarded(server.hooks.on_worker_stop, "the hook on_worker_stop failed")
        finally:
            try:
                self._dispose()
            finally:
                self._finish()

    def _dispose(self) -> None:
        """Give back what is left: descriptors, the log."""
        server, endpoints = self._server, self._endpoints
        server.log.end_within(self._runtime.shutdown.time_left())
        endpoints.close_listeners()
        endpoints.let_go()
        for factory in endpoints.applications():
            finish = getattr(factory, "finish", None)
            if finish is not None:
                self._runtime.shutdown.guarded(
                    partial(finish, server), "the application failed at the end of the server"
                )
        server.tls.close()
        fork.forget(server)
        self._runtime.close()
        server.log.stop()

    def _finish(self) -> None:
        self.finished.set()
        if self.signal_wakeup is not None:
            self.signal_wakeup.signal()

    def _wait_finished(self) -> None:
        self.finished.wait()
        acceptor = self._runtime.acceptor.thread
        if acceptor.ident is not None:
            acceptor.join()

"""Calls that workers have made on the thread inside :meth:`~reserve.engine.server.Server.start`: mostly the main one.

A worker makes a :class:`CallSeries` and passes it one function after another; it waits for each. The thread inside
``start()``, which waits for the end of the server anyway, calls them. Series are served in the order in which they were
begun, and no call of another one comes between the calls of one series. A function that the thread calls may have the
worker call something in turn (:meth:`CallSeries.call_on_worker`): the worker uses its connection, and the other thread
never does.

The main thread runs signal handlers, so KeyboardInterrupt may be raised in it at any instruction. No state of a
connection is changed there. What is changed is one attribute at a time, in an order in which a thread that comes again
(:meth:`StartThread.work`) finds out how far it came: no call is lost, none is made twice, and no worker waits for ever.
In a worker, RequestTimeout is not raised while it has a series: the monitor tells the series instead.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from reserve.engine.scheduler.runguard import RunGuard
from reserve.errors import ClientDisconnected, RequestTimeout

if TYPE_CHECKING:
    from reserve.engine.polling.signalwakeup import SignalWakeup
    from reserve.engine.scheduler.workers import WorkerPool

__all__ = ["CallSeries", "StartThread"]

T = TypeVar("T")

_CALL, _CANCEL = "call", "cancel"
"""Who has claimed a call: the thread that is to make it, or the worker, which does not want it any more."""


class _Call:
    """A function that the thread calls. The worker that waits for it makes it; the monitor uses its guard."""

    __slots__ = ("claim", "done", "error", "function", "guard", "must_run", "started", "value")

    def __init__(self, function: Callable[[], Any], *, must_run: bool) -> None:
        self.function = function
        self.must_run = must_run
        """It is made also if the time of the request is over."""
        self.guard = RunGuard()
        """The thread is in it while it calls the function."""
        self.claim: dict[str, str] = {}
        """``setdefault`` gives it to one of two threads."""
        self.started = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        """The worker has been sent the result."""


class _WorkerCall:
    """A function that the worker calls while the thread, in a call of it, waits. The thread makes it."""

    __slots__ = ("abandoned", "done", "error", "function", "value")

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.value: Any = None
        self.error: BaseException | None = None
        self.done = False
        self.abandoned = False
        """The thread waits no more, because a signal handler or the monitor has raised an exception in it."""

    def make(self) -> None:
        """By the worker."""
        if not self.abandoned:
            try:
                self.value = self.function()
            except BaseException as error:
                self.error = error
        self.done = True


class CallSeries:
    """The calls that one worker has made during one run, or after it. The worker makes it, and ends it (:meth:`end`).

    :param thread: the thread that makes the calls.
    """

    __slots__ = ("_inbox", "_thread", "current", "ident", "interrupted")

    def __init__(self, thread: StartThread) -> None:
        self._thread = thread
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        """What the worker is told: a call that was made, a call that it makes itself, or why it waits in vain."""
        self.current: _Call | None = None
        """The call that the worker waits for, or the last one."""
        self.ident = threading.get_ident()
        """The worker's thread."""
        self.interrupted = False
        """The time of the request is over. Written by the monitor."""

    # ---- by the worker ----

    def call(self, function: Callable[[], T], *, must_run: bool = False) -> T:
        """Have a function called on the thread, wait, and return what it returns or raise what it raises.

        :param must_run: call it also if the time of the request is over, because it cleans up.

        Raises RequestTimeout when the time of the request is over before the function is called, ClientDisconnected
        when the server stops calling functions first.
        """
        call = _Call(function, must_run=must_run)
        self.current = call
        self._thread.wake()
        if self._thread.closed:  # after the line before: else close() would not see this call
            raise _stopped()
        while not call.done:
            message = self._inbox.get()
            if isinstance(message, _WorkerCall):
                message.make()
                self._thread.wake()
            elif isinstance(message, BaseException):
                stopped = not isinstance(message, RequestTimeout)
                if stopped or (not must_run and call.claim.setdefault("", _CANCEL) is _CANCEL):
                    self.current = None
                    raise message
            elif message is call:
                break
        try:
            if call.error is not None:
                raise call.error
            return call.value  # type: ignore[no-any-return]
        finally:
            del call  # the traceback refers to this frame

    def end(self) -> None:
        """The series is over: the thread may serve the next one. A second call does nothing."""
        self._thread.end_series(self)

    # ---- by the thread, in a call ----

    def call_on_worker(self, function: Callable[[], T]) -> T:
        """Have the worker call a function, wait, and return what it returns or raise what it raises.

        On another thread than the one of the call, and when the series is over, the function is called at once: then it
        is as it would be without a series.
        """
        thread, current = self._thread, self.current
        if not thread.is_current() or current is None or current.done:
            return function()
        if thread.closed:
            raise ClientDisconnected("the server does not serve this request any more")
        call = _WorkerCall(function)
        self._inbox.put(call)
        try:
            thread.wait_for(call)
        except BaseException:
            call.abandoned = True
            raise
        try:
            if call.error is not None:
                raise call.error
            return call.value  # type: ignore[no-any-return]
        finally:
            del call

    def finish(self, call: _Call, value: Any, error: BaseException | None) -> None:
        """Tell the worker the result of a call."""
        call.value, call.error = value, error
        self._inbox.put(call)
        call.done = True

    def abandon(self, error: BaseException) -> None:
        """Let the worker raise an error, because its calls are not made any more."""
        self._inbox.put(error)

    # ---- by the monitor ----

    def interrupt(self) -> None:
        """The time of the request is over: raise RequestTimeout in the call that is being made, or in the worker, if it
        waits for a call that was not begun.
        """
        self.interrupted = True
        call = self.current
        if call is not None and not call.done and call.guard.hold():
            call.guard.interrupt()
            call.guard.release()
        self._inbox.put(RequestTimeout())
        self._thread.wake()


class StartThread:
    """The thread inside ``start()`` of one server, as workers see it; owned by the runtime of the server.

    That thread calls :meth:`begin`, :meth:`work` and :meth:`close`; workers call :meth:`begin_series`.
    """

    def __init__(self) -> None:
        self._pool: WorkerPool | None = None
        self._wakeup: SignalWakeup | None = None
        self._ident = 0
        self._series: deque[CallSeries] = deque()
        """Those that are not over, in order; workers change it."""
        self.thread: threading.Thread | None = None
        """The thread; None: none is inside ``start()``."""
        self.stopping_errors: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
        """What a function raises in order to stop the server, too: ``start()`` raises it. Set before the start."""
        self.closed = True
        """Nothing is called any more, or not yet."""

    def begin(self, wakeup: SignalWakeup, pool: WorkerPool) -> None:
        """By the thread, before the server starts.

        :param wakeup: what it is going to wait with.
        :param pool: the workers of the server.
        """
        self._wakeup, self._pool = wakeup, pool
        self.thread = threading.current_thread()
        self._ident = threading.get_ident()
        self.closed = False

    def close(self) -> None:
        """Call nothing any more: every worker that waits, and that comes later, gets an error. A second call does
        nothing.
        """
        self.closed = True
        for series in self._series.copy():
            series.abandon(_stopped())

    def is_current(self) -> bool:
        """Whether the caller is this thread."""
        return threading.get_ident() == self._ident

    def running_for(self, ident: int | None) -> threading.Thread | None:
        """This thread, if it is inside a function of a worker; else None. Any thread, for log lines.

        :param ident: of the worker's thread.
        """
        for series in list(self._series.copy())[:1]:
            call = series.current
            if series.ident == ident and call is not None and call.started and not call.done:
                return self.thread
        return None

    def wake(self) -> None:
        """Any thread: there is something to do."""
        if self._wakeup is not None:
            self._wakeup.signal()

    # ---- by workers ----

    def begin_series(self) -> CallSeries:
        """Begin a series of calls; the worker ends it with :meth:`CallSeries.end`.

        Raises ClientDisconnected when the server calls nothing any more, RequestTimeout when the time of the run is
        over.
        """
        series = CallSeries(self)
        assert self._pool is not None, "the server has started"
        self._pool.redirect_interrupt(series.interrupt)
        self._series.append(series)
        if self.closed:
            self.end_series(series)
            raise _stopped()
        return series

    def end_series(self, series: CallSeries) -> None:
        """See :meth:`CallSeries.end`."""
        try:
            self._series.remove(series)
        except ValueError:
            return
        if self._series:
            self.wake()

    # ---- by the thread ----

    def work(self) -> None:
        """Make the calls that are to be made now. Raises KeyboardInterrupt when a function does."""
        while not self.closed:
            try:
                series = self._series[0]
            except IndexError:
                return
            call = series.current
            if call is None or call.done or call.claim.setdefault("", _CALL) is not _CALL:
                return  # the worker goes on
            self._make(series, call)

    def wait_for(self, call: _WorkerCall) -> None:
        """Wait until the worker has made a call. Signal handlers run meanwhile; this raises what they raise."""
        assert self._wakeup is not None, "the thread has begun"
        while not call.done:
            self._wakeup.wait_once()

    def _make(self, series: CallSeries, call: _Call) -> None:
        if call.started:  # a signal handler has raised an exception here, beside the function
            series.finish(call, None, KeyboardInterrupt("while the server called the application"))
            return
        value, error, guard = None, None, call.guard
        try:
            call.started = True
            guard.enter(self._ident)
            if series.interrupted and not call.must_run:
                raise RequestTimeout
            value = call.function()
        except BaseException as raised:
            error = raised
        while True:
            try:
                guard.leave()
                break
            except RequestTimeout:  # see WorkerPool._run_timed
                continue
        stops = error is not None and issubclass(type(error), self.stopping_errors)
        series.finish(call, value, _copy(error) if stops else error)
        try:
            if error is not None and stops:
                raise error
        finally:
            del error, value


def _copy(error: BaseException | None) -> BaseException | None:
    """The same exception for another thread, which adds its own frames to the traceback."""
    try:
        copy = type(error)(*error.args)  # type: ignore[union-attr, misc]
    except Exception:  # its class wants other arguments
        return error
    return copy.with_traceback(error.__traceback__)  # type: ignore[union-attr]


def _stopped() -> ClientDisconnected:
    return ClientDisconnected("the server has stopped; the application is not called any more")

"""A WSGI application whose code runs on one thread, in order: the one that has started the server.

The worker that has a request waits while that thread calls the application, takes each piece of the response from its
iterable, and closes that. The worker sends the pieces. One request is served from the call of the application to the
``close()`` of its result before the next one begins, so no code of the application runs between the pieces of a
response that is streamed. What the application calls meanwhile and that uses the connection (``write()``, a
``wsgi.input`` that is still being received, the functions of the server in the environ) is called by the worker.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Protocol, TypeVar

from reserve.errors import UsageError
from reserve.gateways.exchange import Environ, ExcInfo, StartResponse, Write, WSGIApplication
from reserve.gateways.streams import FileWrapper

__all__ = ["CallSeries", "CallThread", "CallingThread"]

T = TypeVar("T")

_ON_WORKER = ("wsgi.early_hints", "reserve.deadline")
"""Functions in the environ that look for the worker that calls them."""
_RECEIVED = (io.BytesIO, io.BufferedReader)
"""Files of a request body that is received already: reading one does not use the connection."""
_FILES = (io.BytesIO, io.BufferedReader, io.BufferedRandom, io.FileIO, tempfile._TemporaryFileWrapper)
"""Files whose ``read()`` is no code of the application."""


class CallSeries(Protocol):
    """The calls of one request: :class:`reserve.engine.scheduler.startthread.CallSeries`."""

    def call(self, function: Callable[[], T], *, must_run: bool = False) -> T: ...

    def call_on_worker(self, function: Callable[[], T]) -> T: ...

    def end(self) -> None: ...


class CallThread(Protocol):
    """The thread that makes the calls: :class:`reserve.engine.scheduler.startthread.StartThread`."""

    closed: bool
    stopping_errors: tuple[type[BaseException], ...]

    def begin_series(self) -> CallSeries: ...


class CallingThread:
    """A WSGI application that runs another one on the thread inside ``start()`` of its server. Workers call it.

    It is given to one server, whose HTTP application attaches it at the start. A program that is not inside
    ``Server.start()`` (it called ``serve_in_background()``) gets a UsageError then. Without a server, as in a test, it
    is the application itself.

    ``reserve.waiting`` of the environ has no effect: no other request can be served meanwhile.

    :param app: the application.
    :param stopping_errors: what stops the server when the application raises it: its client gets a 500, or the response
        is aborted, and ``start()`` raises the exception when the server has stopped. Other exceptions are failures of
        one request. Default: KeyboardInterrupt, which a signal handler raises in the main thread.
    :raises UsageError: for an ``app`` that cannot be called.
    """

    single_thread = True

    def __init__(
        self, app: WSGIApplication, *, stopping_errors: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
    ) -> None:
        if not callable(app):
            raise UsageError(f"a WSGI application is a callable (environ, start_response), got {app!r:.80}")
        self._app = app
        self._stopping_errors = stopping_errors
        self._thread: CallThread | None = None

    @property
    def app(self) -> WSGIApplication:
        """The application that the thread runs."""
        return self._app

    def attach(self, thread: CallThread) -> None:
        """Have the application run on ``thread``. Called before the server accepts. Raises UsageError when no thread is
        inside ``start()``.
        """
        if thread.closed:
            raise UsageError(
                "this application runs on the thread that calls start() of the server, and "
                "serve_in_background() returns: call start()"
            )
        thread.stopping_errors = self._stopping_errors
        self._thread = thread

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if self._thread is None:
            return self._app(environ, start_response)
        series = self._thread.begin_series()
        request = _Request(self._thread, series, environ, start_response)
        try:
            result = series.call(partial(request.run, self._app))
        except BaseException:
            series.end()
            raise
        if not isinstance(result, _Pieces):
            series.end()
        return result


class _Request:
    """One request, as the application sees it. The worker makes it, and the calling thread uses it."""

    def __init__(self, thread: CallThread, series: CallSeries, environ: Environ, start_response: StartResponse) -> None:
        self.series = series
        self._thread = thread
        self._environ = environ
        self._start_response = start_response
        self.context: Context = copy_context()
        self._errors = environ.get("wsgi.errors")

    def run(self, app: WSGIApplication) -> Iterable[bytes]:
        """By the calling thread: call the application."""
        self._complete_environ()
        result = self.context.run(app, self._environ, self.start_response)
        if _is_complete(result):
            self.flush_errors()
            return result
        return _SizedPieces(self, result) if hasattr(type(result), "__len__") else _Pieces(self, result)

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """Set the head. It is not sent here, and the worker waits meanwhile, so it need not be the one that calls."""
        try:
            return partial(self._write, self._start_response(status, headers, exc_info))
        finally:
            exc_info = None  # its traceback refers to this frame

    def flush_errors(self) -> None:
        """By the calling thread, after the application: an incomplete line is complete now."""
        flush = getattr(self._errors, "flush", None)
        if flush is not None:
            flush()

    def _write(self, write: Write, data: bytes, /) -> None:
        self.series.call_on_worker(partial(write, data))

    def _complete_environ(self) -> None:
        environ, on_worker = self._environ, self.series.call_on_worker
        for key in _ON_WORKER:
            function = environ.get(key)
            if function is not None:
                environ[key] = partial(_call, on_worker, function)
        if "reserve.waiting" in environ:
            environ["reserve.waiting"] = _not_exempt
        after_response = environ.get("reserve.after_response")
        if after_response is not None:
            environ["reserve.after_response"] = partial(self._call_after_response, after_response)
        content = environ.get("wsgi.input")
        if content is not None and type(content) not in _RECEIVED:
            environ["wsgi.input"] = _Input(content, on_worker)

    def _call_after_response(self, register: Callable[[Callable[[], object]], object], function: Any) -> None:
        """``reserve.after_response``: the worker calls it after the response, and has the calling thread do that."""
        if not callable(function):
            register(function)  # raises the error
        later = partial(_call_later, self._thread, partial(copy_context().run, function))
        self.series.call_on_worker(partial(register, later))


class _Pieces:
    """The iterable of an application: each piece is made by the calling thread. The worker uses it.

    :param result: what the application has returned.
    """

    def __init__(self, request: _Request, result: Any) -> None:
        self._request = request
        self._result = result
        self._iterator: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        # StopIteration does not pass through: a generator of the caller would take it for a RuntimeError.
        piece = self._request.series.call(self._next)
        if piece is None:
            raise StopIteration
        return piece[0]

    def close(self) -> None:
        """Call ``close()`` of the result, if it has one, and let the next request begin."""
        request = self._request
        try:
            request.series.call(self._close, must_run=True)
        finally:
            request.series.end()

    def _next(self) -> tuple[bytes] | None:
        run = self._request.context.run
        if self._iterator is None:
            self._iterator = run(iter, self._result)
        try:
            return (run(next, self._iterator),)
        except StopIteration:
            return None

    def _close(self) -> None:
        try:
            close = getattr(self._result, "close", None)
            if close is not None:
                self._request.context.run(close)
        finally:
            self._result = self._iterator = None  # freed on this thread
            self._request.flush_errors()


class _SizedPieces(_Pieces):
    """The same, for an iterable that says how many pieces it has: with one, the server knows the length."""

    def __len__(self) -> int:
        return self._request.series.call(partial(self._request.context.run, len, self._result))


class _Input:
    """``wsgi.input`` of a body that is still being received: the worker reads it. The calling thread uses it."""

    def __init__(self, content: Any, on_worker: Callable[[Callable[[], Any]], Any]) -> None:
        self._content = content
        self._on_worker = on_worker

    def read(self, *args: Any) -> bytes:
        return self._on_worker(partial(self._content.read, *args))  # type: ignore[no-any-return]

    def readline(self, *args: Any) -> bytes:
        return self._on_worker(partial(self._content.readline, *args))  # type: ignore[no-any-return]

    def readlines(self, *args: Any) -> list[bytes]:
        return self._on_worker(partial(self._content.readlines, *args))  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[bytes]:
        while line := self.readline():
            yield line

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._content, name)
        return partial(_call, self._on_worker, value) if callable(value) else value


def _call(
    on_worker: Callable[[Callable[[], Any]], Any], function: Callable[..., Any], /, *args: Any, **options: Any
) -> Any:
    return on_worker(partial(function, *args, **options))


def _call_later(thread: CallThread, function: Callable[[], object]) -> None:
    """By the worker, after the response."""
    series = thread.begin_series()
    try:
        series.call(function, must_run=True)
    finally:
        series.end()


def _not_exempt() -> AbstractContextManager[bool]:
    """``reserve.waiting``: the worker counts as before."""
    return nullcontext(False)


def _is_complete(result: Any) -> bool:
    """Whether what the application has returned has no code of the application: the worker may send it alone, or
    refuse it.
    """
    kind = type(result)
    if kind is FileWrapper:
        return type(result.filelike) in _FILES
    if kind is list or kind is tuple or issubclass(kind, (str, bytes)):
        return True
    return not hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__")

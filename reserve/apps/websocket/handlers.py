"""The forms that a WebSocket handler may have, and how each is called.

=====================  =============================================================================================
``on_message``         an object, a module or a class (one instance for each connection) with
                       ``on_message(ws, message)`` and, if it likes, ``on_open(ws)`` and ``on_close(ws)``
a generator function   ``def handle(ws)`` with ``message = yield``, which waits for the next message
any other function     ``def handle(ws)``, which calls ``ws.recv()`` or iterates over ``ws``; it has its own thread
=====================  =============================================================================================

With the first two forms a connection is parked between its messages, and a worker runs the code for each. An attribute
``subprotocols`` of the handler names the subprotocols that it speaks, the preferred one first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any

from reserve.errors import UsageError, short_repr

if TYPE_CHECKING:
    from reserve.apps.websocket.websocket import WebSocket

__all__ = ["Calls", "Handler"]


class Calls:
    """What is called for one connection that parks, on a worker. Owned by its driver; the worker of a run calls it."""

    __slots__ = ()

    def open(self, ws: WebSocket) -> None:
        """The connection is open. Called once, before all others."""

    def message(self, ws: WebSocket, message: str | bytes) -> None:
        """A message has come."""

    def closed(self, ws: WebSocket) -> None:
        """The connection has ended. Called once, last."""


class _EventCalls(Calls):
    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        self._target = target

    def open(self, ws: WebSocket) -> None:
        if isinstance(self._target, type):
            self._target = self._target()
        on_open = getattr(self._target, "on_open", None)
        if on_open is not None:
            on_open(ws)

    def message(self, ws: WebSocket, message: str | bytes) -> None:
        self._target.on_message(ws, message)

    def closed(self, ws: WebSocket) -> None:
        on_close = getattr(self._target, "on_close", None)
        if on_close is not None and not isinstance(self._target, type):  # else it could not be instantiated
            on_close(ws)


class _GeneratorCalls(Calls):
    __slots__ = ("_function", "_generator")

    def __init__(self, function: Callable[[WebSocket], Generator[Any, Any, Any]]) -> None:
        self._function = function
        self._generator: Generator[Any, Any, Any] | None = None

    def open(self, ws: WebSocket) -> None:
        self._generator = self._function(ws)
        self._resume(ws, None)

    def message(self, ws: WebSocket, message: str | bytes) -> None:
        self._resume(ws, message)

    def _resume(self, ws: WebSocket, message: str | bytes | None) -> None:
        if self._generator is not None:
            try:
                self._generator.send(message)
            except StopIteration:
                self._generator = None
                ws.close()

    def closed(self, ws: WebSocket) -> None:
        if self._generator is not None:
            self._generator.close()


class Handler:
    """The handler of one path. Made at the start; any thread reads it.

    :param target: what the user wrote, in one of the forms.
    :raises UsageError: for anything else.
    """

    def __init__(self, target: Any) -> None:
        self.target = target
        subprotocols = getattr(target, "subprotocols", ())
        if isinstance(subprotocols, str):
            raise UsageError(f"subprotocols is a list, like [{subprotocols!r:.80}]; got {short_repr(subprotocols)}")
        self.subprotocols: Sequence[str] = tuple(subprotocols)
        call = getattr(target, "on_message", None)
        if call is None:
            call = target if inspect.isroutine(target) else getattr(type(target), "__call__", None)  # noqa: B004
            if isinstance(target, type) or not callable(target):
                raise UsageError(
                    f"a WebSocket handler is a function handle(ws), or has on_message(ws, message); got "
                    f"{short_repr(target)}"
                )
        if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
            raise UsageError(
                f"{short_repr(target)} is async, and a WebSocket handler is an ordinary function: write def"
            )
        self.has_thread = False
        """It has a thread of its own."""
        self.make_calls: Callable[[], Calls]
        if hasattr(target, "on_message"):
            self.make_calls = lambda: _EventCalls(target)
        elif inspect.isgeneratorfunction(call):
            self.make_calls = lambda: _GeneratorCalls(target)
        else:
            self.has_thread = True
            self.make_calls = Calls

"""``reserve app jsons``: JSON-RPC 2.0 over lines (https://www.jsonrpc.org/specification, https://jsonlines.org).

One message a line, in UTF-8, of at most 64 KiB; empty lines are ignored. The methods:

- ``echo`` returns its params; ``time`` is the time in UTC (ISO 8601); ``peer`` is ``[host, port]`` of the client;
  ``stats`` is the result of ``server.stats()``.
- ``subscribe(topic)`` asks for the messages of a topic; they arrive as notifications ``message(topic, message)``.
- ``publish(topic, message)`` sends one to every subscriber, and returns how many subscribers there were.

It is an example of a handler that parks: a connection is parked between two lines, ``on_close`` cleans up after it for
whatever reason it closes, and the worker of one connection pushes to others with ``server.send``. Responses go the same
way, so that two messages never mix. A client that takes nothing while more than ``--max-output`` waits for it is
disconnected; from a client that does not read its responses nothing is received.

One worker at a time uses a :class:`Session`; others call only :meth:`Session.push`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reserve.apps._jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Params,
    RPCError,
    bind_params,
    dispatch,
    encode,
    error_response,
)
from reserve.apps._pubsub import Topics
from reserve.engine.connections.peers import name_of
from reserve.engine.drivers.handler import Park
from reserve.errors import ReserveError, UsageError
from reserve.loader.arguments import Arguments

if TYPE_CHECKING:
    from reserve.engine.server import Server

__all__ = ["ARGUMENTS", "MAX_LINE", "MAX_TOPICS", "JSONLines", "Session", "launch"]

ARGUMENTS = ""
"""It takes none."""

MAX_LINE = 65536
"""Bytes of one line, without its end."""
MAX_TOPICS = 100
"""Topics of one connection."""
MAX_TOPIC = 256
"""Characters of a topic's name."""

_RECEIVE_SIZE = 65536
_MAX_RESPONSES = 65536  # bytes of responses after which the client has to take some before its next line is read
_LINGER_TIMEOUT = 2.0  # seconds that the client has to read why its connection closes
_LINGER_BYTES = 65536


class _LineBuffer:
    """Bytes in, lines out. One for each session. For :class:`Park` it is a reader: a complete line is readable."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._end = -1

    def feed(self, data: bytes) -> None:
        self._buffer += data
        self._search()

    def finish(self) -> None:
        """The client sends no more: the remaining bytes are a line, too."""
        if self._buffer and not self._buffer.endswith(b"\n"):
            self.feed(b"\n")

    def take(self) -> bytes | None:
        """The next complete line without its end; None: there is none."""
        if self._end < 0:
            return None
        line = bytes(self._buffer[: self._end])
        del self._buffer[: self._end + 1]
        self._searched = 0
        self._search()
        return line

    @property
    def too_long(self) -> bool:
        """The next line has passed its limit."""
        return (self._end if self._end >= 0 else len(self._buffer)) > MAX_LINE

    def peek(self, size: int = 0, /) -> bytes:
        return b"\n" if self._end >= 0 else b""

    def _search(self) -> None:
        self._end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer) if self._end < 0 else self._end


class Session:
    """One connection: its lines, and the methods that they call."""

    def __init__(self, sock: socket.socket, address: tuple[str, int], server: Server, topics: Topics[Session]) -> None:
        self.sock = sock
        self.address = address
        self.server = server
        self._topics = topics
        self._lines = _LineBuffer()
        self._peer_closed = False
        self._discarded = 0
        self._methods: dict[str, Callable[[Params], object]] = {
            "echo": self._echo,
            "time": self._time,
            "peer": self._peer,
            "stats": self._stats,
            "subscribe": self._subscribe,
            "publish": self._publish,
        }

    def park(self) -> Park:
        """Wait for the next line."""
        return Park(self._resume, reader=self._lines, on_close=self._closed)

    def push(self, line: bytes) -> bool:
        """By any thread: send a line. False when the connection has closed, or closes now because its client does not
        read.
        """
        try:
            self.server.send(self.sock, line + b"\n")
        except UsageError:
            return False  # it has closed meanwhile, and on_close cleans up
        except ReserveError as error:
            self.server.log.info(f"{name_of(self.address)}: dropped: {error}", "subscribers that were dropped")
            self._topics.unsubscribe_all(self)
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def _resume(self) -> Park | None:
        lines = self._lines
        if not lines.peek():
            data = self.sock.recv(_RECEIVE_SIZE)
            if data:
                lines.feed(data)
            else:
                self._peer_closed = True
                lines.finish()
        pushed = 0
        while pushed < _MAX_RESPONSES and not lines.too_long:
            line = lines.take()
            if line is None:
                return None if self._peer_closed else self.park()
            response = dispatch(line, self._call, self._report) if line.strip(b" \t\r") else None
            if response is not None:
                pushed += len(response)
                if not self.push(response):
                    return None
        return self._refuse() if lines.too_long else self.park()

    def _closed(self, reason: str) -> None:
        self._topics.unsubscribe_all(self)

    # ---- closing a connection whose line is too long ----

    def _refuse(self) -> Park | None:
        """Send the reason, and let the client read it before the close: a close while input is unread is a reset."""
        error = RPCError(INVALID_REQUEST, f"a line has at most {MAX_LINE} bytes")
        if not self.push(error_response(None, error)):
            return None
        return Park(self._shutdown_write, until="writable", on_close=self._closed)

    def _shutdown_write(self) -> Park | None:
        self.sock.shutdown(socket.SHUT_WR)
        return Park(self._discard, timeout=_LINGER_TIMEOUT, on_close=self._closed)

    def _discard(self) -> Park | None:
        data = self.sock.recv(_RECEIVE_SIZE)
        self._discarded += len(data)
        if not data or self._discarded > _LINGER_BYTES:
            return None
        return Park(self._discard, timeout=_LINGER_TIMEOUT, on_close=self._closed)

    # ---- the methods ----

    def _call(self, name: str, params: Params) -> object:
        method = self._methods.get(name)
        if method is None:
            raise RPCError(METHOD_NOT_FOUND, f"there are {', '.join(self._methods)}")
        return method(params)

    def _report(self, name: str, error: Exception) -> None:
        self.server.log.failure(f"{name_of(self.address)}: the method {name} failed", error)

    def _echo(self, params: Params) -> object:
        return params

    def _time(self, params: Params) -> object:
        bind_params(params)
        return datetime.now(UTC).isoformat()

    def _peer(self, params: Params) -> object:
        bind_params(params)
        return self.address

    def _stats(self, params: Params) -> object:
        bind_params(params)
        return dataclasses.asdict(self.server.stats())

    def _subscribe(self, params: Params) -> object:
        (topic,) = bind_params(params, "topic")
        if not self._topics.subscribe(_topic(topic), self, MAX_TOPICS):
            raise RPCError(INVALID_PARAMS, f"a connection has at most {MAX_TOPICS} topics")
        return True

    def _publish(self, params: Params) -> object:
        topic, message = bind_params(params, "topic", "message")
        subscribers = self._topics.subscribers(_topic(topic))
        line = encode({"jsonrpc": "2.0", "method": "message", "params": {"topic": topic, "message": message}})
        return sum(subscriber.push(line) for subscriber in subscribers)


def _topic(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_TOPIC:
        raise RPCError(INVALID_PARAMS, f"a topic is a string of 1 to {MAX_TOPIC} characters")
    return name


class JSONLines:
    """The handler: ``handle(socket, client_address, server)``. One serves all connections; workers call it."""

    client_speaks_first = True
    """A connection that sends nothing never gets a worker, and is closed after ``--handler-timeout``."""

    def __init__(self) -> None:
        self.topics: Topics[Session] = Topics()

    def __call__(self, sock: socket.socket, client_address: tuple[str, int], server: Server) -> Park:
        # Parked before the first line is read, so that on_close runs whatever that line does.
        return Session(sock, client_address, server, self.topics).park()


def launch(args: Sequence[str]) -> JSONLines:
    """Make the handler. Raises UsageError when there are arguments."""
    Arguments.of(args).refuse_rest("app jsons")
    return JSONLines()

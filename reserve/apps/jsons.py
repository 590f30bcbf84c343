"""``reserve app jsons``: JSON-RPC 2.0 over lines (https://www.jsonrpc.org/specification, https://jsonlines.org).

One message a line, in UTF-8, of at most 64 KiB; empty lines are passed over. The methods:

- ``echo`` gives its params back; ``time`` is the time in UTC (ISO 8601); ``peer`` is ``[host, port]`` of the client;
  ``stats`` is what ``server.stats()`` says.
- ``subscribe(topic)`` asks for the messages of a topic; they arrive as notifications ``message(topic, message)``.
- ``publish(topic, message)`` sends one to every subscriber, and gives back how many there were.

It shows what the generic application is made of: a connection is parked between two lines, ``on_close`` cleans up after
it however it ended, and the thread of one connection pushes to others with ``server.send``. Answers go the same way, so
that neither ever cuts into the other. A connection that takes nothing while more than ``--max-output`` waits for it is
dropped; one that does not read its answers is not read from.

A :class:`Session` is used by one worker at a time; only :meth:`Session.push` is called by the others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from reserve.apps._jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Params,
    RPCError,
    answer,
    encode,
    failure,
    take,
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
"""Octets of one line, without its end."""
MAX_TOPICS = 100
"""Topics of one connection."""
MAX_TOPIC = 256
"""Characters of a topic's name."""

_RECEIVE = 65536
_ENOUGH = 65536  # octets of answers after which the client has to take some before its next line is looked at
_LINGER = 2.0  # seconds that the peer has to read why it is cut off
_LINGER_BYTES = 65536


class _Lines:
    """Octets in, lines out. For :class:`Park` it is a reader: a whole line counts as readable."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0
        self._end = -1

    def feed(self, data: bytes) -> None:
        self._buffer += data
        self._search()

    def finish(self) -> None:
        """No more will come: what is left is a line, too."""
        if self._buffer and not self._buffer.endswith(b"\n"):
            self.feed(b"\n")

    def take(self) -> bytes | None:
        """The next whole line without its end; None: there is none."""
        if self._end < 0:
            return None
        line = bytes(self._buffer[: self._end])
        del self._buffer[: self._end + 1]
        self._searched = 0
        self._search()
        return line

    @property
    def too_long(self) -> bool:
        """The line that comes next has passed its limit."""
        return (self._end if self._end >= 0 else len(self._buffer)) > MAX_LINE

    def peek(self, size: int = 0, /) -> bytes:
        return b"\n" if self._end >= 0 else b""

    def _search(self) -> None:
        self._end = self._buffer.find(b"\n", self._searched)
        self._searched = len(self._buffer) if self._end < 0 else self._end


class Session:
    """One connection."""

    def __init__(self, sock: socket.socket, address: tuple[str, int], server: Server, topics: Topics[Session]) -> None:
        self.sock = sock
        self.address = address
        self.server = server
        self._topics = topics
        self._lines = _Lines()
        self._ended = False
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
        return Park(self._resume, reader=self._lines, on_close=self._gone)

    def push(self, line: bytes) -> bool:
        """Send a line, from any thread; False when the connection is over, or is dropped now because it is too slow."""
        try:
            self.server.send(self.sock, line + b"\n")
        except UsageError:
            return False  # it has ended meanwhile, and on_close cleans up
        except ReserveError as error:
            self.server.log.info(f"{name_of(self.address)}: dropped: {error}", "subscribers that were dropped")
            self._topics.leave(self)
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def _resume(self) -> Park | None:
        lines = self._lines
        if not lines.peek():
            data = self.sock.recv(_RECEIVE)
            if data:
                lines.feed(data)
            else:
                self._ended = True
                lines.finish()
        answered = 0
        while answered < _ENOUGH and not lines.too_long:
            line = lines.take()
            if line is None:
                return None if self._ended else self.park()
            found = answer(line, self._call, self._report) if line.strip(b" \t\r") else None
            if found is not None:
                answered += len(found)
                if not self.push(found):
                    return None
        return self._refuse() if lines.too_long else self.park()

    def _gone(self, reason: str) -> None:
        self._topics.leave(self)

    # ---- the end of a connection whose line is too long ----

    def _refuse(self) -> Park | None:
        """Say why, and close in such a way that the peer can read it: a close with input outstanding is a reset."""
        if not self.push(failure(None, RPCError(INVALID_REQUEST, f"a line has at most {MAX_LINE} octets"))):
            return None
        return Park(self._half_close, until="writable", on_close=self._gone)

    def _half_close(self) -> Park | None:
        self.sock.shutdown(socket.SHUT_WR)
        return Park(self._discard, timeout=_LINGER, on_close=self._gone)

    def _discard(self) -> Park | None:
        data = self.sock.recv(_RECEIVE)
        self._discarded += len(data)
        if not data or self._discarded > _LINGER_BYTES:
            return None
        return Park(self._discard, timeout=_LINGER, on_close=self._gone)

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
        take(params)
        return datetime.now(timezone.utc).isoformat()

    def _peer(self, params: Params) -> object:
        take(params)
        return self.address

    def _stats(self, params: Params) -> object:
        take(params)
        return dataclasses.asdict(self.server.stats())

    def _subscribe(self, params: Params) -> object:
        (topic,) = take(params, "topic")
        if not self._topics.join(_topic(topic), self, MAX_TOPICS):
            raise RPCError(INVALID_PARAMS, f"a connection has at most {MAX_TOPICS} topics")
        return True

    def _publish(self, params: Params) -> object:
        topic, message = take(params, "topic", "message")
        subscribers = self._topics.subscribers(_topic(topic))
        line = encode({"jsonrpc": "2.0", "method": "message", "params": {"topic": topic, "message": message}})
        return sum(subscriber.push(line) for subscriber in subscribers)


def _topic(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= MAX_TOPIC:
        raise RPCError(INVALID_PARAMS, f"a topic is a string of 1 to {MAX_TOPIC} characters")
    return name


class JSONLines:
    """The handler: ``handle(socket, client_address, server)``."""

    client_speaks_first = True
    """A connection that says nothing never sees a worker, and is closed after ``--handler-timeout``."""

    def __init__(self) -> None:
        self.topics: Topics[Session] = Topics()

    def __call__(self, sock: socket.socket, client_address: tuple[str, int], server: Server) -> Park:
        # Parked before the first line is looked at, so that on_close is known whatever that line does.
        return Session(sock, client_address, server, self.topics).park()


def launch(args: Sequence[str]) -> JSONLines:
    """Make the handler. Raises UsageError when there are arguments."""
    Arguments.of(args).refuse_rest("app jsons")
    return JSONLines()

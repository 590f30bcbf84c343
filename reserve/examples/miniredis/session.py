"""One connection of a miniredis, and the handler. Workers call both.

A worker receives what has arrived, carries out the commands in it and sends their replies together: a client that
sends sixteen commands at once costs two system calls more than one that sends a single command. Then the connection is
parked. While replies wait for the client, nothing more is received from it.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from reserve import Park
from reserve.errors import ReserveError, UsageError
from reserve.examples.miniredis.commands import Quit, execute
from reserve.examples.miniredis.database import Database
from reserve.examples.miniredis.resp import OK, Limits, Parser, error

if TYPE_CHECKING:
    from reserve import Server

__all__ = ["MiniRedis", "Session"]

_RECEIVED = 16384
"""Bytes that are received at a time. The commands in them may have to wait until the client reads replies."""
_MAX_REPLIES = 65536
"""Bytes of replies after which the client has to take some before its next command is carried out."""
_TURN = 0.02
"""Seconds after which the commands that are left wait until the other clients have had a turn: a command may look at
all keys, and hundreds of them may have been received at once.
"""


class Session:
    """One connection. One worker at a time uses it."""

    def __init__(self, sock: socket.socket, server: Server, store: MiniRedis) -> None:
        self._sock = sock
        self._server = server
        self._store = store
        self._parser = Parser(store.limits)
        self._waiting: list[list[bytes]] = []
        """Commands that were received and not carried out, the next one last."""
        self._is_plain = type(sock) is socket.socket  # else it speaks TLS, whose records are the server's business
        self._max_output = server.settings.max_output
        self.parked = Park(self._resume, may_be_early=True)
        self._parked_with_commands = Park(self._resume, reader=self)

    def peek(self, size: int = 0, /) -> bytes:
        """For :class:`~reserve.Park`: commands that wait count as readable."""
        return b"*"

    def _resume(self) -> Park | None:
        if not self._waiting:
            try:
                data = self._sock.recv(_RECEIVED)
            except BlockingIOError:  # called early
                return self.parked
            if not data:
                return None
            self._waiting = self._parser.feed(data)
            self._waiting.reverse()
        replies, is_open = self._execute()
        if self._parser.error and not self._waiting and is_open:
            replies += error(self._parser.error)
            is_open = False
        if replies:
            try:
                self._send(replies)
            except UsageError:
                return None  # the connection has ended meanwhile
            except ReserveError as problem:  # --buffer-memory is used up
                self._server.log.info(f"miniredis: disconnected: {problem}", "clients that are disconnected")
                return None
        if not is_open:
            return None
        return self._parked_with_commands if self._waiting else self.parked

    def _send(self, replies: bytes) -> None:
        """Send what the socket takes at once, and leave the rest to the server.

        Nobody else sends to this connection, and no worker is called while the server still has something to send. So
        the order is right, and the usual small reply costs one system call and nothing else.
        """
        sent = 0
        if self._is_plain:
            try:  # noqa: SIM105 - contextlib.suppress takes part of a microsecond of each command
                sent = self._sock.send(replies)
            except BlockingIOError:
                pass
        if sent < len(replies):
            self._server.send(self._sock, replies[sent:])

    def _execute(self) -> tuple[bytes, bool]:
        """Carry out the commands that wait, until their replies are many bytes or they take long. Returns the replies,
        and False after QUIT.
        """
        waiting, size = self._waiting, 0
        replies: list[bytes] = []
        limit = min(_MAX_REPLIES, self._max_output // 2)
        longest = self._max_output - limit
        store = self._store
        database, clock = store.database, store.clock
        with store.lock:
            now = clock()
            until = now + _TURN
            database.begin(now)
            while waiting and size < limit and now < until:
                arguments = waiting.pop()
                try:
                    reply = execute(database, arguments)
                except Quit:
                    waiting.clear()
                    return b"".join([*replies, OK]), False
                if len(reply) > longest:
                    reply = error(f"ERR the reply has {len(reply)} bytes, and --max-output allows {longest} of them")
                replies.append(reply)
                size += len(reply)
                now = clock()
        return b"".join(replies), True


class MiniRedis:
    """The handler: ``handle(socket, client_address, server)``. One has the database of all connections.

    :param limits: of one command.
    :param max_memory: bytes of keys and values.
    :param clock: seconds since 1970.
    """

    client_speaks_first = True
    """A connection that sends nothing never gets a worker, and is closed after ``--handler-timeout``."""

    def __init__(
        self, limits: Limits | None = None, max_memory: int = 268435456, clock: Callable[[], float] = time.time
    ) -> None:
        self.limits = limits if limits is not None else Limits()
        self.database = Database(max_memory, self.limits.value)
        self.lock = threading.Lock()
        """A worker holds it while it uses the database."""
        self.clock = clock

    def __call__(self, sock: socket.socket, client_address: tuple[str, int], server: Server) -> Park:
        sock.setblocking(False)
        return Session(sock, server, self).parked

"""``reserve app chat``: a chat of lines, for telnet and netcat. An example of a handler that talks to many connections.

A client is asked for a name. Then every line that it sends goes to everybody else; ``/who``, ``/nick NAME``, ``/help``
and ``/quit`` are commands. Lines end with LF or CR LF and are UTF-8. Characters that are not printable are removed, so
nobody can clear the screen of somebody else.

Between two lines a connection is parked, so thousands of idle clients need no thread. The worker that has received a
line passes it to the parked connections with ``server.send``, which never waits. A client for which too much waits
(``--max-output``) is disconnected; it does not slow down the others.

One worker at a time uses a :class:`Client`; any worker may call :meth:`Client.tell`. Workers share the :class:`Room`.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from reserve import Park
from reserve.errors import ReserveError, UsageError

if TYPE_CHECKING:
    from reserve import Server

__all__ = ["ARGUMENTS", "Chat", "Client", "Lines", "Room", "launch"]

ARGUMENTS = """\
--max-line BYTES       the longest line, without its end (default 1000, at most 65536); longer ones are dropped
--name-timeout SECONDS how long a client may take to say its name (default 60)
"""

MAX_LINE = 65536
"""Bytes: the largest ``--max-line``."""
MAX_NAME = 20
"""Characters of a name."""
ANNOUNCED = 100
"""Members of a room in which everybody is told who comes and goes. In a larger room it would be most of the traffic."""
LISTED = 100
"""Names that ``/who`` lists."""

TOO_LONG = b"\n"
"""Stands for a line that was too long; no other line contains its end."""

_RECEIVED = 4096  # bytes that are received at a time
_LINES = 20  # lines that one client may have in a row before others get the worker
_TELNET = re.compile(rb"\xff(?:[\xfb-\xfe].|.)", re.DOTALL)  # RFC 854: IAC, a command, for some an option
_HELP = "Lines go to everybody. /who: who is here, /nick NAME: another name, /quit: leave."


class Lines:
    """Bytes in, lines out. For :class:`~reserve.Park` it is a reader: a line that has arrived counts as readable.

    Of a line that is too long nothing is kept, and :meth:`take` returns :data:`TOO_LONG` for it.

    :param limit: bytes of a line, without its end.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = b""
        self._dropping = False

    def feed(self, data: bytes) -> None:
        """Add what was received."""
        self._buffer += data
        if b"\n" not in self._buffer and len(self._buffer) > self.limit + 1:  # one more for the CR
            self._buffer = b""
            self._dropping = True

    def take(self) -> bytes | None:
        """The next line without its end; None: it has not arrived yet."""
        line, end, rest = self._buffer.partition(b"\n")
        if not end:
            return None
        self._buffer = rest
        line = line.removesuffix(b"\r")
        if self._dropping or len(line) > self.limit:
            self._dropping = False
            return TOO_LONG
        return line

    def peek(self, size: int = 0, /) -> bytes:
        return b"\n" if b"\n" in self._buffer else b""


class Room:
    """Who is there, by name. Any thread; the lock guards the table only, and nobody sends while it is held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._members: dict[str, Client] = {}

    def enter(self, client: Client, name: str) -> bool:
        """Give the client this name; False: somebody else has it. Upper and lower case are the same."""
        with self._lock:
            if self._members.setdefault(name.casefold(), client) is not client:
                return False
            if client.name and client.name.casefold() != name.casefold():
                del self._members[client.name.casefold()]
            client.name = name
            return True

    def leave(self, client: Client) -> bool:
        """Forget the client; False: it was not there."""
        with self._lock:
            if self._members.get(client.name.casefold()) is not client:
                return False
            del self._members[client.name.casefold()]
            return True

    def members(self) -> list[Client]:
        """Everybody who is there at this moment, in the order in which they came."""
        with self._lock:
            return list(self._members.values())

    def __len__(self) -> int:
        return len(self._members)


class Client:
    """One connection.

    :param lines: for what it sends.
    :param name_timeout: seconds that it may take to say its name; then the connection is closed.
    """

    def __init__(self, sock: socket.socket, server: Server, room: Room, lines: Lines, name_timeout: float) -> None:
        self.name = ""
        """Empty: it has not said one yet."""
        self._name_deadline = time.monotonic() + name_timeout
        self._disconnected = False
        self._sock = sock
        self._server = server
        self._room = room
        self._lines = lines

    # ---- what this client sends ----

    def greet(self) -> Park:
        """Ask for the name, and wait for it."""
        self.tell("Welcome. What is your name?")
        return self._wait()

    def _wait(self) -> Park:
        """Wait for the next line. A client with a name may be idle (``--idle-timeout``)."""
        timeout = None if self.name else max(0.0, self._name_deadline - time.monotonic())
        return Park(self._resume, reader=self._lines, on_close=self._closed, timeout=timeout)

    def _resume(self) -> Park | None:
        if not self._lines.peek():
            data = self._sock.recv(_RECEIVED)
            if not data:
                return None
            self._lines.feed(data)
        for _ in range(_LINES):
            line = self._lines.take()
            if line is None:
                break
            if line is TOO_LONG:
                self.tell(f"That line was too long: {self._lines.limit} bytes are the most.")
            elif not self._obey(_text(line)):
                return None
        return self._wait()

    def _obey(self, line: str) -> bool:
        """Do what a line says; False: the client leaves."""
        command, _, argument = line.partition(" ")
        if command == "/quit":
            self.tell("Good bye.")
            return False
        if command == "/help":
            self.tell(_HELP)
        elif not self.name:
            self._call_self(line)
        elif command == "/who":
            members = self._room.members()
            more = f" and {len(members) - LISTED} more" if len(members) > LISTED else ""
            self.tell(f"{len(members)} here: {', '.join(member.name for member in members[:LISTED])}{more}")
        elif command == "/nick":
            self._call_self(argument.strip())
        elif command.startswith("/"):
            self.tell(f"There is no {command}. {_HELP}")
        elif line:
            self._say(f"<{self.name}> {line}", self._room.members())
        return True

    def _call_self(self, name: str) -> None:
        """Enter the room, or change the name."""
        if not 0 < len(name) <= MAX_NAME or " " in name or name.startswith("/"):
            self.tell(f"A name has 1 to {MAX_NAME} characters and no space. What is your name?")
            return
        before = self.name
        if not self._room.enter(self, name):
            self.tell(f"There is a {name} already. What is your name?")
            return
        self.tell(f"You are {name}; {len(self._room)} here. /help lists the commands.")
        self._announce(f"* {before} is now {name}" if before else f"* {name} is here")

    def _closed(self, reason: str) -> None:
        """Called once, for whatever reason the connection ends."""
        if self._room.leave(self) and not self._server.stopping:
            self._announce(f"* {self.name} has left")

    # ---- what others send ----

    def _announce(self, line: str) -> None:
        members = self._room.members()
        if len(members) <= ANNOUNCED:
            self._say(line, members)

    def _say(self, line: str, members: Iterable[Client]) -> None:
        data = _encoded(line)
        for member in members:
            if member is not self:
                member.send(data)

    def tell(self, line: str) -> None:
        """Send a line to this client."""
        self.send(_encoded(line))

    def send(self, data: bytes) -> None:
        """Send bytes to this client, or disconnect it if it does not read. Any thread; does not wait."""
        if self._disconnected:
            return
        try:
            self._server.send(self._sock, data)
        except UsageError:
            pass  # it has just disconnected, and on_close follows
        except ReserveError as error:
            self._disconnected = True
            self._server.log.info(f"chat: {self.name} is disconnected: {error}", "clients that are disconnected")
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)  # as if the client had disconnected: on_close follows


def _text(line: bytes) -> str:
    """The characters of a line that may be shown: without telnet's commands and what else controls a terminal."""
    text = _TELNET.sub(b"", line).decode("utf-8", "replace").replace("\t", " ")
    return "".join(character for character in text if character.isprintable()).strip()


def _encoded(line: str) -> bytes:
    return line.encode() + b"\r\n"


class Chat:
    """The handler: ``handle(socket, client_address, server)``. One serves all connections of a room; workers call it.

    :param max_line: bytes of a line.
    :param name_timeout: seconds that a client may take to say its name.
    """

    def __init__(self, *, max_line: int = 1000, name_timeout: float = 60) -> None:
        self.room = Room()
        self._max_line = max_line
        self._name_timeout = name_timeout

    def __call__(self, sock: socket.socket, client_address: tuple[str, int], server: Server) -> Park:
        return Client(sock, server, self.room, Lines(self._max_line), self._name_timeout).greet()


def launch(args: Sequence[str]) -> Chat:
    """Make the handler.

    :param args: the program, then the arguments in :data:`ARGUMENTS`.
    :raises SystemExit: others.
    """
    parser = argparse.ArgumentParser(prog=args[0])
    parser.add_argument("--max-line", type=int, default=1000, metavar="BYTES")
    parser.add_argument("--name-timeout", type=float, default=60, metavar="SECONDS")
    options = parser.parse_args(args[1:])
    if not 1 <= options.max_line <= MAX_LINE or not options.name_timeout >= 0:
        parser.error(f"--max-line is 1 to {MAX_LINE}, and --name-timeout is 0 or more")
    return Chat(max_line=options.max_line, name_timeout=options.name_timeout)

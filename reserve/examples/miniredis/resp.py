r"""RESP2, the protocol of Redis: bytes in, commands out, and values in, replies out.

It has no sockets and no clock; the thread that calls it owns it. A command is an array of strings with their lengths
(``*2\r\n$3\r\nGET\r\n$1\r\na\r\n``), or, from a person with telnet, a line of words (``GET a``), which have no quotes
here. Clients may send many commands before they read the first reply
(https://redis.io/docs/latest/develop/reference/protocol-spec/).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["NIL", "OK", "Limits", "Parser", "array", "bulk", "error", "integer"]

MAX_LINE = 65536
"""Bytes of a command that is a line; fewer when one string may have fewer."""
_MAX_HEADER = 32
"""Bytes of the line with a number."""
_NUMBER = re.compile(rb"-?[0-9]{1,18}")
_HEADERS = tuple(b"$%d" % length for length in range(1024))
"""The header of a string, by its length; longer strings take the slow path."""
_SIMPLE = 32
_COUNTS = {b"*%d" % count: count for count in range(1, _SIMPLE + 1)}
"""The length of an array, by its header; longer arrays take the slow path."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may be; a client that sends more gets an error and is disconnected.

    :ivar value: bytes of one string.
    :ivar arguments: strings of one command.
    :ivar command: bytes of all strings of one command.
    """

    value: int = 524288
    arguments: int = 4096
    command: int = 4194304


class ProtocolError(Exception):
    """The client breaks the protocol or a limit. The text is for the client."""


class Parser:
    """The commands of one connection.

    :param limits: of each command.
    """

    def __init__(self, limits: Limits) -> None:
        self.error = ""
        """Why no more commands can be read; empty: they can. It is for the client."""
        self._limits = limits
        self._max_line = min(MAX_LINE, limits.value)  # it may be one string
        self._is_roomy = limits.arguments >= _SIMPLE and limits.command >= _SIMPLE * len(_HEADERS)
        self._headers = _HEADERS if limits.value >= len(_HEADERS) else _HEADERS[: limits.value + 1]
        self._buffer = bytearray()
        self._arguments: list[bytes] = []
        """Those of an array that has not arrived completely."""
        self._missing = 0
        """How many arguments the array still lacks; 0: no array has begun."""
        self._length = -1
        """The length of the string that comes next; -1: its header has not arrived."""
        self._room = 0
        """Bytes that the rest of the array may have."""

    @property
    def buffered(self) -> int:
        """Bytes that were received and belong to no complete command, without finished arguments."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Return the commands that are complete now: non-empty lists of strings, the name first."""
        if self.error:
            return []
        commands: list[list[bytes]] = []
        try:
            if self._missing or self._buffer:
                self._buffer += data
                if self._missing and not self._continue_array(commands):
                    return commands
                data = bytes(self._buffer)
            taken = _take_simple(data, commands, self._headers, self._max_line) if self._is_roomy else 0
            if taken == len(data) and not self._buffer:
                return commands  # nearly always
            self._buffer = bytearray(data[taken:])
            while self._buffer and self._parse_next(commands):
                pass
        except ProtocolError as problem:
            self.error = f"ERR Protocol error: {problem}"
            self._buffer = bytearray()
            self._arguments = []
        return commands

    def _parse_next(self, commands: list[list[bytes]]) -> bool:
        """Read the next command with all checks; False: it is not complete."""
        if self._buffer[0] != 42:  # "*"
            line = self._take_line(self._max_line, "too big inline request")
            if line is None:
                return False
            words = line.split()
            if words:
                commands.append(words)
            return True
        count = self._take_number(b"*", "invalid multibulk length")
        if count is None:
            return False
        if count > self._limits.arguments:
            raise ProtocolError(f"invalid multibulk length: {count}, and --max-arguments is {self._limits.arguments}")
        if count > 0:  # Redis ignores the others
            self._missing, self._length, self._room = count, -1, self._limits.command
            return self._continue_array(commands)
        return True

    def _continue_array(self, commands: list[list[bytes]]) -> bool:
        """Go on with an array that has begun; False: it is not complete."""
        while self._missing:
            if self._length < 0:
                length = self._take_number(b"$", "invalid bulk length")
                if length is None:
                    return False
                if not 0 <= length <= self._limits.value:
                    raise ProtocolError(f"invalid bulk length: {length}, and --max-value is {self._limits.value}")
                self._room -= length
                if self._room < 0:
                    raise ProtocolError(f"the command has more than the {self._limits.command} bytes of --max-command")
                self._length = length
            end = self._length
            if len(self._buffer) < end + 2:
                return False
            if self._buffer[end : end + 2] != b"\r\n":
                raise ProtocolError("a string does not end where its length says")
            self._arguments.append(bytes(self._buffer[:end]))
            del self._buffer[: end + 2]
            self._length = -1
            self._missing -= 1
        commands.append(self._arguments)
        self._arguments = []
        return True

    def _take_number(self, kind: bytes, problem: str) -> int | None:
        """The number in a header of one kind; None: the header is not complete."""
        if self._buffer and self._buffer[:1] != kind:
            raise ProtocolError(f"expected '{kind.decode()}', got {chr(self._buffer[0])!a}")
        line = self._take_line(_MAX_HEADER, problem)
        if line is None:
            return None
        if not _NUMBER.fullmatch(line, 1):
            raise ProtocolError(problem)
        return int(line[1:])

    def _take_line(self, limit: int, problem: str) -> bytes | None:
        """The next line without its end; None: it is not complete."""
        end = self._buffer.find(b"\n", 0, limit + 1)
        if end < 0:
            if len(self._buffer) > limit:
                raise ProtocolError(problem)
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")


def _take_simple(data: bytes, commands: list[list[bytes]], headers: Sequence[bytes], max_line: int) -> int:
    """Add the complete commands at the beginning of ``data``, if all their strings are short and have no line ends.

    Nearly all commands are such ones. To split all of them at once, and then to compare all lengths at once, takes a
    third of the time that it takes to look for the end of each string. What this function does not recognize is read
    again with all checks.

    :param headers: the header of a string, by its length: this function accepts no longer ones.
    :param max_line: bytes of a command that is a line.
    :returns: the number of bytes that those commands had; 0: there are none, or not all their strings are as expected.
    """
    parts = data.split(b"\r\n")
    last = len(parts) - 1  # what follows the last line end
    found: list[list[bytes]] = []
    texts: list[bytes] = []
    lengths: list[bytes] = []
    at = 0
    while at < last:
        count = _COUNTS.get(parts[at])
        if count is None:
            head = parts[at]
            if head[:1] == b"*" or b"\n" in head or len(head) > max_line:
                break
            words = head.split()
            if words:
                found.append(words)
            at += 1
            continue
        end = at + 1 + 2 * count
        if end > last:
            break
        arguments = parts[at + 2 : end : 2]
        lengths += parts[at + 1 : end : 2]
        texts += arguments
        found.append(arguments)
        at = end
    try:
        if list(map(headers.__getitem__, map(len, texts))) != lengths:
            return 0
    except IndexError:  # a long string
        return 0
    commands += found
    if at == last:
        return len(data) - len(parts[last])
    return sum(map(len, parts[:at])) + 2 * at


# ---- replies ----

OK = b"+OK\r\n"
NIL = b"$-1\r\n"


def bulk(value: bytes) -> bytes:
    """A string."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


_SMALL = 1024
_SMALL_INTEGERS = tuple(b":%d\r\n" % value for value in range(_SMALL))
"""The replies that are most frequent."""


def integer(value: int) -> bytes:
    """A number."""
    return _SMALL_INTEGERS[value] if 0 <= value < _SMALL else b":%d\r\n" % value


def array(replies: Sequence[bytes]) -> bytes:
    """Several replies as one."""
    return b"*%d\r\n%b" % (len(replies), b"".join(replies))


def strings(values: Iterable[bytes]) -> bytes:
    """An array of strings."""
    return array([b"$%d\r\n%b\r\n" % (len(value), value) for value in values])


def error(text: str) -> bytes:
    """An error; the first word is its kind. What cannot stand in a line is replaced."""
    return b"-" + re.sub(rb"[^ -~]", b"?", text.encode("utf-8", "replace")) + b"\r\n"

"""The text of an address and what it means: ``HOST:PORT``, ``unix:PATH``, ``unix:@NAME``, ``fd:N``.

Pure functions without sockets' state, callable from any thread. What :func:`parse_address` accepts can be opened
by :mod:`reserve.sockets.listeners`; everything else is refused here, with the line that was probably meant.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from reserve.errors import UsageError

__all__ = ["Address", "FDAddress", "TCPAddress", "UNIXAddress", "parse_address"]

_FORMS = "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N"


class TCPAddress(NamedTuple):
    """A host and a port to listen on with TCP."""

    host: str
    """A name, an IPv4 or an IPv6 address without brackets. Empty: all interfaces."""
    port: int
    """0 to 65535. 0: the kernel chooses a free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UNIXAddress(NamedTuple):
    """A UNIX stream socket: a path in the file system, or an abstract name (Linux)."""

    name: str
    """The path, or the abstract name without its ``@``."""
    abstract: bool = False

    def __str__(self) -> str:
        return f"unix:{'@' if self.abstract else ''}{self.name}"


class FDAddress(NamedTuple):
    """A listening socket that the process already holds."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


Address = TCPAddress | UNIXAddress | FDAddress


def parse_address(text: str) -> Address:
    """Read one address.

    :param text: ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT`` (all interfaces), ``unix:PATH``, ``unix:@NAME`` (abstract),
        or ``fd:N`` (a descriptor that is already open).
    :raises UsageError: the text is none of these; the message says what it would have to be.
    """
    if "\0" in text:
        raise _wrong(text, "it contains a NUL character")
    if text.startswith("unix:"):
        return _parse_unix(text, text[5:])
    if text.startswith("fd:"):
        number = _number(text[3:])
        if number is None or number > 0x7FFFFFFF:
            raise _wrong(text, "after fd: comes the number of an open descriptor, as in fd:3")
        return FDAddress(number)
    return _parse_tcp(text)


def _parse_unix(text: str, name: str) -> UNIXAddress:
    if name.startswith("@"):
        if len(name) == 1:
            raise _wrong(text, "the abstract name after unix:@ is empty")
        return UNIXAddress(name[1:], abstract=True)
    if not name:
        raise _wrong(text, "the path after unix: is empty")
    if name.endswith("/"):
        raise _wrong(text, "the path after unix: is a directory, not the name of a socket")
    return UNIXAddress(name)


def _parse_tcp(text: str) -> TCPAddress:
    if not text:
        raise _wrong(text, "it is empty")
    if "://" in text:
        raise _wrong(text, "that is a URL; give the host and the port alone")
    if "/" in text:
        raise _wrong(text, f"for a UNIX socket write unix:{text}")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise _wrong(text, "the closing ] is missing")
        if not _is_ip(socket.AF_INET6, host.partition("%")[0]):
            raise _wrong(text, f"{host!r} is not an IPv6 address; brackets are for IPv6 only")
        if not rest.startswith(":"):
            raise _wrong(text, f"the port is missing; write [{host}]:8080")
        return TCPAddress(host, _port(text, rest[1:]))
    host, colon, port = text.rpartition(":")
    if not colon:
        number = _number(text)
        if number is not None and number > 65535:
            raise _wrong(text, f"the port {text} is not a number from 0 to 65535")
        if number is not None:
            raise _wrong(text, f"write localhost:{text} for this machine alone, :{text} for all interfaces")
        raise _wrong(text, f"the port is missing; write {text}:8080")
    if ":" in host:
        # ::1:80 is an address in itself, too, but whoever types it here means port 80 of ::1.
        bare = text if _is_ip(socket.AF_INET6, text) else host
        meant = f"[{host}]:{port}" if _is_ip(socket.AF_INET6, host) and _number(port) else f"[{bare}]:8080"
        raise _wrong(text, f"an IPv6 address stands in brackets; write {meant}")
    if host == "*":
        raise _wrong(text, f"for all interfaces write :{port}")
    if any(char.isspace() or not char.isprintable() or char in "[]@%?#,;=" for char in host):
        raise _wrong(text, f"{host!r} is not a host name or an address")
    last = host.rpartition(".")[2]
    if host and (_number(last) is not None or last.lower().startswith("0x")) and not _is_ip(socket.AF_INET, host):
        raise _wrong(text, f"{host!r} is not an IPv4 address (four numbers from 0 to 255)")
    return TCPAddress(host, _port(text, port))


def _port(text: str, port: str) -> int:
    if not port:
        raise _wrong(text, "the port after the last : is missing")
    number = _number(port)
    if number is None or number > 65535:
        raise _wrong(text, f"the port {port[:40]!r} is not a number from 0 to 65535")
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _is_ip(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _wrong(text: str, why: str) -> UsageError:
    shown = text if len(text) <= 120 else text[:120] + "..."
    return UsageError(f"cannot listen on {shown!r}: {why}. An address is {_FORMS}.")

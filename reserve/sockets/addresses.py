"""Parsing the text of an address: ``HOST:PORT``, ``unix:PATH``, ``unix:@NAME``, ``fd:N``.

Pure functions; any thread may call them. :mod:`reserve.sockets.listeners` can open what :func:`parse_address` accepts.
Every other text is refused here, with the address that was probably meant.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from reserve.errors import UsageError

__all__ = ["Address", "FDAddress", "TCPAddress", "UNIXAddress", "parse_address"]

_FORMS = "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N"


class TCPAddress(NamedTuple):
    """The host and port of a TCP listener."""

    host: str
    """A host name, an IPv4 address, or an IPv6 address without brackets. Empty: all interfaces."""
    port: int
    """0 to 65535. 0: the kernel chooses a free port."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class UNIXAddress(NamedTuple):
    """The name of a UNIX stream socket: a path in the file system, or an abstract name (Linux only)."""

    name: str
    """The path, or the abstract name without its ``@``."""
    abstract: bool = False

    def __str__(self) -> str:
        return f"unix:{'@' if self.abstract else ''}{self.name}"


class FDAddress(NamedTuple):
    """The number of a descriptor that is already open in this process."""

    fd: int

    def __str__(self) -> str:
        return f"fd:{self.fd}"


Address = TCPAddress | UNIXAddress | FDAddress


def parse_address(text: str) -> Address:
    """Parse one address.

    :param text: ``HOST:PORT``, ``[IPV6]:PORT``, ``:PORT`` (all interfaces), ``unix:PATH``, ``unix:@NAME`` (abstract),
        or ``fd:N`` (a descriptor that is already open).
    :raises UsageError: the text has none of these forms.
    """
    if "\0" in text:
        raise _error(text, "it contains a NUL character")
    if text.startswith("unix:"):
        return _parse_unix(text, text[5:])
    if text.startswith("fd:"):
        number = _number(text[3:])
        if number is None or number > 0x7FFFFFFF:
            raise _error(text, "after fd: comes the number of an open descriptor, as in fd:3")
        return FDAddress(number)
    return _parse_tcp(text)


def _parse_unix(text: str, name: str) -> UNIXAddress:
    if name.startswith("@"):
        if len(name) == 1:
            raise _error(text, "the abstract name after unix:@ is empty")
        return UNIXAddress(name[1:], abstract=True)
    if not name:
        raise _error(text, "the path after unix: is empty")
    if name.endswith("/"):
        raise _error(text, "the path after unix: is a directory, not the name of a socket")
    return UNIXAddress(name)


def _parse_tcp(text: str) -> TCPAddress:
    if not text:
        raise _error(text, "it is empty")
    if "://" in text:
        raise _error(text, "that is a URL; give the host and the port alone")
    if "/" in text:
        raise _error(text, f"for a UNIX socket write unix:{text}")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise _error(text, "the closing ] is missing")
        if not _is_ip(socket.AF_INET6, host.partition("%")[0]):
            raise _error(text, f"{host!r} is not an IPv6 address; brackets are for IPv6 only")
        if not rest.startswith(":"):
            raise _error(text, f"the port is missing; write [{host}]:8080")
        return TCPAddress(host, _port(text, rest[1:]))
    host, colon, port = text.rpartition(":")
    if not colon:
        number = _number(text)
        if number is not None and number > 65535:
            raise _error(text, f"the port {text} is not a number from 0 to 65535")
        if number is not None:
            raise _error(text, f"write localhost:{text} for this machine alone, :{text} for all interfaces")
        raise _error(text, f"the port is missing; write {text}:8080")
    if ":" in host:
        # ::1:80 is also an IPv6 address without a port, but here it means port 80 of ::1.
        address = text if _is_ip(socket.AF_INET6, text) else host
        right = f"[{host}]:{port}" if _is_ip(socket.AF_INET6, host) and _number(port) else f"[{address}]:8080"
        raise _error(text, f"an IPv6 address needs brackets; write {right}")
    if host == "*":
        raise _error(text, f"for all interfaces write :{port}")
    if any(char.isspace() or not char.isprintable() or char in "[]@%?#,;=" for char in host):
        raise _error(text, f"{host!r} is not a host name or an address")
    label = host.rpartition(".")[2]
    if host and (_number(label) is not None or label.lower().startswith("0x")) and not _is_ip(socket.AF_INET, host):
        raise _error(text, f"{host!r} is not an IPv4 address (four numbers from 0 to 255)")
    return TCPAddress(host, _port(text, port))


def _port(text: str, port: str) -> int:
    if not port:
        raise _error(text, "the port after the last : is missing")
    number = _number(port)
    if number is None or number > 65535:
        raise _error(text, f"the port {port[:40]!r} is not a number from 0 to 65535")
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _is_ip(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _error(text: str, reason: str) -> UsageError:
    quoted = text if len(text) <= 120 else text[:120] + "..."
    return UsageError(f"cannot listen on {quoted!r}: {reason}. An address is {_FORMS}.")

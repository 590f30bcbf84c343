"""Parsing the text of an address: ``HOST:PORT``, ``unix:PATH``, ``unix:@NAME``, ``fd:N``.

Pure functions; any thread may call them. :mod:`reserve.sockets.listeners` can open what :func:`parse_address` accepts.
Every other text is refused here, with the address that was probably meant.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

from reserve.errors import Correction, UsageError

__all__ = ["Address", "FDAddress", "TCPAddress", "UNIXAddress", "is_local", "parse_address"]

_FORMS = "HOST:PORT, [IPV6]:PORT, :PORT, unix:PATH, unix:@NAME or fd:N"


_SERVICES = {"http": "8080", "https": "8443"}
"""Ports for names of services: those that need no rights of root."""


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
    :raises UsageError: the text has none of these forms. Its correction, if it has one, gives the addresses that were
        probably meant; each of them can be parsed.
    """
    try:
        return _parse(text)
    except UsageError as error:
        if error.correction is not None and not all(map(_is_address, error.correction.right)):
            error.correction = None
        raise


def is_local(name: str) -> bool:
    """Whether a host name, in lower case and without a port, always means this machine."""
    import ipaddress  # here, because the command needs it for none of its addresses

    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def _parse(text: str) -> Address:
    if "\0" in text:
        raise _error(text, "it contains a NUL character")
    if text.startswith("unix:"):
        return _parse_unix(text, text[5:])
    if text.startswith("fd:"):
        number = _number(text[3:])
        if number is None or number > 0x7FFFFFFF:
            raise _error(
                text, "after fd: comes the number of an open descriptor, as in fd:3", f"fd:{text[3:].strip('/')}"
            )
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
        raise _error(text, "that is a URL; give the host and the port alone", *_of_url(text))
    if "," in text:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        raise _error(text, "those are several addresses; give each one alone (--bind twice)", *map(_corrected, parts))
    if "/" in text or text.endswith((".sock", ".socket")):
        raise _error(text, "a UNIX socket begins with unix:", f"unix:{text}", hint=f"; write unix:{text}")
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise _error(text, "the closing ] is missing")
        if not _is_ip(socket.AF_INET6, host.partition("%")[0]):
            raise _error(text, f"{host!r} is not an IPv6 address; brackets are for IPv6 only")
        if not rest.startswith(":"):
            raise _error(text, "the port is missing", f"[{host}]:{rest or 8080}", hint=f"; write [{host}]:8080")
        return TCPAddress(host, _port(text, rest[1:]))
    host, colon, port = text.rpartition(":")
    if not colon:
        number = _number(text)
        if number is not None and number > 65535:
            raise _error(text, f"the port {text} is not a number from 0 to 65535")
        if number is not None:
            right = f"localhost:{text}"
            hint = f"; write {right} for this machine alone, :{text} for all interfaces"
            raise _error(text, f"the host is missing (:{text} is all interfaces)", right, hint=hint)
        raise _error(text, "the port is missing", f"{text}:8080", hint=f"; write {text}:8080")
    if ":" in host:
        # ::1:80 is also an IPv6 address without a port, but here it means port 80 of ::1.
        address = text if _is_ip(socket.AF_INET6, text) else host
        right = f"[{host}]:{port}" if _is_ip(socket.AF_INET6, host) and _number(port) else f"[{address}]:8080"
        raise _error(text, "an IPv6 address needs brackets", right, hint=f"; write {right}")
    if host == "*":
        raise _error(text, "* is not a host", f":{port}", hint=f"; for all interfaces write :{port}")
    if any(char.isspace() or not char.isprintable() or char in "[]@%?#,;=" for char in host):
        raise _error(text, f"{host!r} is not a host name or an address")
    label = host.rpartition(".")[2]
    if host and (_number(label) is not None or label.lower().startswith("0x")) and not _is_ip(socket.AF_INET, host):
        raise _error(text, f"{host!r} is not an IPv4 address (four numbers from 0 to 255)")
    return TCPAddress(host, _port(text, port))


def _port(text: str, port: str) -> int:
    if not port:
        raise _error(text, "the port after the last : is missing", f"{text}8080")
    number = _number(port)
    if number is None or number > 65535:
        right = text.removesuffix(port) + _SERVICES.get(port.lower(), "8080")
        raise _error(text, f"the port {port[:40]!r} is not a number from 0 to 65535", right)
    return number


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _is_ip(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True


def _of_url(text: str) -> list[str]:
    """The address that a URL names, as far as it can be an address."""
    from urllib.parse import unquote  # here, because only a mistake needs it

    scheme, _, rest = text.partition("://")
    if "unix" in scheme:
        return [f"unix:{unquote(rest)}"]
    return [_corrected(rest.partition("/")[0])]


def _corrected(text: str) -> str:
    """An address, or what was probably meant by one; the text itself if that is unknown."""
    try:
        parse_address(text)
    except UsageError as error:
        if error.correction is not None and len(error.correction.right) == 1:
            return error.correction.right[0]
    return text


def _error(text: str, reason: str, *right: str, hint: str = "") -> UsageError:
    """The message about an address.

    :param right: the addresses that were probably meant.
    :param hint: the same in words, for programs; the command proposes its whole line instead.
    """
    quoted = text if len(text) <= 120 else text[:120] + "..."
    correction = Correction(wrong=(text,), right=right) if right else None
    return UsageError(f"cannot listen on {quoted!r}: {reason}", f"{hint}. An address is {_FORMS}.", correction)


def _is_address(text: str) -> bool:
    try:
        _parse(text)
    except UsageError:
        return False
    return True

"""Sockets that somebody else opened: descriptors given by number, socket objects, and the ``LISTEN_FDS`` protocol.

Runs at start, on the thread that starts the server. What a descriptor is, is read from the descriptor itself, never
believed. A descriptor that is refused is left as it was found: open.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import MutableMapping

from reserve.errors import UsageError, counted

__all__ = ["adopt", "inherited"]

_FIRST = 3
"""The first inherited descriptor: ``SD_LISTEN_FDS_START`` of sd_listen_fds(3)."""
_TCP = {0, getattr(socket, "IPPROTO_TCP", 6), 262}
"""Protocols of an internet stream socket that behave like TCP; 262 is Multipath TCP."""
_KINDS = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a character device or terminal"),
    (stat.S_ISBLK, "a block device"),
)


def adopt(fd_or_socket: int | socket.socket) -> socket.socket:
    """Make a listener of a descriptor, or check a socket object; non-blocking and closed on exec from then on.

    :param fd_or_socket: a descriptor number (the returned socket owns it), or a socket (it is returned itself).
    :raises UsageError: it is not open, or is no listening stream socket of TCP or UNIX. It is not closed then.
    """
    if isinstance(fd_or_socket, socket.socket):
        sock, what = fd_or_socket, f"the socket {fd_or_socket!r}"
        if sock.fileno() < 0:
            raise UsageError(f"{what} is closed; a server needs listening stream sockets")
        ssl = sys.modules.get("ssl")
        if ssl is not None and isinstance(sock, ssl.SSLSocket):
            raise UsageError(f"{what} is already wrapped in TLS; give the plain listening socket and set ssl_adapter")
        family = _check(sock.fileno(), what).family
        if sock.family != family:
            raise UsageError(f"{what} is really of family {_name(family)}; give its descriptor number instead")
    elif isinstance(fd_or_socket, int) and not isinstance(fd_or_socket, bool) and fd_or_socket >= 0:
        found = _check(fd_or_socket, f"descriptor {fd_or_socket}")
        sock = socket.socket(found.family, found.type, found.proto, fileno=fd_or_socket)
    else:
        raise UsageError(f"{fd_or_socket!r} is neither a descriptor number (0 or more) nor a socket")
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def inherited(
    environ: MutableMapping[str, str] = os.environ, pid: int | None = None
) -> list[tuple[str, socket.socket]]:
    """Take the sockets that systemd or sdlaunch passed to this process: their names, and the sockets.

    As sd_listen_fds(3) does it: ``LISTEN_PID`` has to be this process, else the variables were meant for another one
    and nothing is taken. The three variables are removed in every case, so that no child takes them for its own.

    :param environ: where to read and remove ``LISTEN_FDS``, ``LISTEN_PID`` and ``LISTEN_FDNAMES``.
    :param pid: the process that the variables have to name. Default: this one.
    :returns: in the order in which they were passed; without ``LISTEN_FDNAMES`` each name is ``unknown``.
    :raises UsageError: a variable is malformed, or a descriptor is no listening stream socket; all stay open then.
    """
    count_text, pid_text, names_text = (
        environ.pop(name, None) for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    )
    if count_text is None or pid_text is None:
        return []
    if _number("LISTEN_PID", pid_text) != (os.getpid() if pid is None else pid):
        return []
    fds = range(_FIRST, _FIRST + _number("LISTEN_FDS", count_text))
    names = ["unknown"] * len(fds) if names_text is None else names_text.split(":") if fds else []
    if len(names) != len(fds):
        raise UsageError(
            f"LISTEN_FDNAMES has {counted(len(names), 'name')} but LISTEN_FDS says {counted(len(fds), 'socket')}"
        )
    for fd in fds:
        try:
            os.set_inheritable(fd, False)
        except OSError as exc:
            raise UsageError(
                f"LISTEN_FDS says {counted(len(fds), 'socket')} from 3 on, but descriptor {fd} is not open"
            ) from exc
    taken: list[socket.socket] = []
    try:
        for fd in fds:
            taken.append(adopt(fd))
    except UsageError as exc:
        for sock in taken:
            sock.detach()
        raise UsageError(f"LISTEN_FDS passed a wrong descriptor: {exc}") from exc
    return list(zip(names, taken, strict=True))


def _check(fd: int, what: str) -> socket.socket:
    """Say what the descriptor is; the answer is detached from it."""
    try:
        if sys.platform != "win32":
            mode = os.fstat(fd).st_mode
            if not stat.S_ISSOCK(mode):
                kind = next((name for test, name in _KINDS if test(mode)), "no socket")
                raise UsageError(f"{what} is {kind}; a server needs listening stream sockets")
        probe = socket.socket(fileno=fd)
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise UsageError(f"{what} is not an open socket ({reason}); a server needs listening stream sockets") from exc
    try:
        wrong = _wrong(probe)
    finally:
        probe.detach()
    if wrong:
        raise UsageError(f"{what} is {wrong}; a server needs listening stream sockets")
    return probe


def _wrong(sock: socket.socket) -> str | None:
    unix = getattr(socket, "AF_UNIX", None)
    if sock.family not in (socket.AF_INET, socket.AF_INET6, unix):
        return f"a socket of family {_name(sock.family)}"
    if sock.type == socket.SOCK_DGRAM:
        return "a datagram socket"
    if sock.type != socket.SOCK_STREAM:
        return f"a socket of type {_name(sock.type)}"
    if sock.family != unix and sock.proto not in _TCP:
        return f"a stream socket of protocol {sock.proto}, not TCP"
    if hasattr(socket, "SO_ACCEPTCONN") and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        try:
            sock.getpeername()
        except OSError:
            return "a stream socket that does not listen (call its listen() first)"
        return "a connected stream socket, not a listening one"
    return None


def _name(constant: int) -> str:
    return str(getattr(constant, "name", constant))


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise UsageError(f"the environment variable {name} is {text[:40]!r}; it has to be a number")
    return int(text)

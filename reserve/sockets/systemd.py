"""Listeners that another program has opened: descriptors by number, socket objects, and the ``LISTEN_FDS`` protocol.

Runs at start, on the thread that starts the server. The kernel is asked what a descriptor is; no other source is
trusted. A descriptor that is refused stays open and unchanged.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import MutableMapping

from reserve.errors import UsageError, counted

__all__ = ["adopt", "inherited_sockets"]

_FIRST_FD = 3
"""The first inherited descriptor: ``SD_LISTEN_FDS_START`` of sd_listen_fds(3)."""
_TCP = {0, getattr(socket, "IPPROTO_TCP", 6), 262}
"""Protocols of an internet stream socket that behave like TCP; 262 is Multipath TCP."""
_FILE_TYPES = (
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a character device or terminal"),
    (stat.S_ISBLK, "a block device"),
)


def adopt(fd_or_socket: int | socket.socket) -> socket.socket:
    """Make a socket of a descriptor, or check a socket object. The result is non-blocking and closed on exec.

    :param fd_or_socket: a descriptor (the returned socket owns it), or a socket (the same object is returned).
    :raises UsageError: it is closed, or it is not a listening stream socket of TCP or UNIX. It is not closed here.
    """
    if isinstance(fd_or_socket, socket.socket):
        sock, subject = fd_or_socket, f"the socket {fd_or_socket!r}"
        if sock.fileno() < 0:
            raise UsageError(f"{subject} is closed; a server needs listening stream sockets")
        ssl = sys.modules.get("ssl")
        if ssl is not None and isinstance(sock, ssl.SSLSocket):
            raise UsageError(
                f"{subject} is already wrapped in TLS; give the plain listening socket and set ssl_adapter"
            )
        family = _check(sock.fileno(), subject).family
        if sock.family != family:
            raise UsageError(f"{subject} is really of family {_name(family)}; give its descriptor number instead")
    elif isinstance(fd_or_socket, int) and not isinstance(fd_or_socket, bool) and fd_or_socket >= 0:
        checked = _check(fd_or_socket, f"descriptor {fd_or_socket}")
        sock = socket.socket(checked.family, checked.type, checked.proto, fileno=fd_or_socket)
    else:
        raise UsageError(f"{fd_or_socket!r} is neither a descriptor number (0 or more) nor a socket")
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


def inherited_sockets(
    environ: MutableMapping[str, str] = os.environ, pid: int | None = None
) -> list[tuple[str, socket.socket]]:
    """The sockets that systemd or sdlaunch passed to this process, with their names.

    As in sd_listen_fds(3), ``LISTEN_PID`` has to be this process. Otherwise the variables are meant for another
    process, and the result is empty. The three variables are removed in every case, so that no child process uses them.

    :param environ: ``LISTEN_FDS``, ``LISTEN_PID`` and ``LISTEN_FDNAMES`` are read and removed.
    :param pid: the process that ``LISTEN_PID`` has to name. Default: this one.
    :returns: name and socket in the order in which they were passed; without ``LISTEN_FDNAMES`` each name is
        ``unknown``.
    :raises UsageError: a variable is malformed, or a descriptor is not a listening stream socket; all stay open.
    """
    count_text, pid_text, names_text = (
        environ.pop(name, None) for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
    )
    if count_text is None or pid_text is None:
        return []
    if _number("LISTEN_PID", pid_text) != (os.getpid() if pid is None else pid):
        return []
    fds = range(_FIRST_FD, _FIRST_FD + _number("LISTEN_FDS", count_text))
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
    adopted: list[socket.socket] = []
    try:
        for fd in fds:
            adopted.append(adopt(fd))
    except UsageError as exc:
        for sock in adopted:
            sock.detach()
        raise UsageError(f"LISTEN_FDS passed a wrong descriptor: {exc}") from exc
    return list(zip(names, adopted, strict=True))


def _check(fd: int, subject: str) -> socket.socket:
    """Check that a descriptor is a listening stream socket.

    :param subject: the descriptor, for the message.
    :returns: a detached socket object with the family, type and protocol.
    """
    try:
        if sys.platform != "win32":
            mode = os.fstat(fd).st_mode
            if not stat.S_ISSOCK(mode):
                kind = next((name for test, name in _FILE_TYPES if test(mode)), "not a socket")
                raise UsageError(f"{subject} is {kind}; a server needs listening stream sockets")
        probe = socket.socket(fileno=fd)
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise UsageError(
            f"{subject} is not an open socket ({reason}); a server needs listening stream sockets"
        ) from exc
    try:
        description = _describe_unsuitable(probe)
    finally:
        probe.detach()
    if description is not None:
        raise UsageError(f"{subject} is {description}; a server needs listening stream sockets")
    return probe


def _describe_unsuitable(sock: socket.socket) -> str | None:
    """What a socket is that cannot be a listener; None if it can."""
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

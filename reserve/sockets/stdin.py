"""A listener that is standard input: how web servers pass one to the FastCGI programs that they start.

FCGI_LISTENSOCK_FILENO of the FastCGI specification (section 2.2) is descriptor 0; Apache's mod_fcgid, lighttpd and
spawn-fcgi pass it. The mechanism is of use for every protocol. Runs at start, on the thread that starts the server.
"""

from __future__ import annotations

import os
import socket
import stat
import sys

from reserve.errors import UsageError
from reserve.sockets.systemd import adopt

__all__ = ["take_stdin"]

_STDIN = 0


def take_stdin() -> socket.socket | None:
    """Take the listener that descriptor 0 is; None if it is something else.

    The result is another descriptor of the same socket, as :func:`~reserve.sockets.systemd.adopt` makes it. Descriptor
    0 is the null device afterwards: children of the application inherit it, and when the listener is closed no file
    that is opened next becomes standard input.
    """
    if sys.platform == "win32":  # its standard streams are no sockets
        return None
    try:
        if not stat.S_ISSOCK(os.fstat(_STDIN).st_mode):
            return None
        fd = os.dup(_STDIN)
    except OSError:  # closed, or no descriptor is free: then the start fails with a better message
        return None
    try:
        listener = adopt(fd)
    except UsageError:  # a connection: inetd, a remote shell
        os.close(fd)
        return None
    try:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, _STDIN)
        os.close(null)
    except OSError:
        pass  # the process has its listener, only in two descriptors
    return listener

"""``serve_http``: serves a program to the browser of its user, and opens that browser.

The handler runs on the thread that calls ``serve_http``, in order, one request at a time; so a connection to SQLite
that the program has opened at its beginning can be used in every handler, and no handler needs a lock. The threads of
the server receive requests and send responses meanwhile. A browser that opens connections and sends nothing, as they
all do, delays no request.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterable, Iterator

from reserve.apps.http.server import ReserveWSGIServer
from reserve.desk.request import MAX_BODY
from reserve.desk.security import is_local
from reserve.desk.wsgi import Application, Handle
from reserve.errors import StartupError, UsageError
from reserve.gateways.callingthread import CallingThread
from reserve.sockets.listeners import listen

__all__ = ["refusing_calls", "serve_http"]

_LOGGER = logging.getLogger("reserve.desk")
_READY = 30.0
"""Seconds after which the browser is not opened any more: the server has not started."""
_STOPPING_ERRORS = (KeyboardInterrupt, SystemExit)
_refused_because = ""
"""Why :func:`serve_http` must not be called now; empty: it may."""


def serve_http(
    handle: Handle,
    *,
    port: int = 8080,
    address: str = "127.0.0.1",
    start: str | None = "",
    timeout: float = 1,
    debug: bool | None = None,
    hosts: str | Iterable[str] | None = None,
    cross_origin: bool | str | Iterable[str] = False,
    max_body: int = MAX_BODY,
) -> None:
    """Serve a program until a response has ``shut_down``; then return, when that response has been sent.

    The address is printed, and a line with it goes to the logger ``reserve.desk``. Tracebacks of handlers go there,
    too, and what the server has to say to the logger ``reserve``.

    :param handle: a router, or any other callable that takes a :class:`~reserve.desk.request.Request`.
    :param port: TCP port; 0: a free one.
    :param address: of the network interface. Default: only programs on this machine can connect. ``""``: all
        interfaces; then name the machine in ``hosts``.
    :param start: where the user begins, as ``"tasks/new"``: the default browser is opened there. None: no browser is
        opened.
    :param timeout: seconds. It has no effect: programs that have it from another toolkit need not be changed. No
        handler waits for a browser here.
    :param debug: whether the page of an exception shows the traceback. Default: if ``address`` is of this machine only.
    :param hosts: further names under which the program is reached; see :class:`~reserve.desk.security.SecurityPolicy`.
    :param cross_origin: whether, or from which origins, other sites may send forms; see there.
    :param max_body: bytes that the body of a request may have; a longer one gets 413. Default: 64 MiB.
    :raises KeyboardInterrupt: it was raised on this thread (Ctrl-C), in a handler or between two. Requests that have
        arrived are served first, unless a second one is raised. SystemExit does the same.
    :raises reserve.errors.StartupError: the port is in use, or the address is none of this machine.
    :raises TypeError: for a ``handle`` that cannot be called, or a WSGI application.
    :raises ValueError: for a host or an origin that is none.
    """
    if _refused_because:
        raise UsageError(_refused_because)
    if isinstance(handle, Application):
        raise TypeError("serve_http() wants the handle itself, not an Application of it: serve_http(router, hosts=...)")
    if debug is None:
        debug = is_local(_bracketed(address))
    application = Application(
        handle,
        hosts=hosts,
        cross_origin=cross_origin,
        debug=debug,
        max_body=max_body,
        on_shut_down=lambda: server.request_stop(),
    )
    try:
        listeners = listen((address, port))
    except StartupError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
            raise StartupError(_port_in_use(port)) from error.__cause__
        raise
    server = ReserveWSGIServer(
        listeners,
        CallingThread(application, stopping_errors=_STOPPING_ERRORS),
        threads=1,
        max_body=max_body,
    )
    url = _url(address, server.addresses[0][1])
    _LOGGER.info("serving at %s", url)
    _print(f"{url}  (Ctrl-C stops the program)")
    if start is not None:
        threading.Thread(
            target=_open_browser, args=(server.wait_ready, url + start.lstrip("/")), name="reserve-browser", daemon=True
        ).start()
    server.start()


@contextlib.contextmanager
def refusing_calls(reason: str) -> Iterator[None]:
    """``with``: another part of reserve imports the program, and serves it: :func:`serve_http` raises UsageError.

    :param reason: the text of the error.
    """
    global _refused_because
    _refused_because = reason
    try:
        yield
    finally:
        _refused_because = ""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _url(address: str, port: int) -> str:
    """The address of the program's first page, for a browser on this machine."""
    host = "localhost" if address in ("", "0.0.0.0", "::") else _bracketed(address)
    return f"http://{host}/" if port == 80 else f"http://{host}:{port}/"


def _port_in_use(port: int) -> str:
    if sys.platform == "linux":
        command = f"ss -ltnp 'sport = :{port}'"
    elif sys.platform == "win32":
        command = f"netstat -ano | findstr :{port}"
    else:
        command = f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return (
        f"port {port} is in use by another program, perhaps by this one started before. The command {command} says "
        f"which one it is. With serve_http(..., port=0) the system chooses a port that is free."
    )


def _print(line: str) -> None:
    """Print a line, if there is where to: a program without a console has no standard output."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)


def _open_browser(wait_ready: Callable[[float], bool], url: str) -> None:
    """On a thread of its own, because some browsers are waited for: open the default browser."""
    if not wait_ready(_READY):
        return
    try:
        opened = webbrowser.open(url)
        reason = "there is none"
    except Exception as error:
        opened = False
        reason = f"{type(error).__name__}: {error}"
    if not opened:
        _LOGGER.warning("no browser could be opened (%s): open %s yourself", reason, url)

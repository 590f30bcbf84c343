"""``serve_http``: serves a program to the browser of its user, and opens that browser.

The handler runs on the thread that calls ``serve_http``, in order, one request at a time; so a connection to SQLite
that the program has opened at its beginning can be used in every handler, and no handler needs a lock. The threads of
the server receive requests and send responses meanwhile. A browser that opens connections and sends nothing, as they
all do, delays no request.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator
from typing import Literal

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import EMBEDDED
from reserve.desk.browser.process import prepare_process
from reserve.desk.browser.start import Start
from reserve.desk.request import MAX_BODY
from reserve.desk.security import is_local
from reserve.desk.wsgi import Application, Handle
from reserve.engine.server import Server
from reserve.errors import UsageError
from reserve.gateways.callingthread import CallingThread
from reserve.gateways.wsgi import WSGIGateway

__all__ = ["refusing_calls", "serve_http"]

_LOGGER = logging.getLogger("reserve.desk")
_STOP_TIMEOUT = 5.0
"""Seconds that a browser has to receive its last response and to send the rest of a request, when the program ends."""
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
    end_with: Literal["tab"] | None = None,
    private: bool = False,
    window: bool = False,
    max_body: int = MAX_BODY,
) -> None:
    """Serve a program until a response has ``shut_down``; then return, when that response has been sent, and others
    that were under way, for which it waits 5 seconds at most.

    If the same program, with the same arguments, address and port, runs already, this one opens the page of that one in
    the browser, and returns (:mod:`reserve.desk.browser.instance`).

    The address is printed, and a line with it goes to the logger ``reserve.desk``. Tracebacks of handlers go there,
    too, and what the server has to say to the logger ``reserve``.

    :param handle: a router, or any other callable that takes a :class:`~reserve.desk.request.Request`.
    :param port: TCP port; 0: a free one.
    :param address: of the network interface. Default: only programs on this machine can connect. ``""``: all
        interfaces; then name the machine in ``hosts``.
    :param start: where the user begins, as ``"tasks/new"``: the default browser is opened there. None: no browser is
        opened, and a second start is one more instance.
    :param timeout: seconds. It has no effect: programs that have it from another toolkit need not be changed. No
        handler waits for a browser here.
    :param debug: whether the page of an exception shows the traceback. Default: if ``address`` is of this machine only.
    :param hosts: further names under which the program is reached; see :class:`~reserve.desk.security.SecurityPolicy`.
    :param cross_origin: whether, or from which origins, other sites may send forms; see there.
    :param end_with: ``"tab"``: the program also ends when its last tab is closed, as if a response had ``shut_down``.
        See :mod:`reserve.desk.browser.tabs` for the rule. Default: it does not.
    :param private: whether only the browser that the program opens gets answers; other programs and other users of the
        machine get a page with status 403. See :mod:`reserve.desk.browser.private`.
    :param window: whether the page is opened in a window of its own, without tabs and address bar, if there is Chrome,
        Chromium, Edge or the like; otherwise it is opened in the default browser.
    :param max_body: bytes that the body of a request may have; a longer one gets 413. Default: 64 MiB.
    :raises KeyboardInterrupt: it was raised on this thread (Ctrl-C), in a handler or between two. Requests that have
        arrived are served first, for 5 seconds, unless a second one is raised. SystemExit does the same.
    :raises reserve.errors.StartupError: the port is in use, or the address is none of this machine.
    :raises reserve.errors.UsageError: ``end_with`` is something else; or a process of ``multiprocessing`` imports the
        program, which calls this without ``if __name__ == "__main__":``.
    :raises TypeError: for a ``handle`` that cannot be called, or a WSGI application.
    :raises ValueError: for a host or an origin that is none.
    """
    if _refused_because:
        raise UsageError(_refused_because)
    prepare_process()
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
    starting = Start(address=address, port=port, start=start, end_with=end_with, private=private, window=window)
    with starting:
        if starting.open_running():
            _print(f"{starting.url}  (it runs already, as process {starting.pid}; the browser shows its page)")
            return
        listeners = starting.listen()
        app = starting.surround(application, lambda: server.request_stop())
        http = HTTPApp(WSGIGateway(CallingThread(app, stopping_errors=_STOPPING_ERRORS)))
        http.configure({**EMBEDDED, "max_body": max_body})
        http.option_names = {"--max-body": "max_body"}  # the only one that a program can change here
        server = Server(listeners, http, threads=1, stop_timeout=_STOP_TIMEOUT)
        _LOGGER.info("serving at %s", starting.url)
        _print(f"{starting.url}{starting.entrance}  (Ctrl-C stops the program)")
        starting.begin()
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


def _print(line: str) -> None:
    """Print a line, if there is where to: a program without a console has no standard output."""
    with contextlib.suppress(OSError, ValueError):
        print(line, flush=True)

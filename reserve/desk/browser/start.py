"""What ``serve_http`` does besides serving: one instance, its address, its page, and what surrounds the application."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from reserve.browser.page import open_page
from reserve.desk.browser.instance import (
    INSTANCE_PATH,
    Claim,
    InstancePath,
    State,
    describe_port_user,
    main_file,
    program_name,
    state_folder,
)
from reserve.desk.browser.private import PrivateGate, make_start_path
from reserve.desk.browser.tabpages import TabPages
from reserve.desk.browser.tabs import TabEnd, TabWatch
from reserve.errors import StartupError, UsageError
from reserve.gateways.exchange import WSGIApplication
from reserve.sockets.listeners import listen

__all__ = ["Start"]

_ANY = ("", "0.0.0.0", "::")
"""Addresses of all interfaces, where a browser on this machine cannot go."""


class Start:
    """One start of a program. The thread that serves makes it, and uses it in a ``with`` block, in this order:
    :meth:`open_running`, :meth:`listen`, :meth:`surround`, :meth:`begin`.

    The parameters are those of ``serve_http``.

    :param address: the address on which it listens.
    :param port: the TCP port; 0: a free one.
    :param start: the path of the page that is opened; None: none is, and each start is an instance of its own.
    :param end_with: ``"tab"``: the program ends with its last tab; None: it does not.
    :param private: only the browser that the program opens is answered.
    :param window: the page is opened in a window of its own.
    :raises UsageError: for another value of ``end_with``.
    """

    def __init__(
        self, *, address: str, port: int, start: str | None, end_with: str | None, private: bool, window: bool
    ) -> None:
        if end_with not in (None, "tab"):
            raise UsageError(f'end_with is None or "tab", not {end_with!r:.80}')
        self._address = address
        self._port = port
        self._start = start
        self._private = private
        self._window = window
        self._key = secrets.token_bytes(32)
        self._watch = TabWatch() if end_with == "tab" else None
        self._tab_end: TabEnd | None = None
        frozen = bool(getattr(sys, "frozen", False))
        path = main_file(sys.modules.get("__main__"), sys.executable, frozen=frozen)
        if start is None or path is None:
            self._claim = Claim(None, "")
        else:
            name = program_name(path, sys.argv[1:], address, port)
            self._claim = Claim(state_folder(sys.platform, os.environ), name)

    def __enter__(self) -> Start:
        self._claim.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tab_end is not None:
            self._tab_end.stop()
        self._claim.__exit__(kind, error, trace)

    def open_running(self) -> bool:
        """Open the page of the instance that runs already, and wait until the browser has it; False: there is none."""
        state = self._claim.running
        if state is None:
            return False
        # One that is busy has not proved that it is the program, so it gets no token: the browser has the cookie.
        self._state = state
        self._open(state, with_token=state.private and self._claim.proved).wait()
        return True

    def listen(self) -> list[socket.socket]:
        """Open the listeners. Raises StartupError; for a port in use it names the program that has it, if possible."""
        try:
            listeners = listen((self._address, self._port))
        except StartupError as error:
            if getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
                raise
            raise StartupError(_port_in_use(self._port)) from error.__cause__
        port = listeners[0].getsockname()[1]
        host = "localhost" if self._address in _ANY else self._address
        self._state = State(os.getpid(), host, port, self._key, self._private)
        return listeners

    @property
    def url(self) -> str:
        """After :meth:`open_running` or :meth:`listen`: the address of the program, with a slash at its end."""
        return f"{self._state.url}/"

    @property
    def pid(self) -> int:
        """The number of the process that serves it."""
        return self._state.pid

    @property
    def entrance(self) -> str:
        """What follows :attr:`url` in an address that lets a browser in; empty for a program that is not private."""
        return make_start_path(self._key, self._start or "").lstrip("/") if self._private else ""

    def surround(self, app: WSGIApplication, end: Callable[[], object]) -> WSGIApplication:
        """The application, with what was asked for around it.

        :param app: the application.
        :param end: begins to stop the server, and returns at once. Any thread may call it.
        """
        expect_page = _nothing
        if self._watch is not None:
            app = TabPages(app, self._watch)
            self._tab_end = TabEnd(self._watch, end)
            expect_page = self._watch.expect_page
        if self._start is not None:
            app = InstancePath(app, self._key, expect_page)
        if self._private:
            app = PrivateGate(app, self._key, self._state.port, [INSTANCE_PATH])
        return app

    def begin(self) -> None:
        """The server listens: tell a second start, open the page, and look after the tabs."""
        self._claim.publish(self._state)
        if self._tab_end is not None:
            self._tab_end.start()
        if self._start is not None:
            self._open(self._state, with_token=self._private)

    def _open(self, state: State, *, with_token: bool) -> threading.Event:
        page = "/" + (self._start or "").lstrip("/")
        return open_page(state.url + (make_start_path(state.key, page) if with_token else page), window=self._window)


def _port_in_use(port: int) -> str:
    choose = "Choose another port, or 0: then the system takes one that is free."  # the user may have an option for it
    if user := describe_port_user(port):
        return f"port {port} is in use by {user}. {choose}"
    if sys.platform == "linux":
        command = f"ss -ltnp 'sport = :{port}'"
    elif sys.platform == "win32":
        command = f"netstat -ano | findstr :{port}"
    else:
        command = f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
    return f"port {port} is in use by another program; the command {command} says which one it is. {choose}"


def _nothing() -> None:
    """Called where no tabs are watched."""

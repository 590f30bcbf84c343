"""From listeners, application and options to a server that is ready to start, and its page in the browser. On the main
thread.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from reserve.cli.application import single_thread
from reserve.cli.binds import Listeners, https_port
from reserve.engine.polling.patching import SystemThread
from reserve.engine.polling.threads import start_thread
from reserve.errors import StartupError, UsageError

if TYPE_CHECKING:
    from reserve.cli.console import Console
    from reserve.engine.hooks import Hooks
    from reserve.engine.scoreboard import Slot
    from reserve.engine.server import Server
    from reserve.options.sources import Values
    from reserve.ssl.adapter import SSLAdapter

__all__ = ["make_server", "open_when_ready"]


def make_server(
    listeners: Listeners,
    handle: object,
    name: str,
    values: Values,
    adapter: SSLAdapter | None,
    hooks: Hooks | None,
    balance: Slot | None = None,
) -> Server:
    """Make the server; it owns the listeners from now on.

    :param handle: the launched and configured application.
    :param name: the name of the application, for messages.
    :param adapter: what provides TLS on the main listeners; None: nothing.
    :param hooks: what the server calls, with the error log.
    :param balance: the slot of this process among those that share the listeners; None: it has them alone.
    :raises UsageError: redirects to https for an application that is not HTTP, or a port for redirects without any.
    """
    from reserve.engine.connections.application import Application
    from reserve.engine.server import Server

    settings = values.engine()
    extra = []
    port = values["redirect_port"]
    if listeners.redirects:
        redirect_port = cast("int | None", port) or https_port(listeners.main)
        redirect_application = handle.redirect_application(redirect_port) if isinstance(handle, Application) else None
        if redirect_application is None:
            raise UsageError(
                f"redirects to https (--redirect-http) are for HTTP applications (reserve app http), not for {name}"
            )
        extra.append((listeners.redirects, redirect_application))
    elif port is not None:
        source = values.given["redirect_port"].source
        raise UsageError(f"{source} is for redirects to https, and there are none: --redirect-http ADDR")
    server = Server(
        listeners.main,
        cast("Any", handle),
        without_tls=listeners.without_tls,
        extra=extra,
        settings=dataclasses.replace(settings, threads=1) if single_thread(handle) else settings,
        own=True,
        hooks=hooks,
        balance=balance,
    )
    server.ssl_adapter = adapter
    if adapter is not None:
        from reserve.ssl.certadapter import CertificateAdapter

        if isinstance(adapter, CertificateAdapter):
            adapter.warn = server.log.warning  # not a logger, which an application may disable
    return server


def open_when_ready(server: Server, url: str, console: Console) -> None:
    """Open a page as soon as the server accepts connections, on a thread of its own, because some browsers keep their
    caller waiting. If that is not possible, a line says so.

    :param url: of the page; empty: there is none.
    """
    if not url:
        console.write("reserve: --open has no effect: the first listener has no URL\n")
        return
    try:
        start_thread(SystemThread(target=_open, args=(server, url, console), name="reserve-browser", daemon=True))
    except StartupError as error:
        console.write(f"reserve: no browser could be opened: {error}\n")


def _open(server: Server, url: str, console: Console) -> None:
    from reserve.browser.page import open_apart

    while not server.wait_ready(1.0):
        if server.stopping:
            return
    reason = open_apart(url)
    if reason:
        console.write(f"reserve: no browser could be opened ({reason}): open {url} yourself\n")

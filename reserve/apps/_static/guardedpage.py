"""A page of the server's own that only some clients may see, such as ``--status-path``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reserve.apps._debug import has_unknown_client, is_for_this_machine, may_see_errors
from reserve.sockets.addresses import is_local

if TYPE_CHECKING:
    from reserve.apps._static.page import Page
    from reserve.engine.connections.connection import Connection
    from reserve.gateways.static import StaticResponse
    from reserve.protocol.codec import Head
    from reserve.sockets.allowedclients import AllowedClients

__all__ = ["GuardedPage"]


class GuardedPage:
    """A :class:`~reserve.apps._static.page.Page` and who may see it; owned by the HTTP application. File threads call
    :meth:`refusal`, and :meth:`respond` unless there is one.

    :param page: what the others see.
    :param allowed: the clients that may see it.
    :param name: what the log calls it, with its option: ``the status page is for --status-allow loopback``.
    """

    def __init__(self, page: Page, allowed: AllowedClients, name: str) -> None:
        self._page = page
        self._allowed = allowed
        self._name = name

    def respond(self, environ: dict[str, Any]) -> StaticResponse:
        """The response of the page."""
        return self._page.respond(environ)

    def refusal(self, connection: Connection, head: Head) -> str:
        """Why the client of a request gets a 404, for the log; empty: it may see the page. Every doubt means no.

        - The client is the one that a frontend of ``--trusted-proxies`` names. One that another frontend passes on is
          unknown: only ``any`` means it.
        - A client on this machine also has to ask for a name of this machine: with DNS rebinding a page of another site
          has its own name lead here, and would read the page.
        - ``loopback`` means a client that has come straight from this machine, or through such a frontend; a frontend
          on another machine, or on a UNIX socket, may name its own loopback address.

        :param head: of the request; its environ is as the server has made it.
        """
        reason = _refusal(self._allowed, connection, head)
        return f"{self._name}; {reason}" if reason else ""


def _refusal(allowed: AllowedClients, connection: Connection, head: Head) -> str:
    if allowed.any or (allowed.loopback and may_see_errors(connection, head)):
        return ""
    client = head.environ["REMOTE_ADDR"]
    if has_unknown_client(connection, head):
        return "a frontend that is not one of --trusted-proxies has passed it on, so its client is unknown"
    is_listed = allowed.lists(client)
    if is_local(client) and (is_listed or allowed.loopback):
        if not is_for_this_machine(head.environ):
            return "Host is no name of this machine, so it may be of a page of another site (DNS rebinding)"
        return "" if is_listed else "its frontend is elsewhere, or on a UNIX socket"
    return "" if is_listed else "its client is not among them"

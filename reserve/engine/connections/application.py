"""What a server serves: an application with a driver of its own for each connection.

A plain ``handle(socket, client_address, server)`` is wrapped into one by the server
(:class:`~reserve.engine.drivers.handler.HandlerApplication`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reserve.engine.connections.connection import Connection
from reserve.engine.connections.context import ServerContext
from reserve.engine.connections.driver import Driver
from reserve.engine.connections.straightline import StraightLine
from reserve.errors import UsageError

__all__ = ["Application"]


class Application:
    """One application of one server; owned by the program that made it. Subclasses implement :meth:`make_driver`.

    The other members are what the server and the command ask of an application; each has a default that fits a protocol
    without HTTP's features.
    """

    url_scheme: str = ""
    """The scheme of its URLs without TLS, for the start banner (``http``); empty: plain addresses are shown."""
    alpn_protocols: tuple[str, ...] = ()
    """The protocols under TLS, as ALPN names (RFC 7301), the preferred one first; empty: no ALPN."""

    reports_requests: bool = False
    """It calls the hook ``on_request_end``."""
    single_thread: str = ""
    """Why its code runs on the thread inside ``start()`` only, one request at a time, as a clause (``shop:app says
    single_thread = True``): the command starts one worker then, and says so. Empty: workers run it.
    """
    peers_are_frontends: bool = False
    """Its connections come from frontends, which have many clients: ``--max-connections-per-client`` does not count
    them.
    """

    straight_line: StraightLine[Connection] | None = None
    """Serves the ordinary requests of its connections; None: all go step by step. Any thread may replace it."""

    keep_alive: float = 15.0
    """Seconds that a client may take for its next request, and that a retiring server leaves its connections open."""

    @property
    def straight_line_form(self) -> str:
        """In which language the straight line is: ``C`` or ``Python``; empty: there is none."""
        return ""

    @property
    def log_lines_dropped(self) -> int:
        """Lines of its own logs that were lost since the start. Any thread."""
        return 0

    def make_driver(self, connection: Connection) -> Driver:
        """Make the driver of a connection. On the accept thread, or on the thread that completed its TLS handshake.

        It must not do any I/O.
        """
        raise NotImplementedError

    def start(self, server: ServerContext[Connection]) -> None:
        """Prepare to serve. Once, before the server accepts, on the thread that starts it; an error ends the start."""

    def finish(self, server: ServerContext[Connection]) -> None:
        """Release what :meth:`start` acquired. Once, after the last connection, on the accept thread."""

    def configure(self, values: Mapping[str, Any], given: Sequence[str] = ()) -> None:
        """Take the values of the command's options that are for applications. Before the start.

        :param values: by field name (``root_path``), with the defaults of those that were not given.
        :param given: the options that the user gave, as written (``--root-path``), for messages.

        Raises UsageError for a value that is out of bounds. The default method accepts no option.
        """
        if given:
            raise UsageError(f"{given[0]} is for HTTP applications (reserve app http); this one has no use for it")

    def redirect_application(self, port: int) -> Application | None:
        """The application that redirects the clients of a plain listener to TLS (``--redirect-http``).

        None: the protocol has no redirects.

        :param port: of the listener with TLS.
        """
        return None

    def refuse_plain(self, first: bytes) -> bytes | None:
        """The response to a client that sends plain text to a listener with TLS; None: the protocol has none.

        :param first: its first bytes, five at most.
        """
        return None

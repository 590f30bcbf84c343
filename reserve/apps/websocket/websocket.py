"""``WebSocket``: the object that a handler gets, one for each connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from reserve.errors import ReserveError

__all__ = ["Channel", "ConnectionClosed", "WebSocket"]


class Channel(Protocol):
    """What a :class:`WebSocket` needs of its driver, for any thread."""

    @property
    def server(self) -> Any: ...

    @property
    def is_open(self) -> bool: ...

    @property
    def close_info(self) -> tuple[int, str]: ...

    def send(self, message: Any) -> None: ...

    def recv(self, timeout: float | None) -> str | bytes: ...

    def ping(self, data: bytes) -> None: ...

    def close(self, code: int, reason: str) -> None: ...


class ConnectionClosed(ReserveError, ConnectionError):
    """The connection is closed or closing: nothing can be sent, and no message will come.

    A handler need not catch it: the server logs one line.
    """


class WebSocket:
    """One connection, as its handler sees it. The driver makes it; any thread may call its methods. Handlers may add
    attributes of their own.
    """

    def __init__(self, driver: Channel, environ: dict[str, Any], path: str, subprotocol: str | None) -> None:
        self._driver = driver
        self.environ = environ
        """The environ of the request that opened it, with the keys of PEP 3333 and CGI (cookies: ``HTTP_COOKIE``)."""
        self.path = path
        """The path of the request, decoded, below ``--root-path``."""
        self.subprotocol = subprotocol
        """The subprotocol that both sides speak; None: none."""

    def __repr__(self) -> str:
        return f"<WebSocket {self.path} of {self.environ.get('REMOTE_ADDR')}:{self.environ.get('REMOTE_PORT')}>"

    @property
    def server(self) -> Any:
        """The :class:`reserve.Server`."""
        return self._driver.server

    @property
    def is_open(self) -> bool:
        """Neither side has begun to close."""
        return self._driver.is_open

    @property
    def close_code(self) -> int | None:
        """The code with which it was closed (RFC 6455 section 7.4); 1006: without a close frame; None: it is open."""
        return None if self.is_open else self._driver.close_info[0]

    @property
    def close_reason(self) -> str:
        """The reason that belongs to the code."""
        return "" if self.is_open else self._driver.close_info[1]

    def send(self, message: str | bytes) -> None:
        """Send a message: text for a str, binary for bytes. Any thread.

        It does not wait for the client, unless the handler with a thread of its own calls it: then it waits while more
        than ``--max-output`` would wait for the client.

        :raises ConnectionClosed: it is closed or closing.
        :raises ReserveError: more than ``--max-output`` would wait for a client that does not read.
        """
        self._driver.send(message)

    def recv(self, timeout: float | None = None) -> str | bytes:
        """Wait for the next message. Only for a handler with a thread of its own.

        :param timeout: seconds; None: no limit.
        :raises TimeoutError: no message came in time.
        :raises ConnectionClosed: no message will come.
        """
        return self._driver.recv(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        """The messages until the connection closes. Only for a handler with a thread of its own."""
        while True:
            try:
                yield self.recv()
            except ConnectionClosed:
                return

    def ping(self, data: bytes = b"") -> None:
        """Send a ping. The server sends its own (``--ws-ping``)."""
        self._driver.ping(data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Begin to close; returns at once. Nothing happens if it is closing already.

        :raises UsageError: for a code that may not be sent, or a reason of more than 123 bytes.
        """
        self._driver.close(code, reason)

"""What a gateway needs from a protocol: one request, and a way to respond to it.

The HTTP application implements :class:`Exchange`; the gateways in this package know only this interface. An exchange
belongs to one request, and only the worker that runs the application uses it. The gateway checks the application's
*calls* (types, order, how often); the exchange checks the *bytes* (characters of status and headers,
hop-by-hop fields, Content-Length against what was sent) and frames them.

The order of calls is ``begin+ (send | send_all | send_file)* finish``. ``abort`` or ``fail`` may take the place of any
of these calls, also after a ``finish`` that raised. Otherwise no call follows ``finish``, ``abort`` or ``fail``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

__all__ = ["Environ", "ExcInfo", "Exchange", "ReadableFile", "StartResponse", "WSGIApplication", "Write"]

Environ = dict[str, Any]
"""PEP 3333 asks for exactly a ``dict``; the application may change it as it likes."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
"""What ``sys.exc_info()`` returns."""

Write = Callable[[bytes], None]


class StartResponse(Protocol):
    """``start_response`` as PEP 3333 defines it; the three arguments are positional."""

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /) -> Write: ...


WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
"""A WSGI application (PEP 3333)."""


class ReadableFile(Protocol):
    """The least that ``wsgi.file_wrapper`` accepts. A server can send a real file without reading it."""

    def read(self, size: int, /) -> bytes: ...


class Exchange(Protocol):
    """One request and its response. The driver makes it; the worker that runs the application calls it."""

    environ: Environ
    """The complete environ: CGI variables, ``HTTP_*``, ``wsgi.*`` with ``wsgi.input``. The gateway owns it now."""

    @property
    def started(self) -> bool:
        """True once bytes of the head may have been sent: the head cannot be replaced any more."""
        ...

    @property
    def upgraded(self) -> bool:
        """The application has taken the connection over: what it returns or raises has no effect on the client."""
        ...

    @property
    def bodiless(self) -> bool:
        """After :meth:`begin`: this response has no body (HEAD, 204, 205, 304), whatever the application makes."""
        ...

    @property
    def body_complete(self) -> bool:
        """After :meth:`begin`: nothing of the body is left to send, because the response is :attr:`bodiless` or
        Content-Length is reached.
        """
        ...

    @property
    def remaining(self) -> int | None:
        """After :meth:`begin`: bytes of the body that Content-Length leaves to send; None without one."""
        ...

    def begin(self, status: str, headers: list[tuple[str, str]], length: int | None) -> None:
        """Set the head. It is not sent before the first :meth:`send`, :meth:`send_file` or :meth:`finish`.

        May be called again while not :attr:`started`: the new head replaces the old one, and the part of the body that
        the exchange has not sent is dropped. When it raises, the gateway either begins again or fails.

        :param status: an exact ``str`` of three digits, alone or before a space and a reason; the type and this form
            are checked already.
        :param headers: pairs of exact ``str``; the list belongs to the exchange, and no other code changes it.
        :param length: size of the whole body in bytes, when the gateway knows it; used when ``headers`` has no
            Content-Length. It is the size of what the application produced, so it says nothing about the length of the
            response to GET: a zero must not become a header in a response to HEAD, and no length does in a 204 or 304.
            Hop-by-hop fields are not sent, but ``Connection: close`` is obeyed.
        :raises ApplicationError: for an illegal status (1xx, control characters) or header (PEP 3333: no control
            characters; RFC 9110 section 5.5).
        """
        ...

    def send(self, data: bytes, last: bool = False, /) -> None:
        """Send a part of the body, and the head first if it has not been sent. Empty data sends neither.

        The data may be kept by reference. While :attr:`bodiless` it is dropped, after the head is sent; then
        this does what :meth:`check_connected` does.

        :param last: nothing follows.
        :raises ClientDisconnected: when the client has disconnected, or reads slower than the write timeout allows.
        :raises ApplicationError: when this makes more than Content-Length, or when it is the last and makes less. If
            the head has not been sent, nothing is sent, so that the client gets a 500.
        """
        ...

    def check_connected(self) -> None:
        """Look for the end of the client's side, once for each second in which the application has produced nothing.
        The gateway calls this for each empty piece, because then no :meth:`send` finds out.

        :raises ClientDisconnected: when the client has disconnected.
        """
        ...

    def send_all(self, pieces: Iterable[bytes], length: int, /) -> None:
        """Send the whole body, ``length`` bytes in pieces that exist already: keeping them takes no more memory.

        As :meth:`send` for each piece, but the application never waits for its client.
        """
        ...

    def send_file(self, file: ReadableFile, block_size: int, /) -> bool:
        """Send a file from its current position to its end or to Content-Length, whichever comes first.

        The size of a file counts only when the file can be read up to it: many files under ``/proc`` and ``/sys`` state
        another one. The caller iterates these; a Content-Length that is just that size is then dropped.

        :param block_size: in bytes; a hint of the application, which may be ignored.
        :return: True: the exchange has a descriptor of its own, so the caller may close the file at once. False:
            nothing was sent (no descriptor, not a regular file, or one of another size than it states), and the caller
            has to iterate the file until :attr:`body_complete`.
        :raises ApplicationError: when the head has not been sent and the file has fewer bytes than Content-Length.
        :raises ClientDisconnected: as :meth:`send` does.
        """
        ...

    def finish(self) -> None:
        """End a complete response.

        :raises ApplicationError: when fewer bytes than Content-Length were sent. The gateway then calls :meth:`fail`.
        :raises ClientDisconnected: as :meth:`send` does.
        """
        ...

    def abort(self) -> None:
        """End an incomplete response, in a way that never looks complete to the client. Never raises."""
        ...

    def fail(self, error: BaseException | None = None) -> None:
        """Respond with 500 if not :attr:`started`, otherwise :meth:`abort`. Never raises.

        :param error: what the application has raised. A client that may see it (``--debug``) gets it in the response.
        """
        ...

"""What a gateway needs from a protocol: one request, and a way to answer it.

The HTTP, SCGI and FastCGI applications each have an exchange; the gateways in this package know only this protocol. An
exchange belongs to one request and is used by one thread, the worker that runs the application. The division of work:
the gateway checks the application's *calls* (types, order, how often), the exchange checks the *octets* (legal status
and header characters, hop-by-hop fields, Content-Length against what was sent) and frames them.

The order of calls is ``begin+ (send | send_file)* finish``, where ``abort`` or ``fail`` may take the place of any of
them and of what remains, also after a ``finish`` that raised. Nothing else follows any of the three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Protocol

__all__ = ["Application", "Environ", "ExcInfo", "Exchange", "ReadableFile", "StartResponse", "Write"]

Environ = dict[str, Any]
"""PEP 3333 asks for exactly a ``dict``; the application may change it as it likes."""

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
"""What ``sys.exc_info()`` returns."""

Write = Callable[[bytes], None]


class StartResponse(Protocol):
    """``start_response`` as PEP 3333 defines it; the three arguments are positional."""

    def __call__(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /) -> Write: ...


Application = Callable[[Environ, StartResponse], Iterable[bytes]]
"""A WSGI application (PEP 3333)."""


class ReadableFile(Protocol):
    """The least that ``wsgi.file_wrapper`` accepts. A real file (one with ``fileno()``) is sent without reading it."""

    def read(self, size: int, /) -> bytes: ...


class Exchange(Protocol):
    """One request and its answer, on the worker's side."""

    environ: Environ
    """The complete environ: CGI variables, ``HTTP_*``, ``wsgi.*`` with ``wsgi.input``. The gateway owns it now."""

    @property
    def started(self) -> bool:
        """True once octets of the head may have left: nothing can be taken back any more."""
        ...

    def begin(self, status: str, headers: list[tuple[str, str]], length: int | None) -> None:
        """Fix the head. It is not sent before the first :meth:`send`, :meth:`send_file` or :meth:`finish`.

        May be called again while not :attr:`started`: the new head replaces the old one, and what the exchange still
        holds back of the body goes with it. When it raises, the gateway either begins again or fails.

        :param status: three digits, a blank, a reason; the type and this shape are checked already.
        :param headers: pairs of exact ``str``; a list of the exchange's own, which nobody else changes.
        :param length: octets of the whole body, when the gateway knows them; used when ``headers`` has no
            Content-Length. It is what the application produced, so it says nothing about the length that GET would
            have had: a zero must not become a header in an answer to HEAD, and nothing does in a 204 or 304.
        :raises ApplicationError: for an illegal status (1xx, control characters) or header (PEP 3333: no control
            characters, no hop-by-hop fields; RFC 9110 section 5.5).
        """
        ...

    def send(self, data: bytes, /) -> None:
        """Send a piece of the body, after the head if that is still here. Empty data sends nothing, not even the head.

        The octets may be kept by reference. For HEAD, 204 and 304 they are counted and dropped.

        :raises ClientDisconnected: when the peer is gone, or reads slower than the write timeout allows.
        :raises ApplicationError: when this makes more than Content-Length.
        """
        ...

    def send_all(self, pieces: Iterable[bytes], /) -> None:
        """Send the whole of the body: pieces that are at hand already, so that keeping them costs nothing more.

        As :meth:`send` for each of them, but the application never waits for its client.
        """
        ...

    def send_file(self, file: ReadableFile, block_size: int, /) -> bool:
        """Send the rest of a file, from its current position to its end or to Content-Length, whichever comes first.

        :param block_size: octets; the application's wish, which may be ignored.
        :return: True: the exchange has taken it over with a descriptor of its own, so the caller may close the file at
            once. False: nothing was done (no descriptor, not a regular file, encrypted); please iterate it.
        :raises ClientDisconnected: as :meth:`send` does.
        """
        ...

    def finish(self) -> None:
        """The answer is complete.

        :raises ApplicationError: when fewer octets than Content-Length were sent. The gateway then calls :meth:`fail`.
        :raises ClientDisconnected: as :meth:`send` does.
        """
        ...

    def abort(self) -> None:
        """The answer failed half-way: it must never look complete to the client. Never raises."""
        ...

    def fail(self) -> None:
        """Answer 500 and close if nothing has started, otherwise :meth:`abort`. Never raises."""
        ...

"""The answer of a WSGI application on its way to the exchange: ``start_response``, ``write`` and what was returned.

One :class:`WSGIResponse` serves one request, on the worker that runs the application. It enforces the application's
side of PEP 3333 (types, order, how often) with an :class:`~reserve.errors.ApplicationError` that says what arrived, and
decides as late as possible: the head is fixed when the first octets of the body are at hand, so that the exchange
learns the length of every body that is short enough to know it. Only a head that has a Content-Length already is fixed
at once, inside ``start_response``, where the application sees the error itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from http import HTTPStatus
from types import GeneratorType
from typing import Any, NoReturn

from reserve.errors import ApplicationError
from reserve.gateways.exchange import Exchange, ExcInfo, Write
from reserve.gateways.streams import FileWrapper

__all__ = ["BLOCK", "WSGIResponse"]

BLOCK = 65536
"""Octets up to which the pieces of a list are joined into one send. Copying this much costs less than a system call."""

_USUAL = frozenset(f"{status.value} {status.phrase}" for status in HTTPStatus)


class WSGIResponse:
    """What one request is answered with.

    :param exchange: where it goes.
    """

    __slots__ = ("begun", "exchange", "headers", "length_header", "status")

    def __init__(self, exchange: Exchange) -> None:
        self.exchange: Exchange | None = exchange
        self.status: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.length_header: str | None = None
        self.begun = False
        """Whether the exchange knows the present head."""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """Fix the head, or replace it because of an error (PEP 3333, "The start_response() Callable")."""
        exchange = self.exchange
        if exchange is None:
            raise ApplicationError("start_response() was called after the answer had ended")
        if exc_info:
            try:
                if exchange.started:
                    _raise_again(exc_info)
            finally:
                # The traceback refers to this frame: keeping it would make a cycle.
                exc_info = None
        elif self.status is not None:
            raise ApplicationError(
                f"start_response() was called twice, with {self.status!r:.80} and {status!r:.80}; "
                "only a call with exc_info may replace a head (PEP 3333)"
            )
        self.status = None
        self.begun = False
        if type(status) is not str or status not in _USUAL:
            _check_status(status)
        if type(headers) is not list:
            raise ApplicationError(f"start_response() wants a list of headers, got {_kind(headers)}")
        length = None
        for header in headers:
            if type(header) is not tuple or len(header) != 2:
                raise ApplicationError(
                    f"start_response() wants every header as a tuple (name, value), got {header!r:.80}"
                )
            name, value = header
            if type(name) is not str or type(value) is not str:
                raise ApplicationError(
                    f"start_response() wants the name and value of a header to be str, "
                    f"got {_kind(name)} and {_kind(value)}: {header!r:.80}"
                )
            if len(name) == 14 and name.lower() == "content-length":
                length = value
        headers = headers[:]
        if length is not None:
            exchange.begin(status, headers, None)
            self.begun = True
        self.headers = headers
        self.length_header = length
        self.status = status
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send the data now (PEP 3333, "The write() Callable")."""
        exchange = self.exchange
        if exchange is None:
            raise ApplicationError("write() was called after the answer had ended")
        if type(data) is not bytes:
            data = _octets(data, "write() got")
        if data:
            if not self.begun:
                self._begin(None)
            exchange.send(data)

    def deliver(self, result: Iterable[bytes]) -> None:
        """Send what the application returned, all but the exchange's ``finish()``. Does not call ``close()``.

        :raises ApplicationError: for a wrong type, or a body without ``start_response``.
        :raises BaseException: whatever the iterable raises.
        """
        exchange = self.exchange
        assert exchange is not None, "an answer is delivered once, before it ends"
        kind = type(result)
        if kind is list or kind is tuple:
            if len(result) == 1:  # type: ignore[arg-type]
                data = result[0]  # type: ignore[index]
                if type(data) is not bytes:
                    data = _octets(data, "the answer has a piece that is")
                if not self.begun:
                    self._begin(len(data))
                exchange.send(data)
            else:
                self._deliver_pieces(exchange, result)
        elif kind is FileWrapper:
            self._deliver_file(exchange, result)  # type: ignore[arg-type]
        else:
            self._deliver_iterable(exchange, result)

    def end(self) -> None:
        """Nothing may be called any more; the references between the request and the application are dropped."""
        self.exchange = None

    def _deliver_pieces(self, exchange: Exchange, pieces: Iterable[bytes]) -> None:
        """A list or tuple: everything is at hand, so the length is known and small pieces share a send."""
        checked = [
            piece if type(piece) is bytes else _octets(piece, "the answer has a piece that is") for piece in pieces
        ]
        total = sum(map(len, checked))
        if not self.begun:
            self._begin(total)
        if total <= BLOCK:
            exchange.send(b"".join(checked))
        else:
            exchange.send_all(_blocks(checked))

    def _deliver_file(self, exchange: Exchange, wrapper: FileWrapper) -> None:
        if not self.begun:
            self._begin(None)
        if exchange.send_file(wrapper.filelike, wrapper.block_size):
            return
        # PEP 3333: transmission ends at the end of the file or at Content-Length, whichever comes first.
        left = None
        if self.length_header is not None and self.length_header.isascii() and self.length_header.isdigit():
            left = int(self.length_header)
        while left is None or left > 0:
            data = wrapper.filelike.read(wrapper.block_size if left is None else min(wrapper.block_size, left))
            if type(data) is not bytes:
                data = _octets(data, "the file's read() returned")
            if not data:
                break
            exchange.send(data)
            if left is not None:
                left -= len(data)

    def _deliver_iterable(self, exchange: Exchange, result: Iterable[bytes]) -> None:
        """Anything else, piece by piece; ``start_response`` may be called as late as the first non-empty piece."""
        count = None
        if type(result) is not GeneratorType:
            _check_iterable(result)
            count = _count(result)
        for data in result:
            if type(data) is not bytes:
                data = _octets(data, "the answer has a piece that is")
            if data:
                if not self.begun:
                    self._begin(len(data) if count == 1 else None)
                exchange.send(data)
        if not self.begun:
            self._begin(0)

    def _begin(self, length: int | None) -> None:
        if self.status is None:
            raise ApplicationError(
                "the application answered without a successful start_response(): PEP 3333 wants that call before the "
                "first piece of the body that is not empty"
            )
        assert self.exchange is not None, "checked by every caller"
        self.exchange.begin(self.status, self.headers, length)
        self.begun = True


def _raise_again(exc_info: ExcInfo) -> NoReturn:
    """The head is out: the application's error goes on (PEP 3333), which ends the answer as an incomplete one."""
    error = exc_info[1]
    try:
        if error is None:
            raise ApplicationError(
                "start_response() got an exc_info without an exception, after the head was sent and cannot be replaced"
            )
        raise error.with_traceback(exc_info[2])
    finally:
        del error, exc_info


def _check_status(status: Any) -> None:
    if type(status) is not str:
        raise ApplicationError(f"start_response() wants the status as a str like '200 OK', got {_kind(status)}")
    digits = status[:3]
    if len(status) < 4 or status[3] != " " or not (digits.isascii() and digits.isdigit()):
        raise ApplicationError(
            f"start_response() wants a status of three digits, a blank and a reason, like '200 OK', got {status!r:.80}"
        )


def _octets(data: Any, where: str) -> bytes:
    """Exact ``bytes``, or an error. Mutable buffers are refused because unsent octets are kept by reference."""
    if isinstance(data, bytes):
        return b"".join((data, b""))  # a copy of the octets themselves, whatever the subclass overrides
    hint = "; encode it first" if isinstance(data, str) else ""
    raise ApplicationError(f"{where} {_kind(data)}, WSGI answers are made of bytes{hint}")


def _kind(value: object) -> str:
    """The type of a value and the beginning of it, for an error message."""
    return "None" if value is None else f"{type(value).__name__} {value!r:.60}"


def _blocks(pieces: list[bytes]) -> Iterator[bytes]:
    """The same octets in fewer blocks: small pieces are joined up to :data:`BLOCK`, large ones are not copied."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) >= BLOCK:
            if size:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
            yield piece
        else:
            waiting.append(piece)
            size += len(piece)
            if size >= BLOCK:
                yield b"".join(waiting)
                waiting.clear()
                size = 0
    if size:
        yield b"".join(waiting)


def _count(result: object) -> int | None:
    """``len()`` where the type offers it: PEP 3333 lets a server rely on it."""
    if not hasattr(type(result), "__len__"):
        return None
    try:
        return len(result)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


def _check_iterable(result: Any) -> None:
    if isinstance(result, (str, bytes)):
        raise ApplicationError(
            f"the application returned {_kind(result)}; a WSGI answer is an iterable of bytes: return [body]"
        )
    if not hasattr(type(result), "__iter__") and not hasattr(type(result), "__getitem__"):
        raise ApplicationError(f"the application returned {_kind(result)}, which is no iterable of bytes")

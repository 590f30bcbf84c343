"""The response of a WSGI application on its way to the exchange: ``start_response``, ``write`` and the returned body.

One :class:`WSGIResponse` serves one request, on the worker that runs the application. It enforces the application's
side of PEP 3333 (types, order, how often) with an :class:`~reserve.errors.ApplicationError` that says what it got. The
head is passed to the exchange as late as possible, together with the first bytes of the body, so that the exchange
gets the length of every body whose length can be known. A head with a Content-Length is passed on at once, inside
``start_response``, where the application sees the errors of the exchange itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from types import GeneratorType
from typing import Any, NoReturn

from reserve.errors import ApplicationError, short_repr, type_name
from reserve.gateways.exchange import Environ, Exchange, ExcInfo, Write
from reserve.gateways.streams import FileWrapper

__all__ = ["BLOCK", "END", "PartlyIterated", "WSGIResponse", "ended", "first_item", "is_own_iterable", "rest_of"]

BLOCK = 65536
"""Up to this many bytes, items of a list are joined into one send: copying them costs less than a system call."""

END: Any = object()
"""What :func:`first_item` gets from an iterable without items; no item itself."""
_NO_CONTENT = ("204", "205", "304")
_STANDARD_STATUSES = frozenset(f"{status.value} {status.phrase}" for status in HTTPStatus)
_OWN_ITERATIONS = (list.__iter__, tuple.__iter__)
"""A subclass of list or tuple with one of these yields the items that it has, and computes none."""
_COMPLETE_READS = (io.BytesIO, io.BufferedReader, io.BufferedRandom)
"""Files whose ``read(size)`` returns fewer bytes only at their end; a pipe does so whenever it is slow."""


class WSGIResponse:
    """The response to one request. The gateway makes it, and uses it on the worker that runs the application.

    :param exchange: the request, to which the response is sent.
    :param warn: gets what PEP 3333 does not allow and is accepted nevertheless: the environ, a kind, and a sentence for
        the log.
    """

    __slots__ = ("exchange", "head_passed", "headers", "status", "warn")

    def __init__(self, exchange: Exchange, warn: Callable[[Environ, str, str], None]) -> None:
        self.exchange: Exchange | None = exchange
        self.warn = warn
        self.status: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.head_passed = False
        """Whether the exchange has the current status and headers."""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        """Set the head, or replace it because of an error (PEP 3333, "The start_response() Callable")."""
        exchange = self.exchange
        if exchange is None:
            raise ended("start_response()")
        if exc_info:
            try:
                if exchange.started:
                    _reraise(exc_info)
            finally:
                # The traceback refers to this frame: keeping it would make a reference cycle.
                exc_info = None
        elif self.status is not None:
            raise ApplicationError(
                f"start_response() was called twice, with {short_repr(self.status)} and {short_repr(status)}; "
                "only a call with exc_info may replace a head (PEP 3333)"
            )
        self.status = None
        self.head_passed = False
        if type(status) is not str or status not in _STANDARD_STATUSES:
            status = _exact_status(status)
        # A copy: the application may change its list later.
        headers = headers[:] if type(headers) is list else _list_of_headers(headers, self._warn)
        length = None
        for header in headers:
            if type(header) is tuple and len(header) == 2:
                name, value = header
                if type(name) is str and type(value) is str:
                    if len(name) == 14 and name.lower() == "content-length":
                        length = value
                    continue
            headers = [_exact_header(item, self._warn) for item in headers]
            length = next((value for name, value in headers if name.lower() == "content-length"), None)
            break
        if length is not None:
            exchange.begin(status, headers, None)
            self.head_passed = True
        self.headers = headers
        self.status = status
        return self.write

    def write(self, data: bytes, /) -> None:
        """Send the data now (PEP 3333, "The write() Callable")."""
        exchange = self.exchange
        if exchange is None:
            raise ended("write()")
        if type(data) is not bytes:
            data = _to_bytes(data, "write() got")
        if data:
            if not self.head_passed:
                self._begin(None)
            exchange.send(data)
        else:
            exchange.check_connected()

    def send_body(self, result: Iterable[bytes]) -> None:
        """Send what the application returned. The caller calls ``finish()`` of the exchange, and the result's
        ``close()``.

        :raises ApplicationError: for a wrong type, or a body without ``start_response``.
        :raises BaseException: whatever the iterable raises.
        """
        exchange = self.exchange
        assert exchange is not None, "send_body() is called once, before detach()"
        kind = type(result)
        if kind is list or kind is tuple:
            if len(result) == 1:  # type: ignore[arg-type]
                data = result[0]  # type: ignore[index]
                if type(data) is not bytes:
                    data = _to_bytes(data, "the response has an item that is")
                if not self.head_passed:
                    self._begin(len(data))
                exchange.send(data, True)
            else:
                self._send_sequence(exchange, result)
        elif kind is FileWrapper:
            self._send_file(exchange, result)  # type: ignore[arg-type]
        elif issubclass(kind, (list, tuple)) and kind.__iter__ in _OWN_ITERATIONS:
            self._send_sequence(exchange, result)
        else:
            self._send_iterable(exchange, result)

    def detach(self) -> None:
        """Drop the reference to the exchange, so that none is left between request and application.

        A later call of ``start_response`` or ``write`` is an error.
        """
        self.exchange = None

    def _warn(self, kind: str, message: str) -> None:
        assert self.exchange is not None, "checked by every caller"
        self.warn(self.exchange.environ, kind, message)

    def _send_sequence(self, exchange: Exchange, items: Iterable[bytes]) -> None:
        """Send a list or tuple: all items exist already, so the length is known and small items share a send."""
        checked = [
            item if type(item) is bytes else _to_bytes(item, "the response has an item that is") for item in items
        ]
        total = sum(map(len, checked))
        if not self.head_passed:
            self._begin(total)
        if total <= BLOCK:
            exchange.send(b"".join(checked), True)
        else:
            exchange.send_all(_join_small(checked), total)

    def _send_file(self, exchange: Exchange, wrapper: FileWrapper) -> None:
        if not self.head_passed:
            self._begin(None)
        # A file that is not sent as a whole may be endless, such as a pipe.
        if exchange.send_file(wrapper.filelike, wrapper.block_size) or exchange.bodiless:
            return
        reads_completely = type(wrapper.filelike) in _COMPLETE_READS
        # PEP 3333: transmission ends at the end of the file or at Content-Length, whichever comes first.
        while not exchange.body_complete:
            remaining = exchange.remaining
            size = wrapper.block_size if remaining is None else min(wrapper.block_size, remaining)
            data = wrapper.filelike.read(size)
            if type(data) is not bytes:
                data = _to_bytes(data, "the file's read() returned")
            if not data:
                break
            exchange.send(data, reads_completely and len(data) < size)

    def _send_iterable(self, exchange: Exchange, result: Iterable[bytes]) -> None:
        """Send any other result item by item; it may call ``start_response`` up to its first non-empty item.

        The iteration ends early when nothing is left to send, because the next item of an endless result may never
        come. After the last byte of Content-Length it goes on to an empty item, to find bytes that are too many and to
        run what a generator does at its end.
        """
        count = None
        if type(result) is not GeneratorType:
            _check_iterable(result)
            count = _length(result)
        for data in result:
            if type(data) is not bytes:
                data = _to_bytes(data, "the response has an item that is")
            if data:
                if not self.head_passed:
                    self._begin(len(data) if count == 1 else None)
                exchange.send(data, count == 1)
                if exchange.bodiless:
                    return
            elif self._has_nothing_to_send(exchange):
                return
            else:
                exchange.check_connected()
        if not self.head_passed:
            self._begin(0)

    def _has_nothing_to_send(self, exchange: Exchange) -> bool:
        """After an empty item: whether no other item can be sent, so that the iteration may end."""
        if not self.head_passed:
            status = self.status
            if status is None or (exchange.environ.get("REQUEST_METHOD") != "HEAD" and status[:3] not in _NO_CONTENT):
                return False
            self._begin(None)
        return exchange.body_complete

    def _begin(self, length: int | None) -> None:
        if self.status is None:
            raise ApplicationError(
                "the application responded without a successful start_response(): PEP 3333 requires that call before "
                "the first item of the body that is not empty"
            )
        assert self.exchange is not None, "checked by every caller"
        self.exchange.begin(self.status, self.headers, length)
        self.head_passed = True


class PartlyIterated:
    """A result of an application of which items were taken: an iterable of the last one and the others.

    :param iterator: of the result; None: it has ended, and is not asked again.
    :param item: what was taken last; :data:`END`: it is sent, or there was none.
    """

    __slots__ = ("_item", "_iterator", "_result")

    def __init__(self, result: Any, iterator: Iterator[Any] | None, item: Any) -> None:
        self._result = result
        self._iterator = iterator
        self._item = item

    def __iter__(self) -> Iterator[Any]:
        item, self._item = self._item, END
        if item is not END:
            yield item
        iterator = self._iterator
        while iterator is not None and (item := next(iterator, END)) is not END:  # it need not be an iterable
            yield item

    @property
    def close(self) -> Any:
        """That of the result."""
        return self._result.close


def is_own_iterable(result: Any) -> bool:
    """Whether :meth:`WSGIResponse.send_body` sends a result item by item, without a look at its length.

    Raises what the attributes of the result raise.
    """
    kind = type(result)
    return (
        kind is not FileWrapper
        and not issubclass(kind, (list, tuple, str, bytes))
        and hasattr(kind, "__iter__")
        and not hasattr(kind, "__len__")
        and result.__class__ is kind  # else it may be taken for a str
    )


def rest_of(result: Any, iterator: Iterator[Any], item: Any) -> PartlyIterated:
    """What is left of a result, after ``next(iterator, END)`` has returned ``item``."""
    return PartlyIterated(result, None if item is END else iterator, item)


def first_item(result: Iterable[Any]) -> tuple[Iterator[Any], Any]:
    """The iterator of a result and its first item, :data:`END` if there is none. Raises what those raise."""
    iterator = iter(result)
    return iterator, next(iterator, END)


def ended(what: str) -> ApplicationError:
    """The error of a call that comes too late.

    :param what: was called.
    """
    return ApplicationError(f"{what} was called after the response had ended")


def _reraise(exc_info: ExcInfo) -> NoReturn:
    """Raise the application's exception again, because the head has been sent (PEP 3333): the response is aborted."""
    error = exc_info[1]
    try:
        if error is None:
            raise ApplicationError(
                "start_response() got an exc_info without an exception, after the head was sent and cannot be replaced"
            )
        raise error.with_traceback(exc_info[2])
    finally:
        del error, exc_info


def _exact_status(status: Any) -> str:
    """Check a status, and return it as an exact ``str``."""
    if not issubclass(type(status), str):
        raise ApplicationError(f"start_response() wants the status as a str like '200 OK', got {_describe(status)}")
    text: str = str.__str__(status)
    digits = text[:3]
    if len(digits) != 3 or text[3:4] not in ("", " ") or not (digits.isascii() and digits.isdigit()):
        raise ApplicationError(
            f"start_response() wants a status of three digits, a space and a reason, like '200 OK', got {text!r:.80}"
        )
    return text


def _list_of_headers(headers: Any, warn: Callable[[str, str], None]) -> list[Any]:
    """The items of headers that are no ``list``, although PEP 3333 asks for one."""
    kind = type(headers)
    iterable = hasattr(kind, "__iter__") and not issubclass(kind, (str, bytes, bytearray))
    if not iterable or isinstance(headers, Mapping):
        hint = "; pass list(headers.items())" if iterable else ""
        raise ApplicationError(f"start_response() wants a list of headers (PEP 3333), got {_describe(headers)}{hint}")
    items = list(headers)
    warn(
        "headers that are no list",
        f"start_response() was given its headers as {type_name(headers):.60}; PEP 3333 wants a list, but they are sent",
    )
    return items


def _exact_header(header: Any, warn: Callable[[str, str], None]) -> tuple[str, str]:
    """One header as a tuple of exact ``str``. Methods that a subclass overrides are not called."""
    kind = type(header)
    if issubclass(kind, tuple):
        pair = tuple(tuple.__iter__(header))
    elif issubclass(kind, list):
        pair = tuple(list.__iter__(header))
    else:
        pair = ()
    if len(pair) != 2:
        raise ApplicationError(
            f"start_response() wants every header as a tuple (name, value) (PEP 3333), got {short_repr(header)}"
        )
    name, value = pair
    if not issubclass(type(name), str) or not issubclass(type(value), str):
        raise ApplicationError(
            f"start_response() wants the name and value of a header to be str (PEP 3333), "
            f"got {_describe(name)} and {_describe(value)}: {short_repr(header)}"
        )
    if kind is not tuple:
        warn(
            "headers that are no tuples",
            f"start_response() was given a header as {type_name(header):.60}; PEP 3333 wants a tuple (name, value), "
            "but it is sent",
        )
    return str.__str__(name), str.__str__(value)


def _to_bytes(data: Any, where: str) -> bytes:
    """Return exact ``bytes``. Mutable buffers are an error, because unsent data is kept by reference."""
    if isinstance(data, bytes):
        return b"".join((data, b""))  # a copy of the content itself, whatever the subclass overrides
    hint = "; encode it first" if isinstance(data, str) else ""
    raise ApplicationError(f"{where} {_describe(data)}, a WSGI response consists of bytes{hint}")


def _describe(value: object) -> str:
    """The type of a value and the beginning of its text, for an error message."""
    return "None" if value is None else f"{type_name(value)} {short_repr(value):.60}"


def _join_small(items: list[bytes]) -> Iterator[bytes]:
    """The same data in fewer items: small ones are joined up to :data:`BLOCK`, large ones are not copied."""
    small: list[bytes] = []
    size = 0
    for item in items:
        if len(item) >= BLOCK:
            if size:
                yield b"".join(small)
                small.clear()
                size = 0
            yield item
        else:
            small.append(item)
            size += len(item)
            if size >= BLOCK:
                yield b"".join(small)
                small.clear()
                size = 0
    if size:
        yield b"".join(small)


def _length(result: object) -> int | None:
    """``len()`` of a result whose type has it: PEP 3333 lets a server rely on it."""
    if not hasattr(type(result), "__len__"):
        return None
    try:
        return len(result)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None


def _check_iterable(result: Any) -> None:
    if isinstance(result, (str, bytes)):
        raise ApplicationError(
            f"the application returned {_describe(result)}; a WSGI response is an iterable of bytes: return [body]"
        )
    if not hasattr(type(result), "__iter__") and not hasattr(type(result), "__getitem__"):
        raise ApplicationError(f"the application returned {_describe(result)}, which is not an iterable of bytes")

"""A fake exchange, and functions that run an application with it.

The fake records each call that breaks the contract of an exchange instead of raising an error: the gateway would take
an exception for one of the application.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from reserve.errors import ApplicationError, ClientDisconnected
from reserve.gateways.exchange import Environ, ReadableFile, WSGIApplication
from reserve.gateways.streams import ErrorStream
from reserve.gateways.wsgi import WSGIGateway

PLAIN = [("Content-Type", "text/plain")]


class FakeExchange:
    """An exchange in memory that records the calls of the gateway.

    :param environ: the request.
    :param disconnect_after: number of sends that succeed before the client disconnects.
    :param takes_files: whether ``send_file`` takes files.
    :param eager: whether ``send`` sends the head at once.
    """

    def __init__(
        self, environ: Environ, *, disconnect_after: int | None = None, takes_files: bool = True, eager: bool = True
    ) -> None:
        self.environ = environ
        self.started = False
        self.upgraded = False
        self.disconnect_after = disconnect_after
        self.takes_files = takes_files
        self.eager = eager
        self.begins: list[tuple[str, list[tuple[str, str]], int | None]] = []
        self.sends: list[bytes] = []
        self.files: list[bytes] = []
        self.ends: list[str] = []
        self.violations: list[str] = []
        self.events: list[str] = []

    @property
    def status(self) -> str:
        return self.begins[-1][0]

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.begins[-1][1]}

    @property
    def length(self) -> int | None:
        return self.begins[-1][2]

    @property
    def body(self) -> bytes:
        return b"".join(self.sends)

    @property
    def complete(self) -> bool:
        return self.ends == ["finish"]

    @property
    def expected_length(self) -> int | None:
        value = self.headers.get("content-length")
        return self.length if value is None else int(value)

    @property
    def bodiless(self) -> bool:
        return self.environ["REQUEST_METHOD"] == "HEAD" or self.status[:3] in ("204", "205", "304")

    @property
    def body_complete(self) -> bool:
        return self.bodiless or len(self.body) == self.expected_length

    @property
    def remaining(self) -> int | None:
        expected = None if self.bodiless else self.expected_length
        return None if expected is None else expected - len(self.body)

    def _expect(self, rule: str, kept: bool) -> None:
        if not kept:
            self.violations.append(rule)

    def begin(self, status: str, headers: list[tuple[str, str]], length: int | None) -> None:
        self._expect("begin only while not started", not self.started and not self.ends)
        self._expect("exact types", type(status) is str and type(headers) is list)
        for name, value in headers:
            self._expect("exact str", type(name) is str and type(value) is str)
            if not (name + value).isprintable():
                raise ApplicationError(f"the header {name!r} has control characters")
        self.begins.append((status, headers, length))

    def send(self, data: bytes, last: bool = False, /) -> None:
        self._expect("exact bytes", type(data) is bytes)
        self._expect("send after begin, before the end", bool(self.begins) and not self.ends)
        if not data:
            return
        if self.disconnect_after is not None and len(self.sends) >= self.disconnect_after:
            raise ClientDisconnected("the client closed the connection")
        expected = None if self.bodiless else self.expected_length
        if expected is not None and not self.started and (len(data) > expected or (last and len(data) < expected)):
            raise ApplicationError(f"not as many as Content-Length: {expected}")
        self.started = self.started or self.eager
        self.sends.append(data)
        self.events.append("send")
        if expected is not None and len(self.body) > expected:
            raise ApplicationError(f"more than Content-Length: {expected}")

    def check_connected(self) -> None:
        self._expect("check before the end", not self.ends)
        if self.disconnect_after is not None and len(self.sends) >= self.disconnect_after:
            raise ClientDisconnected("the client closed the connection")

    def send_all(self, pieces: Iterable[bytes], length: int, /) -> None:
        pieces = list(pieces)
        self._expect("the length of all pieces", sum(map(len, pieces)) == length)
        for piece in pieces:
            self.send(piece)

    def send_file(self, file: ReadableFile, block_size: int, /) -> bool:
        self._expect("send_file after begin, before the end", bool(self.begins) and not self.ends)
        self._expect("a block size", block_size > 0)
        if not self.takes_files or not isinstance(file, io.BufferedReader):
            return False
        limit = -1 if self.expected_length is None else self.expected_length - len(self.body)
        position = file.tell()
        data = os.pread(file.fileno(), 1 << 20, position)
        self.files.append(data if limit < 0 else data[:limit])
        self.sends.append(self.files[-1])
        self.started = True
        return True

    def finish(self) -> None:
        self._expect("finish once, after begin", bool(self.begins) and not self.ends)
        if self.disconnect_after is not None and len(self.sends) > self.disconnect_after:
            raise ClientDisconnected("the client closed the connection")
        self.started = True
        if not self.bodiless and self.expected_length is not None and len(self.body) < self.expected_length:
            raise ApplicationError(f"fewer than Content-Length: {self.expected_length}")
        self.ends.append("finish")
        self.events.append("finish")

    def abort(self) -> None:
        self._expect("one end", not self.ends)
        self.ends.append("abort")
        self.events.append("abort")

    def fail(self, error: BaseException | None = None) -> None:
        self._expect("one end", not self.ends)
        self.ends.append("abort" if self.started else "500")
        self.events.append(self.ends[-1])


class Served:
    """The result of one request: the exchange, what was logged, and what was written to ``wsgi.errors``."""

    def __init__(
        self, exchange: FakeExchange, logged: list[tuple[str, BaseException]], errors: list[str], warnings: list[str]
    ) -> None:
        self.exchange = exchange
        self.logged = logged
        self.errors = errors
        self.warnings = warnings

    @property
    def error(self) -> BaseException:
        assert len(self.logged) == 1, self.logged
        return self.logged[0][1]


def request(gateway: WSGIGateway, **more: Any) -> Environ:
    """A complete environ, like those of the HTTP application."""
    environ = gateway.base_environ(
        server_name="reserve.test",
        server_port="8080",
        remote_addr="192.0.2.1",
        remote_port="40000",
        url_scheme="http",
        software="reserve",
        extra={},
    )
    environ.update(
        {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/page",
            "QUERY_STRING": "",
            "REQUEST_URI": "/page",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "reserve.test",
            "wsgi.input": io.BytesIO(b""),
        }
    )
    environ.update(more)
    return environ


def serve(
    app: WSGIApplication,
    *,
    environ: Mapping[str, Any] | None = None,
    wrap: Callable[[FakeExchange], None] = lambda exchange: None,
    **options: Any,
) -> Served:
    """Run the application once and check that the exchange's contract was kept."""
    logged: list[tuple[str, BaseException]] = []
    errors: list[str] = []
    warnings: list[str] = []
    gateway = WSGIGateway(
        app,
        log=lambda text, error: logged.append((text, error)),
        log_warning=warnings.append,
        errors=ErrorStream(errors.append),
    )
    exchange = FakeExchange(request(gateway, **(environ or {})), **options)
    wrap(exchange)
    gateway.respond(exchange)
    assert exchange.violations == []
    assert len(exchange.ends) == 1
    return Served(exchange, logged, errors, warnings)


def returning(result: Any, status: str = "200 OK", headers: Any = PLAIN) -> Any:
    """An application that returns this result."""

    def app(environ: Any, start_response: Any) -> Any:
        start_response(status, list(headers))
        return result

    return app


class Closable:
    """A result that counts the calls of its ``close()``; it raises the items that are exceptions."""

    def __init__(self, *items: Any, on_close: BaseException | None = None) -> None:
        self.items = items
        self.closed = 0
        self.taken = 0
        self.on_close = on_close

    def __iter__(self) -> Any:
        for item in self.items:
            self.taken += 1
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        self.closed += 1
        if self.on_close is not None:
            raise self.on_close

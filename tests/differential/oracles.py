"""Reads the input of a connection with reserve, h11 and llhttp (through httptools), in a form that can be compared.

Each acts as a server that responds to every request, declines every upgrade, and reads another request as long as the
connection persists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import h11
import httptools

from reserve.protocol.http1.limits import Limits
from tests.fuzz.stream import Facts, read_stream

LIMITS = Limits()

Fields = list[tuple[bytes, bytes]]


@dataclass
class Message:
    """One request as a parser reads it."""

    method: str
    target: str
    minor: int
    environ: dict[str, str]
    """The fields as CGI keys."""
    fields: Fields = field(default_factory=list)
    """As the oracle returns them; empty for reserve."""
    keep_alive: bool = True
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    end: int | None = None
    """The offset after it; None while its body is incomplete."""


@dataclass
class Reading:
    """What a parser reads from one connection."""

    messages: list[Message] = field(default_factory=list)
    refused: str | None = None
    """The error message, when the input was refused."""


def cgi(fields: Fields) -> dict[str, str]:
    """The environ keys of fields (PEP 3333, RFC 3875 section 4.1.18), made without the code under test."""
    environ: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1").upper(), raw_value.decode("latin-1").strip(" \t")
        if "_" in name or name == "PROXY":
            continue
        key = name.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        separator = "; " if key == "HTTP_COOKIE" else ", "
        environ[key] = environ[key] + separator + value if key in environ else value
    return environ


def read_with_reserve(data: bytes) -> Reading:
    stream = read_stream([data], LIMITS)
    reading = Reading()
    for request in stream.requests:
        reading.messages.append(_message(request.head, request.body))
        reading.messages[-1].trailers = request.trailers
        reading.messages[-1].end = request.end
    if stream.pending is not None:
        reading.messages.append(_message(*stream.pending))
    if stream.reason is not None:
        reading.refused = stream.reason
    return reading


def _message(head: Facts, body: bytes) -> Message:
    environ = {key: value for key, value in head["environ"].items() if key.startswith(("HTTP_", "CONTENT_"))}
    return Message(head["method"], head["target"], head["minor"], environ, [], head["keep_alive"], body)


def read_with_h11(data: bytes) -> Reading:
    """Read with h11; it gets all input at once and tells what it has not read."""
    reading = Reading()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if data:  # empty data would mean the end of the connection
        connection.receive_data(data)
    message = None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return reading
            if isinstance(event, h11.Request):
                fields = event.headers.raw_items()
                method, target, version = event.method.decode(), event.target.decode(), event.http_version
                message = Message(method, target, int(version[2:] > b"0" or version[:1] > b"1"), cgi(fields), fields)
                message.keep_alive = h11_keeps_alive(connection)
                reading.messages.append(message)
            elif isinstance(event, h11.Data):
                assert message is not None
                message.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert message is not None
                message.trailers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers.raw_items()]
                message.end = len(data) - len(connection.trailing_data[0])
                connection.send(h11.Response(status_code=404, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return reading
                connection.start_next_cycle()
            else:
                raise AssertionError(f"unexpected event of h11: {event!r}")
    except h11.RemoteProtocolError as error:
        reading.refused = str(error)
        return reading


def h11_keeps_alive(connection: h11.Connection) -> bool:
    return bool(connection._cstate.keep_alive)


class _Sink:
    """The callbacks of httptools."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.parser = httptools.HttpRequestParser(self)
        self.message: Message | None = None
        self.complete = False
        self.target = b""
        self.fields: Fields = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.message is None:
            self.fields.append((name, value))
        else:
            self.message.trailers.append((name.decode("latin-1"), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        minor = int(version not in ("0.9", "1.0"))
        method, target = self.parser.get_method().decode(), self.target.decode("latin-1")
        self.message = Message(method, target, minor, cgi(self.fields), self.fields)
        self.reading.messages.append(self.message)

    def on_body(self, body: bytes) -> None:
        assert self.message is not None
        self.message.body += body

    def on_message_complete(self) -> None:
        assert self.message is not None
        self.complete = True
        self.message.keep_alive = self.parser.should_keep_alive()


def read_with_llhttp(data: bytes) -> Reading:
    """Read with llhttp (Node.js, in httptools), byte by byte, which tells where a request ends."""
    reading = Reading()
    sink = _Sink(reading)
    for offset in range(len(data)):
        try:
            sink.parser.feed_data(data[offset : offset + 1])
        except httptools.HttpParserUpgrade:
            sink.complete = True
        except httptools.HttpParserError as error:
            reading.refused = str(error)
            return reading
        if sink.complete:
            assert sink.message is not None
            sink.message.end = offset + 1
            if not sink.message.keep_alive:
                return reading
            sink = _Sink(reading)
    return reading


ORACLES: dict[str, Callable[[bytes], Reading]] = {"h11": read_with_h11, "llhttp": read_with_llhttp}

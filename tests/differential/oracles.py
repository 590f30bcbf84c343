"""What other parsers make of the octets of a whole connection, in one form that can be compared.

Three readers: reserve, h11, and llhttp (through httptools). Each plays a server that answers every request, declines
every upgrade, and reads as long as the request before lets the connection go on.
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
    """One request as a parser understood it."""

    method: str
    target: str
    minor: int
    environ: dict[str, str]
    """The fields as CGI keys."""
    fields: Fields = field(default_factory=list)
    """As the oracle gave them; empty for reserve."""
    keep_alive: bool = True
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    end: int | None = None
    """The offset behind it; None while its body has not come whole."""


@dataclass
class Understood:
    messages: list[Message] = field(default_factory=list)
    refused: str | None = None
    """Why, when the stream was refused."""


def cgi(fields: Fields) -> dict[str, str]:
    """The environ keys of fields (PEP 3333, RFC 3875 section 4.1.18), made apart from the code under test."""
    environ: dict[str, str] = {}
    for raw, octets in fields:
        name, value = raw.decode("latin-1").upper(), octets.decode("latin-1").strip(" \t")
        if "_" in name or name == "PROXY":
            continue
        key = name.replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        separator = "; " if key == "HTTP_COOKIE" else ", "
        environ[key] = environ[key] + separator + value if key in environ else value
    return environ


def reserve(data: bytes) -> Understood:
    stream = read_stream([data], LIMITS)
    found = Understood()
    for request in stream.requests:
        found.messages.append(_message(request.head, request.body))
        found.messages[-1].trailers = request.trailers
        found.messages[-1].end = request.end
    if stream.pending is not None:
        found.messages.append(_message(*stream.pending))
    if stream.reason is not None:
        found.refused = stream.reason
    return found


def _message(head: Facts, body: bytes) -> Message:
    environ = {k: v for k, v in head["environ"].items() if k.startswith(("HTTP_", "CONTENT_"))}
    return Message(head["method"], head["target"], head["minor"], environ, [], head["keep_alive"], body)


def h11_(data: bytes) -> Understood:
    """h11 (hyper); it is given everything at once and says what it has not read."""
    found = Understood()
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if data:  # no octets would mean the end of the connection
        connection.receive_data(data)
    message = None
    try:
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return found
            if isinstance(event, h11.Request):
                fields = event.headers.raw_items()
                method, target, version = event.method.decode(), event.target.decode(), event.http_version
                message = Message(method, target, int(version[2:] > b"0" or version[:1] > b"1"), cgi(fields), fields)
                message.keep_alive = h11_keeps_alive(connection)
                found.messages.append(message)
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
                    return found
                connection.start_next_cycle()
            else:
                raise AssertionError(f"h11 says {event!r}")
    except h11.RemoteProtocolError as error:
        found.refused = str(error)
        return found


def h11_keeps_alive(connection: h11.Connection) -> bool:
    return bool(connection._cstate.keep_alive)


class _Sink:
    """The callbacks of httptools."""

    def __init__(self, found: Understood) -> None:
        self.found = found
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
        self.found.messages.append(self.message)

    def on_body(self, body: bytes) -> None:
        assert self.message is not None
        self.message.body += body

    def on_message_complete(self) -> None:
        assert self.message is not None
        self.complete = True
        self.message.keep_alive = self.parser.should_keep_alive()


def llhttp(data: bytes) -> Understood:
    """llhttp (Node.js) as httptools brings it; it is fed octet by octet, which tells where a request ends."""
    found = Understood()
    sink = _Sink(found)
    for offset in range(len(data)):
        try:
            sink.parser.feed_data(data[offset : offset + 1])
        except httptools.HttpParserUpgrade:
            sink.complete = True
        except httptools.HttpParserError as error:
            found.refused = str(error)
            return found
        if sink.complete:
            assert sink.message is not None
            sink.message.end = offset + 1
            if not sink.message.keep_alive:
                return found
            sink = _Sink(found)
    return found


ORACLES: dict[str, Callable[[bytes], Understood]] = {"h11": h11_, "llhttp": llhttp}

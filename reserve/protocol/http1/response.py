"""The response head, its framing, the chunks of a body, and complete refusals.

Pure functions; any thread may call them. The framing is decided here, once (RFC 9112 section 6.3): the caller must send
the body as ``framing`` and ``length`` of the result say, and close the connection afterwards unless ``keep_alive``.

Measured on one core (AMD EPYC, CPython 3.11, best of 15 runs): 0.93 us for a hello response with two headers whose
lines are cached, 3.7 us for four headers of which two are new each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from reserve.errors import ApplicationError
from reserve.protocol.codec import CHUNKED, LENGTH, NONE, UNTIL_CLOSE, Framing, ResponseHead
from reserve.protocol.dates import DAYS, MONTHS
from reserve.protocol.http1.responsefields import (
    CACHED_LINES,
    CACHED_STATUS,
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    HOP_BY_HOP,
    REASONS,
    check_field,
    check_status,
    connection_options,
)

__all__ = [
    "CHUNKED",
    "CONTINUE",
    "LAST_CHUNK",
    "LENGTH",
    "NONE",
    "UNTIL_CLOSE",
    "Framing",
    "ResponseHead",
    "chunk",
    "early_hints",
    "http_date",
    "refusal",
    "response_head",
    "status_text",
]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


def response_head(
    status: str,
    headers: list[tuple[str, str]],
    *,
    minor: int,
    head_request: bool,
    keep_alive: bool,
    length: int | None,
    date: bytes,
    server: bytes,
    request: object = None,
) -> ResponseHead:
    """Check and encode the status and headers that an application passed to ``start_response``.

    :param status: like ``"200 OK"``; from 200 to 999, and perhaps no reason.
    :param headers: in the order in which they are sent. Hop-by-hop fields are dropped; ``Connection: close`` is obeyed.
    :param minor: the minor version of the request: an HTTP/1.0 client gets no chunks.
    :param head_request: the method is HEAD: the head is that of a GET, and no body follows it.
    :param keep_alive: whether client and server allow another request on the connection; the result may say no.
    :param length: size of the whole body in bytes if the caller knows it; the application's Content-Length takes
        precedence.
    :param date: a complete ``Date`` line with its line end, sent unless the application sent one.
    :param server: a complete ``Server`` line or nothing, likewise.
    :param request: not used: an HTTP/1 response carries nothing of its request. Other protocols have it.
    :raises ApplicationError: names the field and the rule.
    """
    try:
        line, code = CACHED_STATUS.get(status) or check_status(status)
    except TypeError:
        line, code = check_status(status)
    lines = [line]
    stated: int | None = None
    length_line = b""
    dropped: tuple[str, ...] = ()
    cached = CACHED_LINES
    for item in headers:
        try:
            line, kind = cached.get(item) or check_field(item)
        except TypeError:  # unhashable, so no tuple of two str
            line, kind = check_field(item)
        if kind:
            if kind == CONTENT_LENGTH:
                if stated is not None and stated != int(item[1]):
                    raise ApplicationError(
                        f"response header 'Content-Length' occurs with {stated} and with {int(item[1])} "
                        "(RFC 9110 section 8.6)"
                    )
                stated = int(item[1])
                length_line = line
                continue
            if kind == CONNECTION:
                options = connection_options(item[1])
                if "close" in options:
                    keep_alive = False
                if options != ["close"]:
                    dropped += ("connection",)
                continue
            if kind == HOP_BY_HOP:
                dropped += (item[0].lower(),)
                continue
            if kind == DATE:
                date = b""
            else:
                server = b""
        lines.append(line)

    framing = NONE
    total = length if stated is None else stated
    if code == 204:
        total = None
    elif code == 205:
        # RFC 9110 section 15.3.6: no content; a length of 0 says so to every reader.
        total = None
        lines.append(b"Content-Length: 0\r\n")
    elif code == 304:
        # A length here is that of the corresponding 200 response, and only the application knows it.
        if stated is not None:
            lines.append(length_line)
        total = None
    elif total is not None:
        lines.append(b"Content-Length: %d\r\n" % total if stated is None else length_line)
        framing = LENGTH
    elif minor:
        lines.append(b"Transfer-Encoding: chunked\r\n")
        framing = CHUNKED
    else:
        framing = UNTIL_CLOSE
    if head_request:
        framing = NONE
        total = None
    if framing is UNTIL_CLOSE:
        keep_alive = False
    if date:
        lines.append(date)
    if server:
        lines.append(server)
    if not keep_alive:
        lines.append(b"Connection: close\r\n")
    elif not minor:
        lines.append(b"Connection: keep-alive\r\n")
    lines.append(b"\r\n")
    if framing is CHUNKED:
        return ResponseHead(b"".join(lines), framing, total, keep_alive, dropped, chunk, LAST_CHUNK)
    return ResponseHead(b"".join(lines), framing, total, keep_alive, dropped)


def early_hints(headers: Iterable[tuple[str, str]]) -> bytes:
    """Check and encode a 103 (Early Hints) response (RFC 8297), which precedes the final one; empty without fields.

    :param headers: checked as those of :func:`response_head`. Fields that an interim response cannot have, because they
        are about its body or the connection, are dropped (RFC 9110 sections 7.6.1 and 8.6, RFC 9112 section 6.1).
    :raises ApplicationError: names the field and the rule.
    """
    lines = []
    for item in headers:
        line, kind = check_field(item)
        if kind not in (CONTENT_LENGTH, CONNECTION, HOP_BY_HOP):
            lines.append(line)
    return b"".join((b"HTTP/1.1 103 Early Hints\r\n", *lines, b"\r\n")) if lines else b""


def chunk(data: bytes) -> tuple[bytes, ...]:
    """Return ``data`` as one chunk, in pieces to be joined or sent one by one.

    Empty data gives no pieces, because an empty chunk would end the body.
    """
    return (b"%x\r\n" % len(data), data, b"\r\n") if data else ()


def refusal(
    status: int,
    message: str,
    *,
    date: bytes,
    server: bytes,
    head_request: bool = False,
    extra: Iterable[tuple[str, str]] = (),
) -> bytes:
    """Return a complete response of the server itself, after which the connection is closed.

    :param message: becomes the body, as plain text.
    :param extra: more header fields, such as ``("Retry-After", "5")``; checked like those of an application.
    """
    body = message.encode("utf-8", "backslashreplace") + b"\n"
    head = response_head(
        status_text(status),
        [("Content-Type", "text/plain; charset=utf-8"), *extra],
        minor=1,
        head_request=head_request,
        keep_alive=False,
        length=len(body),
        date=date,
        server=server,
    )
    return head.data if head.framing is NONE else head.data + body


def status_text(code: int) -> str:
    """``404`` -> ``"404 Not Found"``, with the reason of RFC 9110; an unknown code gets the name of its class."""
    reason = REASONS.get(code) or {2: "Success", 3: "Redirection", 4: "Client Error"}.get(code // 100, "Server Error")
    return f"{code} {reason}"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def http_date(seconds: float) -> str:
    """Seconds since the epoch as IMF-fixdate (RFC 9110 section 5.6.7), in English whatever the locale is."""
    date = EPOCH + timedelta(seconds=int(seconds))
    day, month = DAYS[date.weekday()], MONTHS[date.month - 1]
    return f"{day}, {date.day:02} {month} {date.year:04} {date.hour:02}:{date.minute:02}:{date.second:02} GMT"

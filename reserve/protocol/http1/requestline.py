"""The request line: method, target, version, and what the four forms of a target mean (RFC 9112 section 3).

Any thread may call these functions; they keep no state. :func:`scan_request_line` checks a line byte by byte as it
arrives, :func:`parse_request_line` reads a complete one. The head reader parses the line as soon as it has the version,
so that a client that does not speak HTTP/1 is refused before its head is complete. ``head.py`` recognises the ordinary
line (a known method, origin-form, HTTP/1.1) without calling this module.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from reserve.errors import RemoteError
from reserve.protocol.http1.fields import TOKEN_CLASS
from reserve.protocol.http1.host import check_host

__all__ = [
    "AFTER_VERSION",
    "LINE_COMPLETE",
    "LINE_EMPTY",
    "LINE_INVALID",
    "LINE_START",
    "METHODS",
    "VERSION_COMPLETE",
    "RequestLine",
    "decode_path",
    "decode_path_but_slashes",
    "invalid_request_line",
    "method_of",
    "parse_request_line",
    "scan_request_line",
]

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"))
"""Methods known to be tokens. Other methods are served as well, after their bytes have been checked."""

METHOD = re.compile(TOKEN_CLASS + "*").match
TARGET_CLASS = r"[!\"$-~]"
LINE = re.compile(rf"({TOKEN_CLASS}+) ({TARGET_CLASS}+) (HTTP/([0-9])\.([0-9]))").fullmatch
LINE_PREFIX = re.compile(
    rf"(?:{TOKEN_CLASS}+(?: (?:{TARGET_CLASS}+(?: (?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.[0-9]?)?)?)?)?)?)?)?)?)?)?)?"
).match
"""The longest prefix of a line with which a request line may begin."""
ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(/[^?]*|)(?:\?(.*))?").fullmatch

# States of the scanner. In the first four it stops: LINE_INVALID, the byte at the position is not allowed there;
# LINE_COMPLETE and LINE_EMPTY, the position is after a line end; VERSION_COMPLETE, the position is after the version,
# and the caller goes on with AFTER_VERSION. IN_VERSION and the states above it are places within a version.
(
    LINE_INVALID, LINE_COMPLETE, LINE_EMPTY, VERSION_COMPLETE,
    LINE_START, EMPTY_BEFORE_LF, IN_METHOD, TARGET_START, IN_TARGET, AFTER_VERSION, BEFORE_LF, IN_VERSION,
) = range(12)  # fmt: skip
VERSION_BYTES = (b"H", b"T", b"T", b"P", b"/", b"0123456789", b".", b"0123456789")
TOKEN_RUN = re.compile(TOKEN_CLASS.encode() + b"*").match
TARGET_RUN = re.compile(TARGET_CLASS.encode() + b"*").match
LF = 10
CR = 13
SPACE = 32

ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+").sub
MALFORMED = re.compile(r"%(?![0-9A-Fa-f]{2})").search
ENCODED_SLASH = re.compile("%2[Ff]").split


class RequestLine(NamedTuple):
    """A request line that passed every check. :func:`parse_request_line` makes one for each request line it reads."""

    method: str
    target: str
    """As it was sent."""
    minor: int
    """0 or 1; a later minor version is served as 1 (RFC 9110 section 2.5)."""
    path: str
    """Still percent-encoded; "*" for the server as a whole."""
    query: str
    authority: str | None
    """From an absolute-form target; it takes precedence over the Host field (RFC 9112 section 3.2.2)."""


def scan_request_line(data: bytes | bytearray, at: int, state: int) -> tuple[int, int]:
    """Check ``data`` from position ``at`` on, up to the end of the line or the first byte that is not allowed.

    The line is ``method SP target SP version CRLF``, or empty. The caller passes the returned position and state to the
    next call, so each byte is checked once however the input is split.

    :param state: :data:`LINE_START` for a new line, then what the last call returned.
    :return: the position and the state there: one of the four states in which scanning stops, or any state at the end
        of ``data``.
    """
    stop = len(data)
    while at < stop:
        byte = data[at]
        if state >= IN_VERSION:
            if byte not in VERSION_BYTES[state - IN_VERSION]:
                return at, LINE_INVALID
            at += 1
            state += 1
            if state == IN_VERSION + len(VERSION_BYTES):
                return at, VERSION_COMPLETE
        elif state in (IN_METHOD, IN_TARGET):
            at = (TOKEN_RUN if state == IN_METHOD else TARGET_RUN)(data, at).end()  # type: ignore[union-attr]
            if at < stop:
                if data[at] != SPACE:
                    return at, LINE_INVALID
                at += 1
                state = TARGET_START if state == IN_METHOD else IN_VERSION
        elif state == TARGET_START:
            state = IN_TARGET
            if byte == SPACE:
                return at, LINE_INVALID
        elif state == LINE_START and byte != CR:
            state = IN_METHOD
            if byte == SPACE:
                return at, LINE_INVALID
        elif state in (BEFORE_LF, EMPTY_BEFORE_LF):
            if byte != LF:
                return at, LINE_INVALID
            return at + 1, LINE_COMPLETE if state == BEFORE_LF else LINE_EMPTY
        elif byte != CR:
            return at, LINE_INVALID
        else:
            at += 1
            state = EMPTY_BEFORE_LF if state == LINE_START else BEFORE_LF
    return at, state


def parse_request_line(line: str) -> RequestLine:
    """Read one request line without its line end.

    :raises RemoteError: 400 for a malformed line, 501 for CONNECT, 505 for another major version.
    """
    match = LINE(line)
    if match is None:
        prefix = LINE_PREFIX(line)
        assert prefix is not None  # it matches an empty string, too
        raise invalid_request_line((line + "\r")[: prefix.end() + 1])
    method, target, version, major, minor = match.groups()
    if major != "1":
        raise RemoteError(505, f"version {version} is not served, only HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)")
    if method == "CONNECT":
        raise RemoteError(501, "CONNECT is not implemented: this is not a proxy (RFC 9110 section 9.3.6)")
    path, query, authority = _parse_target(method, target)
    return RequestLine(method, target, 0 if minor == "0" else 1, path, query, authority)


def invalid_request_line(line: str) -> RemoteError:
    """Return the 400 for a request line with a byte that is not allowed.

    :param line: the line up to and including that byte.
    """
    parts = line.split(" ")
    shown = line.removesuffix("\r")
    if not parts[-1] or (len(parts) < 3 and line[-1] in "\t\r"):
        return RemoteError(
            400,
            f"request line {shown[:60]!r} is not method, target and version with single spaces (RFC 9112 section 3)",
        )
    if len(parts) == 1:
        return RemoteError(400, f"method {line[:30]!r} is not a token (RFC 9110 section 9.1)")
    if len(parts) == 2:
        return RemoteError(
            400, f"target {parts[1][:60]!r} has a byte that is not allowed in a target (RFC 9112 section 3.2)"
        )
    return RemoteError(
        400, f"the version in the request line {shown[-60:]!r} is not HTTP/digit.digit (RFC 9112 section 2.3)"
    )


def method_of(text: str) -> str:
    """Return the method with which a refused head begins: the same however much of its request line has come."""
    match = METHOD(text)
    assert match is not None  # it matches an empty string, too
    return match[0]


def _parse_target(method: str, target: str) -> tuple[str, str, str | None]:
    """Return path, query and authority; the authority is None unless the target is a URI."""
    if target[0] == "/":
        path, _, query = target.partition("?")
        return path, query, None
    if target == "*":
        if method != "OPTIONS":
            raise RemoteError(400, f"target * is for OPTIONS only, not for {method[:30]} (RFC 9112 section 3.2.4)")
        return "*", "", None
    uri = ABSOLUTE(target)
    if uri is None:
        raise RemoteError(
            400, f"target {target[:60]!r} is neither a path that begins with / nor an http URI (RFC 9112 section 3.2)"
        )
    authority, path, query = uri[1], uri[2], uri[3]
    if "@" in authority:
        raise RemoteError(400, "user information in the target's authority is refused (RFC 9110 section 4.2.4)")
    check_host(authority)
    if not path:
        # RFC 9112 section 3.2.4: without path and query, OPTIONS asks about the whole server.
        path = "*" if method == "OPTIONS" and query is None else "/"
    return path, query or "", authority


def _decode_run(match: re.Match[str]) -> str:
    return bytes.fromhex(match[0].replace("%", "")).decode("latin-1")


def decode_path(path: str) -> str:
    """Percent-decode once, to bytes carried as latin-1 (PEP 3333). A malformed escape stays as it is.

    ``urllib.parse.unquote_to_bytes`` takes up to 400 ns for each percent sign that begins no escape, so a path that has
    one is decoded run by run, which takes at most 140 ns for each byte.
    """
    if MALFORMED(path) is None:
        return unquote_to_bytes(path).decode("latin-1")
    return ESCAPES(_decode_run, path)


def decode_path_but_slashes(path: str) -> str:
    """As :func:`decode_path`, but an encoded slash stays, as ``%2F``: it belongs to a segment, and ends none.

    A path with ``%252F`` gives the same text, as in cheroot, whose applications decode the slashes themselves.
    """
    return "%2F".join(map(decode_path, ENCODED_SLASH(path)))

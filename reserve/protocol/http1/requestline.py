"""The request line: method, target, version, and what the four forms of a target mean (RFC 9112 section 3).

Runs on any thread. :func:`parse_request_line` is complete and exact; the ordinary line (a known method, origin-form,
HTTP/1.1) is recognised in ``head.py`` without it. The reader calls it as soon as the version is here, so that what is
no HTTP/1 at all is refused before a head has come.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from reserve.errors import RemoteError
from reserve.protocol.http1.fields import TOKEN_CLASS
from reserve.protocol.http1.host import check_host

__all__ = [
    "METHODS",
    "TARGET_CLASS",
    "RequestLine",
    "decode_path",
    "method_of",
    "parse_request_line",
    "wrong_request_line",
]

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"))
"""Methods known to be tokens. Others are served as well, after a look at their octets."""

METHOD = re.compile(TOKEN_CLASS + "*").match
TARGET_CLASS = r"[!\"$-~]"
LINE = re.compile(rf"({TOKEN_CLASS}+) ({TARGET_CLASS}+) (HTTP/([0-9])\.([0-9]))").fullmatch
BEGUN = re.compile(
    rf"(?:{TOKEN_CLASS}+(?: (?:{TARGET_CLASS}+(?: (?:H(?:T(?:T(?:P(?:/(?:[0-9](?:\.[0-9]?)?)?)?)?)?)?)?)?)?)?)?"
).match
"""As much of a line as may begin a request line."""
ABSOLUTE = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(/[^?]*|)(?:\?(.*))?").fullmatch


class RequestLine(NamedTuple):
    """A request line that passed every check."""

    method: str
    target: str
    """As it was sent."""
    minor: int
    """0 or 1; a later minor version is served as 1 (RFC 9110 section 2.5)."""
    path: str
    """Still percent-encoded; "*" for the server as a whole."""
    query: str
    authority: str | None
    """From an absolute-form target; it wins over the Host field (RFC 9112 section 3.2.2)."""


def parse_request_line(line: str) -> RequestLine:
    """Read one request line without its line end.

    :raises RemoteError: 400 for a malformed line, 501 for CONNECT, 505 for another major version.
    """
    match = LINE(line)
    if match is None:
        begun = BEGUN(line)
        assert begun is not None  # it matches no octet, too
        raise wrong_request_line((line + "\r")[: begun.end() + 1])
    method, target, version, major, minor = match.groups()
    if major != "1":
        raise RemoteError(505, f"version {version} is not served, only HTTP/1.0 and HTTP/1.1 (RFC 9110 section 15.6.6)")
    if method == "CONNECT":
        raise RemoteError(501, "CONNECT is not implemented: this is not a proxy (RFC 9110 section 9.3.6)")
    path, query, authority = _read_target(method, target)
    return RequestLine(method, target, 0 if minor == "0" else 1, path, query, authority)


def wrong_request_line(begun: str) -> RemoteError:
    """A 400 for a request line that cannot become one.

    :param begun: the line up to the octet that nothing legal can follow.
    """
    words = begun.split(" ")
    shown = begun.removesuffix("\r")
    if not words[-1] or (len(words) < 3 and begun[-1] in "\t\r"):
        return RemoteError(
            400, f"request line {shown[:60]!r} is not three words with one space between (RFC 9112 section 3)"
        )
    if len(words) == 1:
        return RemoteError(400, f"method {begun[:30]!r} is not a token (RFC 9110 section 9.1)")
    if len(words) == 2:
        return RemoteError(
            400, f"target {words[1][:60]!r} has an octet that a target cannot have (RFC 9112 section 3.2)"
        )
    return RemoteError(
        400, f"the third word of the request line {shown[-60:]!r} is not HTTP/digit.digit (RFC 9112 section 2.3)"
    )


def method_of(begun: str) -> str:
    """The method with which a head begins that was refused: the same however much of its line had come."""
    match = METHOD(begun)
    assert match is not None  # it matches no octet, too
    return match[0]


def _read_target(method: str, target: str) -> tuple[str, str, str | None]:
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
            400, f"target {target[:60]!r} is neither a path with / in front nor an http URI (RFC 9112 section 3.2)"
        )
    authority, path, query = uri[1], uri[2], uri[3]
    if "@" in authority:
        raise RemoteError(400, "user information in the target's authority is refused (RFC 9110 section 4.2.4)")
    check_host(authority)
    if not path:
        # RFC 9112 section 3.2.4: without path and query, OPTIONS asks about the whole server.
        path = "*" if method == "OPTIONS" and query is None else "/"
    return path, query or "", authority


def decode_path(path: str) -> str:
    """Percent-decode once, to octets carried as latin-1 (PEP 3333). A malformed escape stays as it is."""
    return unquote_to_bytes(path).decode("latin-1")

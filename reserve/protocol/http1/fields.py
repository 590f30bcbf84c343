"""Field lines: their grammar, their scanner, and the environ keys of field names.

Any thread may call these functions. The expression that reads all fields of a head is here, and so is the scanner that
checks a field line byte by byte, for heads and trailers. No two adjacent quantifiers of an expression may match the
same byte, so a head costs time proportional to its length whatever it contains; the whitespace around a value is
stripped afterwards (RFC 9110 section 5.5, RFC 9112 section 5).

The cache of environ keys is shared by all threads, and bounded: a client that invents names cannot make it grow.
"""

from __future__ import annotations

import re

from reserve.errors import RemoteError

__all__ = [
    "CONTROL_BYTES",
    "DROPPED",
    "ENVIRON_KEYS",
    "LINE_COMPLETE",
    "LINE_INVALID",
    "LINE_START",
    "SINGLETONS",
    "TOKEN",
    "TOKEN_CLASS",
    "environ_key",
    "log_fields",
    "scan_field_line",
    "unexpected_byte",
]

TOKEN_CLASS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE_CLASS = r"[^\x00-\x08\x0a-\x1f\x7f]"

TOKEN = re.compile(TOKEN_CLASS + "+").fullmatch
"""RFC 9110 section 5.6.2; the class names every byte, because ``\\w`` would accept other alphabets."""

CONTROL_BYTES = bytes({*range(32), 127} - {9})
"""Every byte that may not stand in a field value (RFC 9110 section 5.5), read as broadly as VALUE_CLASS, nor in a name.
"""

LOG_FIELDS = re.compile(rf"\r\n(referer|user-agent):({VALUE_CLASS}*)(?=\r\n)", re.IGNORECASE).findall

# States of the scanner. LINE_INVALID: the byte at the position is not allowed there; LINE_COMPLETE: the position is
# after the line end.
LINE_INVALID, LINE_COMPLETE, LINE_START, IN_NAME, IN_VALUE, BEFORE_LF = range(6)
FIELD_LINE = re.compile(rf"{TOKEN_CLASS}+:{VALUE_CLASS}*\r\n".encode()).match
TOKEN_RUN = re.compile(TOKEN_CLASS.encode() + rb"*").match
VALUE_RUN = re.compile(VALUE_CLASS.encode() + rb"*").match
LF = 10
CR = 13
COLON = 58

SHOWN_HEAD, SHOWN_TAIL = 40, 17
"""How much of a long line :func:`unexpected_byte` quotes."""


def log_fields(block: bytes) -> tuple[str, str]:
    """Referer and User-Agent of a refused head, as far as they can be found; empty where they cannot."""
    values = {name.lower(): value.strip(" \t") for name, value in LOG_FIELDS(block.decode("latin-1"))}
    return values.get("referer", ""), values.get("user-agent", "")


def scan_field_line(data: bytes | bytearray, at: int, state: int) -> tuple[int, int]:
    """Check ``data`` from position ``at`` on, up to the end of the line or the first byte that is not allowed.

    The line is a field line (RFC 9112 section 5) or empty, and only CRLF ends it. The caller passes the returned
    position and state to the next call, so each byte is checked once however the input is split.

    :param state: :data:`LINE_START` for a new line, then what the last call returned.
    :return: the position and the state there: LINE_INVALID, LINE_COMPLETE, or any state at the end of ``data``.
    """
    if state == LINE_START:
        match = FIELD_LINE(data, at)
        if match is not None:
            return match.end(), LINE_COMPLETE
    stop = len(data)
    while at < stop:
        if state == IN_VALUE:
            at = VALUE_RUN(data, at).end()  # type: ignore[union-attr]
            if at < stop:
                if data[at] != CR:
                    return at, LINE_INVALID
                at += 1
                state = BEFORE_LF
        elif state == BEFORE_LF:
            return (at + 1, LINE_COMPLETE) if data[at] == LF else (at, LINE_INVALID)
        else:
            end = TOKEN_RUN(data, at).end()  # type: ignore[union-attr]
            if end > at:
                state = IN_NAME
            at = end
            if at < stop:
                byte = data[at]
                if byte == COLON and state == IN_NAME:
                    state = IN_VALUE
                elif byte == CR and state == LINE_START:
                    state = BEFORE_LF
                else:
                    return at, LINE_INVALID
                at += 1
    return at, state


def unexpected_byte(byte: int, before: bytes, where: str) -> RemoteError:
    """Return the 400 for a byte that is not allowed after ``before``: the same however the input was split.

    :param before: the line up to that byte; the middle of a long one is left out.
    :param where: the kind of line, with its rule: ``"a field line (RFC 9112 section 5)"``.
    """
    if not before:
        return RemoteError(400, f"byte 0x{byte:02x} cannot begin {where}")
    text = before.decode("latin-1")
    if len(text) > SHOWN_HEAD + SHOWN_TAIL + 3:
        text = f"{text[:SHOWN_HEAD]}...{text[-SHOWN_TAIL:]}"
    return RemoteError(400, f"byte 0x{byte:02x} cannot follow {text!r} in {where}")


DROPPED = ""
"""The key of a field that never reaches the application.

A name with an underscore would have the same key as the name with a hyphen (``X_Real_IP`` and ``X-Real-IP``), and a
frontend filters only one of them. ``Proxy`` would become HTTP_PROXY, which client libraries take for a setting.
"""

LONGEST_CACHED = 64
MOST_CACHED = 512

COMMON = (
    "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Access-Control-Request-Headers",
    "Access-Control-Request-Method", "Authorization", "Cache-Control", "Connection", "Content-Encoding",
    "Content-Length", "Content-Type", "Cookie", "DNT", "Expect", "Forwarded", "From", "Host", "If-Match",
    "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Pragma", "Priority",
    "Proxy", "Range", "Referer", "Sec-CH-UA", "Sec-CH-UA-Mobile", "Sec-CH-UA-Platform", "Sec-Fetch-Dest",
    "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User", "TE", "Trailer", "Transfer-Encoding", "Upgrade",
    "Upgrade-Insecure-Requests", "User-Agent", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
    "X-Real-IP", "X-Request-ID", "X-Requested-With",
)  # fmt: skip
"""Names that the cache has from the start, as they stand here and in lower case."""

SINGLETONS = frozenset({
    "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_CONTENT_LOCATION", "HTTP_CONTENT_RANGE",
    "HTTP_DATE", "HTTP_HOST", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE", "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_MAX_FORWARDS", "HTTP_PROXY_AUTHORIZATION", "HTTP_RANGE",
})  # fmt: skip
"""A request that repeats one of these is refused: two readers could each use another line (RFC 9110 section 5.3).

Fields that RFC 9110 also defines as single but that decide nothing (User-Agent, Referer, From) are joined like lists.
"""


def environ_key(name: str) -> str:
    """The environ key (PEP 3333, RFC 3875 section 4.1.18) of a field name, or "" for a field that is dropped."""
    if "_" in name:
        return DROPPED
    key = name.upper().replace("-", "_")
    if key == "PROXY":
        return DROPPED
    if key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return key
    return "HTTP_" + key


class EnvironKeys(dict[str, str]):
    """Field name as it was sent -> environ key: a cache of at most :data:`MOST_CACHED` names of bounded length.

    There is one for the process, :data:`ENVIRON_KEYS`; the threads that parse heads use it at the same time. Every name
    in it is a token, so that a name that is found needs no other check.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seed()

    def seed(self) -> None:
        for name in COMMON:
            for spelling in (name, name.lower()):
                self[spelling] = environ_key(spelling)

    def __missing__(self, name: str) -> str:
        """Raises KeyError for what is not the name of a field."""
        if not TOKEN(name):
            raise KeyError(name)
        key = environ_key(name)
        if len(name) <= LONGEST_CACHED:
            if len(self) >= MOST_CACHED:
                # Two threads may do this at once; afterwards the cache is seeded in any case.
                self.clear()
                self.seed()
            self[name] = key
        return key


ENVIRON_KEYS = EnvironKeys()

"""Checks the status and the headers that an application sends, and caches the encoded lines that passed.

Any thread may call these functions; all threads share the caches, which are bounded and hold only short lines. No CR,
LF, NUL or other control character is sent in a header, hop-by-hop fields are set by the server alone (PEP 3333; an
application's are dropped), and an error names the field that caused it.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from reserve.errors import ApplicationError, short_repr, type_name

__all__ = [
    "CACHED_LINES",
    "CACHED_STATUS",
    "CONNECTION",
    "CONTENT_LENGTH",
    "DATE",
    "HOP_BY_HOP",
    "PLAIN",
    "REASONS",
    "SERVER",
    "check_field",
    "check_status",
    "connection_options",
]

PLAIN, CONTENT_LENGTH, DATE, SERVER, CONNECTION, HOP_BY_HOP = range(6)
"""Kinds of header fields. CONNECTION and HOP_BY_HOP are not sent; any other kind but PLAIN changes what the server
adds.
"""

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
STATUS = re.compile(r"[2-9][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?").fullmatch

KINDS = {"content-length": CONTENT_LENGTH, "date": DATE, "server": SERVER, "connection": CONNECTION}
HOP_BY_HOP_NAMES = frozenset({
    "keep-alive", "proxy-authenticate", "proxy-authentication-info", "proxy-authorization", "proxy-connection", "te",
    "trailer", "trailers", "transfer-encoding", "upgrade",
})  # fmt: skip
"""RFC 9110 section 7.6.1, RFC 2616 section 13.5.1 and ``wsgiref.util.is_hop_by_hop``. Not every ``Proxy-*``:
Proxy-Status (RFC 9209) is end-to-end.
"""
SECRET = frozenset(("set-cookie", "set-cookie2", "authorization", "www-authenticate", "location", "x-request-id"))
"""Fields that are not cached, because their values differ each time or are secrets."""

REASONS = {status.value: status.phrase for status in HTTPStatus}
# Renamed by RFC 9110; the standard library has these names from Python 3.13 on.
REASONS |= {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}

MOST_CACHED = 1024
LONGEST_CACHED = 128

CACHED_LINES: dict[tuple[str, str], tuple[bytes, int]] = {}
"""(name, value) that passed -> its line and its kind."""
CACHED_STATUS: dict[str, tuple[bytes, int]] = {}
"""Status that passed -> its status line and its code."""


def check_status(status: object) -> tuple[bytes, int]:
    """Return the status line and the code of a status like ``"200 OK"``.

    A code alone gets its standard reason, and an empty one if it has none; RFC 9112 section 4 keeps the space then. A
    code from 600 on is in no class of RFC 9110 section 15, where a client takes it for a 5xx; its body is framed like
    theirs.

    :raises ApplicationError: for what is not a str, an interim (1xx) or impossible code, or a character that a status
        line cannot have.
    """
    if not isinstance(status, str):
        raise ApplicationError(f"the status is {short_repr(status)}, a {type_name(status)}; it is a str like '200 OK'")
    if type(status) is not str:
        status = str.__str__(status)  # its characters, whatever methods a subclass overrides
    if not STATUS(status):
        raise ApplicationError(
            f"the status {status[:60]!r} is not a code from 200 to 999, a space and a reason in latin-1 without "
            "control characters (RFC 9112 section 4)"
        )
    code = int(status[:3])
    text = status if len(status) > 3 else f"{code} {REASONS.get(code, '')}"
    line = f"HTTP/1.1 {text}\r\n".encode("latin-1")
    result = line, code
    if len(status) <= LONGEST_CACHED:
        if len(CACHED_STATUS) >= MOST_CACHED:
            CACHED_STATUS.clear()
        CACHED_STATUS[status] = result
    return result


def check_field(item: object) -> tuple[bytes, int]:
    """Return the encoded line of one header, with its line end, and its kind.

    The value of a CONNECTION field is to be read with :func:`connection_options`.

    :raises ApplicationError: for what PEP 3333 or RFC 9110 section 5 does not let an application send.
    """
    if not isinstance(item, tuple) or len(item) != 2:
        raise ApplicationError(f"a response header is {short_repr(item)}; it is a tuple of two str (PEP 3333)")
    name, value = item
    if not isinstance(name, str) or not isinstance(value, str):
        raise ApplicationError(f"response header {short_repr(name)}: name and value are str, not {type_name(name)} and "
                               f"{type_name(value)} (PEP 3333)")  # fmt: skip
    if type(name) is not str or type(value) is not str:
        name, value = str.__str__(name), str.__str__(value)  # as for a status
    if not TOKEN(name):
        raise ApplicationError(f"response header {name[:60]!r}: the name is not a token (RFC 9110 section 5.1)")
    if not VALUE(value):
        raise ApplicationError(
            f"response header {name[:60]!r}: the value {value[:60]!r} has a control character or is not latin-1 "
            "(RFC 9110 section 5.5)"
        )
    lower = name.lower()
    kind = HOP_BY_HOP if lower in HOP_BY_HOP_NAMES else KINDS.get(lower, PLAIN)
    if kind == CONTENT_LENGTH and not (value.isascii() and value.isdigit() and len(value) < 20):
        raise ApplicationError(
            f"response header {name!r}: {value[:60]!r} is not a number of bytes (RFC 9110 section 8.6)"
        )
    sent = str(int(value)) if kind == CONTENT_LENGTH else value  # a recipient may read leading zeros as octal
    result = f"{name}: {sent}\r\n".encode("latin-1"), kind
    if len(name) + len(value) <= LONGEST_CACHED and lower not in SECRET:
        if len(CACHED_LINES) >= MOST_CACHED:
            CACHED_LINES.clear()
        CACHED_LINES[name, value] = result
    return result


def connection_options(value: str) -> list[str]:
    """``"Keep-Alive, X"`` -> ``["keep-alive", "x"]``: the options of a Connection field (RFC 9110 section 7.6.1)."""
    return [option for item in value.lower().split(",") if (option := item.strip(" \t"))]

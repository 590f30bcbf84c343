"""Checks what an application gives for a response head, and remembers the encoded lines that passed.

Runs on any thread. CR, LF, NUL and other controls never leave through a header, hop-by-hop fields belong to the
server (PEP 3333), and the person who wrote the application is told which field is wrong. The caches are bounded and
hold only short lines.
"""

from __future__ import annotations

import re

from reserve.errors import ApplicationError

__all__ = [
    "CONNECTION",
    "CONTENT_LENGTH",
    "DATE",
    "KNOWN_LINES",
    "KNOWN_STATUS",
    "PLAIN",
    "SERVER",
    "check_field",
    "check_status",
]

PLAIN, CONTENT_LENGTH, DATE, SERVER, CONNECTION = range(5)
"""What kind of field a line is; anything but PLAIN changes what the server adds."""

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*").fullmatch
STATUS = re.compile(r"[2-5][0-9]{2}(?: [\t\x20-\x7e\x80-\xff]*)?").fullmatch

KINDS = {"content-length": CONTENT_LENGTH, "date": DATE, "server": SERVER, "connection": CONNECTION}
HOP_BY_HOP = frozenset({
    "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "trailers",
    "transfer-encoding", "upgrade",
})  # fmt: skip
SECRET = frozenset(("set-cookie", "set-cookie2", "authorization", "www-authenticate", "location"))
"""Fields whose values differ each time or are secrets: not worth, or not fit, to be remembered."""

MOST_KNOWN = 1024
LONGEST_KNOWN = 128

KNOWN_LINES: dict[tuple[str, str], tuple[bytes, int]] = {}
"""(name, value) that passed -> its line and its kind."""
KNOWN_STATUS: dict[str, tuple[bytes, int]] = {}
"""Status that passed -> its status line and its code."""


def check_status(status: object) -> tuple[bytes, int]:
    """The status line and the code of ``"200 OK"``.

    :raises ApplicationError: not a str, an interim (1xx) or impossible code, or an octet that no status line has.
    """
    if not isinstance(status, str):
        raise ApplicationError(f"the status is {status!r}, a {type(status).__name__}; it is a str like '200 OK'")
    if not STATUS(status):
        raise ApplicationError(
            f"the status {status[:60]!r} is not a code from 200 to 599, a space, a reason in latin-1 without CTL"
        )
    line = f"HTTP/1.1 {status if len(status) > 3 else status + ' '}\r\n".encode("latin-1")
    found = line, int(status[:3])
    if len(status) <= LONGEST_KNOWN:
        if len(KNOWN_STATUS) >= MOST_KNOWN:
            KNOWN_STATUS.clear()
        KNOWN_STATUS[status] = found
    return found


def check_field(item: object) -> tuple[bytes, int]:
    """The encoded line of one header, with its line end, and its kind.

    :raises ApplicationError: what PEP 3333 or RFC 9110 section 5 does not let an application send; names the field.
    """
    if not isinstance(item, tuple) or len(item) != 2:
        raise ApplicationError(f"a response header is {item!r:.80}; it is a tuple of two str (PEP 3333)")
    name, value = item
    if not isinstance(name, str) or not isinstance(value, str):
        raise ApplicationError(f"response header {name!r:.80}: name and value are str, not {type(name).__name__} and "
                               f"{type(value).__name__} (PEP 3333)")  # fmt: skip
    if not TOKEN(name):
        raise ApplicationError(f"response header {name[:60]!r}: the name is not a token (RFC 9110 section 5.1)")
    if not VALUE(value):
        raise ApplicationError(
            f"response header {name[:60]!r}: the value {value[:60]!r} has a control character or is not latin-1 "
            "(RFC 9110 section 5.5)"
        )
    lower = name.lower()
    kind = KINDS.get(lower, PLAIN)
    if lower in HOP_BY_HOP or (kind == CONNECTION and value.strip(" \t").lower() != "close"):
        raise ApplicationError(
            f"response header {name!r}: hop-by-hop fields belong to the server, but for 'Connection: close' (PEP 3333)"
        )
    if kind == CONTENT_LENGTH and not (value.isascii() and value.isdigit() and len(value) < 20):
        raise ApplicationError(f"response header {name!r}: {value[:60]!r} is not a number of octets (RFC 9110 8.6)")
    written = str(int(value)) if kind == CONTENT_LENGTH else value  # zeros in front may be read as octal
    found = f"{name}: {written}\r\n".encode("latin-1"), kind
    if len(name) + len(value) <= LONGEST_KNOWN and lower not in SECRET:
        if len(KNOWN_LINES) >= MOST_KNOWN:
            KNOWN_LINES.clear()
        KNOWN_LINES[name, value] = found
    return found

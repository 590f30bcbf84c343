"""The grammar of field lines, and the way from a field name to its environ key.

Runs on any thread. The one expression that reads all fields of a head is here. Its rule: no two neighbouring
quantifiers may match the same octet, so a head costs time proportional to its length whatever is in it; blanks around
a value are stripped afterwards (RFC 9110 section 5.5, RFC 9112 section 5).

The cache of names is bounded: a client that invents names cannot make the process grow.
"""

from __future__ import annotations

import re

__all__ = [
    "ENVIRON_KEYS",
    "SINGLETONS",
    "TOKEN",
    "TOKEN_CLASS",
    "VALUE_CLASS",
    "environ_key",
    "find_fields",
    "log_fields",
]

TOKEN_CLASS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
VALUE_CLASS = r"[^\x00-\x08\x0a-\x1f\x7f]"

TOKEN = re.compile(TOKEN_CLASS + "+").fullmatch
"""RFC 9110 section 5.6.2; the class names every octet, because ``\\w`` would let other alphabets in."""

FIELDS = re.compile(rf"\r\n({TOKEN_CLASS}+):({VALUE_CLASS}*)(?=\r\n)")
"""Every field line with the line end in front of it.

``findall`` skips what does not match, so its caller compares the number of matches with the number of line ends: a
match starts behind one line end and stops in front of the next, hence equal numbers mean that every line matched whole.
"""
find_fields = FIELDS.findall

_FOR_LOGS = re.compile(rf"\r\n(referer|user-agent):({VALUE_CLASS}*)(?=\r\n)", re.IGNORECASE).findall


def log_fields(block: bytes) -> tuple[str, str]:
    """Referer and User-Agent of a head that was refused, as far as they can be found; empty where they cannot."""
    found = {name.lower(): value.strip(" \t") for name, value in _FOR_LOGS(block.decode("latin-1"))}
    return found.get("referer", ""), found.get("user-agent", "")


DROPPED = ""
"""The key of a field that never reaches the application.

A name with an underscore would collide with the same name written with a hyphen (``X_Real_IP`` and ``X-Real-IP``), and
a frontend filters only one of them. ``Proxy`` would become HTTP_PROXY, which client libraries take for a setting.
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

SINGLETONS = frozenset({
    "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_AUTHORIZATION", "HTTP_CONTENT_LOCATION", "HTTP_CONTENT_RANGE",
    "HTTP_DATE", "HTTP_HOST", "HTTP_IF_MODIFIED_SINCE", "HTTP_IF_RANGE", "HTTP_IF_UNMODIFIED_SINCE",
    "HTTP_MAX_FORWARDS", "HTTP_PROXY_AUTHORIZATION", "HTTP_RANGE",
})  # fmt: skip
"""Repeating one of these is refused: two readers could each believe another line (RFC 9110 section 5.3).

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
    """Field name as it was sent -> environ key. Holds at most :data:`MOST_CACHED` names of bounded length."""

    def __init__(self) -> None:
        super().__init__()
        self.seed()

    def seed(self) -> None:
        for name in COMMON:
            for spelling in (name, name.lower()):
                self[spelling] = environ_key(spelling)

    def __missing__(self, name: str) -> str:
        key = environ_key(name)
        if len(name) <= LONGEST_CACHED:
            if len(self) >= MOST_CACHED:
                # Two threads may do this at once; both leave a seeded cache behind.
                self.clear()
                self.seed()
            self[name] = key
        return key


ENVIRON_KEYS = EnvironKeys()

"""Request IDs: taken from trusted frontends, else made here; and what other fields of a request say about its way here.

Pure functions and one counter; any thread may call them.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from binascii import Error as BadBase64
from collections.abc import Mapping
from itertools import count
from typing import Any

from reserve.apps._accesslog.record import MAX_FIELD, cut

__all__ = ["RequestIds", "basic_user", "request_start", "valid_traceparent"]

_GIVEN = re.compile(r"[A-Za-z0-9._~+/=:@,;-]{1,128}")
"""What is accepted of a frontend: it goes into log lines, header fields and the queries of other programs."""
_START = re.compile(r"(?:t=)?([0-9]{9,20}(?:\.[0-9]{1,9})?)")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LATEST_SECONDS, _LATEST_MILLISECONDS = 1e11, 1e14
_LONGEST = 4 * (4 * MAX_FIELD // 3 + 1)
"""Characters of the credentials that are decoded: base64 of more than :data:`MAX_FIELD` characters of four bytes each
in UTF-8.
"""


class RequestIds:
    """Makes the IDs of the requests of one process, which no other process makes: 48 random bits and a number. They can
    be guessed. The HTTP application makes it when the server starts, after every fork.
    """

    __slots__ = ("_next", "_prefix")

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex() + "-"
        self._next = count(1).__next__

    def of(self, environ: Mapping[str, Any], *, from_proxy: bool) -> str:
        """The ID of a request.

        :param environ: as it is before the application runs.
        :param from_proxy: the request comes from a trusted frontend, whose X-Request-ID counts if it has 1 to 128 of
            the usual characters.
        """
        if from_proxy:
            given = environ.get("HTTP_X_REQUEST_ID", "")
            if type(given) is str and _GIVEN.fullmatch(given):
                return given
        return f"{self._prefix}{self._next():x}"


def request_start(text: str) -> float | None:
    """When a frontend has received a request, in seconds since the epoch: the field X-Request-Start.

    ``t=1700000000.123`` (nginx, seconds), ``1700000000123`` (Heroku, milliseconds), ``t=1700000000123456`` (Apache,
    microseconds), each with or without ``t=``; the size of the number tells the unit. None: it is none of them.
    """
    match = _START.fullmatch(text.strip())
    if match is None:
        return None
    value = float(match[1])
    if value < _LATEST_SECONDS:
        return value
    return value / (1e3 if value < _LATEST_MILLISECONDS else 1e6)


def valid_traceparent(text: str) -> str:
    """The field traceparent if it has the form of W3C Trace Context (version 00 and later ones that add nothing)."""
    return text if _TRACEPARENT.fullmatch(text) else ""


def basic_user(text: str) -> str:
    """The user in a field Authorization of the scheme Basic (RFC 7617), without the password, cut as other fields are;
    empty: there is none.

    :param text: the whole field. Its limit is ``--max-field``; the password may be of any length.
    """
    scheme, _, credentials = text.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        user = b64decode(credentials.strip()[:_LONGEST], validate=True).decode("utf-8", "replace").partition(":")[0]
    except (BadBase64, ValueError):
        return ""
    return cut(user) if len(user) > MAX_FIELD else user

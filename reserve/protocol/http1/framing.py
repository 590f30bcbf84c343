"""Where the body of a request ends, and whether another request may follow it: decided only here.

Any thread may call these functions; they keep no state. RFC 9112 section 6.3 gives the order of the decisions. Where it
leaves a choice, the strict one is made, because request smuggling needs two readers that disagree:

- Transfer-Encoding with Content-Length: section 6.1 lets a server refuse it or use the former. Refused.
- Transfer-Encoding in HTTP/1.0: section 6.1 has the framing treated as faulty. Refused.
- Transfer-Encoding whose last coding is not chunked: section 6.3, item 4 wants a 400. So do chunked twice (section
  6.1), with parameters (section 7.1), and what is not a list of codings; an unknown coding is a 501 (section 6.1).
- Content-Length that is repeated or a list: section 6.3, item 5 lets a server take equal numbers for one. Refused.
- Content-Length of anything but digits: section 6.3, item 5 wants a 400.
- Neither: there is no body (section 6.3, item 7). A request never ends with its connection.

``head.py`` has refused a second Content-Length before; ``body.py`` finds the end of a chunk (section 7.1).
"""

from __future__ import annotations

from typing import Any

from reserve.errors import RemoteError, counted
from reserve.protocol.http1.fields import TOKEN
from reserve.protocol.http1.limits import Limits

__all__ = ["asks_for_upgrade", "body_length", "client_keeps_alive", "expects_continue", "stated_length"]

LENGTH_DIGITS = 19
"""More digits than any length has; leading zeros count too."""


def body_length(environ: dict[str, Any], minor: int, limits: Limits) -> int | None:
    """Return the length of the body in bytes, 0 without a body, None for a chunked one.

    CONTENT_LENGTH is replaced by the number without leading zeros.

    :raises RemoteError: 400 for anything ambiguous or malformed, 413 above ``--max-body``, 501 for an unknown coding.
    """
    codings: str | None = environ.get("HTTP_TRANSFER_ENCODING")
    stated: str | None = environ.get("CONTENT_LENGTH")
    if codings is not None:
        if stated is not None:
            raise RemoteError(400, "Content-Length together with Transfer-Encoding is refused (RFC 9112 section 6.1)")
        if minor == 0:
            raise RemoteError(400, "HTTP/1.0 has no Transfer-Encoding (RFC 9112 section 6.1)")
        if codings.lower() != "chunked":
            _refuse_codings(codings)
        return None
    if stated is None:
        return 0
    if not (stated.isascii() and stated.isdigit()):
        raise RemoteError(400, f"Content-Length {stated[:30]!r} is not a number of bytes (RFC 9110 section 8.6)")
    if len(stated) > LENGTH_DIGITS:
        raise RemoteError(400, f"Content-Length has more than {LENGTH_DIGITS} digits (RFC 9110 section 8.6)")
    length = int(stated)
    if length > limits.max_body:
        limit = counted(limits.max_body, "byte")
        raise RemoteError(413, f"Content-Length {length} is above the limit of {limit} (--max-body)")
    environ["CONTENT_LENGTH"] = str(length)
    return length


def stated_length(environ: dict[str, Any]) -> int | None:
    """The Content-Length of a request in bytes, which :func:`body_length` has checked; None: it has none.

    For protocols that have another end of a body, and compare the two.
    """
    stated: str | None = environ.get("CONTENT_LENGTH")
    return None if stated is None else int(stated)


def _refuse_codings(codings: str) -> None:
    names = [coding.partition(";")[0].strip(" \t").lower() for coding in codings.split(",")]
    rule = f"Transfer-Encoding {codings[:60]!r}"
    if not all(TOKEN(name) for name in names):
        raise RemoteError(400, f"{rule} is malformed (RFC 9112 section 6.1)")
    if "chunked" in names[:-1] or names == ["chunked"]:
        raise RemoteError(400, f"{rule}: chunked must come once, last, without parameters (RFC 9112 section 6.1)")
    raise RemoteError(501, f"{rule}: only chunked is implemented (RFC 9112 section 6.1)")


def client_keeps_alive(value: str, minor: int) -> bool:
    """Whether a Connection field allows another request (RFC 9112 section 9.3); "close" overrides "keep-alive"."""
    options = [option.strip(" \t") for option in value.lower().split(",")]
    return "close" not in options and (minor == 1 or "keep-alive" in options)


def asks_for_upgrade(environ: dict[str, Any], minor: int) -> bool:
    """Whether a request that has an Upgrade field asks for another protocol (RFC 9110 section 7.8).

    A client of HTTP/1.0 does not, nor one whose Connection field does not name the field.
    """
    options = environ.get("HTTP_CONNECTION", "").lower().split(",")
    return minor == 1 and "upgrade" in [option.strip(" \t") for option in options]


def expects_continue(value: str, minor: int, length: int | None) -> bool:
    """Whether the client waits for a 100 (Continue) before it sends the body (RFC 9110 section 10.1.1).

    A client of HTTP/1.0 never waits, and neither does one without a body.

    :raises RemoteError: 417 for an expectation that is not 100-continue.
    """
    if minor == 0:
        return False
    members = [member.strip(" \t").lower() for member in value.split(",")]
    expected = [member for member in members if member]
    if any(member != "100-continue" for member in expected):
        raise RemoteError(417, f"Expect {value[:60]!r} cannot be met, only 100-continue (RFC 9110 section 10.1.1)")
    return bool(expected) and length != 0

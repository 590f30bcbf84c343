"""The opening handshake (RFC 6455 section 4.2), on a head that the HTTP/1 parser has checked.

Any thread may call the functions; they keep no state.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from reserve.protocol.http1.framing import asks_for_upgrade

__all__ = ["ANY", "SAME", "Refusal", "accept_key", "asks_for_websocket", "check_request", "choose_subprotocol"]

SAME = "same"
"""Pages of the same host may connect, and clients that are no browsers."""
ANY = "any"
"""Every page may connect."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Refusal(NamedTuple):
    """A response that is no 101."""

    status: str
    message: str
    fields: tuple[tuple[str, str], ...] = ()


def asks_for_websocket(environ: dict[str, Any], minor: int) -> bool:
    """Whether a request asks for WebSocket and nothing else."""
    upgrade = environ.get("HTTP_UPGRADE", "")
    return upgrade.strip(" \t").lower() == "websocket" and asks_for_upgrade(environ, minor)


def check_request(method: str, environ: dict[str, Any], length: int | None, origins: str) -> Refusal | None:
    """Check a request that asks for WebSocket; None: the connection may be upgraded.

    :param length: bytes of the request's body; None: it is chunked.
    :param origins: :data:`SAME`, :data:`ANY`, or the allowed values of Origin, with commas between them.
    """
    if method != "GET":
        return Refusal("405 Method Not Allowed", "A WebSocket is opened with GET (RFC 6455).", (("Allow", "GET"),))
    if length != 0:
        return Refusal("400 Bad Request", "The request that opens a WebSocket has no body (RFC 6455).")
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        fields = (("Sec-WebSocket-Version", "13"),)
        return Refusal("426 Upgrade Required", "Only version 13 of WebSocket is served (RFC 6455).", fields)
    if not _is_key(environ.get("HTTP_SEC_WEBSOCKET_KEY", "")):
        return Refusal("400 Bad Request", "Sec-WebSocket-Key is not 16 bytes in base64 (RFC 6455).")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not _is_allowed(origin, environ, origins):
        return Refusal("403 Forbidden", "Pages of this origin may not connect (--ws-origins).")
    return None


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key.encode("latin-1"), validate=True)) == 16
    except binascii.Error:
        return False


def _is_allowed(origin: str, environ: dict[str, Any], origins: str) -> bool:
    if origins == ANY:
        return True
    if origins != SAME:
        return origin.lower() in [allowed.strip().lower() for allowed in origins.split(",")]
    scheme, _, host = origin.lower().partition("://")
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    ours = environ.get("HTTP_HOST", "").lower()
    # A frontend may have ended TLS, so the scheme is not compared.
    return bool(host) and ours.removesuffix(default) == host.removesuffix(default)


def accept_key(key: str) -> str:
    """The value of Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


def choose_subprotocol(offered: str, served: Sequence[str]) -> str | None:
    """The first subprotocol of ``served`` that the client offers; None: there is none.

    :param offered: the value of Sec-WebSocket-Protocol, which may be several fields joined.
    """
    names = [name.strip(" \t") for name in offered.split(",")]
    return next((name for name in served if name in names), None)

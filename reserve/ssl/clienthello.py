"""What a client asks for in the first message of a handshake, read before OpenSSL sees it.

The certificate is chosen by it *before* the session begins. OpenSSL's own callback comes too late: by then it has
decided to resume a session, also one that was agreed on under another name and certificate (which RFC 6066 section 3
forbids). And the standard library's callback writes to stderr when a name is not ASCII, as often as anybody sends one.

Only looks: what is not as it should be is handed to OpenSSL, which knows the right alert. Records are those of RFC 8446
section 5.1, the message that of section 4.1.2; both look the same in every older version.
"""

from __future__ import annotations

from dataclasses import dataclass

from reserve.errors import TLSError

__all__ = ["NO_APPLICATION_PROTOCOL", "ClientHello", "HelloReader", "HelloRefused", "alert"]

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MAJOR = 3
"""All versions say so in the head of a record."""
_LARGEST = 16384 + 256
"""Octets in a record (RFC 8446 section 5.2, where they are encrypted; these are not)."""
_MOST = 32768
"""Octets up to the end of a ClientHello. They wait in memory; the largest of today have two thousand."""
_SERVER_NAME, _ALPN = 0, 16

DECODE_ERROR, ILLEGAL_PARAMETER, NO_APPLICATION_PROTOCOL = 50, 47, 120
"""Alerts (RFC 8446 section 6, RFC 7301 section 3.2)."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What is looked for in it."""

    server_name: str | None = None
    """The host that the client asks for (RFC 6066 section 3)."""
    protocols: tuple[bytes, ...] = ()
    """What it offers to speak (RFC 7301)."""


class HelloRefused(TLSError):
    """There will be no session. ``number``: of the alert that says so."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


class _Malformed(ValueError):
    """OpenSSL will say why."""


def alert(number: int) -> bytes:
    """The record of a fatal alert, before anything is encrypted."""
    return bytes((21, 3, 3, 0, 2, 2, number))


class HelloReader:
    """Collects the ClientHello from what has been received, in whatever pieces that comes."""

    __slots__ = ("_at", "_message", "octets")

    def __init__(self) -> None:
        self.octets = bytearray()
        """Everything that was fed."""
        self._at = 0
        self._message = bytearray()

    def feed(self, data: bytes) -> ClientHello | None:
        """The message, once all of it is here; one without anything when OpenSSL should see what is here.

        Raises HelloRefused.
        """
        octets, message = self.octets, self._message
        octets += data
        if len(octets) > _MOST:
            raise _too_long()
        while len(octets) - self._at >= 5:
            start = self._at + 5
            end = start + int.from_bytes(octets[start - 2 : start], "big")
            if octets[self._at] != _HANDSHAKE or octets[self._at + 1] != _MAJOR or not 0 < end - start <= _LARGEST:
                return ClientHello()
            if len(octets) < end:
                break
            self._at = end
            message += octets[start:end]
            if message[0] != _CLIENT_HELLO:
                return ClientHello()
            whole = 4 + int.from_bytes(message[1:4], "big")
            if len(message) >= 4 and whole > _MOST:
                raise _too_long()
            if len(message) >= max(4, whole):
                try:
                    return _parsed(bytes(message[4:whole]))
                except _Malformed:
                    return ClientHello()
        return None


def _too_long() -> HelloRefused:
    return HelloRefused(DECODE_ERROR, f"a ClientHello of more than {_MOST} octets")


def _parsed(body: bytes) -> ClientHello:
    """The values of a ClientHello (without its type and length). Raises HelloRefused, and _Malformed."""
    at = _behind(body, 34, 1)  # version, random; the number of a session
    at = _behind(body, at, 2)  # ciphers
    at = _behind(body, at, 1)  # compression
    server_name: str | None = None
    protocols: tuple[bytes, ...] = ()
    if at < len(body):
        end = _behind(body, at, 2)
        at += 2
        while at < end:  # a dozen of them, in every handshake: no slices but of what is wanted
            if at + 4 > end:
                raise _Malformed
            kind = body[at] << 8 | body[at + 1]
            start = at + 4
            at = start + (body[at + 2] << 8 | body[at + 3])
            if at > end:
                raise _Malformed
            if kind == _SERVER_NAME:
                server_name = _host(body[start:at])
            elif kind == _ALPN:
                protocols = _names(body[start:at])
    return ClientHello(server_name, protocols)


def _behind(data: bytes, at: int, octets: int) -> int:
    """Where what stands at ``at``, behind its length, ends."""
    end = at + octets + int.from_bytes(data[at : at + octets], "big")
    if at + octets > len(data) or end > len(data):
        raise _Malformed
    return end


def _vector(data: bytes, octets: int) -> tuple[bytes, bytes]:
    """What stands behind its length, and what is behind that."""
    end = _behind(data, 0, octets)
    return data[octets:end], data[end:]


def _host(content: bytes) -> str | None:
    names, _ = _vector(content, 2)
    host, _ = _vector(names[1:], 2)
    if names[0] != 0:  # no kind but host_name was ever defined
        raise _Malformed
    try:
        return str(host, "ascii") or None
    except UnicodeDecodeError:
        text = f"the server name {host[:100]!r} is not in ASCII"
        raise HelloRefused(ILLEGAL_PARAMETER, text) from None


def _names(content: bytes) -> tuple[bytes, ...]:
    found = []
    names, _ = _vector(content, 2)
    while names:
        name, names = _vector(names, 1)
        if not name:
            raise _Malformed
        found.append(name)
    return tuple(found)

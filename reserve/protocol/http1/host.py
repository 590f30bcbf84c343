"""The grammar of the Host field and of the authority in an absolute-form target.

Any thread may call it. RFC 3986 section 3.2 and RFC 9112 section 3.2: ``uri-host [ ":" port ]``, where the host is a
registered name, an IPv4 address, or in brackets an IPv6 address or one of a later version (``[v1.fe80::a+en1]``). User
information is not part of it. On a UNIX socket the path of the socket may take its place (:func:`is_socket_path`).
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from reserve.errors import RemoteError

__all__ = ["CACHED_HOSTS", "check_host", "is_socket_path"]

AUTHORITY = re.compile(
    r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]"
    r"|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+\]"
    r"|(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+)"
    r"(?::(?P<port>[0-9]*))?"
)

SOCKET_PATH = re.compile(r"(?:unix:(?://)?)?(?:/|%2[Ff])(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})*")

MOST_CACHED = 1024
LONGEST_CACHED = 255

CACHED_HOSTS: set[str] = set()
"""Values that passed the check before, at most :data:`MOST_CACHED`, shared by all threads."""


def check_host(value: str) -> None:
    """Raise a 400 for a Host value or an authority that is not ``host[:port]``.

    The empty string is refused, too; an empty Host field is allowed, and its reader does not call this function.
    """
    match = AUTHORITY.fullmatch(value)
    if match is None:
        raise RemoteError(400, f"Host {value[:60]!r} is not host[:port] (RFC 9112 section 3.2)")
    ipv6, port = match["ipv6"], match["port"]
    if ipv6 is not None:
        try:
            IPv6Address(ipv6)
        except AddressValueError:
            raise RemoteError(
                400, f"Host {value[:60]!r} has no IPv6 address in brackets (RFC 3986 section 3.2.2)"
            ) from None
    if port and int(port.lstrip("0")[:6] or 0) > 65535:
        raise RemoteError(400, f"Host {value[:60]!r} has a port above 65535 (RFC 9112 section 3.2)")
    # A host that begins with an escape may be a path, which a UNIX socket treats otherwise than a TCP port does.
    if len(value) <= LONGEST_CACHED and value[0] != "%":
        if len(CACHED_HOSTS) >= MOST_CACHED:
            CACHED_HOSTS.clear()
        CACHED_HOSTS.add(value)


def is_socket_path(value: str) -> bool:
    """Whether a Host value or an authority is the absolute path of a UNIX socket instead of a host: as it is
    (``/run/a.sock``), percent-encoded (``%2Frun%2Fa.sock``), or after ``unix:``.

    Clients send that because the address that they connect to has no host. Any path counts, because the client may see
    the socket under another one than the server does (a mount, a link).
    """
    return SOCKET_PATH.fullmatch(value) is not None

"""Who may see the page of an exception (``--debug``): a client on this machine, as far as anything is known of it.

A worker asks, before it runs the application, which may change the environ. Every doubt means no: the client then gets
the 500 that all others get.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reserve.engine.connections.peers import address_of, is_proxy
from reserve.protocol.proxy.forwarded import KEYS_OF_FRONTENDS
from reserve.sockets.addresses import is_local

if TYPE_CHECKING:
    from reserve.engine.connections.connection import Connection
    from reserve.protocol.codec import Head

__all__ = ["KEY", "has_unknown_client", "is_for_this_machine", "may_see_errors", "not_local"]

KEY = "reserve.debug"
"""The key of the environ that tells an application that its client may see its errors; it is there only with True."""
_OF_FRONTENDS = KEYS_OF_FRONTENDS | {"HTTP_VIA", "HTTP_X_REAL_IP", "HTTP_CF_CONNECTING_IP", "HTTP_TRUE_CLIENT_IP"}
"""What frontends add to requests. One that is not trusted has a client, of which nothing is known."""
_NAME = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")


def may_see_errors(connection: Connection, head: Head) -> bool:
    """Whether the client of a request is on this machine, and its browser shows a page of this machine.

    - The peer has a loopback address, as the system says: a header of the PROXY protocol or a field changes nothing. A
      peer on a UNIX socket is a frontend as a rule, so it sees nothing.
    - So does the client that a trusted frontend or a web server has named, and no other frontend has named one.
    - Host is a name of this machine. With DNS rebinding a page of another site has its own name lead here; it would
      otherwise read the page.

    :param head: of the request; its environ is as the server has made it.
    """
    environ = head.environ
    try:
        peer = connection.sock.getpeername()
    except OSError:  # the client has reset the connection
        return False
    if not isinstance(peer, tuple) or not isinstance(connection.peer, tuple):
        return False
    addresses = address_of(peer)[0], address_of(connection.peer)[0], environ["REMOTE_ADDR"]
    if not all(address and is_local(address) for address in addresses):
        return False
    return not has_unknown_client(connection, head) and is_for_this_machine(environ)


def has_unknown_client(connection: Connection, head: Head) -> bool:
    """Whether a frontend that is not trusted has passed a request on."""
    return head.untrusted_fields or not (is_proxy(connection) or _OF_FRONTENDS.isdisjoint(head.environ))


def is_for_this_machine(environ: Mapping[str, Any]) -> bool:
    """Whether Host is a name of this machine."""
    match = _NAME.fullmatch(environ.get("HTTP_HOST", ""))
    return match is not None and is_local(match[1].lower().removesuffix("."))


def not_local(addresses: list[Any]) -> list[str]:
    """Those of the addresses of listeners that other machines can reach, as text.

    :param addresses: as ``getsockname`` returns them.
    """
    reachable = [address_of(address) for address in addresses if isinstance(address, tuple)]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in reachable if not is_local(host)]

"""The clients that may see a page of the server's own (``--status-allow``). A value and pure functions; any thread may
use them.
"""

from __future__ import annotations

from reserve.sockets.proxies import TrustedProxies

__all__ = ["LOOPBACK", "PRIVATE", "AllowedClients", "is_list_of_clients"]

LOOPBACK = "loopback"
"""The word for clients on this machine."""
_ANY = "any"
PRIVATE = "private"
"""The word for the networks that are not routed on the internet: RFC 1918, RFC 4193, RFC 6598 and link-local ones."""
_PRIVATE_NETWORKS = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7,fe80::/10"


class AllowedClients:
    """A set of clients. It does not change.

    :param text: ``any`` alone; or, with commas between them, ``loopback`` for clients on this machine, ``private`` for
        private networks, addresses, networks (``192.0.2.0/24``), and ``unix`` for clients without an address, on UNIX
        sockets.

    Raises ValueError for anything else, with a clause that says what is wrong.
    """

    def __init__(self, text: str) -> None:
        words = [word.strip() for word in text.split(",")]
        self.any = words == [_ANY]
        self.loopback = LOOPBACK in words
        if "" in words:
            raise ValueError("an item of the list is empty")
        if _ANY in words and not self.any:
            raise ValueError("any is for everybody, and stands alone")
        self._listed = TrustedProxies(
            ",".join(
                []
                if self.any
                else [_PRIVATE_NETWORKS if word == PRIVATE else word for word in words if word != LOOPBACK]
            )
        )

    def lists(self, address: str) -> bool:
        """Whether an address is listed, by itself or in a network; empty: whether clients on UNIX sockets are."""
        return self._listed.trusts(address) if address else self._listed.unix


def is_list_of_clients(text: str) -> bool:
    """Whether ``text`` is a value for :class:`AllowedClients`. Raises ValueError if it is none, with the reason."""
    AllowedClients(text)
    return True

"""The addresses of frontends that the server believes (``--trusted-proxies``). Values and pure functions only; any
thread may use them.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

__all__ = ["TrustedProxies", "are_proxies", "trusted_proxies"]

_UNIX = "unix"


class TrustedProxies:
    """A set of addresses and networks, and the word ``unix`` for peers on UNIX sockets. It does not change.

    :param text: with commas between them: ``10.0.0.0/8,2001:db8::1,unix``. Empty: nobody is trusted.

    Raises ValueError for anything else, and for a network with bits of a host (``10.0.0.1/8``), with a clause that says
    what is wrong.
    """

    def __init__(self, text: str) -> None:
        items = [item.strip() for item in text.split(",")] if text else []
        self.unix = _UNIX in items
        """Whether peers on UNIX sockets are trusted."""
        self._v4: list[IPv4Network] = []
        self._v6: list[IPv6Network] = []
        for item in items:
            if item != _UNIX:
                network = _network(item)
                if isinstance(network, IPv4Network):
                    self._v4.append(network)
                else:
                    self._v6.append(network)

    def trusts(self, host: str) -> bool:
        """Whether an IP address is one of them; False for what is no address. A v4-mapped one counts as IPv4."""
        try:
            address = ip_address(host)
        except ValueError:
            return False
        if isinstance(address, IPv6Address):
            if address.ipv4_mapped is None:
                return any(address in network for network in self._v6)
            address = address.ipv4_mapped
        return any(address in network for network in self._v4)

    def trusts_peer(self, raw: Any) -> bool:
        """Whether a peer is one of them.

        :param raw: its address, as ``accept`` gave it.
        """
        return self.trusts(raw[0]) if isinstance(raw, tuple) else self.unix


def _network(item: str) -> IPv4Network | IPv6Network:
    """An address or a network. Raises ValueError with a clause that says what is wrong."""
    try:
        if "%" in item:
            raise ValueError
        network = ip_network(item, strict=False)
    except ValueError:
        why = f"{item[:60]!r} is no address and no network" if item else "an item of the list is empty"
        raise ValueError(why) from None
    if ip_address(item.partition("/")[0]) != network.network_address:
        raise ValueError(f"the network of {item} is {network}")
    return network


def are_proxies(text: str) -> bool:
    """Whether ``text`` is a value for :class:`TrustedProxies`. Raises ValueError if it is none, with the reason."""
    TrustedProxies(text)
    return True


@lru_cache(maxsize=16)
def trusted_proxies(text: str) -> TrustedProxies:
    """The :class:`TrustedProxies` of a text: the connections of a server share one."""
    return TrustedProxies(text)

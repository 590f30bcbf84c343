"""The start banner: what is served, where, with how many threads, and how to stop it. Pure but for reading sockets."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

__all__ = ["banner", "urls", "version"]

_WILDCARDS = ("0.0.0.0", "[::]")
_PORTS = {"http": "80", "https": "443"}


def banner(
    *, served: Sequence[str], sockets: Sequence[socket.socket], origin: str, scheme: str, threads: tuple[int, int]
) -> str:
    """The lines that tell a person that the server is there.

    :param served: what is served, one line each.
    :param sockets: the listeners.
    :param origin: why these addresses, when nobody asked for them by name; else empty.
    :param scheme: ``http`` for URLs, empty for plain addresses.
    """
    from reserve.engine.listeners import describe

    lines = [f"reserve {version()} serves {served[0]}", *(f"    and {line}" for line in served[1:])]
    addresses = [line for sock in sockets for line in urls(describe(sock), scheme)]
    note = f"   ({origin})" if origin else ""
    lines += [f"    on {address}{note}" for address in addresses]
    least, most = threads
    workers = f"{least}" if least == most else f"{least} to {most}"
    workers += " thread" if most == 1 else " threads"
    lines.append(f"    with {workers}; Ctrl-C stops it after the requests in flight")
    return "\n".join(lines) + "\n"


def urls(address: str, scheme: str) -> list[str]:
    """How a person reaches an address: with a scheme a URL, and for a wildcard one on this machine, too."""
    if not scheme or address.startswith("unix:"):
        return [address]
    host, _, port = address.rpartition(":")
    suffix = "" if _PORTS.get(scheme) == port else f":{port}"
    found = [f"{scheme}://{host}{suffix}/"]
    if host in _WILDCARDS:
        found.append(f"{scheme}://localhost{suffix}/")
    return found


def version() -> str:
    """The version of this reserve: of the package itself, else of its installation."""
    import reserve

    own = getattr(reserve, "__version__", None)
    if own is not None:
        return str(own)
    try:
        return importlib.metadata.version("reserve")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"

"""The start banner: what is served, where, with how many threads, and how to stop it. Pure but for reading sockets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reserve import __version__

if TYPE_CHECKING:
    from reserve.cli.binds import Bound

__all__ = ["banner", "places", "urls"]

_WILDCARDS = ("0.0.0.0", "[::]")
_PORTS = {"http": "80", "https": "443"}


def banner(*, served: Sequence[str], places: Sequence[str], threads: tuple[int, int]) -> str:
    """The lines that tell a person that the server is there.

    :param served: what is served, one line each.
    :param places: where, one line each: what :func:`places` gives.
    :param threads: the least and the most of them.
    """
    lines = [f"reserve {__version__} serves {served[0]}", *(f"    and {line}" for line in served[1:])]
    lines += [f"    on {place}" for place in places]
    least, most = threads
    workers = f"{least}" if least == most else f"{least} to {most}"
    workers += " thread" if most == 1 else " threads"
    lines.append(f"    with {workers}; Ctrl-C stops it after the requests in flight")
    return "\n".join(lines) + "\n"


def places(bound: Bound, scheme: str, *, tls: bool) -> list[str]:
    """How a person reaches each listener, and what is special about it.

    :param scheme: ``http`` for URLs, empty for plain addresses.
    :param tls: what is not set apart speaks TLS.
    """
    from reserve.sockets.listeners import describe

    found: list[str] = []
    for sockets, secure, special in (
        (bound.main, tls, "TLS" if tls else ""),
        (bound.plain, False, "without TLS"),
        (bound.redirects, False, "redirects to https"),
    ):
        for sock in sockets:
            for address in urls(describe(sock), scheme and (f"{scheme}s" if secure else scheme)):
                said = "://" in address and sockets is bound.main  # http or https stands there already
                notes = [note for note in ("" if said else special, bound.origins.get(sock)) if note]
                found.append(f"{address}   ({'; '.join(notes)})" if notes else address)
    return found


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

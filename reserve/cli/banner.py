"""The start banner: which application is served, at which addresses, with how many threads, and how to stop it.

Runs on the main thread. Pure, except that it asks each listener for its address.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from reserve import __version__

if TYPE_CHECKING:
    import socket

    from reserve.cli.binds import Listeners

__all__ = ["banner", "in_background", "listener_lines", "url_for_browser", "urls"]

_WILDCARDS = ("0.0.0.0", "[::]")
_CTRL_C = "Ctrl-C stops it"
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def banner(
    *,
    served: Sequence[str],
    addresses: Sequence[str],
    threads: tuple[int, int],
    config: str = "",
    single_thread: str = "",
    processes: int = 0,
    daemon: int = 0,
    form: str = "",
) -> str:
    """The lines that show that the server has started.

    :param served: the applications, one line each.
    :param addresses: the listeners, one line each: the result of :func:`listener_lines`.
    :param threads: the smallest and the largest number of worker threads.
    :param config: the file that options were read from; empty: none was.
    :param processes: the number of worker processes of a supervisor; 0: this process has none.
    :param single_thread: why the application runs on the main thread, as a clause; empty: it does not.
    :param daemon: the process ID, if the process runs in the background; 0: it does not.
    :param form: in which language the straight line is that serves the ordinary requests; empty: there is none.
    """
    lines = [f"reserve {__version__} serves {served[0]}", *(f"    and {line}" for line in served[1:])]
    lines += [f"    on {address}" for address in addresses]
    lines += [f"    with the options in {config}"] if config else []
    lines += [f"    with the straight line in {form}"] if form else []
    stops = in_background(f"{_CTRL_C} after the requests in flight", daemon)
    if single_thread:
        each = f"with {processes} process{'es' if processes > 1 else ''}, " if processes else ""
        lines.append(f"    {each}on the main thread, one request at a time: {single_thread}; {stops}")
        return "\n".join(lines) + "\n"
    low, high = threads
    count = f"{low}" if low == high else f"{low} to {high}"
    count += " thread" if high == 1 else " threads"
    if processes:
        count = f"{processes} process{'es, each with' if processes > 1 else ' with'} {count}"
    lines.append(f"    with {count}; {stops}")
    return "\n".join(lines) + "\n"


def in_background(text: str, daemon: int) -> str:
    """The banner of a process in the background, made from that of one in a terminal.

    :param daemon: the process ID; 0: it is in a terminal.
    """
    return text.replace(_CTRL_C, f"kill {daemon} stops it") if daemon else text


def listener_lines(listeners: Listeners, scheme: str, *, tls: bool) -> list[str]:
    """How a client reaches each listener, and in parentheses what is special about the listener.

    :param scheme: ``http`` for URLs, empty for plain addresses.
    :param tls: the main listeners use TLS.
    """
    from reserve.sockets.listeners import describe

    lines: list[str] = []
    for sockets, secure, special in (
        (listeners.main, tls, "TLS" if tls else ""),
        (listeners.without_tls, False, "without TLS"),
        (listeners.redirects, False, "redirects to https"),
        (listeners.metrics, False, "metrics and health checks"),
    ):
        shown = "http" if sockets is listeners.metrics else scheme
        for sock in sockets:
            for address in urls(describe(sock), shown and (f"{shown}s" if secure else shown)):
                is_in_url = "://" in address and sockets is listeners.main  # the scheme already says it
                notes = [note for note in ("" if is_in_url else special, listeners.origins.get(sock)) if note]
                lines.append(f"{address}   ({'; '.join(notes)})" if notes else address)
    return lines


def urls(address: str, scheme: str) -> list[str]:
    """How a client reaches an address: with a scheme its URL, and for a wildcard also the URL on this machine."""
    if not scheme or address.startswith("unix:"):
        return [address]
    host, _, port = address.rpartition(":")
    suffix = "" if _DEFAULT_PORTS.get(scheme) == port else f":{port}"
    result = [f"{scheme}://{host}{suffix}/"]
    if host in _WILDCARDS:
        result.append(f"{scheme}://localhost{suffix}/")
    return result


def url_for_browser(listeners: Sequence[socket.socket], scheme: str, *, tls: bool, root_path: str) -> str:
    """The URL of the first listener for a browser on this machine; empty: there is none.

    :param listeners: those of ``--bind``.
    :param scheme: without TLS; empty: the application has no URLs.
    :param tls: the listeners use TLS.
    :param root_path: ``--root-path``.
    """
    from reserve.sockets.listeners import describe

    for sock in listeners[:1]:
        url = urls(describe(sock), scheme and (f"{scheme}s" if tls else scheme))[-1]
        if "://" in url:
            return url.removesuffix("/") + root_path.removesuffix("/") + "/"
    return ""

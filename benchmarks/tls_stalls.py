"""``python -m benchmarks.tls_stalls``: clients that stall in their TLS handshake, and what another client feels of it.

Each server runs with two threads. So many clients stall at one step of the handshake and are held; meanwhile one client
after another shakes hands in full and asks once, from the connect to the last octet of its answer. A server that does
not answer in time is asked no more in that row. Exit code 0: reserve held the target in every row; 1: it did not;
2: something is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.load import Unmeasurable
from benchmarks.tls_servers import COMMANDS, make_certificates, started

__all__ = ["STALLS", "main"]

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_TARGET = 0.2
"""Seconds that a full handshake and its request may take."""


class _Hand:
    """A client's handshake, whose octets are ours to send."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def says(self, heard: bytes = b"") -> bytes:
        self._incoming.write(heard)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()


def _cut(part: Callable[[int], int]) -> Callable[[socket.socket, _Hand], None]:
    def stall(sock: socket.socket, hand: _Hand) -> None:
        hello = hand.says()
        sock.sendall(hello[: part(len(hello))])

    return stall


def _short_finished(sock: socket.socket, hand: _Hand) -> None:
    """Of a server that does not answer: as far as it lets us come."""
    sock.sendall(hand.says())
    sock.settimeout(0.05)
    with contextlib.suppress(OSError):
        saying = b""
        while not saying:
            if not (data := sock.recv(65536)):
                return
            saying = hand.says(data)
        sock.sendall(saying[:-1])


STALLS: dict[str, Callable[[socket.socket, _Hand], None]] = {
    "no octet": _cut(lambda size: 0),
    "one octet": _cut(lambda size: 1),
    "half a ClientHello": _cut(lambda size: size // 2),
    "all but its last octet": _cut(lambda size: size - 1),
    "nothing after the ServerHello": _cut(lambda size: size),
    "Finished without its last octet": _short_finished,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls_stalls", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--count", type=int, default=200, help="clients that stall at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--asked", type=int, default=30, help="honest clients, one after another")
    parser.add_argument("--cap", type=float, default=5.0, help="seconds that an honest client waits at most")
    parser.add_argument("--servers", default="reserve,cheroot,gunicorn", help="which, separated by commas")
    given = parser.parse_args(argv)
    names = given.servers.split(",")
    good = True
    print(f"{given.count} stalled clients, {given.threads} threads; milliseconds, {given.asked} honest clients")
    print(f"{'stalled with':34}" + "".join(f"{name + ' median / worst':>28}" for name in names), flush=True)
    try:
        if unknown := sorted(set(names) - set(COMMANDS)):
            raise Unmeasurable(f"unknown servers: {', '.join(unknown)}")
        with tempfile.TemporaryDirectory(prefix="benchmark-tls-") as place:
            folder = Path(place)
            make_certificates(folder)
            for stall in STALLS:
                cells = []
                for name in names:
                    times, lost = _measure(name, folder, stall, given)
                    good &= name != "reserve" or (not lost and max(times) < _TARGET)
                    cells.append(_cell(times, lost, given.cap))
                print(f"{stall:34}" + "".join(f"{cell:>28}" for cell in cells), flush=True)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.tls_stalls: {error}\n")
        return 2
    return 0 if good else 1


def _cell(times: Sequence[float], lost: bool, cap: float) -> str:
    if not times:
        return f"no answer in {cap:g} s"
    shown = f"{1000 * statistics.median(times):.1f} / {1000 * max(times):.1f}"
    return f"{shown}, then none" if lost else shown


def _measure(name: str, folder: Path, stall: str, given: argparse.Namespace) -> tuple[list[float], bool]:
    """What each honest client needed, in seconds; and whether the last one got no answer in time."""
    context = ssl.create_default_context(cafile=str(folder / "p256.pem"))
    times: list[float] = []
    with started(name, folder, "p256", given.threads) as (_, port), _held(context, port, stall, given.count):
        for _ in range(given.asked):
            try:
                times.append(_ask(context, port, given.cap))
            except OSError:
                return times, True
    return times, False


@contextlib.contextmanager
def _held(context: ssl.SSLContext, port: int, stall: str, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            STALLS[stall](sock, _Hand(context))
        yield


def _ask(context: ssl.SSLContext, port: int, cap: float) -> float:
    """A full handshake, one request and its whole answer. Raises OSError when they take too long, or fail."""
    began = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", port), cap) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(_REQUEST)
        received = b""
        while data := tls.recv(4096):
            received += data
    took = time.perf_counter() - began
    if took > cap or not received.startswith(b"HTTP/1.1 200"):
        raise TimeoutError(f"{took:g} s: {received[:50]!r}")
    return took


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.tls_stalls``: the effect of clients that stall in their TLS handshake on another client.

Each server runs with two threads. A number of clients stall at one step of the handshake and keep their connections
open. Meanwhile one honest client after another does a full handshake and sends one request, timed from the connect to
the last byte of the response. A server that does not respond in time gets no more requests in that row. Exit code 0:
reserve met the target in every row; 1: it did not; 2: something is missing.
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

from benchmarks import honest
from benchmarks.process import Unmeasurable
from benchmarks.tls_servers import COMMANDS, make_certificates, started

__all__ = ["STALLS", "main"]

_TARGET = 0.2
"""Seconds that a full handshake and its request may take."""


class _Handshake:
    """A client's handshake in memory: its caller sends the bytes, so it can stop after any of them."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def next_bytes(self, received: bytes = b"") -> bytes:
        """The bytes that the client sends next, after it has received these."""
        self._incoming.write(received)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()


def _part_of_hello(length: Callable[[int], int]) -> Callable[[socket.socket, _Handshake], None]:
    """A stall after the first ``length(size)`` bytes of a ClientHello of ``size`` bytes."""

    def stall(sock: socket.socket, handshake: _Handshake) -> None:
        hello = handshake.next_bytes()
        sock.sendall(hello[: length(len(hello))])

    return stall


def _short_finished(sock: socket.socket, handshake: _Handshake) -> None:
    """A stall before the last byte of Finished, or earlier when the server does not respond."""
    sock.sendall(handshake.next_bytes())
    sock.settimeout(0.05)
    with contextlib.suppress(OSError):
        message = b""
        while not message:
            if not (data := sock.recv(65536)):
                return
            message = handshake.next_bytes(data)
        sock.sendall(message[:-1])


STALLS: dict[str, Callable[[socket.socket, _Handshake], None]] = {
    "no byte": _part_of_hello(lambda size: 0),
    "one byte": _part_of_hello(lambda size: 1),
    "half a ClientHello": _part_of_hello(lambda size: size // 2),
    "all but its last byte": _part_of_hello(lambda size: size - 1),
    "nothing after the ServerHello": _part_of_hello(lambda size: size),
    "Finished without its last byte": _short_finished,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tls_stalls", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--count", type=int, default=200, help="clients that stall at once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--asked", type=int, default=30, help="honest clients, one after another")
    parser.add_argument("--cap", type=float, default=5.0, help="seconds that an honest client waits at most")
    parser.add_argument("--servers", default="reserve,cheroot,gunicorn", help="which, separated by commas")
    options = parser.parse_args(arguments)
    names = options.servers.split(",")
    met = True
    print(f"{options.count} stalled clients, {options.threads} threads; milliseconds, {options.asked} honest clients")
    print(f"{'stalled with':34}" + "".join(f"{name + ' median / worst':>28}" for name in names), flush=True)
    try:
        if unknown := sorted(set(names) - set(COMMANDS)):
            raise Unmeasurable(f"unknown servers: {', '.join(unknown)}")
        with tempfile.TemporaryDirectory(prefix="benchmark-tls-") as temporary:
            folder = Path(temporary)
            make_certificates(folder)
            for stall in STALLS:
                cells = []
                for name in names:
                    times, failed = _measure(name, folder, stall, options)
                    met &= name != "reserve" or (not failed and max(times) < _TARGET)
                    cells.append(_cell(times, failed, options.cap))
                print(f"{stall:34}" + "".join(f"{cell:>28}" for cell in cells), flush=True)
    except Unmeasurable as error:
        sys.stderr.write(f"benchmarks.tls_stalls: {error}\n")
        return 2
    return 0 if met else 1


def _cell(times: Sequence[float], failed: bool, cap: float) -> str:
    if not times:
        return f"no response in {cap:g} s"
    text = f"{1000 * statistics.median(times):.1f} / {1000 * max(times):.1f}"
    return f"{text}, then none" if failed else text


def _measure(name: str, folder: Path, stall: str, options: argparse.Namespace) -> tuple[list[float], bool]:
    """The seconds that each honest client needed, and whether the last one got no response in time."""
    context = ssl.create_default_context(cafile=str(folder / "p256.pem"))
    times: list[float] = []
    with started(name, folder, "p256", options.threads) as (_, port), _held(context, port, stall, options.count):
        for _ in range(options.asked):
            try:
                times.append(_ask(context, port, options.cap))
            except OSError:
                return times, True
    return times, False


@contextlib.contextmanager
def _held(context: ssl.SSLContext, port: int, stall: str, count: int) -> Iterator[None]:
    """Keep ``count`` stalled connections open while the block runs."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
            STALLS[stall](sock, _Handshake(context))
        yield


def _ask(context: ssl.SSLContext, port: int, cap: float) -> float:
    """Do a full handshake, send one request and read the response; return the seconds.

    :raises OSError: they took longer than ``cap`` seconds, or failed.
    """
    start = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", port), cap) as sock,
        context.wrap_socket(sock, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(honest.request())
        received = b""
        while data := tls.recv(4096):
            received += data
    elapsed = time.perf_counter() - start
    if elapsed > cap or not received.startswith(b"HTTP/1.1 200"):
        raise TimeoutError(f"{elapsed:g} s: {received[:50]!r}")
    return elapsed


if __name__ == "__main__":
    sys.exit(main())

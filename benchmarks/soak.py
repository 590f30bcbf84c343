"""Does anything grow? Many requests, and many starts and stops, in one process; looked at again and again.

``python -m benchmarks.soak [--requests 1000000] [--cycles 1000]``

The server runs in this process, so that its objects can be counted; the load comes from another (wrk where it is
installed, a small keep-alive client otherwise). Prints descriptors, threads, objects known to ``gc`` and resident
memory at each checkpoint, then how much each grew for every 1,000 requests or cycles after the first third, which is
for warming up. Exit code 1: descriptors or threads are more at the end than after the warm-up, objects or memory keep
growing. Linux.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from benchmarks import honest, procfs
from benchmarks.apps import hello
from benchmarks.load import wrk
from reserve import ReserveWSGIServer, listen

_CHECKPOINTS = 12
_SETTLE = 10.0
"""Seconds that closed connections and ended threads may take to be gone."""
_CLIENT = "--client"
_CLIENTS = 8
TOLERANCE = {"descriptors": 0.0, "threads": 0.0, "objects": 50.0, "rss_kib": 512.0}
"""What may be added between the end of the warm-up and the last look. Memory comes in arenas and pages."""


@dataclass(frozen=True)
class Look:
    """One checkpoint."""

    done: int
    descriptors: int
    threads: int
    objects: int
    rss_kib: int


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == [_CLIENT]:
        return _client(int(words[1]), int(words[2]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many; 0: none [1000000]")
    parser.add_argument("--cycles", type=int, default=1000, help="how many starts and stops; 0: none [1000]")
    parser.add_argument("--threads", type=int, default=2, help="of each server [2]")
    options = parser.parse_args(words)
    grown: list[str] = []
    if options.requests:
        grown += _report("requests", soak_requests(options.requests, options.threads))
    if options.cycles:
        grown += _report("cycles", soak_cycles(options.cycles, options.threads))
    return 1 if grown else 0


def soak_requests(count: int, threads: int) -> list[Look]:
    """Serve that many requests; look after each twelfth, when no connection is open."""
    step = -(-count // _CHECKPOINTS)
    looks: list[Look] = []
    sockets = listen("127.0.0.1:0")
    with ReserveWSGIServer(sockets, hello, threads=threads) as server:
        port = server.addresses[0][1]
        served = 0
        while served < count:
            due = min(count, (len(looks) + 1) * step)
            while served < due:
                _load(port, due - served)
                served = server.stats().handled
            _until(lambda: server.stats().connections == 0)
            looks.append(_look(served, len(looks)))
            _show(looks)
    return looks


def soak_cycles(count: int, threads: int) -> list[Look]:
    """Start, ask once, stop; that many times."""
    step = max(1, count // _CHECKPOINTS)
    looks: list[Look] = []
    for done in range(1, count + 1):
        with ReserveWSGIServer(listen("127.0.0.1:0"), hello, threads=threads) as server:
            answer = honest.ask(("127.0.0.1", server.addresses[0][1]), honest.request(), 10.0)
        if answer.outcome != "200":
            raise SystemExit(f"cycle {done}: the request ended with {answer.outcome}")
        if done % step == 0:
            looks.append(_look(done, len(looks)))
            _show(looks)
    return looks


def steady(looks: Sequence[Look]) -> Sequence[Look]:
    """What comes after the warm-up: the last two thirds."""
    return looks[len(looks) // 3 :]


def slope(looks: Sequence[Look], name: str) -> float:
    """By least squares: how much ``name`` grows for each 1,000 done."""
    if len(looks) < 2:
        return 0.0
    middle_x = sum(look.done for look in looks) / len(looks)
    middle_y = sum(getattr(look, name) for look in looks) / len(looks)
    over = sum((look.done - middle_x) * (getattr(look, name) - middle_y) for look in looks)
    under = sum((look.done - middle_x) ** 2 for look in looks)
    return 1000 * over / under if under else 0.0


def growth(looks: Sequence[Look], name: str) -> float:
    """How much the slope adds up to from the first of these looks to the last."""
    return slope(looks, name) * (looks[-1].done - looks[0].done) / 1000 if looks else 0.0


def _report(what: str, looks: Sequence[Look]) -> list[str]:
    after = steady(looks)
    grown = []
    for name, allowed in TOLERANCE.items():
        rate, added = slope(after, name), growth(after, name)
        verdict = "flat" if added <= allowed + 1e-9 else "GROWS"
        if verdict != "flat":
            grown.append(name)
        print(f"{name:12} {rate:+.4f} for each 1,000 {what}, {added:+.1f} in all: {verdict}")
    print(flush=True)
    return grown


def _look(done: int, earlier: int) -> Look:
    """The earlier looks are objects too, and not the server's."""
    gc.collect()
    usage = procfs.usage(os.getpid())
    return Look(done, usage.descriptors, threading.active_count(), len(gc.get_objects()) - earlier, usage.rss_kib)


def _show(looks: Sequence[Look]) -> None:
    names = [field.name for field in fields(Look)]
    if len(looks) == 1:
        print("".join(f"{name:>13}" for name in names))
    print("".join(f"{getattr(looks[-1], name):13}" for name in names), flush=True)


def _load(port: int, count: int) -> None:
    """About that many requests at most, from another process."""
    if shutil.which("wrk"):
        wrk(f"http://127.0.0.1:{port}/", seconds=1, connections=32)
    else:
        subprocess.run([sys.executable, "-m", "benchmarks.soak", _CLIENT, str(port), str(count)], check=True)


def _client(port: int, count: int) -> int:
    """A keep-alive client: several connections in turn, one request on each."""
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(_CLIENTS)]
    for number in range(0, count, len(clients)):
        asked = clients[: count - number]
        for client in asked:
            client.sendall(request)
        for client in asked:
            received = b""
            while not honest.complete(received):
                piece = client.recv(65536)
                if not piece:
                    raise SystemExit("a keep-alive connection was closed in the middle")
                received += piece
    for client in clients:
        client.close()
    return 0


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SETTLE
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())

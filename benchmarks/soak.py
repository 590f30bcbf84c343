"""Check that a server does not grow: many requests, and many starts and stops, in one process with checkpoints.

``python -m benchmarks.soak [--requests 1000000] [--cycles 1000]``

The server runs in this process, so that its objects can be counted. Another process makes the load (wrk where it is
installed, otherwise a small keep-alive client). The command prints descriptors, threads, objects known to ``gc`` and
resident memory at each checkpoint, and then how much each of them grew for every 1,000 requests or cycles after the
first third, which is the warm-up. Exit code 1: there are more descriptors or threads at the end than after the warm-up,
or objects or memory keep growing. Linux only.
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
"""Seconds until the server must have closed its side of all connections."""
_CLIENT = "--client"
_CLIENTS = 8
TOLERANCE = {"descriptors": 0.0, "threads": 0.0, "objects": 50.0, "rss_kib": 512.0}
"""The growth allowed from the end of the warm-up to the last checkpoint. Memory grows by whole arenas and pages."""


@dataclass(frozen=True)
class Checkpoint:
    """What the process had after ``done`` requests or cycles."""

    done: int
    descriptors: int
    threads: int
    objects: int
    rss_kib: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == [_CLIENT]:
        return _client(int(arguments[1]), int(arguments[2]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=1_000_000, help="how many; 0: none [1000000]")
    parser.add_argument("--cycles", type=int, default=1000, help="how many starts and stops; 0: none [1000]")
    parser.add_argument("--threads", type=int, default=2, help="of each server [2]")
    options = parser.parse_args(arguments)
    grown: list[str] = []
    if options.requests:
        grown += _report("requests", soak_requests(options.requests, options.threads))
    if options.cycles:
        grown += _report("cycles", soak_cycles(options.cycles, options.threads))
    return 1 if grown else 0


def soak_requests(count: int, threads: int) -> list[Checkpoint]:
    """Serve ``count`` requests, with a checkpoint after each twelfth of them, when no connection is open."""
    step = -(-count // _CHECKPOINTS)
    checkpoints: list[Checkpoint] = []
    sockets = listen("127.0.0.1:0")
    with ReserveWSGIServer(sockets, hello, threads=threads) as server:
        port = server.addresses[0][1]
        served = 0
        while served < count:
            due = min(count, (len(checkpoints) + 1) * step)
            while served < due:
                _load(port, due - served)
                served = server.stats().handled
            _wait_until(lambda: server.stats().connections == 0)
            checkpoints.append(_checkpoint(served, len(checkpoints)))
            _show(checkpoints)
    return checkpoints


def soak_cycles(count: int, threads: int) -> list[Checkpoint]:
    """Start a server, send one request, stop the server; ``count`` times."""
    step = max(1, count // _CHECKPOINTS)
    checkpoints: list[Checkpoint] = []
    for done in range(1, count + 1):
        with ReserveWSGIServer(listen("127.0.0.1:0"), hello, threads=threads) as server:
            response = honest.ask(("127.0.0.1", server.addresses[0][1]), honest.request(), 10.0)
        if response.outcome != "200":
            raise SystemExit(f"cycle {done}: the request ended with {response.outcome}")
        if done % step == 0:
            checkpoints.append(_checkpoint(done, len(checkpoints)))
            _show(checkpoints)
    return checkpoints


def steady(checkpoints: Sequence[Checkpoint]) -> Sequence[Checkpoint]:
    """The checkpoints after the warm-up: the last two thirds."""
    return checkpoints[len(checkpoints) // 3 :]


def slope(checkpoints: Sequence[Checkpoint], name: str) -> float:
    """How much ``name`` grows for each 1,000 done, by least squares."""
    if len(checkpoints) < 2:
        return 0.0
    mean_x = sum(checkpoint.done for checkpoint in checkpoints) / len(checkpoints)
    mean_y = sum(getattr(checkpoint, name) for checkpoint in checkpoints) / len(checkpoints)
    covariance = sum((checkpoint.done - mean_x) * (getattr(checkpoint, name) - mean_y) for checkpoint in checkpoints)
    variance = sum((checkpoint.done - mean_x) ** 2 for checkpoint in checkpoints)
    return 1000 * covariance / variance if variance else 0.0


def growth(checkpoints: Sequence[Checkpoint], name: str) -> float:
    """How much the slope adds from the first of these checkpoints to the last."""
    if not checkpoints:
        return 0.0
    return slope(checkpoints, name) * (checkpoints[-1].done - checkpoints[0].done) / 1000


def _report(what: str, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Print the growth of each number; return the names of those that grow."""
    after_warm_up = steady(checkpoints)
    grown = []
    for name, allowed in TOLERANCE.items():
        rate, added = slope(after_warm_up, name), growth(after_warm_up, name)
        verdict = "flat" if added <= allowed + 1e-9 else "GROWS"
        if verdict != "flat":
            grown.append(name)
        print(f"{name:12} {rate:+.4f} for each 1,000 {what}, {added:+.1f} in all: {verdict}")
    print(flush=True)
    return grown


def _checkpoint(done: int, earlier: int) -> Checkpoint:
    """Count now; the ``earlier`` checkpoints are objects, too, but not objects of the server."""
    gc.collect()
    usage = procfs.usage(os.getpid())
    return Checkpoint(done, usage.descriptors, threading.active_count(), len(gc.get_objects()) - earlier, usage.rss_kib)


def _show(checkpoints: Sequence[Checkpoint]) -> None:
    names = [field.name for field in fields(Checkpoint)]
    if len(checkpoints) == 1:
        print("".join(f"{name:>13}" for name in names))
    print("".join(f"{getattr(checkpoints[-1], name):13}" for name in names), flush=True)


def _load(port: int, count: int) -> None:
    """Send requests from another process: for one second with wrk, or ``count`` of them with the small client."""
    if shutil.which("wrk"):
        wrk(f"http://127.0.0.1:{port}/", seconds=1, connections=32)
    else:
        subprocess.run([sys.executable, "-m", "benchmarks.soak", _CLIENT, str(port), str(count)], check=True)


def _client(port: int, count: int) -> int:
    """The small keep-alive client: it sends one request on each of several connections, again and again."""
    request = honest.request(keep_alive=True)
    clients = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(_CLIENTS)]
    for number in range(0, count, len(clients)):
        used = clients[: count - number]
        for client in used:
            client.sendall(request)
        for client in used:
            received = b""
            while not honest.complete(received):
                piece = client.recv(65536)
                if not piece:
                    raise SystemExit("the server closed a keep-alive connection before the end of a response")
                received += piece
    for client in clients:
        client.close()
    return 0


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SETTLE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main())

"""``python -m benchmarks.tls_clients KIND PORT CERT SECONDS``: TLS clients in a process of their own.

``full`` and ``resumed``: on four threads, connect, do a full handshake or resume the session before, send one request
and close, again and again. ``idle``: hold connections (the last argument is their number) after one request each until
standard input ends. A connection that fails is counted, and the next one is tried. Prints one JSON object.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

from benchmarks import honest

__all__ = ["handshakes", "hold"]

_THREADS = 4
_TIMEOUT = 20.0
"""Seconds for each step of a connection."""
_MAX_FAILURES = 20
"""Idle connections that may fail one after another; then no more are tried."""


def main() -> None:
    """Run the clients that the command line asks for."""
    kind, port, cert, amount = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    context = ssl.create_default_context(cafile=cert)
    if kind == "idle":
        held, failed = hold(context, port, int(amount))
        sys.stdout.write(json.dumps({"held": len(held), "failed": failed}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        return
    deadline = time.monotonic() + amount
    counts: list[dict[str, int]] = []
    threads = [
        threading.Thread(target=lambda: counts.append(handshakes(context, port, deadline, kind == "resumed")))
        for _ in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({name: sum(each[name] for each in counts) for name in counts[0]}) + "\n")


def hold(context: ssl.SSLContext, port: int, count: int) -> tuple[list[ssl.SSLSocket], int]:
    """Open ``count`` connections with one request each; return them and how many failed."""
    held: list[ssl.SSLSocket] = []
    failed = in_a_row = 0
    while len(held) < count and in_a_row < _MAX_FAILURES:
        try:
            held.append(_open(context, port))
            in_a_row = 0
        except OSError:
            failed += 1
            in_a_row += 1
    return held, failed


def _open(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
    try:
        sock = tls = context.wrap_socket(sock, server_hostname="127.0.0.1")
        tls.sendall(honest.request(keep_alive=True))
        if not tls.recv(4096):
            raise ConnectionError("the server closed the connection without a response")
    except BaseException:
        sock.close()
        raise
    return tls


def handshakes(context: ssl.SSLContext, port: int, deadline: float, resume: bool) -> dict[str, int]:
    """Do handshakes, each with one request, until the deadline (monotonic clock); return how many were done."""
    done = resumed = failed = 0
    session = None
    while time.monotonic() < deadline:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), _TIMEOUT) as sock,
                context.wrap_socket(sock, server_hostname="127.0.0.1", session=session) as tls,
            ):
                tls.sendall(honest.request())
                received = False
                while tls.recv(4096):
                    received = True
                if not received:
                    raise ConnectionError("the server closed the connection without a response")
                done += 1
                resumed += bool(tls.session_reused)
                if resume:
                    session = tls.session
        except OSError:
            failed += 1
            session = None
    return {"done": done, "resumed": resumed, "failed": failed}


if __name__ == "__main__":
    main()

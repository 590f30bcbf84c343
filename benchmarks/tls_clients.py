"""``python -m benchmarks.tls_clients KIND PORT CERT SECONDS``: TLS clients in a process of their own.

``full`` and ``resumed``: connect, shake hands (anew, or with the session before), ask once, close, as often as it goes,
on four threads. ``idle``: hold that many connections (the last word is their number) after one request each until
standard input ends. A connection that fails is counted, and the next one is tried. Prints one JSON object.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

__all__ = ["hold", "shake"]

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_KEEPING = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_THREADS = 4
_PATIENCE = 20.0
"""Seconds for each step of a connection."""
_HOPELESS = 20
"""Idle connections that fail one after another before no more are tried."""


def main() -> None:
    """See the module."""
    kind, port, cert, amount = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    context = ssl.create_default_context(cafile=cert)
    if kind == "idle":
        held, failed = hold(context, port, int(amount))
        sys.stdout.write(json.dumps({"held": len(held), "failed": failed}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        return
    until = time.monotonic() + amount
    counts: list[dict[str, int]] = []
    threads = [
        threading.Thread(target=lambda: counts.append(shake(context, port, until, kind == "resumed")))
        for _ in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({name: sum(one[name] for one in counts) for name in counts[0]}) + "\n")


def hold(context: ssl.SSLContext, port: int, count: int) -> tuple[list[ssl.SSLSocket], int]:
    """Open so many connections with one answered request each; how many failed on the way to that."""
    held: list[ssl.SSLSocket] = []
    failed = in_a_row = 0
    while len(held) < count and in_a_row < _HOPELESS:
        try:
            held.append(_open(context, port))
            in_a_row = 0
        except OSError:
            failed += 1
            in_a_row += 1
    return held, failed


def _open(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    sock = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    try:
        sock = tls = context.wrap_socket(sock, server_hostname="127.0.0.1")
        tls.sendall(_KEEPING)
        if not tls.recv(4096):
            raise ConnectionError("the server closed the connection without an answer")
    except BaseException:
        sock.close()
        raise
    return tls


def shake(context: ssl.SSLContext, port: int, until: float, resume: bool) -> dict[str, int]:
    """Shake hands until that moment of the monotonic clock; what became of them."""
    done = resumed = failed = 0
    session = None
    while time.monotonic() < until:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), _PATIENCE) as sock,
                context.wrap_socket(sock, server_hostname="127.0.0.1", session=session) as tls,
            ):
                tls.sendall(_REQUEST)
                answered = False
                while tls.recv(4096):
                    answered = True
                if not answered:
                    raise ConnectionError("the server closed the connection without an answer")
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

"""``python -m benchmarks.tls_clients KIND PORT CERT SECONDS``: TLS clients in a process of their own.

``full`` and ``resumed``: connect, shake hands (anew, or with the session before), ask once, close, as often as it goes,
on four threads. ``idle``: hold that many connections (the last word is their number) after one request each until
standard input ends. Prints one JSON object.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_KEEPING = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_THREADS = 4


def main() -> None:
    """See the module."""
    kind, port, cert, amount = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    context = ssl.create_default_context(cafile=cert)
    if kind == "idle":
        held = [_open(context, port) for _ in range(int(amount))]
        sys.stdout.write(json.dumps({"held": len(held)}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
        return
    until = time.monotonic() + amount
    counts: list[dict[str, int]] = []
    threads = [
        threading.Thread(target=lambda: counts.append(_shake(context, port, until, kind == "resumed")))
        for _ in range(_THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({name: sum(one[name] for one in counts) for name in counts[0]}) + "\n")


def _open(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20), server_hostname="127.0.0.1")
    tls.sendall(_KEEPING)
    assert tls.recv(4096)
    return tls


def _shake(context: ssl.SSLContext, port: int, until: float, resume: bool) -> dict[str, int]:
    done = resumed = failed = 0
    session = None
    while time.monotonic() < until:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), 20) as sock,
                context.wrap_socket(sock, server_hostname="127.0.0.1", session=session) as tls,
            ):
                tls.sendall(_REQUEST)
                while tls.recv(4096):
                    pass
                done += 1
                resumed += bool(tls.session_reused)
                if resume:
                    session = tls.session
        except OSError:
            failed += 1
    return {"done": done, "resumed": resumed, "failed": failed}


if __name__ == "__main__":
    main()

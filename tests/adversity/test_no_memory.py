"""The k-th allocation fails, for many k: the process goes on, and the next request is served, with all threads."""

from __future__ import annotations

import pytest

from tests.adversity.holding import serving

pytest.importorskip("_testcapi", reason="this CPython was built without its test modules")

PROGRAM = """
import os, socket, sys, threading, time
os.environ["RESERVE_PURE"] = sys.argv[4]  # which form of the straight line serves
import _testcapi
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.testing import running

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    body = environ["wsgi.input"].read()
    return iter([b"x" * 65536] * 16) if environ["PATH_INFO"] == "/large" else [b"served ", body]

first, last, step = map(int, sys.argv[1:4])
orders_in_turn = [b"0", b"1", b"2", b"3", b"4"]
log = []
# So long that no deadline cleans up what was lost with the allocation.
http = HTTPSettings(access_log=False, head_timeout=600.0, keep_alive=600.0, body_timeout=600.0)
hooks = Hooks(error_log=lambda level, text: log.append(text))
limits = {"max_connections_per_client": 300, "max_running_per_client": 300}
# The client is a process of its own: a failing allocation is the server's. It is there before the server has threads,
# because a fork of a process with threads warns. Pipes tell it the server's port, and what to do.
to_client, orders = os.pipe()
done, from_client = os.pipe()
pid = os.fork()
if not pid:
    os.close(orders), os.close(done)
    address = ("127.0.0.1", int(os.read(to_client, 5)))
    def ask(raw, timeout):
        with socket.socket() as client:
            client.settimeout(timeout)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # a large response has to wait
            try:
                client.connect(address)
                client.sendall(raw)
                return b"".join(iter(lambda: client.recv(65536), b""))
            except OSError:
                return b""
    def ask_again(raw):
        # The first request of a connection is stepped, and the others take the straight line.
        with socket.socket() as client:
            client.settimeout(0.1)
            try:
                client.connect(address)
                for number in range(4):
                    client.sendall(b"GET / HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n" if number < 3 else raw)
                    while client.recv(65536)[-7:] not in (b"served ", b""):
                        pass
            except OSError:
                pass
    fields = b"Host: test\\r\\nConnection: close\\r\\n"
    bad = {
        b"0": b"POST / HTTP/1.1\\r\\n" + fields + b"Content-Length: 4\\r\\n\\r\\nbody",
        b"1": b"GET /large HTTP/1.1\\r\\n" + fields + b"\\r\\n",
        b"2": b"POST / HTTP/1.1\\r\\n" + fields + b"Content-Length: 100000\\r\\n\\r\\n" + b"b" * 100000,
    }
    while order := os.read(to_client, 1):
        if order in b"34":
            ask_again(b"GET /large HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n" if order == b"4" else bad[b"0"])
            os.write(from_client, b".")
        elif order in bad:  # whatever the result is
            ask(bad[order], 0.1)
            os.write(from_client, b".")
        else:
            got = ask(b"GET / HTTP/1.1\\r\\n" + fields + b"\\r\\n", 30)
            os.write(from_client, b"+" if got.endswith(b"\\r\\n\\r\\nserved ") else b"-")
    os._exit(0)
os.close(to_client), os.close(from_client)
with running(app, http=http, threads=2, hooks=hooks, **limits) as served:
    os.write(orders, b"%05d" % served.address[1])
    for _ in range(300):  # the first counts of a server are small numbers, which need no memory
        os.write(orders, b"o")
        assert os.read(done, 1) == b"+"
    for number in range(first, last, step):
        print(number, flush=True)  # it goes on
        order = orders_in_turn[number // step % 5]
        _testcapi.set_nomemory(number, number + 1)
        try:
            os.write(orders, order)
            os.read(done, 1)
        except MemoryError:
            _testcapi.remove_mem_hooks()
            os.read(done, 1)
        finally:
            _testcapi.remove_mem_hooks()
        os.write(orders, b"o")
        if os.read(done, 1) != b"+":
            print("the request after the failure of allocation", number, "got no response", *log[-3:], sep="\\n")
            os._exit(1)
        stats, limit = served.server.stats(), time.monotonic() + 20
        while stats.connections or stats.busy or stats.queued:
            stats = served.server.stats()
            if time.monotonic() > limit:
                print("the failure of allocation", number, "has left", stats, *log[-3:], sep="\\n")
                os._exit(1)
        runtime = served.server._runtime
        assert all(w.thread.is_alive() for w in runtime.pool.workers) and runtime.monitor.thread.is_alive(), number
    os.close(orders)
    os.waitpid(pid, 0)
    stats = served.server.stats()
    assert stats.threads == 2 and stats.queued == 0, stats
    clients = served.server._runtime.clients
    for limit in (clients.connections, clients.running):
        assert limit.holding() == ({}, 0), limit.holding()
print("survived", flush=True)
"""


@pytest.mark.parametrize(("first", "pure"), [(0, "0"), (1, "1"), (2, "0"), (3, "1")])
def test_a_server_survives_the_failure_of_each_allocation(first: int, pure: str) -> None:
    with serving(PROGRAM, str(first), "2000", "4", pure) as server:
        while (line := server.line()) != "survived":
            assert line.isdigit(), line
        server.end(quiet=False)

"""150 connections with 64 descriptors: no client is lost, nothing spins, and one line is logged."""

from __future__ import annotations

import sys
from contextlib import ExitStack

import pytest

from tests import tls
from tests.adversity.holding import connect, serving
from tests.apps.http.responses import receive, request
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts on Linux's order of descriptors and errors")

PROGRAM = """
import resource, sys
from reserve.engine import acceptor
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.server import Hooks
from reserve.testing import running

def app(environ, start_response):
    start_response("200 OK", [])
    return [b"served"]

acceptor._PAUSE = 3600.0  # only a free descriptor ends a pause, not its time
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
secure = None
if sys.argv[1:]:
    from reserve.ssl import BuiltinSSLAdapter
    secure = BuiltinSSLAdapter(*sys.argv[1:])
log = []
def hook(level, text):
    log.append(text)
    if len(log) == 1:
        print("full", flush=True)
# So long that no deadline makes room, however slow the machine is.
http = HTTPSettings(head_timeout=600.0, keep_alive=600.0, access_log=False)
with running(
    app, http=http, threads=2, handshake_timeout=600.0, ssl_adapter=secure, hooks=Hooks(error_log=hook)
) as served:
    pauses = []
    original = acceptor.wait_for
    acceptor.wait_for = lambda *arguments: (pauses.append(1), original(*arguments))[1]
    print(served.address[1], flush=True)
    for line in sys.stdin:
        stats = served.server.stats()
        print(len(pauses), stats.accepted, stats.threads, len(log), flush=True)
    assert served.server.stats().threads == 2
print(log, flush=True)
"""


def test_150_connections_share_64_descriptors() -> None:
    with serving(PROGRAM) as server, ExitStack() as stack:
        port = server.line()
        # They connect: the kernel holds the connections that the server cannot accept.
        clients = [stack.enter_context(connect(port)) for _ in range(150)]
        assert server.line() == "full"

        def facts() -> list[int]:
            server.tell("?")
            return [int(word) for word in server.line().split()]

        eventually(lambda: facts()[0] == 1)  # it logs just before it pauses
        pauses, accepted, *_ = facts()
        assert 30 < accepted < 64
        busy = clients[0]
        # An open connection is served as before; it is always within a request, and so never idle.
        busy.sendall(b"GET /")
        for _ in range(20):
            busy.sendall(b" HTTP/1.1\r\nHost: test\r\n\r\nGET /")
            assert receive(busy).body == b"served"
        assert facts() == [pauses, accepted, 2, 1]  # and the accept thread has not tried meanwhile
        busy.sendall(b" HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        for client in clients:  # each that is closed makes room for another
            if client is not busy:
                client.sendall(request("GET", "/", "Connection: close"))
            assert receive(client).body == b"served"
            assert client.recv(1) == b""
        last = facts()
        assert last[1:] == [150, 2, 1]
        assert last[0] - pauses <= 150 - accepted + 1
        server.end()
    assert server.out.count("no new connections for now") == 1


def test_150_tls_connections_share_64_descriptors() -> None:
    """A handshake needs no further descriptor: accepted clients are served, and each close makes room for another."""
    files = tls.issued()
    with serving(PROGRAM, files.cert, files.key) as server, ExitStack() as stack:
        port = server.line()
        clients = [stack.enter_context(connect(port)) for _ in range(150)]
        assert server.line() == "full"
        for client in clients:
            with tls.wrap_client(client) as secured:
                secured.sendall(request("GET", "/", "Connection: close"))
                assert receive(secured).body == b"served"
                assert secured.recv(1) == b""
        server.tell("?")
        assert [int(word) for word in server.line().split()][1:] == [150, 2, 1]
        server.end()
    assert server.out.count("no new connections for now") == 1

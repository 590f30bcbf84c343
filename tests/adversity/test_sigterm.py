"""SIGTERM while every thread has a request and others wait: all get complete responses, and no new client is served."""

from __future__ import annotations

import signal
import socket
import sys
from contextlib import ExitStack

import pytest

from tests.adversity.holding import connect, serving
from tests.apps.http.responses import receive, request

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM")

PROGRAM = """
import signal, sys, threading
from reserve import ReserveWSGIServer, listen

entered, go_on, large = threading.Semaphore(0), threading.Event(), b"0123456789" * 300_000

def app(environ, start_response):
    entered.release()
    go_on.wait(60)
    start_response("200 OK", [("Content-Length", str(len(large)))])
    return iter([large[:1_000_000], large[1_000_000:]])

listeners = listen("127.0.0.1:0")
# So long that only the stop closes an idle connection.
server = ReserveWSGIServer(listeners, app, threads=4, access_log=False, head_timeout=600.0)
port = listeners[0].getsockname()[1]

def control():
    server.wait_ready()
    print(port, flush=True)
    for _ in range(4):
        entered.acquire()
    sys.stdin.readline()
    while server.stats().queued < 8:
        pass
    print("busy", flush=True)
    sys.stdin.readline()
    go_on.set()

thread = threading.Thread(target=control)
thread.start()
signal.signal(signal.SIGTERM, lambda number, frame: (server.request_stop(), print("stopping", flush=True)))
server.start()
thread.join()
"""


def test_requests_in_flight_and_queued_requests_get_complete_responses() -> None:
    with serving(PROGRAM) as server, ExitStack() as stack:
        port = server.line()
        clients = [stack.enter_context(connect(port)) for _ in range(12)]
        silent = stack.enter_context(connect(port))
        for client in clients:
            client.sendall(request())
        server.tell("wait until four are in the application and eight in the queue")
        assert server.line() == "busy"
        server.process.send_signal(signal.SIGTERM)
        assert server.line() == "stopping"
        assert silent.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), 60).close()
        assert server.process.poll() is None
        server.tell("go on")
        for client in clients:
            response = receive(client)
            assert (response.status, response.whole, len(response.body)) == (200, True, 3_000_000)
            assert response.fields["connection"] == "close"
            assert client.recv(1) == b""
            client.close()
        server.end(0)

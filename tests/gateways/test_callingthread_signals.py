"""Signals that arrive on the main thread while it runs an application, or waits to; and forks of it."""

from __future__ import annotations

import os

import pytest

from tests.engine.programs import run_program

SERVING = """
import logging, os, signal, socket, sqlite3, sys, threading, time, warnings
# What applications do that fork; CPython 3.15 makes an error of it here.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from reserve import ReserveWSGIServer, listen
from reserve.gateways.callingthread import CallingThread
logging.getLogger("reserve").addHandler(logging.NullHandler())
logging.getLogger("reserve").propagate = False
def fetch(path):
    with socket.create_connection(server.addresses[0]) as client:
        client.sendall(b"GET %s HTTP/1.0\\r\\n\\r\\n" % path.encode())
        data = b""
        while more := client.recv(65536):
            data += more
    return data[9:12].decode() + " " + data.rpartition(b"\\r\\n\\r\\n")[2].decode()
def serve(app, visit, **options):
    global server
    server = ReserveWSGIServer(listen("127.0.0.1:0"), CallingThread(app), threads=1, **options)
    def run():
        server.wait_ready()
        visit()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        server.start()
        print("returned")
    except KeyboardInterrupt:
        print("interrupted")
    thread.join()
    print(threading.active_count(), server.stats().connections)
"""


def test_a_signal_in_the_application_gets_its_client_a_500_and_is_raised_from_start() -> None:
    program = f"""{SERVING}
def app(environ, start_response):
    start_response("200 OK", [])
    os.kill(os.getpid(), signal.SIGINT)
    while True:
        pass
serve(app, lambda: print(fetch("/")[:3]))
"""
    assert sorted(run_program(program).splitlines()) == ["1 0", "500", "interrupted"]


def test_a_signal_while_nothing_is_served_is_raised_at_once() -> None:
    program = f"""{SERVING}
serve(lambda environ, start_response: [], lambda: os.kill(os.getpid(), signal.SIGINT))
"""
    assert run_program(program) == "interrupted\n1 0\n"


def test_a_second_signal_ends_the_wait_for_the_application() -> None:
    program = f"""{SERVING}
entered = threading.Event()
def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/first":
        entered.set()
        time.sleep(3600)
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(3600)
    finally:
        print(environ["PATH_INFO"])
results = []
def fetch_aborted():
    try:
        fetch("/second")
    except ConnectionError:
        pass  # it may get a 500, or be reset
def visit():
    first = threading.Thread(target=lambda: results.append(fetch("/first")[:3]))
    first.start()
    entered.wait()
    second = threading.Thread(target=fetch_aborted)
    second.start()
    while server.stats().queued == 0:
        pass
    os.kill(os.getpid(), signal.SIGINT)
    first.join()
    second.join()
serve(app, visit)
print(results)
"""
    assert run_program(program) == "/second\ninterrupted\n1 0\n['500']\n"


def test_a_handler_of_a_signal_runs_in_time_between_the_calls() -> None:
    program = f"""{SERVING}
handled = threading.Event()
signal.signal(signal.SIGUSR1, lambda number, frame: handled.set())
def visit():
    for _ in range(50):
        handled.clear()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert fetch("/") == "200 x"
        assert handled.wait(30)
    server.stop()
def app(environ, start_response):
    start_response("200 OK", [])
    return iter([b"x"])
serve(app, visit)
"""
    assert run_program(program) == "returned\n1 0\n"


def test_a_connection_of_sqlite_that_the_program_has_opened_can_be_used_in_every_request() -> None:
    program = f"""{SERVING}
connection = sqlite3.connect(":memory:")
connection.execute("create table visits (path)")
def app(environ, start_response):
    connection.execute("insert into visits values (?)", (environ["PATH_INFO"],))
    start_response("200 OK", [])
    return (path.encode() for path, in connection.execute("select path from visits"))
def visit():
    print(fetch("/a"))
    print(fetch("/b"))
    server.stop()
serve(app, visit)
connection.close()
"""
    assert run_program(program) == "200 /a\n200 /a/b\nreturned\n1 0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_that_the_application_forks_cannot_send_and_leaves_the_server_alone() -> None:
    program = f"""{SERVING}
def app(environ, start_response):
    write = start_response("200 OK", [])
    child = os.fork()
    if child == 0:
        try:
            write(b"child")
        except OSError as error:
            os._exit(7)
        os._exit(8)
    return [str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()]
def visit():
    print(fetch("/"))
    server.stop()
serve(app, visit)
"""
    assert run_program(program) == "200 7\nreturned\n1 0\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_child_that_returns_from_the_application_returns_from_start() -> None:
    program = f"""{SERVING}
parent = os.getpid()
def app(environ, start_response):
    start_response("200 OK", [])
    child = os.fork()
    if child == 0:
        return [b"child"]
    return [str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode()]
def visit():
    print(fetch("/"))
    server.stop()
server = None
try:
    serve(app, visit)
finally:
    if os.getpid() != parent:
        os._exit(5)
"""
    assert "200 5\n" in run_program(program)


def test_it_goes_on_when_the_program_has_closed_the_descriptors_of_its_wait() -> None:
    program = f"""{SERVING}
def app(environ, start_response):
    if environ["PATH_INFO"] == "/close":
        for end in (server._lifecycle.signal_wakeup._reader, server._lifecycle.signal_wakeup._writer):
            os.close(end.fileno())
    start_response("200 OK", [])(b"x")
    return [b"y"]
def visit():
    for path in ("/close", "/", "/", "/"):
        assert fetch(path)[:3] == "200", path
    server.stop()
serve(app, visit)
"""
    assert run_program(program) == "returned\n1 0\n"

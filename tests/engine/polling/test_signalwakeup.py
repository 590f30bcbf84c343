"""The descriptor that wakes the blocked main thread when a signal arrives, beside the one of an event loop."""

from __future__ import annotations

import pytest

from tests.engine.conftest import needs_fork
from tests.engine.programs import SERVING, run_program


def test_a_signal_that_another_thread_receives_wakes_the_main_thread() -> None:
    """The C handler runs on the other thread. The main thread, which has to run the Python handler, is blocked, and
    none of its system calls is interrupted.

    The same happens to a signal that arrives on the main thread just before it blocks.
    """
    program = f"""{SERVING}
def handler(number, frame):
    print("handled", flush=True)
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, handler)
import reserve.engine.polling.signalwakeup as module
waiting, inner = threading.Event(), module.wait_for
def wait_for(*arguments):
    waiting.set()
    return inner(*arguments)
module.wait_for = wait_for
def other():
    assert waiting.wait(20)
    while not blocked():
        pass
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
main = threading.get_native_id()
def blocked():
    with open(f"/proc/self/task/{{main}}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"
thread = threading.Thread(target=other)
thread.start()
try:
    server.start()
except KeyboardInterrupt:
    thread.join()
    print("stopped", threading.active_count(), signal.set_wakeup_fd(-1))
"""
    assert run_program(program) == "handled\nstopped 1 -1\n"


def test_the_wakeup_descriptor_of_an_event_loop_is_kept() -> None:
    program = f"""{SERVING}
one, two = socket.socketpair()
two.setblocking(False)
signal.set_wakeup_fd(two.fileno())
server.request_stop()
server.start()
print(signal.set_wakeup_fd(-1) == two.fileno())
one.close()
two.close()
"""
    assert run_program(program) == "True\n"


def test_a_signal_while_the_descriptor_is_being_set_reaches_the_event_loop() -> None:
    program = f"""{SERVING}
one, two = socket.socketpair()
one.setblocking(False)
two.setblocking(False)
signal.signal(signal.SIGUSR1, lambda number, frame: None)
signal.set_wakeup_fd(two.fileno())
real, calls = signal.set_wakeup_fd, []
def set_wakeup_fd(fd, **options):
    before = real(fd, **options)
    calls.append(fd)
    if len(calls) == 1:
        os.kill(os.getpid(), signal.SIGUSR1)
    return before
signal.set_wakeup_fd = set_wakeup_fd
server.request_stop()
server.start()
print(one.recv(10) == bytes([signal.SIGUSR1]), len(calls), real(-1) == two.fileno())
one.close()
two.close()
"""
    assert run_program(program) == "True 2 True\n"


def test_a_descriptor_that_a_signal_handler_sets_is_kept() -> None:
    program = f"""{SERVING}
one, two = socket.socketpair()
two.setblocking(False)
def handler(number, frame):
    signal.set_wakeup_fd(two.fileno())
    server.request_stop()
    server._lifecycle.signal_wakeup.signal()
signal.signal(signal.SIGUSR1, handler)
thread = threading.Thread(target=lambda: (server.wait_ready(), os.kill(os.getpid(), signal.SIGUSR1)))
thread.start()
server.start()
thread.join()
print(signal.set_wakeup_fd(-1) == two.fileno())
one.close()
two.close()
"""
    assert run_program(program) == "True\n"


@pytest.mark.parametrize("ends", ["_writer", "_reader", "_writer _reader"])
def test_a_signal_is_handled_after_the_program_has_closed_the_descriptors(ends: str) -> None:
    program = f"""{SERVING}
signal.signal(signal.SIGTERM, lambda number, frame: (print("handled"), server.request_stop()))
def close():
    server.wait_ready()
    wakeup = server._lifecycle.signal_wakeup
    for end in {ends.split()}:
        os.close(getattr(wakeup, end).fileno())
    # Connections of clients get the lowest numbers that are free.
    clients = [socket.socketpair() for _ in range(20)]
    wakeup.signal()
    while not wakeup._lost:
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    assert server._lifecycle.finished.wait(20)
    for one, two in clients:
        two.setblocking(False)
        try:
            print("received", two.recv(10))
        except BlockingIOError:
            pass
        one.close()
        two.close()
thread = threading.Thread(target=close)
thread.start()
server.start()
thread.join()
print("stopped")
"""
    assert run_program(program) == "handled\nstopped\n"


@needs_fork
@pytest.mark.parametrize("place", ["handler", "signal handler"])
def test_a_forked_child_closes_the_descriptors_that_the_main_thread_waits_with(place: str) -> None:
    program = f"""
import os, signal, socket, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from reserve import Server, listen
def fork(*arguments):
    wakeup = server._lifecycle.signal_wakeup
    fds = [wakeup._reader.fileno(), wakeup._writer.fileno()]
    pid = os.fork()
    if pid:
        assert os.waitpid(pid, 0)[1] == 0
        server.request_stop()
        return
    closed = [not os.path.exists(f"/proc/self/fd/{{fd}}") for fd in fds]
    print("child", closed, signal.set_wakeup_fd(-1), flush=True)
    if {place == "handler"}:
        os._exit(0)
server = Server(listen("127.0.0.1:0"), fork, threads=1)
signal.signal(signal.SIGUSR1, fork)
parent = os.getpid()
def visit():
    server.wait_ready()
    if {place == "handler"}:
        with socket.create_connection(server.addresses[0]) as client:
            client.recv(1)
    else:
        os.kill(parent, signal.SIGUSR1)
thread = threading.Thread(target=visit, daemon=True)
thread.start()
server.start()  # returns in the child of the signal handler, too
print("parent" if os.getpid() == parent else "returned", flush=True)
"""
    out = run_program(program).splitlines()
    assert out == ["child [True, True] -1", *["returned"] * (place != "handler"), "parent"]

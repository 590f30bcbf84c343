"""A server without what other platforms than Linux lack."""

from __future__ import annotations

from tests.engine.programs import run_program


def test_a_server_needs_no_epoll_fork_eventfd_or_unix_sockets() -> None:
    program = """
import sys
sys.modules["fcntl"] = None
import os, select, selectors, socket
for module, names in [
    (select, "epoll poll"), (selectors, "EpollSelector PollSelector"), (socket, "AF_UNIX SO_PEERCRED SO_REUSEPORT"),
    (os, "eventfd eventfd_read eventfd_write fork register_at_fork sendfile getuid"),
]:
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
selectors.DefaultSelector = selectors.SelectSelector
def socketpair():  # what the standard library does where the system has none
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        return one, listener.accept()[0]
socket.socketpair = socketpair
import reserve
from reserve import Park, Server, listen
def handle(sock, address, server):
    def resume():
        data = sock.recv(100)
        sock.sendall(data.upper())
        return Park(resume, timeout=100) if data != b"bye" else None
    return Park(resume)
with Server(listen("127.0.0.1:0"), handle, threads=2) as server:
    clients = [socket.create_connection(server.addresses[0]) for _ in range(10)]
    for line in (b"hello", b"bye"):
        for client in clients:
            client.sendall(line)
            assert client.recv(10) == line.upper()
    for client in clients:
        assert client.recv(10) == b""
        client.close()
    print(type(server._runtime.poller).__name__, server._runtime.poller.wakeup._pair is not None)
"""
    assert run_program(program) == "PortablePoller True\n"

"""A program with two servers of its own, one in a thread and one in the background; it prints its observations."""

import ctypes  # noqa: F401 - from 3.5 on, libffi opens its own file at the first callback, and keeps it open
import http.client
import os
import signal
import socket
import sys
import threading

import reserve


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from " + threading.current_thread().name.encode()]


def shout(sock, client_address, server):
    with sock.makefile("rb") as reader:
        sock.sendall(reader.readline().upper())


def ask(address):
    client = http.client.HTTPConnection(*address[:2], timeout=60)
    client.request("GET", "/")
    response = client.getresponse()
    text = response.read().decode()
    client.close()
    return response.status, text


descriptors = sorted(os.listdir("/proc/self/fd"))
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
web = reserve.ReserveWSGIServer(reserve.listen("127.0.0.1:0", "[::1]:0"), hello, threads=2)
thread = threading.Thread(target=web.start)
thread.start()
assert web.wait_ready(60)
with reserve.Server(reserve.listen("127.0.0.1:0"), shout, threads=1) as lines:
    assert lines.wait_ready(60)
    for address in web.addresses:
        status, text = ask(address)
        print(status, text.startswith("hello from "))
    with socket.create_connection(lines.addresses[0], 60) as client:
        client.sendall(b"loud\n")
        print(b"".join(iter(lambda: client.recv(100), b"")).decode().strip())
    web.stop()
    thread.join()
    print("threads of the other server after one has stopped:", lines.stats().threads)
    with socket.create_connection(lines.addresses[0], 60) as client:
        client.sendall(b"still\n")
        print(b"".join(iter(lambda: client.recv(100), b"")).decode().strip())
print("threads at the end:", threading.active_count())
print("same descriptors:", sorted(os.listdir("/proc/self/fd")) == descriptors)
print("same signal handlers:", [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers)
print("installed:", os.path.dirname(reserve.__file__).startswith(sys.prefix))

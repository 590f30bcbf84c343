"""Many starts and stops, and many requests: descriptors, threads and objects do not become more, memory stays bounded.

``python -m benchmarks.soak`` is the long form: 1,000 cycles and 1,000,000 requests.
"""

from __future__ import annotations

import sys

import pytest

from tests.adversity.holding import serving

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LOOK = """
import gc, os, re, socket, sys, threading
from reserve.testing import running

def look():
    gc.collect()
    with open("/proc/self/status") as file:
        resident = int(re.search(r"VmRSS:\\s+(\\d+)", file.read())[1])
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(gc.get_objects()), resident

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", environ["wsgi.input"].read()]

"""

CYCLES = (
    LOOK
    + """
GET = b"GET / HTTP/1.1\\r\\nHost: test\\r\\nConnection: close\\r\\n\\r\\n"
def cycle(count):
    for number in range(count):
        with running(app, threads=2) as served:
            assert served.exchange(GET).endswith(b"hello ")
            with served.connect() as idle:
                if number % 2:
                    idle.sendall(b"GET / HTTP")
                served.server.stop(0)
cycle(10)
before = look()
cycle(50)
print(*before, *look(), flush=True)
"""
)

REQUESTS = (
    LOOK
    + """
ONE = (b"GET / HTTP/1.1\\r\\nHost: test\\r\\n\\r\\n"
       b"POST / HTTP/1.1\\r\\nHost: test\\r\\nContent-Length: 4\\r\\n\\r\\nbody"
       b"POST / HTTP/1.1\\r\\nHost: test\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n4\\r\\nbody\\r\\n0\\r\\n\\r\\n"
       b"GET /%41?b HTTP/1.1\\r\\nHost: test\\r\\nUser-Agent: me\\r\\n\\r\\n")
def play(served, count):
    for _ in range(count // 400):
        with served.connect() as client:
            for _ in range(20):
                client.sendall(ONE * 5)
                responses = 0
                while responses < 20:
                    responses += client.recv(65536).count(b"hello ")
    stats = served.server.stats()
    # A connection is uncounted a moment before its descriptor is closed. If this takes too long, the test fails.
    while stats.connections or stats.busy or len(os.listdir("/proc/self/fd")) != descriptors:
        stats = served.server.stats()
with running(app, threads=2) as served:
    descriptors = len(os.listdir("/proc/self/fd"))
    play(served, 4000)
    before = look()
    play(served, 20000)
    print(*before, *look(), flush=True)
"""
)


def numbers(program: str) -> tuple[list[int], list[int]]:
    with serving(program) as server:
        values = [int(word) for word in server.line().split()]
    return values[:4], values[4:]


@pytest.mark.parametrize("program", [CYCLES, REQUESTS], ids=["start and stop", "requests"])
def test_many_cycles_leak_nothing(program: str) -> None:
    before, after = numbers(program)
    assert after[:2] == before[:2]
    assert abs(after[2] - before[2]) <= 100  # objects; one leaked by each cycle would be far more
    assert after[3] - before[3] < 4096  # KiB

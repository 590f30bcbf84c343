"""The system's clock is set a day forward or back: only the Date of the responses follows."""

from __future__ import annotations

import email.utils

import pytest

from tests.adversity.holding import connect, serving
from tests.apps.http.responses import receive, request

DAY = 86400

PROGRAM = """
import sys, time
real, offset = time.time, 0.0
time.time = lambda: real() + offset  # before any module can have kept the real one
from reserve.apps.http.settings import HTTPSettings
from reserve.testing import running

def app(environ, start_response):
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()]

with running(app, http=HTTPSettings(access_log=False), threads=2) as served:
    print(served.address[1], flush=True)
    for line in sys.stdin:
        offset = float(line)
        print("set", flush=True)
"""


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_jump_of_the_clock_changes_only_the_date(jump: int) -> None:
    with serving(PROGRAM) as server:
        port = server.line()
        with connect(port) as idle, connect(port) as head, connect(port) as body, connect(port) as silent:
            idle.sendall(request("POST", body=b"before"))
            first = receive(idle)
            head.sendall(b"GET / HTTP/1.1\r\nHo")
            body.sendall(request("POST", "/", "Expect: 100-continue", "Content-Length: 4"))
            assert body.recv(100).startswith(b"HTTP/1.1 100 ")
            server.tell(str(jump))
            assert server.line() == "set"
            # What was begun before the jump goes on after it: no deadline has passed, or will pass early.
            for client in (idle, silent):
                client.sendall(request("POST", "/", "Connection: close", body=b"after"))
            head.sendall(b"st: test\r\nConnection: close\r\n\r\n")
            responses = [receive(client) for client in (idle, silent, head)]
            body.sendall(b"body")
            responses.append(receive(body))
            assert [response.body for response in responses] == [b"after", b"after", b"", b"body"]
            moved = [seconds(response.fields["date"]) - seconds(first.fields["date"]) for response in responses]
            assert all(0 <= change - jump < DAY / 2 for change in moved)


def seconds(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp()

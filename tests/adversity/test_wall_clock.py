"""Somebody sets the system's clock a day forth, and a day back: only the Date of the answers follows."""

from __future__ import annotations

import email.utils

import pytest

from tests.adversity.holding import connect, serving
from tests.apps.http.responses import receive, request

DAY = 86400

PROGRAM = """
import sys, time
real, offset = time.time, 0.0
time.time = lambda: real() + offset  # before anyone can have kept the real one
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
def test_a_jump_of_a_day(jump: int) -> None:
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
            # What was begun before the jump goes on behind it: nobody was too late, or will be.
            for client in (idle, silent):
                client.sendall(request("POST", "/", "Connection: close", body=b"after"))
            head.sendall(b"st: test\r\nConnection: close\r\n\r\n")
            answers = [receive(client) for client in (idle, silent, head)]
            body.sendall(b"body")
            answers.append(receive(body))
            assert [answer.body for answer in answers] == [b"after", b"after", b"", b"body"]
            moved = [seconds(answer.fields["date"]) - seconds(first.fields["date"]) for answer in answers]
            assert all(0 <= one - jump < DAY / 2 for one in moved)


def seconds(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp()

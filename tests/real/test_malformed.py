"""What the installed command does with what is no request: the right refusal, a closed connection, one log line."""

from __future__ import annotations

import re

import pytest

from tests.real.conftest import Serve
from tests.real.serving import fetch

CASES = {
    "no request line": (b"hello\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    "a folded field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
    "a length and chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "a length that is no number": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde", 400),
    "a chunk size that is none": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "a coding that nobody knows": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "too large a body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n", 413),
    "too long a target": (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "too long a field": (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 431),
    "too many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 5000 + b"\r\n", 431),
    "a version of the future": (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505),
    "TLS on a plain port": (bytes.fromhex("160301020001000001fc0303") + b"\0" * 100 + b"\r\n\r\n", 400),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused(serve: Serve, name: str) -> None:
    data, status = CASES[name]
    line = rf".* WARNING: 127\.0\.0\.1:\d+: {status} .+"
    with serve("app", "http", "wsgi", "everything", "--threads", "1", says=[line]) as server:
        with server.connect() as sock, sock.makefile("rb") as answer:
            sock.sendall(data)
            text = answer.read()  # to its end: the server closes, and the answer is not lost to a reset
        head = text.partition(b"\r\n\r\n")[0].decode()
        assert re.match(rf"HTTP/1\.1 {status} ", head), text
        assert "\r\nconnection: close" in head.lower()
        assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", text)) == 1
        # Its one thread is alive.
        with server.client() as client:
            assert fetch(client, "GET", "/written")[2] == b"first and last"

"""The installed command sends early hints that curl and ``http.client`` receive, and runs what follows a response."""

from __future__ import annotations

import http.client

import pytest

from tests.authority import Authority
from tests.real.conftest import Curl, Serve
from tests.waiting import PATIENCE

SITE = ("app", "http", "wsgi", "hinting", "--threads", "1")
LINK = "</style.css>; rel=preload; as=style"
AFTER = r"after /\w*"


@pytest.mark.peer
def test_curl_prints_the_hints_and_the_response(serve: Serve, curl: Curl) -> None:
    with serve(*SITE, log=[AFTER] * 2) as server:
        url = f"{server.url}/a"
        heads, _, body = curl("-i", url).stdout.rpartition(b"\r\n\r\n")
        assert heads.startswith(f"HTTP/1.1 103 Early Hints\r\nLink: {LINK}\r\n\r\nHTTP/1.1 200 OK\r\n".encode())
        assert body == b"served"
        assert b"103" not in curl("-i", "--http1.0", url).stdout


@pytest.mark.peer
def test_curl_prints_them_over_tls(serve: Serve, curl: Curl, authority: Authority, cert: str) -> None:
    with serve(*SITE, "--tls-cert", cert, log=[AFTER]) as server:
        host, port = server.address
        trusted = ("--cacert", authority.pem, "--connect-to", f":{port}:{host}:{port}")
        sent = curl("-i", *trusted, f"https://a.test:{port}/").stdout
        assert sent.startswith(b"HTTP/1.1 103 Early Hints\r\n")


def test_http_client_receives_the_hints(serve: Serve) -> None:
    with serve(*SITE, log=[AFTER]) as server:
        connection = http.client.HTTPConnection(*server.address, timeout=PATIENCE)
        connection.request("GET", "/a")
        assert connection.sock is not None
        with connection.sock.makefile("rb") as file:
            seen = []
            for _ in range(2):  # getresponse() returns the first one that is not a 100
                status = file.readline().split()[1]
                fields = http.client.parse_headers(file)
                seen.append((status, fields["Link"]))
            assert seen == [(b"103", LINK), (b"200", None)]
            assert file.read(6) == b"served"
        connection.close()

"""Serving through a frontend: kept connections, large messages, clients that disconnect, forwarded fields."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import random
import re
from collections.abc import Iterator
from typing import Any

import pytest

from reserve.options.table import FLAGS
from tests.real.frontends.cases import Case
from tests.real.frontends.clients import get, play
from tests.real.frontends.conftest import VARIANTS, Deploy, Deployment
from tests.real.frontends.proxies import FRONTENDS, TEXT, Frontend, configuration, reserve_options
from tests.real.serving import fetch
from tests.waiting import PATIENCE, eventually

LARGE = random.Random(5).randbytes(1 << 20) * 24
"""More bytes than either side keeps in memory, and than any socket buffer has."""
both = pytest.mark.parametrize("name", FRONTENDS)


@contextlib.contextmanager
def client(frontend: Frontend) -> Iterator[http.client.HTTPConnection]:
    """Python's HTTP client on a connection to the frontend."""
    with contextlib.closing(http.client.HTTPConnection("blog.example", timeout=PATIENCE)) as connection:
        connection.sock = frontend.connect()
        yield connection


def requests(deployment: Deployment) -> list[dict[str, Any]]:
    """The requests that the application received."""
    return [record for record in deployment.records() if "uri" in record]


@pytest.mark.peer
@both
def test_many_requests_share_few_connections(deploy: Deploy, name: str) -> None:
    with deploy(name, tcp=True) as deployment:
        for number in range(100):
            assert b" 200 OK\r\n" in get(deployment.frontend, f"/alone?{number}")
        with client(deployment.frontend) as kept:
            for number in range(100):
                assert fetch(kept, "POST", f"/kept?{number}", b"content")[0] == 200
    records = requests(deployment)
    assert [entry.status for entry in deployment.frontend.entries() if entry.forwarded] == ["200"] * 200
    assert len(records) == 200
    assert len({record["peer"] for record in records}) <= 3


@pytest.mark.peer
@both
def test_a_server_without_keep_alive_causes_no_502(deploy: Deploy, name: str) -> None:
    with deploy(name, "--keep-alive", "0", tcp=True) as deployment, client(deployment.frontend) as kept:
        for number in range(200):
            assert fetch(kept, "POST", f"/kept?{number}", b"content")[0] == 200
    assert len({record["peer"] for record in requests(deployment)}) == 200


def test_the_page_lets_the_frontend_close_first() -> None:
    options = reserve_options()
    keep_alive = int(options[options.index("--keep-alive") + 1].removesuffix("s"))
    (nginx,) = re.findall(r"keepalive_timeout (\d+)s;", configuration("nginx").partition("server {\n")[0])
    assert int(nginx) < keep_alive
    ((most, delay),) = re.findall(r"pool-max-conn (\d+) pool-purge-delay (\d+)s", configuration("haproxy"))
    # HAProxy closes half of its idle connections each time, so it closes the last one after this many times.
    assert int(delay) * (int(most).bit_length() + 1) < keep_alive


def test_the_page_names_options_that_exist() -> None:
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))
    assert {"--keep-alive", "--linger-bytes", "--max-body"} <= options <= set(FLAGS)


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload_arrives(deploy: Deploy, name: str, buffering: bool, chunked: bool) -> None:
    body = iter([LARGE[start : start + 100_000] for start in range(0, len(LARGE), 100_000)]) if chunked else LARGE
    fields = {"Transfer-Encoding": "chunked"} if chunked else {}
    with deploy(name, buffering=buffering) as deployment, client(deployment.frontend) as sender:
        status, _, response = fetch(sender, "POST", "/form", body, fields)
    assert status == 200
    record = json.loads(response)
    assert record["length"] == len(LARGE)
    assert record["sha256"] == hashlib.sha256(LARGE).hexdigest()


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
def test_a_large_download_arrives(deploy: Deploy, name: str, buffering: bool) -> None:
    with deploy(name, buffering=buffering) as deployment, client(deployment.frontend) as receiver:
        status, fields, body = fetch(receiver, "GET", "/download")
        assert status == 200
        assert fields["Content-Length"] == str(512 * 65536)
        assert body == b"0123456789abcdef" * (512 * 4096)


@pytest.mark.peer
@both
def test_reserve_refuses_a_body_that_is_too_large(deploy: Deploy, name: str) -> None:
    with deploy(name, "--max-body", "1m") as deployment:
        for number in range(20):
            head = b"POST /form?%d HTTP/1.1\r\nHost: blog.example\r\nContent-Length: %d\r\n\r\n" % (number, 2 << 20)
            response = play(deployment.frontend, Case("too large", head + LARGE[: 2 << 20]))
            assert response.startswith(b"HTTP/1.1 413 ")
            assert b"(--max-body)" in response
        assert b" 200 OK\r\n" in get(deployment.frontend, "/next")
    # HAProxy reads the rest of the body and keeps the connection; nginx closes it.
    assert {record["uri"] for record in requests(deployment)} - {"/last"} == {"/next"}


@pytest.mark.peer
@both
def test_a_client_disconnects_during_the_response(deploy: Deploy, name: str) -> None:
    with deploy(name) as deployment:
        with deployment.frontend.connect() as sock:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: blog.example\r\n\r\n")
            assert sock.recv(1)
        eventually(lambda: {"closed": "/endless"} in deployment.records())
        assert b" 200 OK\r\n" in get(deployment.frontend, "/next")
    assert [record["uri"] for record in requests(deployment)] == ["/endless", "/next"]


@pytest.mark.peer
@both
def test_a_client_disconnects_during_its_request(deploy: Deploy, name: str) -> None:
    with deploy(name) as deployment:
        for length in (b"Content-Length: 1000\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"):
            with deployment.frontend.connect() as sock:
                sock.sendall(b"POST /cut HTTP/1.1\r\nHost: blog.example\r\n" + length)
            assert b" 200 OK\r\n" in get(deployment.frontend, "/next")
    assert [record["uri"] for record in requests(deployment)] == ["/next", "/next"]


@pytest.mark.peer
@both
def test_a_client_that_waits_for_the_100_gets_it(deploy: Deploy, name: str) -> None:
    with deploy(name) as deployment, deployment.frontend.connect() as sock, sock.makefile("rb") as responses:
        head = b"POST /form HTTP/1.1\r\nHost: blog.example\r\nConnection: close\r\n"
        sock.sendall(head + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert responses.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert responses.readline() == b"\r\n"
        sock.sendall(b"hello")
        assert responses.readline() == b"HTTP/1.1 200 OK\r\n"
        assert b'"length": 5,' in responses.read()


@pytest.mark.peer
@both
def test_reserve_passes_host_and_forwarded_fields_on_unchanged(deploy: Deploy, name: str) -> None:
    sent = {
        "Host": "shop.example",
        "X-Forwarded-For": "192.0.2.66",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "other.example",
        "Forwarded": "for=192.0.2.66;proto=https",
        "X-Request-Id": "forged",
    }
    with deploy(name, tcp=True) as deployment, client(deployment.frontend) as sender:
        assert fetch(sender, "GET", "/page", headers=sent)[0] == 200
    (record,) = requests(deployment)
    environ = record["environ"]
    assert environ["HTTP_HOST"] == "shop.example"
    assert environ["HTTP_X_FORWARDED_HOST"] == "other.example"
    assert environ["HTTP_FORWARDED"] == "for=192.0.2.66;proto=https"
    # The frontend replaced these two fields of the client; reserve itself uses neither.
    assert environ["HTTP_X_FORWARDED_PROTO"] == "http"
    assert "192.0.2.66" not in environ.get("HTTP_X_FORWARDED_FOR", "")
    assert record["id"] in {entry.id for entry in deployment.frontend.entries()}
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")


@pytest.mark.peer
@both
def test_the_application_gets_the_host_that_the_frontend_chose(deploy: Deploy, name: str) -> None:
    absolute = b"GET http://target.example/page HTTP/1.1\r\nHost: field.example\r\n\r\n"
    without_host = b"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with deploy(name) as deployment:
        play(deployment.frontend, Case("two hosts", absolute))
        play(deployment.frontend, Case("no host", without_host))
    hosts = [record["environ"].get("HTTP_HOST") for record in requests(deployment)]
    if name == "nginx":
        assert hosts == ["target.example", "example.test", "blog.example", "example.test"]
    else:  # HAProxy itself refuses the first request
        assert hosts == [None, "example.test"]

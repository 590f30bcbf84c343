"""What a frontend is for works through it: kept connections, large messages, clients that go away, forwarded fields."""

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
from tests.real.behind.cases import Case
from tests.real.behind.clients import ask, play
from tests.real.behind.conftest import VARIANTS, Behind, Stand
from tests.real.behind.fronts import FRONTS, TEXT, Front, block, reserve_options
from tests.real.serving import PATIENCE, fetch
from tests.waiting import eventually

LARGE = random.Random(5).randbytes(1 << 20) * 24
"""More than either side keeps in memory, and than any socket buffer."""
both = pytest.mark.parametrize("name", FRONTS)


@contextlib.contextmanager
def client(front: Front) -> Iterator[http.client.HTTPConnection]:
    """Python's own client, on a connection to the frontend."""
    with contextlib.closing(http.client.HTTPConnection("blog.example", timeout=PATIENCE)) as connection:
        connection.sock = front.connect()
        yield connection


def requests(behind: Behind) -> list[dict[str, Any]]:
    return [record for record in behind.records() if "uri" in record]


@pytest.mark.peer
@both
def test_many_requests_share_few_connections(stand: Stand, name: str) -> None:
    with stand(name, tcp=True) as behind:
        for number in range(100):
            assert b" 200 OK\r\n" in ask(behind.front, f"/alone?{number}")
        with client(behind.front) as kept:
            for number in range(100):
                assert fetch(kept, "POST", f"/kept?{number}", b"content")[0] == 200
    records = requests(behind)
    assert [entry.status for entry in behind.front.entries() if entry.forwarded] == ["200"] * 200
    assert len(records) == 200
    assert len({record["peer"] for record in records}) <= 3


@pytest.mark.peer
@both
def test_a_server_that_closes_each_time_makes_no_502(stand: Stand, name: str) -> None:
    with stand(name, "--keep-alive", "0", tcp=True) as behind, client(behind.front) as kept:
        for number in range(200):
            assert fetch(kept, "POST", f"/kept?{number}", b"content")[0] == 200
    assert len({record["peer"] for record in requests(behind)}) == 200


def test_the_page_lets_the_frontend_close_first() -> None:
    options = reserve_options()
    ours = int(options[options.index("--keep-alive") + 1].removesuffix("s"))
    (nginx,) = re.findall(r"keepalive_timeout (\d+)s;", block("nginx").partition("server {\n")[0])
    assert int(nginx) < ours
    ((most, delay),) = re.findall(r"pool-max-conn (\d+) pool-purge-delay (\d+)s", block("haproxy"))
    # Each time half of the idle ones are closed, so the last one after this many times.
    assert int(delay) * (int(most).bit_length() + 1) < ours


def test_the_page_names_options_that_exist() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", TEXT))
    assert {"--keep-alive", "--linger-bytes", "--max-body"} <= named <= set(FLAGS)


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_upload(stand: Stand, name: str, buffering: bool, chunked: bool) -> None:
    body = iter([LARGE[start : start + 100_000] for start in range(0, len(LARGE), 100_000)]) if chunked else LARGE
    fields = {"Transfer-Encoding": "chunked"} if chunked else {}
    with stand(name, buffering=buffering) as behind, client(behind.front) as sender:
        status, _, answer = fetch(sender, "POST", "/form", body, fields)
    assert status == 200
    found = json.loads(answer)
    assert found["length"] == len(LARGE)
    assert found["sha256"] == hashlib.sha256(LARGE).hexdigest()


@pytest.mark.peer
@pytest.mark.parametrize(("name", "buffering"), VARIANTS)
def test_a_large_download(stand: Stand, name: str, buffering: bool) -> None:
    with stand(name, buffering=buffering) as behind, client(behind.front) as receiver:
        status, fields, answer = fetch(receiver, "GET", "/download")
        assert status == 200
        assert fields["Content-Length"] == str(512 * 65536)
        assert answer == b"0123456789abcdef" * (512 * 4096)


@pytest.mark.peer
@both
def test_what_is_too_large_is_refused_by_reserve(stand: Stand, name: str) -> None:
    with stand(name, "--max-body", "1m") as behind:
        for number in range(20):
            head = b"POST /form?%d HTTP/1.1\r\nHost: blog.example\r\nContent-Length: %d\r\n\r\n" % (number, 2 << 20)
            answer = play(behind.front, Case("too large", head + LARGE[: 2 << 20]))
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert b"(--max-body)" in answer
        assert b" 200 OK\r\n" in ask(behind.front, "/next")
    # HAProxy takes the rest of the body and goes on, nginx closes.
    assert {record["uri"] for record in requests(behind)} - {"/last"} == {"/next"}


@pytest.mark.peer
@both
def test_a_client_that_goes_away_in_the_answer(stand: Stand, name: str) -> None:
    with stand(name) as behind:
        with behind.front.connect() as sock:
            sock.sendall(b"GET /endless HTTP/1.1\r\nHost: blog.example\r\n\r\n")
            assert sock.recv(1)
        eventually(lambda: {"closed": "/endless"} in behind.records())
        assert b" 200 OK\r\n" in ask(behind.front, "/next")
    assert [record["uri"] for record in requests(behind)] == ["/endless", "/next"]


@pytest.mark.peer
@both
def test_a_client_that_goes_away_in_its_request(stand: Stand, name: str) -> None:
    with stand(name) as behind:
        for length in (b"Content-Length: 1000\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"):
            with behind.front.connect() as sock:
                sock.sendall(b"POST /cut HTTP/1.1\r\nHost: blog.example\r\n" + length)
            assert b" 200 OK\r\n" in ask(behind.front, "/next")
    assert [record["uri"] for record in requests(behind)] == ["/next", "/next"]


@pytest.mark.peer
@both
def test_a_client_that_waits_for_the_100(stand: Stand, name: str) -> None:
    with stand(name) as behind, behind.front.connect() as sock, sock.makefile("rb") as answers:
        head = b"POST /form HTTP/1.1\r\nHost: blog.example\r\nConnection: close\r\n"
        sock.sendall(head + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert answers.readline() == b"\r\n"
        sock.sendall(b"hello")
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
        assert b'"length": 5,' in answers.read()


@pytest.mark.peer
@both
def test_host_and_forwarded_fields_are_left_alone(stand: Stand, name: str) -> None:
    claimed = {
        "Host": "shop.example",
        "X-Forwarded-For": "192.0.2.66",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "other.example",
        "Forwarded": "for=192.0.2.66;proto=https",
        "X-Request-Id": "forged",
    }
    with stand(name, tcp=True) as behind, client(behind.front) as sender:
        assert fetch(sender, "GET", "/page", headers=claimed)[0] == 200
    (record,) = requests(behind)
    environ = record["environ"]
    assert environ["HTTP_HOST"] == "shop.example"
    assert environ["HTTP_X_FORWARDED_HOST"] == "other.example"
    assert environ["HTTP_FORWARDED"] == "for=192.0.2.66;proto=https"
    # The frontend has set these, instead of the client's; reserve believes neither.
    assert environ["HTTP_X_FORWARDED_PROTO"] == "http"
    assert "192.0.2.66" not in environ.get("HTTP_X_FORWARDED_FOR", "")
    assert record["id"] in {entry.id for entry in behind.front.entries()}
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")


@pytest.mark.peer
@both
def test_which_host_the_application_sees(stand: Stand, name: str) -> None:
    absolute = b"GET http://target.example/page HTTP/1.1\r\nHost: field.example\r\n\r\n"
    none = b"GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    with stand(name) as behind:
        play(behind.front, Case("two hosts", absolute))
        play(behind.front, Case("no host", none))
    seen = [record["environ"].get("HTTP_HOST") for record in requests(behind)]
    if name == "nginx":
        assert seen == ["target.example", "example.test", "blog.example", "example.test"]
    else:  # it refuses the first one itself
        assert seen == [None, "example.test"]

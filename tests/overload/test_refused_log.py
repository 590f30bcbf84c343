"""The access log's lines of requests that the server refuses itself: who asked is in them, as far as it was read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.http1.limits import Limits
from tests.apps.http.responses import receive, request
from tests.overload.site import Gate, site

WHO = ("Referer: http://here/", "User-Agent: \t a browser ")
LOGGED = HTTPSettings(limits=Limits(max_body=10, max_fields=5))
LINE = re.compile(r'"([^"]*)" (\d+) \d+ "([^"]*)" "([^"]*)"')


def lines(capsys: pytest.CaptureFixture[str]) -> list[tuple[str, ...]]:
    """Request, status, referer and agent of each line."""
    return [match.groups() for match in map(LINE.search, capsys.readouterr().out.splitlines()) if match]


@pytest.mark.parametrize(
    ("fields", "body", "status"),
    [
        (("Content-Length: 11",), b"", "413"),  # known from the head
        (("Transfer-Encoding: chunked",), b"b\r\n12345678901", "413"),  # found in the body
        (("Content-Length: 1", "Content-Length: 2"), b"", "400"),
    ],
)
def test_refused_for_what_it_is(
    capsys: pytest.CaptureFixture[str], fields: tuple[str, ...], body: bytes, status: str
) -> None:
    with site(Gate(), http=LOGGED) as one:
        client = one.connect(request("POST", "/x", *WHO, *fields) + body)
        assert receive(client).status == int(status)
    assert lines(capsys) == [("POST /x HTTP/1.1", status, "http://here/", "a browser")]


def test_refused_in_the_middle_of_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    with site(Gate(), http=LOGGED) as one:
        client = one.connect(request("GET", "/x", "A: 1", "B: 2", "C: 3", *WHO, "D: 4"))
        assert receive(client).status == 431
    assert [line[:2] for line in lines(capsys)] == [("GET /x HTTP/1.1", "431")]


def test_refused_by_the_queue(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    with site(gate, http=LOGGED, max_queued=1, queue_timeout=10.0) as one:
        busy = one.connect(request("GET", "/wait"))
        gate.inside()
        waiting = one.connect(request("GET", "/slow", *WHO))
        one.queue_holds(1)
        assert receive(one.connect(request("GET", "/late", *WHO))).status == 503
        one.clock.advance(11)
        assert receive(waiting).status == 503
        gate.let_go()
        assert receive(busy).status == 200
    assert lines(capsys) == [
        ("GET /late HTTP/1.1", "503", "http://here/", "a browser"),
        ("GET /slow HTTP/1.1", "503", "http://here/", "a browser"),
        ("GET /wait HTTP/1.1", "200", "-", "-"),
    ]


def test_what_an_application_puts_into_its_environ_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["HTTP_REFERER"] = 5
        return gate(environ, start_response)

    with site(app, http=LOGGED, request_timeout=10.0) as one:
        client = one.connect(request("GET", "/wait", *WHO))
        gate.inside()
        one.clock.advance(11)
        assert receive(client).status == 503
        gate.let_go()
    assert lines(capsys) == [("GET /wait HTTP/1.1", "503", "-", "a browser")]

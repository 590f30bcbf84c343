"""The access log's lines of requests that the server itself refuses: they have the fields that were received."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reserve.apps.http.settings import HTTPSettings
from reserve.protocol.http1.limits import Limits
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.overload.site import serving

CLIENT_FIELDS = ("Referer: http://here/", "User-Agent: \t a browser ")
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
def test_a_request_that_breaks_a_rule_is_logged_with_its_fields(
    capsys: pytest.CaptureFixture[str], fields: tuple[str, ...], body: bytes, status: str
) -> None:
    with serving(Gate(), http=LOGGED) as site:
        client = site.connect(request("POST", "/x", *CLIENT_FIELDS, *fields) + body)
        assert receive(client).status == int(status)
    assert lines(capsys) == [("POST /x HTTP/1.1", status, "http://here/", "a browser")]


def test_a_request_that_is_refused_within_its_head_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(Gate(), http=LOGGED) as site:
        client = site.connect(request("GET", "/x", "A: 1", "B: 2", "C: 3", *CLIENT_FIELDS, "D: 4"))
        assert receive(client).status == 431
    assert [line[:2] for line in lines(capsys)] == [("GET /x HTTP/1.1", "431")]


def test_a_request_that_is_refused_in_the_queue_is_logged_with_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()
    with serving(gate, http=LOGGED, max_queued=1, queue_timeout=10.0) as site:
        busy = site.connect(request("GET", "/wait"))
        gate.wait_entered()
        waiting = site.connect(request("GET", "/slow", *CLIENT_FIELDS))
        site.wait_queued(1)
        assert receive(site.connect(request("GET", "/late", *CLIENT_FIELDS))).status == 503
        site.clock.advance(11)
        assert receive(waiting).status == 503
        gate.release()
        assert receive(busy).status == 200
    assert lines(capsys) == [
        ("GET /late HTTP/1.1", "503", "http://here/", "a browser"),
        ("GET /slow HTTP/1.1", "503", "http://here/", "a browser"),
        ("GET /wait HTTP/1.1", "200", "-", "-"),
    ]


def test_an_environ_that_the_application_has_changed_breaks_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    gate = Gate()

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        environ["HTTP_REFERER"] = 5
        return gate(environ, start_response)

    with serving(app, http=LOGGED, request_timeout=10.0) as site:
        client = site.connect(request("GET", "/wait", *CLIENT_FIELDS))
        gate.wait_entered()
        site.clock.advance(11)
        assert receive(client).status == 503
        gate.release()
    assert lines(capsys) == [("GET /wait HTTP/1.1", "503", "-", "a browser")]

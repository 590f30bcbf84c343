"""What the pages of strictness and of responses say is the same on the straight line, in each of its forms.

The rows themselves are tested without it (:mod:`tests.strictness`); here all that can be seen of each row has to be as
it is without the line. The connection has had a request before, so that the row's own is on the line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from wsgiref.validate import validator

import pytest

from reserve.protocol.http1.responsefields import CACHED_LINES, CACHED_STATUS
from tests.apps.http.doubles import hello
from tests.apps.http.responses import request
from tests.apps.http.straightclient import StraightClient
from tests.fuzz.seeds import SEEDS
from tests.strictness.accepted import ACCEPTED
from tests.strictness.page import REFUSED
from tests.strictness.responserows import RESPONSES
from tests.strictness.rows import Acceptance, Refusal, ResponseRow
from tests.strictness.test_responses import application

REFUSALS = [row for group in REFUSED.values() for row in group.rows if row.example is not None]
ACCEPTANCES = [row for rows in ACCEPTED.values() for row in rows]
ROWS = [row for tables in RESPONSES.values() for group in tables.values() for row in group.rows]
SEEN: list[str] = ["PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "REQUEST_URI", "SERVER_PROTOCOL"]


def named(row: Any) -> str:
    name: str = row.name
    return name


class Noting:
    """An application that notes what it gets."""

    def __init__(self) -> None:
        self.notes: list[Any] = []

    def __call__(self, environ: Any, start_response: Any) -> Any:
        fields = [
            (key, value) for key, value in environ.items() if key.startswith(("HTTP_", "CONTENT_")) or key in SEEN
        ]
        self.notes.append((sorted(fields), environ["wsgi.input"].read()))
        return hello({**environ, "wsgi.input": _Empty()}, start_response)


class _Empty:
    def read(self) -> bytes:
        return b""


def received(form: str | None, *pieces: bytes) -> dict[str, Any]:
    """All that can be seen of what is sent behind another request."""
    app = Noting()
    client = StraightClient(app, form)
    try:
        return {
            "before": client.send(request()),
            "response": client.send(*pieces),
            "canary": b"" if client.closed else client.send(request("GET", "/canary")),
            "notes": app.notes,
            **client.observed(),
        }
    finally:
        client.close()


@pytest.mark.parametrize("row", [*REFUSALS, *ACCEPTANCES], ids=named)
def test_a_request_is_refused_or_accepted_as_without_the_line(
    straight_line_form: str, row: Refusal | Acceptance
) -> None:
    assert row.example is not None
    assert received(straight_line_form, row.example.sent) == received(None, row.example.sent)


def test_the_seeds_of_the_fuzzer_are_read_as_without_the_line(straight_line_form: str) -> None:
    for seed in SEEDS["stream"]:
        assert received(straight_line_form, seed) == received(None, seed), seed


def responded(form: str | None, row: ResponseRow, file: Path) -> dict[str, Any]:
    client = StraightClient(application(row, file), form)
    try:
        return {
            "before": client.send(request("GET", "/canary")),
            "response": client.send(request(row.method, "/", *row.lines, minor=row.minor)),
            "canary": b"" if client.closed else client.send(request("GET", "/canary")),
            **client.observed(),
        }
    finally:
        client.close()


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_an_application_gets_the_response_of_its_row_as_without_the_line(
    straight_line_form: str, row: ResponseRow, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"0123456789")
    # What is cached of one response is for the next as well: neither may depend on the other.
    found = []
    for form in (straight_line_form, None):
        CACHED_LINES.clear()
        CACHED_STATUS.clear()
        found.append(responded(form, row, file))
    straight, general = found
    assert straight == general
    assert general["response"].startswith(b"HTTP/1.1 ")


def test_the_validator_of_wsgiref_finds_nothing(straight_line_form: str) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        if environ["PATH_INFO"] == "/write":
            write(b"written ")
        if environ["PATH_INFO"] == "/fail":
            raise KeyError("after start_response")
        return [b"valid"]

    for method, path in (("GET", "/"), ("GET", "/write"), ("OPTIONS", "/?x=y"), ("DELETE", "/a%20b")):
        client = StraightClient(validator(app), straight_line_form)
        for _ in range(2):
            assert client.send(request(method, path)).endswith((b"valid", b"valid\r\n0\r\n\r\n"))
        assert client.log == []
        client.close()

"""The status page at its path: its two forms, its data, and what it says when the server cannot be asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reserve.control.page.statuspage import StatusPage
from reserve.errors import StartupError
from reserve.gateways.static import StaticResponse
from tests.control.page.documents import document


class Collected:
    """A collector that gives one document, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.timeouts: list[float] = []

    def collect(self, timeout: float = 60.0) -> dict[str, Any]:
        self.timeouts.append(timeout)
        if self.error is not None:
            raise self.error
        return document()


def ask(query: str = "", method: str = "GET", error: Exception | None = None) -> StaticResponse:
    return StatusPage(Collected(error)).respond({"REQUEST_METHOD": method, "QUERY_STRING": query})


def body(response: StaticResponse) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


@pytest.mark.parametrize("query", ["", "unknown=1"])
def test_the_page(query: str) -> None:
    response = ask(query)
    fields = dict(response.headers)
    assert (response.status, fields["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert fields["Content-Length"] == str(len(body(response)))
    assert fields["Cache-Control"] == "no-store"
    assert body(response).startswith(b"<!DOCTYPE html>")


def test_the_document_and_the_view() -> None:
    decoded = json.loads(body(ask("json")))
    assert decoded == json.loads(json.dumps(document()))
    assert json.loads(body(ask("view")))["headline"] == "Healthy"
    assert dict(ask("json").headers)["Content-Type"] == "application/json"


def test_a_response_to_head_says_how_long_the_page_is() -> None:
    response = ask(method="HEAD")
    assert body(response) == b""
    assert int(dict(response.headers)["Content-Length"]) > 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "BREW"])
def test_it_can_only_be_read(method: str) -> None:
    response = ask(method=method)
    assert (response.status, dict(response.headers)["Allow"]) == (405, "GET, HEAD")


def test_it_waits_no_longer_than_a_page_may() -> None:
    collected = Collected()
    StatusPage(collected).respond({"REQUEST_METHOD": "GET", "QUERY_STRING": ""})
    assert collected.timeouts == [2.0]


def test_a_server_that_cannot_be_asked() -> None:
    error = StartupError("no server listens on /run/<b>x</b>")
    response = ask(error=error)
    assert response.status == 503
    assert b"Not reachable" in body(response)
    assert b"/run/&lt;b&gt;x&lt;/b&gt;" in body(response)
    for query in ("view", "json"):
        response = ask(query, error=error)
        assert (response.status, body(response)) == (503, b"no server listens on /run/<b>x</b>\n")
        assert dict(response.headers)["Content-Type"] == "text/plain; charset=utf-8"


def test_a_document_of_another_version_that_cannot_be_read() -> None:
    class Other(Collected):
        def collect(self, timeout: float = 60.0) -> dict[str, Any]:
            return {"version": 9, "processes": [{}]}

    for query in ("", "view"):
        response = StatusPage(Other()).respond({"REQUEST_METHOD": "GET", "QUERY_STRING": query})
        assert response.status == 503
        assert b"no document that this version of the page can read" in body(response)

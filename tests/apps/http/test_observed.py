"""What is collected of a request for those who want to see it: times, its ID, where it came from; and what is not."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from typing import Any

import pytest

from reserve.apps._accesslog.formats import compile_format
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.engine.settings import EngineSettings
from reserve.gateways.wsgi import WSGIGateway
from reserve.testing import FakeClock, MemoryClient, running
from reserve.testing.memoryserver import MemoryServer
from tests.apps.http.responses import only, request, split
from tests.waiting import PATIENCE, eventually

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Site:
    """An application in memory whose time the test decides; each request advances the clock.

    :param settings: of the application.
    :param trusted: ``--trusted-proxies``.
    """

    def __init__(self, trusted: str = "", **settings: Any) -> None:
        self.clock = FakeClock()
        self.records: list[Any] = []
        self.environ: dict[str, Any] = {}
        self.http = HTTPApp(WSGIGateway(self.application), HTTPSettings(**settings))
        self.http.access_log = self  # type: ignore[assignment]
        server = MemoryServer(self.clock)
        server.settings = EngineSettings(trusted_proxies=trusted)
        self.client = MemoryClient(self.http, server=server)
        self.put = self.records.append
        self.lines_dropped = 0

    def application(self, environ: Any, start_response: Any) -> Any:
        self.environ = dict(environ)
        environ["wsgi.input"].read()
        environ["user.name"] = "kim"
        environ["HTTP_X_REQUEST_ID"] = environ["HTTP_TRACEPARENT"] = "forged"
        self.clock.advance(0.25)
        fields = [("X-Kind", "k"), ("Content-Length", "4")]
        start_response("200 OK", [*fields, ("x-kind", "l")] if environ["PATH_INFO"] == "/twice" else fields)
        yield b"bo"
        self.clock.advance(0.5)
        yield b"dy"

    def shown(self) -> dict[str, Any]:
        """The one record, as JSON shows it."""
        (record,) = self.records
        result = json.loads(compile_format("json").render(record))
        assert isinstance(result, dict)
        return result


def test_the_times_of_a_request() -> None:
    site = Site(access_log_format="json")
    whole = request("POST", "/x", "Referer: r", body=b"12345")
    site.client.send(whole[:-3])
    site.clock.advance(2)
    site.client.send(whole[-3:])
    shown = site.shown()
    assert {key: shown[key] for key in ("queue", "app", "ttfb", "write", "duration")} == {
        "queue": 0.0, "app": 0.75, "ttfb": 2.25, "write": 0.5, "duration": 2.75,
    }  # fmt: skip
    assert (shown["received"], shown["bytes"]) == (len(whole), 4)
    assert shown["sent"] > 100
    assert (shown["method"], shown["target"], shown["referer"], shown["status"]) == ("POST", "/x", "r", 200)
    assert (shown["tls"], shown["frontend"], shown["traceparent"]) == (None, None, None)
    assert shown["thread"] == "MainThread"


def test_a_line_with_the_write_time_is_put_when_the_last_byte_has_left() -> None:
    site = Site(access_log_format="%(write)s")
    site.client.read(20)
    site.client.send(request("GET", "/"))
    site.clock.advance(1)
    assert site.records == []
    site.client.read(None)
    (record,) = site.records
    assert record.details.write == 1.5
    assert record.status == 200


def test_a_line_with_the_write_time_is_put_when_the_connection_ends_before() -> None:
    site = Site(access_log_format="%(write)s")
    site.client.read(20)
    site.client.send(request("GET", "/"))
    assert site.records == []
    site.client.advance(3600)
    assert len(site.records) == 1


def test_a_line_without_the_write_time_does_not_wait() -> None:
    site = Site(access_log_format="%(app)s")
    site.client.read(20)
    site.client.send(request("GET", "/"))
    assert len(site.records) == 1
    site.client.read(None)
    assert len(site.records) == 1


def test_the_usual_format_collects_nothing() -> None:
    site = Site()
    site.client.send(request("GET", "/"))
    (record,) = site.records
    assert type(record) is tuple
    assert "reserve.request_id" not in site.environ


def test_fields_of_the_request_are_those_that_came_and_variables_those_that_the_application_has_left() -> None:
    site = Site(access_log_format="%({traceparent}i)s %({x-request-id}i)s %({X-Kind}o)s %({user.name}e)s %(u)s")
    site.client.send(request("GET", "/twice", f"Traceparent: {TRACE}", "Authorization: Basic a2ltOnNlY3JldA=="))
    (record,) = site.records
    render = compile_format(site.http.settings.access_log_format).render
    assert render(record) == f"{TRACE} - k, l kim kim"


def test_what_an_application_has_put_into_its_environ_is_not_called() -> None:
    class Hostile(str):
        def __str__(self) -> str:
            raise AssertionError

        __len__ = __format__ = __str__  # type: ignore[assignment]

    def app(environ: Any, start_response: Any) -> list[bytes]:
        environ.update(a=Hostile("x"), b=object(), c=12, d=None, e="e" * 2000, f=10**5000)
        start_response("200 OK", [])
        return []

    site = Site(access_log_format="%({a}e)s %({b}e)s %({c}e)s %({d}e)s %({f}e)s %({e}e)s")
    site.http.gateway.app = app
    site.client.send(request("GET", "/"))
    (record,) = site.records
    assert compile_format(site.http.settings.access_log_format).render(record) == f"- - 12 - - {'e' * 1024}..."


# ---- request IDs ----


@pytest.mark.parametrize("choice", ["environ", "response"])
def test_each_request_has_an_id(choice: str) -> None:
    site = Site(request_id=choice)
    ids = []
    for _ in range(2):
        response = only(site.client.send(request("GET", "/")))
        ids.append(site.environ["reserve.request_id"])
        assert response.fields.get("x-request-id") == (ids[-1] if choice == "response" else None)
    assert len(set(ids)) == 2


def test_the_id_in_the_log_is_the_one_that_the_application_has_seen() -> None:
    site = Site(access_log_format="%(request_id)s")
    site.client.send(request("GET", "/"))
    (record,) = site.records
    assert record.details.request_id == site.environ["reserve.request_id"] != ""


@pytest.mark.parametrize(("trusted", "taken"), [("127.0.0.1", True), ("", False), ("192.0.2.1", False)])
def test_only_a_trusted_frontend_chooses_the_id_and_says_when_the_request_came(trusted: str, taken: bool) -> None:
    site = Site(trusted, access_log_format="json", request_id="response")
    start = f"X-Request-Start: t={time.time() - 3:.3f}"
    response = only(site.client.send(request("GET", "/", "X-Request-ID: theirs", start, f"traceparent: {TRACE}")))
    shown = site.shown()
    assert (shown["request_id"] == "theirs") == taken
    assert response.fields["x-request-id"] == site.environ["reserve.request_id"] == shown["request_id"]
    assert site.environ["HTTP_X_REQUEST_ID"] == "theirs"
    assert shown["traceparent"] == TRACE
    if taken:
        assert 2.99 <= shown["frontend"] < 3 + PATIENCE
    else:
        assert shown["frontend"] is None


def test_responses_of_the_server_have_the_id_and_a_line_with_it_too() -> None:
    site = Site(access_log_format="%(request_id)s", request_id="response", health_path="/health")
    health = only(site.client.send(request("GET", "/health")))
    assert health.fields["x-request-id"]
    refused = only(site.client.send(request("POST", "/", "Content-Length: 99999999999")))
    (record,) = site.records
    assert (refused.status, record.status) == (413, 413)
    malformed = only(MemoryClient(site.http).send(b"nonsense\r\n\r\n"))
    assert "x-request-id" not in malformed.fields
    assert site.records[1].details.request_id == ""


def test_a_failed_application_has_its_id_in_the_500() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        raise ValueError

    site = Site(access_log_format="json", request_id="response")
    site.http.gateway.app = app
    response = only(site.client.send(request("GET", "/")))
    assert response.status == 500
    assert response.fields["x-request-id"] == site.shown()["request_id"]


# ---- Server-Timing ----


def test_server_timing_says_how_long_the_request_waited_and_the_application_took() -> None:
    site = Site(server_timing=True)
    response = only(site.client.send(request("GET", "/")))
    assert response.fields["server-timing"] == "queue;dur=0.000, app;dur=250.000"
    assert "x-request-id" not in response.fields


def test_server_timing_stands_beside_that_of_the_application() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Server-Timing", "db;dur=1")])
        return [b"x"]

    site = Site(server_timing=True)
    site.http.gateway.app = app
    raw = site.client.send(request("GET", "/"))
    assert re.findall(rb"(?m)^Server-Timing: (\w+)", raw) == [b"db", b"queue"]


def test_without_the_option_there_is_no_such_field() -> None:
    site = Site()
    assert "server-timing" not in only(site.client.send(request("GET", "/"))).fields


# ---- paths that are left out ----


def test_skipped_paths_have_no_line() -> None:
    site = Site(access_log_skip=("/health", "/static/*", "/a%20b"))
    targets = ("/health", "/health?x", "/health/", "/static/", "/static/x.css", "/stati", "/a%20b", "/a b%")
    for target in targets:
        if " " not in target:
            site.client.send(request("GET", target))
    assert [record[3] for record in site.records] == ["/health/", "/stati"]


# ---- a real server ----


def test_a_line_of_a_running_server_has_its_thread_and_the_queue_time() -> None:
    lines: list[str] = []

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["reserve.request_id"].encode()]

    settings = HTTPSettings(access_log_format="json", access_log_file="logger:observed")
    with running(app, http=settings) as server:

        class Lines(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(record.getMessage())

        logger = logging.getLogger("observed")
        logger.setLevel("INFO")
        logger.addHandler(handler := Lines())
        try:
            with socket.create_connection(server.address, PATIENCE) as sock:
                sock.sendall(request("GET", "/") + request("GET", "/2", "Connection: close"))
                responses = split(sock.makefile("rb").read())
            eventually(lambda: len(lines) == 2)
        finally:
            logger.removeHandler(handler)
    shown = [json.loads(line) for line in lines]
    assert [one["request_id"] for one in shown] == [response.text for response in responses]
    for one in shown:
        assert one["thread"].startswith("reserve-worker-")
        assert 0 <= one["queue"] <= one["ttfb"] <= one["duration"]
        assert one["write"] >= 0


def test_a_method_that_a_client_makes_up_is_not_kept_for_the_metrics() -> None:
    site = Site(access_log=False)
    site.client.send(request("M" * 1000, "/"))
    (pending,) = site.client.server.request_metrics.pending.values()
    assert [record[0] for record in pending[1:]] == ["other"]

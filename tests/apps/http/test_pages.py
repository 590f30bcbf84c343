"""Pages of the server's own (``HTTPContext.pages``): who gets them, while what, and what they leave behind."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.gateways.static import StaticResponse
from reserve.gateways.wsgi import WSGIGateway
from tests.apps.http.doubles import Gate
from tests.apps.http.responses import receive, request
from tests.clients import until_closed
from tests.overload.site import over_both, serving
from tests.waiting import eventually


class Page:
    """Responds with its count; ``/?fail`` raises."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []

    def respond(self, environ: dict[str, Any]) -> StaticResponse:
        self.environs.append(environ)
        if environ["QUERY_STRING"] == "fail":
            raise ValueError("a mistake in the page")
        body = b"page %d\n" % len(self.environs)
        return StaticResponse(200, [("Content-Length", str(len(body)))], b"" if is_head(environ) else body)


def is_head(environ: dict[str, Any]) -> bool:
    return bool(environ["REQUEST_METHOD"] == "HEAD")


def app_with(page: Page, application: Any, *, access_log: bool = False) -> HTTPApp:
    app = HTTPApp(WSGIGateway(application), HTTPSettings(access_log=access_log))
    app.pages = {"/page": page}
    return app


@over_both
def test_a_page_responds_while_every_worker_is_busy_and_the_queue_is_full(secure: bool) -> None:
    gate, page = Gate(), Page()
    with serving(app_with(page, gate), threads=2, max_queued=1, secure=secure) as site:
        busy = [site.connect(request("GET", "/wait")) for _ in range(2)]
        gate.wait_entered(2)
        queued = site.connect(request())
        site.wait_queued(1)
        assert site.fetch().status == 503
        kept = site.connect()
        for number in range(1, 6, 2):
            kept.sendall(request("GET", "/page"))
            assert receive(kept).text == f"page {number}\n"
            kept.sendall(request("HEAD", "/page?x=1"))
            response = receive(kept, head=True)
            assert (response.status, response.fields["content-length"], response.body) == (200, "7", b"")
        gate.release()
        assert [receive(client).body for client in (*busy, queued)] == [b"served"] * 3
        assert "/page" not in gate.paths


def test_a_pipeline_of_pages_is_served_in_order() -> None:
    with serving(app_with(Page(), Gate())) as site:
        client = site.connect(request("GET", "/page") * 20 + request("GET", "/page", "Connection: close"))
        raw, reset = until_closed(client)
        assert [line for line in raw.decode().splitlines() if line.startswith("page")] == [
            f"page {number}" for number in range(1, 22)
        ]
        assert not reset


def test_every_method_without_a_body_gets_the_page_and_one_with_a_body_the_application() -> None:
    page = Page()
    with serving(app_with(page, Gate())) as site:
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            assert site.fetch(request(method, "/page")).body.startswith(b"page")
            assert page.environs[-1]["REQUEST_METHOD"] == method
        assert site.fetch(request("POST", "/page", body=b"x")).body == b"served"
        assert site.fetch(request("GET", "/page/")).body == b"served"


def test_a_page_that_raises_is_a_500_and_a_line_and_the_connection_goes_on() -> None:
    with serving(app_with(Page(), Gate())) as site:
        client = site.connect(request("GET", "/page?fail"))
        assert receive(client).status == 500
        client.sendall(request("GET", "/page"))
        assert receive(client).text == "page 2\n"
        eventually(lambda: site.log)  # another thread writes it
        (line,) = site.log
        assert "500: a page of the server cannot be sent: " in line
        assert line.endswith("ValueError: a mistake in the page")


def test_pages_stand_in_no_count_and_no_log(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(app_with(Page(), Gate(), access_log=True)) as site:
        assert site.fetch(request("GET", "/page")).status == 200
        assert site.fetch(request("GET", "/page?fail")).status == 500
        assert site.fetch(request("GET", "/other")).body == b"served"
        site.wait_for_stats(handled=1)
        stats = site.stats()
        assert stats.requests.responses == (("GET", 200, 1),)
        assert sum(stats.requests.duration.counts) == 1
        assert stats.requests.bytes_sent == len(b"served")
    lines = capfd.readouterr().out.splitlines()
    assert [line.split('"')[1] for line in lines] == ["GET /other HTTP/1.1"]


def test_a_client_that_goes_away_within_a_page_leaves_nothing() -> None:
    with serving(app_with(Page(), Gate())) as site:
        client: socket.socket = site.connect(request("GET", "/page"))
        client.close()
        site.wait_released()
        assert site.fetch(request("GET", "/page")).status == 200

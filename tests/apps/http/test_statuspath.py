"""``--status-path`` in a server, and ``reserve app http status``: a page that needs no worker."""

from __future__ import annotations

import json
from typing import Any

import pytest

import reserve
from reserve.apps.fcgi.app import FastCGIApp
from reserve.apps.http import launch
from reserve.apps.http.app import HTTPApp
from reserve.apps.http.settings import HTTPSettings
from reserve.errors import UsageError
from reserve.gateways.wsgi import WSGIGateway
from reserve.loader.arguments import Arguments
from reserve.testing import RunningServer, running
from tests.apps.cgi.protocols import SCGI, UWSGI, Protocol
from tests.apps.http.doubles import Gate, hello
from tests.apps.http.responses import Response, fetch, request
from tests.overload.site import over_both, serving
from tests.waiting import eventually

PATH = HTTPSettings(access_log=False, status_path="/status")


def get(target: str, host: str = "localhost") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def document(response: Response) -> Any:
    assert response.status == 200
    return json.loads(response.body)


@over_both
def test_it_is_there_while_every_worker_is_busy_and_the_queue_is_full(secure: bool) -> None:
    gate = Gate()
    with serving(gate, http=PATH, threads=2, max_queued=1, secure=secure) as site:
        for _ in range(2):
            site.connect(request("GET", "/wait?x=<b>"))
        gate.wait_entered(2)
        site.connect(request())
        site.wait_queued(1)
        page = site.fetch(get("/status"))
        assert page.status == 200
        assert page.text.count("GET /wait?x=&lt;b&gt;") == 2
        (process,) = document(site.fetch(get("/status?json")))["processes"]
        assert [thread["state"] for thread in process["stats"]["workers"]] == ["running"] * 2
        assert process["stats"]["waiting_requests"] == 1
        gate.release()


def test_the_application_has_every_other_path_and_a_page_is_not_counted() -> None:
    with running(hello, http=PATH) as server:
        for path in ("/status/", "/statuses", "/Status"):
            assert fetch(server, get(path)).body == b"hello "
        assert fetch(server, get("/status")).text.startswith("<!DOCTYPE html>")
        assert sum(count for _, _, count in server.server.stats().requests.responses) == 3


def test_a_path_below_the_root_path_is_that_of_the_client() -> None:
    with running(hello, http=HTTPSettings(access_log=False, status_path="/shop/status", root_path="/shop")) as server:
        assert fetch(server, get("/shop/status")).text.startswith("<!DOCTYPE html>")


def test_others_get_a_404_and_the_log_names_the_option() -> None:
    with serving(hello, http=PATH) as site:
        response = site.fetch(get("/status", "shop.example"))
        assert (response.status, response.text) == (404, "404 Not Found\n")
        eventually(lambda: site.log)
        assert "404: the status page is for --status-allow loopback; Host is no name of this machine" in site.log[0]


def test_a_page_that_fails_is_a_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object, environ: object) -> None:
        raise ValueError("the page is broken")

    monkeypatch.setattr("reserve.control.page.statuspage.StatusPage.respond", fail)
    with serving(hello, http=PATH) as site:
        assert site.fetch(get("/status")).status == 500
        eventually(lambda: site.log)
        assert "500: a page of the server cannot be sent: " in site.log[0]


def test_a_program_that_embeds_the_server_has_it_too() -> None:
    listeners = reserve.listen("127.0.0.1:0")
    with reserve.ReserveWSGIServer(listeners, hello, threads=1, status_path="/s", status_allow="any") as server:
        assert fetch(RunningServer(server), get("/s", "shop.example")).text.startswith("<!DOCTYPE html>")


def test_a_list_of_clients_without_a_page_is_reported() -> None:
    with serving(hello, http=HTTPSettings(access_log=False, status_allow="any")) as site:
        eventually(lambda: site.log)
        assert "--status-allow has no effect without --status-path" in site.log[0]


@pytest.mark.parametrize("value", ["", "everybody", "10.0.0.1/8", "any,loopback"])
def test_a_list_of_clients_that_makes_no_sense(value: str) -> None:
    with pytest.raises(UsageError, match="status_allow"):
        HTTPSettings(status_allow=value)


def test_one_path_has_one_meaning() -> None:
    with pytest.raises(UsageError, match=r"--status-path and --health-path are both /x"):
        HTTPApp(WSGIGateway(hello)).configure({"status_path": "/x", "health_path": "/x"})


@pytest.mark.parametrize("protocol", [SCGI, UWSGI], ids=lambda protocol: protocol.name)
def test_the_client_that_a_web_server_names_counts(protocol: Protocol) -> None:
    with running(protocol.app(hello, PATH), threads=1) as server:
        for address, status in (("127.0.0.1", 200), ("203.0.113.9", 404)):
            variables = {"REMOTE_ADDR": address, "HTTP_HOST": "localhost"}
            response = protocol.read(server.exchange(protocol.request("/status", b"", variables)))
            assert response.status == status


def test_fastcgi_has_no_such_page() -> None:
    with pytest.raises(UsageError, match=r"--status-path is for HTTP .* with FastCGI there is no status page"):
        FastCGIApp(WSGIGateway(hello)).configure({"status_path": "/x"}, ["--status-path"])


# ---- reserve app http status ----


def launched(*words: str) -> tuple[HTTPApp, list[str]]:
    arguments = Arguments(["reserve http", "status", *words])
    return launch(arguments), arguments.served


def test_the_status_application_shows_itself() -> None:
    application, served = launched()
    assert served == ["the status of this server"]
    application.configure({"access_log": False})
    with running(application) as server:
        assert fetch(server, get("/")).text.startswith("<!DOCTYPE html>")
        assert fetch(server, get("/other")).status == 404


def test_or_the_server_of_a_control_socket() -> None:
    application, served = launched("/nowhere/control.sock")
    assert served == ["the status of the server at /nowhere/control.sock"]
    application.configure({"access_log": False})
    with running(application) as server:
        response = fetch(server, get("/?view"))
        assert response.status == 503
        assert b"/nowhere/control.sock" in response.body


@pytest.mark.parametrize("words", [("a", "b"), ("--socket",), ("",)])
def test_it_takes_one_socket(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="at most one control socket"):
        launched(*words)
